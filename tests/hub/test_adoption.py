"""Servers that run when a hub starts are taken over at once, and asked afterwards."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from jupyterhub.spawner import Spawner
from jupyterhub.user import User
from sqlalchemy import event
from traitlets.config import Config

from tests.support.hub_process import Answering
from workroom_hub import adoption
from workroom_hub.app import WorkroomHub


@pytest.fixture(autouse=True)
def _put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(User, "_wait_up", User._wait_up)


class Alive(Spawner):
    """Says of every server that it runs."""

    async def start(self) -> Any:
        raise NotImplementedError

    async def stop(self, now: bool = False) -> None:
        raise AssertionError("a server was stopped")

    async def poll(self) -> None:
        return None


class Hub:
    """WorkroomHub up to its spawners, on a database with running servers."""

    def __init__(self, folder: Path, servers: int) -> None:
        url = f"sqlite:///{folder}/hub-{servers}.sqlite"
        session = orm.new_session_factory(url)()
        for number in range(servers):
            user = orm.User(name=f"user{number}")
            # Nobody listens there: it is port 1.
            server = orm.Server(ip="127.0.0.1", port=1, base_url=f"/user/user{number}/")
            session.add(orm.Spawner(name="", user=user, server=server))
            session.add(orm.User(name=f"idle{number}"))
        session.commit()
        session.close()
        self.app = WorkroomHub(
            config=Config({"JupyterHub": {"db_url": url, "cookie_secret": b"x"}})
        )
        self.app.spawner_class = Alive

    async def init_spawners(self) -> list[str]:
        """Do it; return the statements that the database was asked."""
        app, statements = self.app, []
        app.init_db()
        app.init_hub()
        app.tornado_settings = {"hub": app.hub, "config": app.config, "spawner_class": Alive}

        def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(app.db.get_bind(), "before_cursor_execute", note)
        assert await app.init_spawners() == len(app.db.query(orm.Server).all())
        return statements


async def test_servers_are_adopted_without_waiting_for_them(tmp_path: Path) -> None:
    hub = Hub(tmp_path, 3)
    async with asyncio.timeout(5):
        await hub.init_spawners()
    spawners = [user.spawners[""] for user in hub.app.users.values()]
    assert [spawner.ready for spawner in spawners] == [True] * 3
    assert not any(spawner._waiting_for_response for spawner in spawners)


async def test_the_number_of_queries_does_not_grow_with_the_servers(tmp_path: Path) -> None:
    few = await Hub(tmp_path, 5).init_spawners()
    many = await Hub(tmp_path, 100).init_spawners()
    assert len(many) == len(few)


async def test_a_server_being_started_must_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def original(user: Any, of: Any) -> None:
        raise TimeoutError("gave up")

    monkeypatch.setattr(adoption, "_wait_up", original)
    with pytest.raises(TimeoutError, match="gave up"):
        await adoption.keep_unreachable(None, SimpleNamespace(_check_pending=False))


def server(url: str, **traits: Any) -> Any:
    return SimpleNamespace(
        server=SimpleNamespace(url=url), _jupyterhub_version=None, **{"ready": True, **traits}
    )


async def test_all_are_asked_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "_PAUSE", 0)
    well = Answering()
    try:
        good = [server(f"http://127.0.0.1:{well.port}/", _log_name=f"u{n}") for n in range(20)]
        silent = [server("http://127.0.0.1:1/", _log_name=f"gone{n:02}") for n in range(12)]
        stopped = server("http://127.0.0.1:1/", _log_name="stopped", ready=False)
        await adoption.Roll([*good, *silent, stopped]).call()
    finally:
        well.server.shutdown()
    assert {each._jupyterhub_version for each in good} == {"6"}
    [line] = [r.getMessage() for r in caplog.records if r.name == "workroom_hub.adoption"]
    assert line.startswith("12 of 33 running servers do not answer yet; kept: gone00, gone01, ")
    assert line.endswith("gone09 and 2 more")


async def test_nothing_is_made_of_it_when_all_answer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adoption, "_PAUSE", 0)
    caplog.set_level(logging.INFO)
    well = Answering()
    try:
        await adoption.Roll([server(f"http://127.0.0.1:{well.port}/", _log_name="ada")]).call()
    finally:
        well.server.shutdown()
    [record] = [r for r in caplog.records if r.name == "workroom_hub.adoption"]
    assert (record.levelname, record.getMessage()) == (
        "INFO",
        "all 1 servers that ran before the hub answer",
    )
