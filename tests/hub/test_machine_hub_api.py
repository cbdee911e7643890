"""Requests to the hub's API and the first admin, against a hub that answers from a list."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from workroom_hub.errors import HubError, HubRefused
from workroom_hub.initial_password import load_initial_password, save_initial_password
from workroom_hub.machine import processes, up
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import Runtime, read_secret
from workroom_hub.settings import Settings

Answer = tuple[int, Any]


class FakeHub(HTTPServer):
    """Answers `answer(method, path, body)` and keeps what it was asked."""

    answer: Callable[[str, str, Any], Answer]
    asked: list[tuple[str, str, Any, str]]


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = self.path.removeprefix("/hub/api/")
        self.server.asked.append((self.command, path, body, self.headers["Authorization"]))
        status, answer = self.server.answer(self.command, path, body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    do_GET = do_POST = do_DELETE = _any

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    server = FakeHub(("127.0.0.1", 0), _Handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def stack(hub: FakeHub, tmp_path: Path) -> Stack:
    Runtime(tmp_path, "127.0.0.1", "workroom-users", 2, 2**33, {}).save()
    processes.record(tmp_path, "hub", os.getpid(), "")
    settings = Settings.model_validate({"local": {"hub_port": hub.server_port}})
    return Stack(settings, None, tmp_path, Reporter(quiet=True))


def test_a_request_carries_the_commands_token(hub: FakeHub, stack: Stack) -> None:
    hub.answer = lambda *_: (200, [])
    HubApi.of(stack).call("GET", "users")
    assert hub.asked == [("GET", "users", None, f"token {read_secret(stack.home, 'cli-token')}")]


def test_the_question_for_the_version_carries_no_token(hub: FakeHub, stack: Stack) -> None:
    hub.answer = lambda *_: (200, {"version": "6.1.1"})
    assert HubApi.of(stack).version() == "6.1.1"
    assert hub.asked == [("GET", "", None, None)]


def test_whoever_else_has_the_hubs_port_gets_nothing(hub: FakeHub, stack: Stack) -> None:
    hub.answer = lambda *_: (200, {"version": "6.1.1"})
    ours = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    try:
        processes.record(stack.home, "hub", ours.pid, "")
        api = HubApi.of(stack)
        assert api.version() is None
        with pytest.raises(HubError, match="Nothing was sent to it") as caught:
            api.call("GET", "users")
        assert f"(process {os.getpid()}:" in caught.value.message
    finally:
        ours.kill()
        ours.wait()
    with pytest.raises(HubError, match="does not run"):
        api.call("GET", "users")
    assert hub.asked == []


def test_a_proxy_of_the_environment_is_not_asked(
    hub: FakeHub, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    hub.answer = lambda *_: (200, {"version": "6.1.1"})
    assert HubApi.of(stack).version() == "6.1.1"


def test_a_refusal_is_told_in_the_hubs_words(hub: FakeHub, stack: Stack) -> None:
    hub.answer = lambda *_: (409, {"status": 409, "message": "There is already a user 'ann'."})
    with pytest.raises(HubRefused) as caught:
        HubApi.of(stack).call("POST", "workroom/users", {"name": "ann"})
    assert (caught.value.status, caught.value.message) == (409, "There is already a user 'ann'.")


def test_no_hub_says_how_to_start_it(tmp_path: Path) -> None:
    stack = Stack(Settings(), None, tmp_path, Reporter(quiet=True))
    with pytest.raises(HubError, match="Workroom is not up"):
        HubApi.of(stack)
    api = HubApi(tmp_path, "http://127.0.0.1:9")
    assert api.version() is None
    with pytest.raises(HubError, match="does not run"):
        api.call("GET", "users")
    processes.record(tmp_path, "hub", os.getpid(), "")
    with pytest.raises(HubError, match="does not answer"):
        api.call("GET", "users")


def server(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "ready": True, "pending": None, "started": None, **more}


def test_every_page_of_servers_is_read(hub: FakeHub, stack: Stack) -> None:
    pages = [
        [
            {
                "name": "ann",
                "servers": {
                    "": server("", user_options={"profile": "small"}),
                    "b": server("b", ready=False, pending="spawn"),
                },
            }
        ],
        [{"name": "bob", "servers": {"": server("", pending="stop")}}],
    ]

    def answer(_: str, path: str, __: Any) -> Answer:
        number = 1 if "offset=200" in path else 0
        following = None if number else {"offset": 200}
        return 200, {"items": pages[number], "_pagination": {"next": following}}

    hub.answer = answer
    rows = HubApi.of(stack).servers()
    assert [(r["user"], r["server"], r["profile"], r["state"]) for r in rows] == [
        ("ann", "", "small", "running"),
        ("ann", "b", None, "starting"),
        ("bob", "", None, "stopping"),
    ]


# -- the first admin -----------------------------------------------------------------


def test_the_first_password_is_on_disk_before_the_hub_is_asked(hub: FakeHub, stack: Stack) -> None:
    seen: list[Any] = []

    def answer(method: str, _: str, body: Any) -> Answer:
        if method == "GET":
            return 200, []
        seen.append((body, load_initial_password(stack.home)))
        return 201, {"name": "admin", "admin": True, "password": body["password"]}

    hub.answer = answer
    name, password = up.first_admin(stack) or ("", "")
    assert name == "admin"
    assert len(password) >= 12
    assert seen == [
        ({"name": "admin", "admin": True, "password": password}, ("admin", password)),
    ]
    assert (stack.home / "initial-password").stat().st_mode & 0o777 == 0o600


def test_interrupted_before_the_account_was_made_the_same_password_is_used(
    hub: FakeHub, stack: Stack
) -> None:
    save_initial_password("admin", "from-the-first-try", stack.home)
    hub.answer = lambda *_: (201, {})
    assert up.first_admin(stack) == ("admin", "from-the-first-try")
    assert hub.asked[-1][2]["password"] == "from-the-first-try"


def test_up_again_shows_the_password_while_it_is_the_generated_one(
    hub: FakeHub, stack: Stack
) -> None:
    save_initial_password("admin", "from-the-first-try", stack.home)
    hub.answer = lambda *_: (200, [{"name": "admin"}])
    assert up.first_admin(stack) == ("admin", "from-the-first-try")
    assert [method for method, *_ in hub.asked] == ["GET"], "nothing for the hub to refuse and log"


def test_an_admin_made_in_between_is_no_failure(hub: FakeHub, stack: Stack) -> None:
    save_initial_password("admin", "from-the-first-try", stack.home)
    refusal = {"status": 409, "message": "There is already a user 'admin'."}
    hub.answer = lambda method, *_: (200, []) if method == "GET" else (409, refusal)
    assert up.first_admin(stack) == ("admin", "from-the-first-try")


def test_a_saved_name_that_was_corrected_since_is_forgotten(hub: FakeHub, stack: Stack) -> None:
    save_initial_password("adm in/", "from-the-first-try", stack.home)
    hub.answer = lambda method, *_: (200, []) if method == "GET" else (201, {})
    name, password = up.first_admin(stack) or ("", "")
    assert name == "admin"
    assert password != "from-the-first-try"
    assert load_initial_password(stack.home) == ("admin", password)


def test_a_saved_name_that_has_an_account_stays(hub: FakeHub, stack: Stack) -> None:
    save_initial_password("ada", "from-the-first-try", stack.home)
    hub.answer = lambda method, *_: (
        (200, [{"name": "ada"}]) if method == "GET" else (409, {"message": "There is one."})
    )
    assert up.first_admin(stack) == ("ada", "from-the-first-try")


def test_where_there_are_users_no_admin_is_made(hub: FakeHub, stack: Stack) -> None:
    hub.answer = lambda *_: (200, [{"name": "ann"}])
    assert up.first_admin(stack) is None
    assert [method for method, *_ in hub.asked] == ["GET"]


def test_with_a_company_log_in_there_is_no_password(hub: FakeHub, tmp_path: Path) -> None:
    oidc = {"issuer": "https://id.example.com", "client_id": "w", "client_secret_file": "s"}
    settings = Settings.model_validate({"auth": {"kind": "oidc", "oidc": oidc}})
    assert up.first_admin(Stack(settings, None, tmp_path, Reporter(quiet=True))) is None
    assert hub.asked == []
