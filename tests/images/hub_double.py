"""The few answers of a hub that a single-user server needs, without a hub.

It knows one token, hands out an environment for one start code, and writes down the activity that
is reported to it. End-to-end tests use the real hub; this stands in where only the container is
under test.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

VERSION = "6.1.1"


@dataclass
class HubDouble:
    """One fake hub on `address`; use it as a context manager.

    Attributes:
        address: IPv4 address that containers reach, such as the bridge's gateway.
        user: The only user.
        token: The only API token that is accepted.
        port: Where it listens; 0 for any free port.
        start_answers: Answers of the start-code swap, used one by one, the last one for ever:
            `(status, body)` pairs.
        activity: Every activity report, in order.
        start_requests: Every body sent to the swap, in order.
    """

    address: str
    user: str = "ada"
    token: str = "token-of-ada"
    port: int = 0
    start_answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    activity: list[dict[str, Any]] = field(default_factory=list)
    start_requests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._server = ThreadingHTTPServer((self.address, self.port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        if not self.start_answers:
            self.start_answers = [(200, {"env": self.environment()})]

    def __enter__(self) -> HubDouble:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def api(self) -> str:
        """Address of the fake hub's API."""
        return f"http://{self.address}:{self.port}/hub/api"

    def environment(self) -> dict[str, str]:
        """What JupyterHub puts into a single-user server's environment."""
        prefix = f"/user/{self.user}/"
        return {
            "JUPYTERHUB_API_TOKEN": self.token,
            "JPY_API_TOKEN": self.token,
            "JUPYTERHUB_API_URL": self.api,
            "JUPYTERHUB_ACTIVITY_URL": f"{self.api}/users/{self.user}/activity",
            "JUPYTERHUB_BASE_URL": "/",
            "JUPYTERHUB_CLIENT_ID": f"jupyterhub-user-{self.user}",
            "JUPYTERHUB_HOST": "",
            "JUPYTERHUB_OAUTH_CALLBACK_URL": f"{prefix}oauth_callback",
            "JUPYTERHUB_OAUTH_SCOPES": json.dumps(
                [f"access:servers!server={self.user}/", f"access:servers!user={self.user}"]
            ),
            "JUPYTERHUB_OAUTH_ACCESS_SCOPES": json.dumps(
                [f"access:servers!server={self.user}/", f"access:servers!user={self.user}"]
            ),
            "JUPYTERHUB_SERVER_NAME": "",
            "JUPYTERHUB_SERVICE_PREFIX": prefix,
            "JUPYTERHUB_SERVICE_URL": f"http://0.0.0.0:8888{prefix}",
            "JUPYTERHUB_USER": self.user,
        }

    def _answer(self, method: str, path: str, token: str, body: Any) -> tuple[int, Any]:
        if path == "/hub/api/workroom/start" and method == "POST":
            self.start_requests.append(body)
            more = len(self.start_answers) > 1
            return self.start_answers.pop(0) if more else self.start_answers[0]
        if path.endswith("/activity") and method == "POST":
            self.activity.append(body)
            return 200, {}
        if path == "/hub/api/user":
            if token != self.token:
                return 403, {"message": "Forbidden"}
            scopes = [f"access:servers!user={self.user}"]
            return 200, {
                "kind": "user", "name": self.user, "admin": False, "groups": [],
                "scopes": scopes, "session_id": None,
            }  # fmt: skip
        if path == "/hub/api/":
            return 200, {"version": VERSION}
        return 404, {"message": f"no {path} here"}


def _handler(hub: HubDouble) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            token = (self.headers.get("Authorization") or "").partition(" ")[2]
            path = self.path.partition("?")[0]
            path = path + "/" if path == "/hub/api" else path
            status, answer = hub._answer(self.command, path, token, body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-JupyterHub-Version", VERSION)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler
