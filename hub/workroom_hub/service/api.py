"""The hub's API, asked from within its own container."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from workroom_hub.runtime import read_secret

_HUB = "http://127.0.0.1:8081/hub"


def ask(
    home: Path, token: str, path: str, body: Any = None, *, base: str = _HUB
) -> tuple[int, str]:
    """Return status and text of an answer.

    Args:
        home: State folder.
        token: Name of the secret that is the key.
        path: Such as `api/workroom/users` or `metrics`.
        body: Sent as JSON with POST; None: GET.
        base: Where the hub is.

    Raises:
        OSError: It does not answer.
    """
    request = urllib.request.Request(  # noqa: S310  (always http, to this container)
        f"{base}/{path}",
        method="GET" if body is None else "POST",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": f"token {read_secret(home, token)}",
            "Content-Type": "application/json",
        },
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Plain())
    with opener.open(request, timeout=20) as answer:
        return answer.status, answer.read().decode()


class _Plain(urllib.request.HTTPErrorProcessor):
    """An answer that says no is an answer, too."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002
        return response
