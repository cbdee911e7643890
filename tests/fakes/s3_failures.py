"""Ways in which an S3 server fails, for `S3Relay.fail`. Each is named for what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.fakes.s3_relay import Answer, Request

Server = Callable[[Request], Answer]


def internal_error(request: Request, server: Server) -> Answer:
    """Answers 500 and does nothing."""
    return _error(500, "InternalError")


def slow_down(request: Request, server: Server) -> Answer:
    """Answers 503 Slow Down and does nothing."""
    return _error(503, "SlowDown")


def access_denied(request: Request, server: Server) -> Answer:
    """Answers 403 and does nothing."""
    return _error(403, "AccessDenied")


def internal_error_after_success(request: Request, server: Server) -> Answer:
    """Does what is asked, and answers 500."""
    server(request)
    return _error(500, "InternalError")


def no_answer_after_success(request: Request, server: Server) -> Answer:
    """Does what is asked, and drops the connection."""
    server(request)
    raise ConnectionError


def drops_connection(request: Request, server: Server) -> Answer:
    """Does nothing, and drops the connection."""
    raise ConnectionError


def half_a_body(request: Request, server: Server) -> Answer:
    """Promises the whole body and sends half of it."""
    answer = server(request)
    whole = len(answer.body)
    answer.body, answer.length = answer.body[: whole // 2], whole
    return answer


def wrong_bytes_down(request: Request, server: Server) -> Answer:
    """Changes one byte of the answer on its way."""
    answer = server(request)
    answer.body = _changed(answer.body)
    return answer


def wrong_bytes_up(request: Request, server: Server) -> Answer:
    """Changes one byte of the file on its way."""
    changed = Request(request.method, request.path, request.headers, _changed(request.body))
    return server(changed)


def not_xml(request: Request, server: Server) -> Answer:
    """Answers a web page, as a proxy does that stands in the way."""
    return Answer(502, [("Content-Type", "text/html")], b"<html>Bad Gateway</html>")


class Hangs:
    """Takes the request and does not answer until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()

    def __call__(self, request: Request, server: Server) -> Answer:
        self.over.wait(60)
        raise ConnectionError


def _changed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def _error(status: int, code: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>"
    return Answer(status, [("Content-Type", "application/xml")], body.encode())
