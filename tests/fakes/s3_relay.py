"""An HTTP relay in front of a real S3 server, which has bad days when it is told to.

What is asked and answered is the real server's. `s3_failures.py` has the ways in which it fails.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit


@dataclass
class Request:
    """What a client asks: method, path with query, headers in order, body."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def is_upload(self) -> bool:
        """Say whether it writes a file or a part of one."""
        return self.method == "PUT" and bool(self.body)


@dataclass
class Answer:
    """What it gets: status, headers, body. `length` is what it says of the body's length."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    length: int | None = None


Failure = Callable[[Request, Callable[[Request], Answer]], Answer]
"""Gets a request and the real server; answers in its own way, or raises to drop the connection."""


class S3Relay:
    """The relay; use it as a context.

    Attributes:
        endpoint: Its own address, `http://127.0.0.1:PORT`.
        requests: Methods and paths that came, in order.
        before: Called with method and path before a request is passed on; what it raises drops the
            connection.

    Args:
        upstream: Address of the real server.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream).netloc
        self._plans: list[list[object]] = []
        self._lock = threading.Lock()
        self.requests: list[str] = []
        self.before: Callable[[str], object] = lambda _: None
        relay = self

        class Handler(_Handler):
            answer_to = staticmethod(relay._answer)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def fail(
        self,
        failure: Failure,
        times: int = 1,
        when: Callable[[Request], bool] = lambda _: True,
    ) -> None:
        """Fail in this way the next `times` requests for which `when` holds."""
        with self._lock:
            self._plans.append([failure, times, when])

    def count(self, method: str) -> int:
        """Return how many requests of a method came."""
        return sum(1 for request in self.requests if request.startswith(f"{method} "))

    def __enter__(self) -> S3Relay:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: Request) -> Answer:
        self.before(f"{request.method} {request.path}")
        with self._lock:
            self.requests.append(f"{request.method} {request.path}")
            for plan in self._plans:
                failure, left, when = plan
                if left and when(request):  # type: ignore[operator]
                    plan[1] = left - 1  # type: ignore[operator]
                    break
            else:
                failure = None
        return failure(request, self._ask) if failure else self._ask(request)  # type: ignore[operator]

    def _ask(self, request: Request) -> Answer:
        connection = http.client.HTTPConnection(self._upstream, timeout=60)
        try:
            connection.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.endheaders(request.body)
            answer = connection.getresponse()
            return Answer(answer.status, answer.getheaders(), answer.read())
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # one that hangs is never waited for
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections are dropped on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves as a whole, not header by header
    answer_to: Callable[[Request], Answer]

    def _relay(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        passed = [
            (name, value)
            for name, value in self.headers.items()
            if name.lower() not in ("connection", "expect")
        ]
        request = Request(self.command, self.path, passed, self.rfile.read(length))
        try:
            answer = self.answer_to(request)
        except ConnectionError:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        head = dict(answer.headers).get("Content-Length") if self.command == "HEAD" else None
        length = len(answer.body) if answer.length is None else answer.length
        if answer.status != 204:
            self.send_header("Content-Length", head or str(length))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(answer.body)
            self.wfile.flush()
        if length != len(answer.body):
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _relay

    def handle_expect_100(self) -> bool:
        """Ask for the body at once."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
