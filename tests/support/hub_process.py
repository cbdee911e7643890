"""A real hub process on a free loopback port, with the pages and log-in under test."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

REPOSITORY = Path(__file__).resolve().parents[2]
CLI_TOKEN = "a-token-for-the-test"


def free_port() -> int:
    """Return a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until `url` answers; TimeoutError when it does not, or the process has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer")


class Answering:
    """Stands for a user's server: says 200 to everything.

    Attributes:
        now: What it answers to the question for its figures (`/api/workroom/now`); None: nothing.
    """

    def __init__(self) -> None:
        self.now: dict[str, Any] | None = None
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = self.path.endswith("/api/workroom/now") and answering.now is not None
                body = json.dumps(answering.now).encode() if asked else b""
                self.send_response(200)
                self.send_header("X-JupyterHub-Version", "6")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class HubProcess:
    """Start with `with`; `url` ends in `/hub/`."""

    module = "tests.support.page_hub"

    def __init__(self, home: Path, settings: dict[str, Any] | None = None, **env: str) -> None:
        self.home = home
        self.base = f"http://127.0.0.1:{free_port()}"
        self.url = f"{self.base}/hub/"
        self.log = home / "hub.log"
        self.answering = Answering()
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(str(REPOSITORY / p) for p in ("", "hub", "spawner")),
            "WORKROOM_HOME": str(home),
            "HUB_SETTINGS": json.dumps(settings or {}),
            "HUB_URL": self.base,
            "CLI_TOKEN": CLI_TOKEN,
            "ANSWERING_PORT": str(self.answering.port),
            **env,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> HubProcess:
        self.home.mkdir(parents=True, exist_ok=True)
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.answering.server.shutdown()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=self.home, env=self.env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(self.url + "health", self.process)
        except TimeoutError:
            self.stop()
            raise RuntimeError(f"the hub did not start:\n{self.log.read_text()[-3000:]}") from None

    def stop(self) -> None:
        """End the process and everything it started."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)  # it has nothing to put away
        self.process.wait()

    def api(self, method: str, path: str, body: Any = None, token: str = CLI_TOKEN) -> Any:
        """Call the hub's API; returns `(status, JSON or None)`."""
        request = urllib.request.Request(
            self.url + "api" + quote(path, safe="/?=&"),
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def add_user(self, name: str, admin: bool = False) -> str:
        """Make an account and return its password."""
        status, made = self.api("POST", "/workroom/users", {"name": name, "admin": admin})
        assert status == 201, made
        return str(made["password"])
