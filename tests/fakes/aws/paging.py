"""Pages of a list, as ECS hands them out."""

from __future__ import annotations

import base64
from typing import Any

from tests.fakes.aws.errors import invalid


def page(name: str, found: list[str], request: dict[str, Any]) -> dict[str, Any]:
    """Return one page of `found`, at most 100, and the token of the next."""
    size = request.get("maxResults", 100)
    if not 1 <= size <= 100:
        raise invalid("maxResults must be between 1 and 100.")
    begin = offset(request.get("nextToken"))
    answer: dict[str, Any] = {name: found[begin : begin + size]}
    if begin + size < len(found):
        answer["nextToken"] = token(begin + size)
    return answer


def token(begin: int) -> str:
    """Return an opaque token for the page that begins there."""
    return base64.urlsafe_b64encode(f"page:{begin}".encode()).decode()


def offset(given: str | None) -> int:
    """Return where the page of a token begins.

    Raises:
        AwsError: It is no token of ours.
    """
    if not given:
        return 0
    try:
        word, _, begin = base64.urlsafe_b64decode(given).decode().partition(":")
        if word != "page":
            raise ValueError(word)
        return int(begin)
    except ValueError:
        raise invalid("Invalid token.") from None
