"""Names for containers, volumes and hosts, made from any user name.

Contract: for every pair of texts the result is a valid Docker object name and
DNS label (lower-case letters, digits, inner hyphens, at most 63 characters),
the same input always gives the same name, and different inputs give different
names: each name ends in 60 bits of a hash over the exact input, so that user
names differing only in case, punctuation or Unicode form never share anything.
"""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata

_READABLE = 20
_DIGEST = 12


def slug(text: str, limit: int = _READABLE) -> str:
    """Return up to `limit` readable characters of `text`; may be empty, is never unique."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:limit].rstrip("-")


def digest(*parts: str) -> str:
    """Return 12 base32 characters that stand for exactly these parts in this order."""
    # Lengths are hashed too, or ("a", "bc") and ("ab", "c") would be one name.
    exact = b"".join(
        b"%d:%s" % (len(data), data)
        for data in (part.encode("utf-8", "surrogatepass") for part in parts)
    )
    hashed = hashlib.sha256(exact).digest()
    return base64.b32encode(hashed).decode().lower()[:_DIGEST]


def _join(*pieces: str) -> str:
    return "-".join(piece for piece in pieces if piece)


def container(instance: str, user: str, server: str) -> str:
    """Name the container of one server; `server` is "" for the default one."""
    unique = digest("container", instance, user, server)
    # 32 (instance) + 12 + 4 + 12 and hyphens stay within a DNS label's 63 characters.
    return _join(instance, slug(user, 12), slug(server, 4), unique)


def home_volume(instance: str, user: str) -> str:
    """Name the volume that holds a user's home; all her servers share it."""
    return _join(instance, "home", slug(user, 12), digest("home", instance, user))


def hostname(user: str, server: str) -> str:
    """Name a server's host as people see it in their prompt."""
    return _join(slug(user, 24) or "workroom", slug(server, 12))


def principal(installation: str, user: str, server: str) -> str:
    """Name one server in the certificates that let somebody in over ssh."""
    return f"workroom-{digest('principal', installation, user, server)}"


def tag_value(text: str) -> str:
    """Return `text` as AWS takes it for a tag's value: itself if it may stand, else made unique.

    Values have at most 256 characters: letters, digits, spaces and `+ - = . _ : / @`. They may not
    begin with `aws:`, and spaces at either end do not survive every tool that shows them.
    """
    kept = re.sub(r"(?i)^aws:", "aws_", re.sub(r"[^\w +\-=.:/@]", "_", text)).strip()
    if kept == text and _utf16_units(kept) <= 256:
        return text
    return f"{kept[:120]} {digest('tag', text)}".strip()


def _utf16_units(text: str) -> int:
    # The measure of AWS's limits: an ancient script's letter counts twice.
    return len(text.encode("utf-16-le")) // 2
