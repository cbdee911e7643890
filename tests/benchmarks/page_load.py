"""Benchmark `page-load`: the home page of a hub with 1,000 users and 300 running servers.

Milliseconds of server time, 95th percentile over 200 requests, each of another user; two thirds of
them have a server running. The baseline is JupyterHub's own home page on a copy of the same
database, asked for in the same way. It fails unless every page shows its user's own servers.

On the way it says the same of each user's second visit, and of everyone's page.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ecs_hubs
import requests
import running_servers as servers
from ecs_hubs import say
from jupyterhub import orm
from tornado.web import create_signed_value

PORT = 8330
USERS = 1000
RUNNING = 300
REQUESTS = 200
_ADMIN = "admin"
_COOKIE = "jupyterhub-hub-login"


def main() -> None:
    """Measure both, ours first, and report."""
    users = servers.names(USERS)
    asked = users[: 2 * REQUESTS // 3] + users[-(REQUESTS - 2 * REQUESTS // 3) :]
    with (
        tempfile.TemporaryDirectory(prefix="workroom-bench-") as folder,
        ecs_hubs.fake_cloud() as cloud,
    ):
        with ecs_hubs.ours(cloud, PORT) as hub:
            hub.stop()
            _write(hub.folder / "hub.sqlite", cloud, users)
            servers.copy_of(hub.folder / "hub.sqlite", Path(folder))
            hub.start()
            secret = bytes.fromhex((hub.folder / "secrets" / "cookie-secret").read_text())
            browser = Browser(hub, secret)
            ours = browser.p95(asked, "home", _shows_our_card)
            say(f"ours: {ours:.1f} ms; {hub.memory() >> 20} MiB; {ecs_hubs.load()}")
            again = browser.p95(asked, "home", _shows_our_card)
            say(f"ours, each user's second visit: {again:.1f} ms")
            _tell_more(browser)
        secret = secrets.token_bytes(32)
        (Path(folder) / "jupyterhub_cookie_secret").write_text(secret.hex())
        (Path(folder) / "jupyterhub_cookie_secret").chmod(0o600)
        with servers.do_nothing(Path(folder), hub.token, "Spawner", PORT + 3) as stock:
            theirs = Browser(stock, secret).p95(asked, "home", _shows_their_buttons)
            say(f"JupyterHub as released: {theirs:.1f} ms; {ecs_hubs.load()}")
    ecs_hubs.report("page-load", ours, "ms", theirs)


class Browser:
    """Asks for pages as users who have logged in before, over one connection."""

    def __init__(self, hub: ecs_hubs.Hub, secret: bytes) -> None:
        self.hub, self.secret = hub, secret
        self.session = requests.Session()
        self.session.trust_env = False
        with sqlite3.connect(f"file:{hub.folder / 'hub.sqlite'}?mode=ro", uri=True) as database:
            self.ids: dict[str, str] = dict(database.execute("SELECT name, cookie_id FROM users"))

    def get(self, user: str, page: str) -> tuple[float, str]:
        """Return the milliseconds until the whole page was there, and the page."""
        signed = create_signed_value(self.secret, _COOKIE, self.ids[user]).decode()
        cookies = f"{_COOKIE}={signed}; jupyterhub-session-id={secrets.token_hex(16)}"
        # The hub itself, not its proxy.
        url = f"http://127.0.0.1:{self.hub.port + 2}/hub/{page}"
        begin = time.perf_counter()
        answer = self.session.get(url, headers={"Cookie": cookies}, timeout=60)
        took = 1000 * (time.perf_counter() - begin)
        self.session.cookies.clear()
        if answer.status_code != 200 or answer.history:
            raise RuntimeError(f"/hub/{page} of {user} answers {answer.status_code}")
        return took, answer.text

    def p95(self, users: list[str], page: str, right: Callable[[str, str, bool], bool]) -> float:
        """Return the 95th percentile over one request of each of `users`, all answers checked."""
        self.get(users[-1], page)  # templates are compiled at the first
        times, before = [], self._processor_seconds()
        for user in users:
            took, text = self.get(user, page)
            running = user in users[: 2 * REQUESTS // 3]
            if not right(text, user, running):
                raise RuntimeError(f"the page of {user} does not show it:\n{text[:3000]}")
            times.append(took)
        spent = 1000 * (self._processor_seconds() - before) / len(users)
        half = sorted(times)[len(times) // 2]
        say(f"  /hub/{page}: median {half:.1f} ms, of the processor {spent:.1f} ms each")
        return sorted(times)[int(0.95 * len(times))]

    def _processor_seconds(self) -> float:
        """Return what the hub's process has spent, which does not depend on who else is busy."""
        assert self.hub.process is not None
        fields = Path(f"/proc/{self.hub.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _shows_our_card(text: str, user: str, running: bool) -> bool:
    state = "running" if running else "stopped"
    return f'data-user="{user}"' in text and f'data-state="{state}"' in text


def _shows_their_buttons(text: str, user: str, running: bool) -> bool:
    return f'user: "{user}"' in text and ("My Server" in text) and ('id="stop"' in text) == running


def _tell_more(browser: Browser) -> None:
    browser.p95([_ADMIN] * 20, "everyone", lambda text, *_: f">{RUNNING}</td>" in text)


def _write(database: Path, cloud: ecs_hubs.Cloud, users: list[str]) -> None:
    """Write everybody into the database; the first have servers running, which the cloud knows."""
    busy, idle = users[:RUNNING], users[RUNNING:]
    tasks = servers.tasks(cloud, servers.ecs_settings(cloud, PORT), busy)
    servers.write(database, dict(zip(busy, tasks, strict=True)), cloud.web_port)
    session = orm.new_session_factory(f"sqlite:///{database}")()
    role = session.query(orm.Role).filter_by(name="user").one()
    for name in idle:
        user = orm.User(name=name, roles=[role])
        # As after a server that was stopped last night.
        session.add(orm.Spawner(name="", user=user, user_options=ecs_hubs.OPTIONS, state={}))
        session.add(user)
    roles = [role, session.query(orm.Role).filter_by(name="admin").one()]
    session.add(orm.User(name=_ADMIN, admin=True, roles=roles))
    session.commit()
    session.close()
    session.get_bind().dispose()


if __name__ == "__main__":
    main()
