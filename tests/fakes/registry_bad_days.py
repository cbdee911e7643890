"""A registry with one image that answers as the real one cannot be made to: each flaw by its name.

lies        the manifest's bytes are not those of its digest
lost_half   a layer ends early
other_layer a layer is another's bytes
no_config   the image's configuration is missing
no_registry the page of something else
endless     a manifest without end
thief       the log-in it names is of another scheme
bearer      none: the short-lived tokens of Artifactory and Docker Hub, told apart by scope
closed      every token is refused
paged       none: tags come a page at a time
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, TOKEN = "ci", "a-long-lived-token"
LAYER = b"layer" * 1000
TAGS = [f"{number:03}" for number in range(7)]


def digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


CONFIG = json.dumps({"created": "2026-12-01T10:00:00Z", "config": {"Labels": {"a": "b"}}}).encode()
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": {"digest": digest(CONFIG), "size": len(CONFIG)},
        "layers": [{"digest": digest(LAYER), "size": len(LAYER)}],
    }
).encode()


class RegistryOfBadDays:
    """The registry; `flaw` may change while it runs, `asked` has every path and its log-in."""

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        self.asked: list[tuple[str, str]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                registry.answer(self)

            do_HEAD = do_GET

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> RegistryOfBadDays:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        given = request.headers.get("Authorization", "")
        self.asked.append((request.path, given))
        basic = "Basic " + base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if parts.path == "/token":
            scope = parse_qs(parts.query)["scope"][0]
            body = json.dumps({"token": f"for {scope}"}).encode()
            self.send(request, 200 if given == basic else 401, body)
            return
        if self.flaw in ("bearer", "thief"):
            if given != "Bearer for repository:team/notebook:pull":
                realm = f"{'https' if self.flaw == 'thief' else 'http'}://{self.host}/token"
                scope = "repository:team/notebook:pull"
                challenge = f'Bearer realm="{realm}",service="x",scope="{scope}"'
                self.send(request, 401, b"{}", {"WWW-Authenticate": challenge})
                return
        elif given != basic or self.flaw == "closed":
            self.send(request, 401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
            return
        self.send(request, *self.content(parts.path, parse_qs(parts.query)))

    def content(self, path: str, query: dict[str, list[str]]) -> Any:
        if self.flaw == "no_registry":
            return 200, b"<html>a printer</html>"
        name = path.rpartition("/")[2]
        if path.endswith("/tags/list"):
            first = TAGS.index(query["last"][0]) + 1 if "last" in query else 0
            page = TAGS[first : first + 3] if self.flaw == "paged" else TAGS
            more = self.flaw == "paged" and first + 3 < len(TAGS)
            link = {"Link": f'<{path}?n=3&last={page[-1]}>; rel="next"'} if more else {}
            return 200, json.dumps({"name": "team/notebook", "tags": page}).encode(), link
        if "/manifests/" in path and name in (*TAGS, digest(MANIFEST)):
            body = {
                "lies": MANIFEST.replace(b"2", b"3", 1),
                "endless": b" " * (5 * 2**20) + MANIFEST,
            }.get(self.flaw, MANIFEST)
            return 200, body, {"Docker-Content-Digest": digest(MANIFEST)}
        blobs = {digest(CONFIG): CONFIG, digest(LAYER): LAYER}
        if self.flaw == "other_layer":
            blobs[digest(LAYER)] = LAYER[::-1]
        elif self.flaw == "no_config":
            del blobs[digest(CONFIG)]
        if "/blobs/" in path and name in blobs:
            return 200, blobs[name]
        return 404, b"{}"

    def send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in (headers or {}).items():
            request.send_header(key, value)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command == "HEAD":
            return
        if self.flaw == "lost_half" and body == LAYER:
            request.wfile.write(body[: len(body) // 2])
            request.close_connection = True
            return
        request.wfile.write(body)
