"""Saving a start in a database file: together, in order, and never in silence."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import orm
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from workroom_spawner.checkpoints import Checkpoints


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'hub.sqlite'}"
    with closing(orm.new_session_factory(url)()) as session:
        session.add(owner := orm.User(name="ada"))
        session.add_all(orm.Spawner(name=f"s{number}", user=owner) for number in range(1, 51))
        session.commit()
    # A short wait for the lock: a test holds it.
    engine = create_engine(url, connect_args={"check_same_thread": False, "timeout": 0.1})
    yield engine
    engine.dispose()


def saved(engine: Engine, row: int) -> Any:
    with Session(engine) as session:
        return session.get_one(orm.Spawner, row).state


async def test_what_is_saved_is_there_for_the_next_process(engine: Engine, tmp_path: Path) -> None:
    await Checkpoints(engine).save(1, {"start": {"client_token": "t"}})
    with closing(sqlite3.connect(tmp_path / "hub.sqlite")) as other_process:
        [[state]] = other_process.execute("select state from spawners where id = 1").fetchall()
    assert state == '{"start": {"client_token": "t"}}'


async def test_those_who_save_at_once_share_a_transaction(engine: Engine) -> None:
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)
    checkpoints = Checkpoints(engine)
    await asyncio.gather(*(checkpoints.save(row, {"row": row}) for row in range(1, 51)))
    assert len(commits) == 1
    assert [saved(engine, row) for row in (1, 25, 50)] == [{"row": 1}, {"row": 25}, {"row": 50}]


async def test_the_last_state_of_a_server_counts(engine: Engine) -> None:
    checkpoints = Checkpoints(engine)
    await asyncio.gather(checkpoints.save(1, {"arn": None}), checkpoints.save(1, {"arn": "a"}))
    assert saved(engine, 1) == {"arn": "a"}
    await checkpoints.save(1, {"redeemed": True})
    assert saved(engine, 1) == {"redeemed": True}


async def test_a_database_that_refuses_is_told_to_everybody_who_saves(engine: Engine) -> None:
    checkpoints = Checkpoints(engine)
    with Session(engine) as hub:
        hub.connection().exec_driver_sql("begin immediate")
        outcomes = await asyncio.gather(
            checkpoints.save(1, {"n": 1}), checkpoints.save(2, {"n": 2}), return_exceptions=True
        )
    assert [type(each) for each in outcomes] == [OperationalError, OperationalError]
    await checkpoints.save(1, {"n": 3})
    assert (saved(engine, 1), saved(engine, 2)) == ({"n": 3}, None)


async def test_who_fills_the_threads_of_the_process_holds_up_no_start(engine: Engine) -> None:
    loop, go_on = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hanging = loop.run_in_executor(None, go_on.wait, 10)
    try:
        async with asyncio.timeout(5):
            await Checkpoints(engine).save(1, {"n": 1})
    finally:
        go_on.set()
        await hanging
    assert saved(engine, 1) == {"n": 1}


async def test_settled_means_that_nothing_more_is_written(engine: Engine) -> None:
    """A start that was cancelled while it saved must not overwrite the hub's last word."""
    checkpoints = Checkpoints(engine)
    cancelled = asyncio.ensure_future(checkpoints.save(1, {"start": "of old"}))
    await asyncio.sleep(0)
    cancelled.cancel()
    await checkpoints.settled()
    with Session(engine) as hub:
        hub.get_one(orm.Spawner, 1).state = {}
        hub.commit()
    await asyncio.sleep(0.1)
    assert saved(engine, 1) == {}


async def test_a_row_that_was_deleted_meanwhile_is_no_problem(engine: Engine) -> None:
    await Checkpoints(engine).save(999, {"start": "of a user who was deleted"})
