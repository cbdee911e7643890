"""Public SSH keys as people paste or upload them: read, checked, and refused with the reason."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

LARGEST = 16 * 1024
_LOOKED_THROUGH = 8 * LARGEST
LONGEST_NAME = 60
_FEWEST_BITS, _MOST_BITS = 2048, 16384
_MAKE_ONE = "Make a key with: ssh-keygen -t ed25519"
_KINDS = {
    "ssh-ed25519": ("ED25519", 256),
    "ecdsa-sha2-nistp256": ("ECDSA", 256),
    "ecdsa-sha2-nistp384": ("ECDSA", 384),
    "ecdsa-sha2-nistp521": ("ECDSA", 521),
    "ssh-rsa": ("RSA", 0),
    "sk-ssh-ed25519@openssh.com": ("ED25519-SK", 256),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("ECDSA-SK", 256),
}
_ALGORITHM = re.compile(r"(?:ssh-|ecdsa-sha2-|sk-)[a-z0-9-]+(?:@openssh\.com)?")
# The last one is how the body of OpenSSH's private keys begins.
_PRIVATE = re.compile(r"PRIVATE KEY|PuTTY-User-Key-File|b3BlbnNzaC1rZXktdjE", re.IGNORECASE)
_BEGIN, _END = "---- BEGIN SSH2 PUBLIC KEY ----", "---- END SSH2 PUBLIC KEY ----"


class KeyRefused(ValueError):
    """A key or its name will not do; the text says why.

    Attributes:
        secret: What was given is a private key: it must not be shown again, either.
    """

    def __init__(self, sentence: str, *, secret: bool = False) -> None:
        super().__init__(sentence)
        self.secret = secret


@dataclass(frozen=True)
class PublicKey:
    """A public key that is fit for use.

    Attributes:
        type: As `ssh-keygen -l` calls it, such as ED25519.
        bits: Its size.
        line: Algorithm and key, in the one way to write them; no options, no comment.
        fingerprint: `SHA256:…`, as OpenSSH shows it.
        comment: What stood behind the key, as it was.
    """

    type: str
    bits: int
    line: str
    fingerprint: str
    comment: str


def read(given: str | bytes) -> PublicKey:
    """Return the one public key in `given`: a line of OpenSSH's, or the format of RFC 4716.

    Raises:
        KeyRefused: It is none, not a safe one, or more than one.
    """
    text = _text(given)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise KeyRefused("Paste your public key, or choose the file that ends in .pub.")
    if lines[0] == _BEGIN:
        return _rfc4716(lines)
    if lines[0].startswith("-----BEGIN"):
        raise KeyRefused(
            "This is a key in another format than SSH's. "
            "Convert it with: ssh-keygen -i -m PKCS8 -f FILE"
        )
    if len(lines) > 1:
        raise _why_many(lines)
    return _line(lines[0])


def plain_name(text: str) -> str:
    """Return `text` in one line, without characters that print nothing or turn the text around."""
    spaced = " ".join(text.split())
    kept = (char for char in spaced if unicodedata.category(char)[0] != "C")
    return unicodedata.normalize("NFC", "".join(kept)).strip()


def name_for(key: PublicKey, wanted: str = "") -> str:
    """Return the name of a new key: the wanted one, else its comment, else its type.

    Raises:
        KeyRefused: The wanted name is too long.
    """
    return checked_name(wanted) or plain_name(key.comment)[:LONGEST_NAME].strip() or key.type


def checked_name(wanted: str) -> str:
    """Return a name that somebody typed, or "" for none.

    Raises:
        KeyRefused: It is too long.
    """
    name = plain_name(wanted)
    if len(name) > LONGEST_NAME:
        raise KeyRefused(f"The name is too long: use at most {LONGEST_NAME} characters.")
    return name


def fingerprint(line: str) -> str:
    """Return the fingerprint of a public key line, as OpenSSH shows it.

    Raises:
        ValueError: That is not such a line.
    """
    try:
        blob = base64.b64decode(line.split()[1], validate=True)
    except IndexError:
        raise ValueError("not a public key line") from None
    return _fingerprint(blob)


def _fingerprint(blob: bytes) -> str:
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    return f"SHA256:{digest.rstrip('=')}"


def _text(given: str | bytes) -> str:
    raw = given if isinstance(given, bytes) else given.encode("utf-8", "surrogatepass")
    # Without the zeros, because PowerShell likes to write UTF-16. A part, because nobody's hub
    # should read through a form of 100 MB.
    if _PRIVATE.search(raw[:_LOOKED_THROUGH].replace(b"\0", b"").decode("latin-1")):
        raise KeyRefused(
            "This is your private key: it must never leave your machine. Paste the file that "
            "ends in .pub. Nothing was kept of it.",
            secret=True,
        )
    if len(raw) > _LOOKED_THROUGH:
        raise _too_long()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeError:
        raise KeyRefused(
            "This is not a text. Choose the file that ends in .pub, and leave it as "
            "ssh-keygen wrote it."
        ) from None
    if len(raw) > LARGEST:
        raise _too_long()
    if "\0" in text:
        raise KeyRefused("There is a NUL character in it, which no key has. Copy the key again.")
    return text


def _too_long() -> KeyRefused:
    return KeyRefused("This is too long for a public key. Paste the file that ends in .pub.")


def _why_many(lines: list[str]) -> KeyRefused:
    if sum(bool(_ALGORITHM.match(line)) for line in lines) > 1:
        return KeyRefused("These are several keys. Add one at a time.")
    return KeyRefused(
        "The key is spread over several lines. Copy it as one line: type, key and comment."
    )


def _line(line: str) -> PublicKey:
    algorithm, _, rest = line.partition(" ")
    if not _ALGORITHM.fullmatch(algorithm):
        raise _why_not_first(line)
    encoded, _, comment = rest.strip().partition(" ")
    return _checked(algorithm, encoded, comment)


def _why_not_first(line: str) -> KeyRefused:
    if line.startswith(("SHA256:", "MD5:")):
        return KeyRefused("This is the fingerprint of a key. Paste the file that ends in .pub.")
    for found in _ALGORITHM.finditer(line):
        if line[found.end() :].lstrip().startswith("AAAA"):
            return KeyRefused(
                f"Leave out what stands before '{found[0]}': options are not taken here."
            )
    return KeyRefused(
        "This is not a public SSH key: it begins with a type such as ssh-ed25519, and is in the "
        f"file that ends in .pub. {_MAKE_ONE}"
    )


def _rfc4716(lines: list[str]) -> PublicKey:
    if lines.count(_BEGIN) > 1:
        raise KeyRefused("These are several keys. Add one at a time.")
    if lines[-1] != _END:
        raise KeyRefused(f"The end of the key is missing: its last line is '{_END}'.")
    headers, body = _headers(lines[1:-1])
    encoded = "".join(body)
    try:
        algorithm = next(_fields(_decoded(encoded))).decode("ascii")
    except (StopIteration, UnicodeError):
        raise _damaged() from None
    return _checked(algorithm, encoded, headers.get("comment", "").strip('"'))


def _headers(lines: list[str]) -> tuple[dict[str, str], list[str]]:
    """Split into the headers, whose lines may go on after a backslash, and the rest."""
    headers: dict[str, str] = {}
    rest = iter(lines)
    for line in rest:
        if ":" not in line:
            return headers, [line, *rest]
        whole = line
        while whole.endswith("\\"):
            whole = whole[:-1] + next(rest, "")
        name, _, value = whole.partition(":")
        headers[name.lower()] = value.strip()
    return headers, []


def _checked(algorithm: str, encoded: str, comment: str) -> PublicKey:
    if "-cert-" in algorithm:
        raise KeyRefused(
            "This is a certificate. Paste the key itself: the .pub file without -cert in its name."
        )
    if algorithm == "ssh-dss":
        raise KeyRefused(f"DSA keys are not safe, and OpenSSH has given them up. {_MAKE_ONE}")
    if algorithm not in _KINDS:
        raise KeyRefused(
            f"Keys of the type '{algorithm[:40]}' are not taken: use ED25519, ECDSA, or RSA of at "
            f"least {_FEWEST_BITS} bits. {_MAKE_ONE}"
        )
    blob = _decoded(encoded)
    fields = list(_fields(blob))
    if not fields or fields[0] != algorithm.encode():
        raise _damaged()
    kind, bits = _KINDS[algorithm]
    if kind == "RSA":
        bits = _rsa_bits(fields)
    line = f"{algorithm} {base64.b64encode(blob).decode()}"
    try:
        load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise _damaged() from None
    return PublicKey(kind, bits, line, _fingerprint(blob), comment.strip())


def _rsa_bits(fields: list[bytes]) -> int:
    if len(fields) != 3 or not fields[2] or fields[2][:2] == b"\0\0":
        raise _damaged()
    bits = int.from_bytes(fields[2]).bit_length()
    if bits < _FEWEST_BITS:
        raise KeyRefused(
            f"This RSA key has {bits} bits, which is too few to be safe: at least {_FEWEST_BITS} "
            f"are needed. {_MAKE_ONE}"
        )
    if bits > _MOST_BITS:
        raise KeyRefused(f"This RSA key has {bits} bits; at most {_MOST_BITS} are taken.")
    return bits


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise _damaged() from None


def _fields(blob: bytes) -> Iterator[bytes]:
    """Yield the fields of a key, each of which has its length before it (RFC 4251)."""
    at = 0
    while at < len(blob):
        if len(blob) - at < 4:
            raise _damaged()
        [length] = struct.unpack_from(">I", blob, at)
        if length > len(blob) - at - 4:
            raise _damaged()
        yield blob[at + 4 : at + 4 + length]
        at += 4 + length


def _damaged() -> KeyRefused:
    return KeyRefused("The key is damaged: a part of it is missing. Copy it again, all of it.")
