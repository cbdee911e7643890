"""What the values of some settings must look like; a refusal is a ValueError's sentence. Pure."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from urllib.parse import unquote, urlsplit

MAX_NAME = 200
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?"
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:{_HOST}/)?{_PART}(?:/{_PART})*(?P<tag>:[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
    r"(?P<digest>@sha256:[0-9a-f]{64})?"
)


def user_name(value: str) -> str:
    """Return the one spelling of a user name, by the rules of `user_names.UserNames`.

    Apart from those because the settings are read without loading JupyterHub.
    """
    composed = unicodedata.normalize("NFC", value)
    name = unicodedata.normalize("NFC", composed.lower())
    if "/" in name or not name.isprintable() or name != name.strip():
        raise ValueError("a user name has no slash, no space at either end, only visible letters")
    if not name or len(name) > MAX_NAME or set(unquote(name)) == {"."} or set(name) == {"."}:
        raise ValueError(f"a user name has 1 to {MAX_NAME} letters and is more than dots")
    return name


def subnet(value: str) -> str:
    """Return an IPv4 range that a bridge network can have."""
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError as error:
        raise ValueError(
            "it is not an IPv4 range; write its first address and its length, such as 172.30.0.0/16"
        ) from error
    if network.prefixlen > 28:
        raise ValueError("it is not an IPv4 range of 16 addresses or more, such as 172.30.0.0/16")
    taken = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
    if any(network.overlaps(ipaddress.IPv4Network(other)) for other in taken):
        raise ValueError(
            "loopback, link-local, multicast and reserved addresses cannot be a network's; "
            "take a private range, such as 172.30.0.0/16"
        )
    return value


def name_server(value: str) -> str:
    """Return the address of a name server that a container can ask."""
    try:
        address = ipaddress.ip_address(value)
    except ValueError as error:
        raise ValueError("a name server is written as an IP address, such as 10.0.0.2") from error
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError(
            "a container cannot ask a name server there; write an address it can reach, "
            "such as 10.0.0.2"
        )
    return value


def issuer(value: str) -> str:
    """Return the URL of an OpenID Connect issuer: https, or http on this very machine."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("it is not a URL such as https://id.example.com") from error
    here = host in ("localhost", "127.0.0.1", "::1")
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and here)):
        raise ValueError(
            "write the issuer as https://… (http only for a provider on this very machine)"
        )
    if parts.query or parts.fragment or parts.username or re.search(r"\s", value):
        raise ValueError("an issuer is a plain URL, without user, '?', '#' or spaces")
    return value


def image_reference(value: str) -> str:
    """Return the reference of an image: `repository:tag` or `repository@sha256:…`."""
    if not _REFERENCE.fullmatch(value):
        raise ValueError(
            "an image is written as repository:tag or repository@sha256:…, in lower case, "
            "such as registry.example.com/team/notebook:1.2"
        )
    return value


def names_registry(reference: str) -> bool:
    """Return whether an image's reference begins with a registry's host name.

    Source: the reference grammar of github.com/distribution/reference.
    """
    host, slash, _ = reference.partition("/")
    return bool(slash) and ("." in host or ":" in host or host == "localhost")


def image_tag(value: str) -> str:
    """Return the name that an image is built under: a reference without a digest."""
    if "@" in value:
        raise ValueError("a build is given a tag, such as workroom/notebook:latest, not a digest")
    return image_reference(value)
