"""What pushed images are called. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from workroom_hub.errors import RegistryError

_CONTENT, _ID = 12, 12
_BEGINNING = re.compile(r"(?:sha256:)?([0-9a-f]{6,64})")
"""Shorter ones are slips of the hand, such as an empty variable of a shell."""
FORMS = (
    "Write a tag, 6 or more digits of the digest, or the whole reference "
    "(HOST/REPOSITORY@sha256:…) that workroom push prints."
)
LIST = "What there is: workroom images list"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def content_tag(content: str, image_id: str) -> str:
    """Return the tag of a build: what went in, and what came out.

    The same inputs bring other packages on another day, so the inputs' hash alone could name two
    images. A tag made of both is never moved.

    Args:
        content: Hash of what went into the build (`image.content_hash`).
        image_id: The engine's id of the image, `sha256:…`, a hash of what is in it.
    """
    return f"{content[:_CONTENT]}-{image_id.removeprefix('sha256:')[:_ID]}"


def is_digest(text: str) -> bool:
    """Return whether a text is a whole digest."""
    return bool(_DIGEST.fullmatch(text))


def without_repository(wanted: str, repository: str) -> str:
    """Return the tag or digest of what may be a whole reference, such as `push` prints.

    Raises:
        RegistryError: It names another registry or repository.
    """
    for separator in "@:":
        if wanted.startswith(f"{repository}{separator}"):
            return wanted.removeprefix(f"{repository}{separator}")
    if "/" in wanted or "@" in wanted:
        raise RegistryError(
            f"'{wanted}' is not in this image's repository, {repository}.", f"{FORMS} {LIST}"
        )
    return wanted


def find_digest(wanted: str, digests: Iterable[str]) -> str:
    """Return the one digest that begins as `wanted` does, with or without `sha256:`.

    Args:
        wanted: 6 to 64 hexadecimal digits.
        digests: Whole digests.

    Raises:
        RegistryError: There is none, or more than one.
    """
    start = _BEGINNING.fullmatch(wanted)
    found = sorted({d for d in digests if start and d.startswith(f"sha256:{start[1]}")})
    if len(found) == 1:
        return found[0]
    if not found:
        raise RegistryError(
            f"The registry has no image '{wanted}'.",
            f"{FORMS} {LIST}",
        )
    raise RegistryError(
        f"'{wanted}' is the beginning of {len(found)} digests.",
        f"Write more of it: {', '.join(d[:23] for d in found[:5])}",
    )
