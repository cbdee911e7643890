"""The hub's SQLite database: what commits wait for, and what is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text

from workroom_spawner import database


@pytest.fixture(autouse=True)
def write_ahead_log() -> Iterator[None]:
    database.use_write_ahead_log()
    yield
    event.remove(Engine, "connect", database._connected)


def pragma(engine: Engine, name: str) -> object:
    with engine.connect() as connection:
        return connection.execute(text(f"PRAGMA {name}")).scalar()


def test_a_database_in_a_file_keeps_a_log_and_does_not_wait_at_commits(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    assert pragma(engine, "journal_mode") == "wal"
    assert pragma(engine, "synchronous") == 1  # NORMAL


def test_one_in_memory_stays_as_it_is() -> None:
    engine = create_engine("sqlite:///:memory:")
    assert pragma(engine, "journal_mode") == "memory"
    database.to_disk(engine)


def test_the_log_is_what_goes_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'hub.sqlite'}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE starts (arn TEXT)"))
    written: list[str] = []
    real = os.fdatasync

    def fdatasync(file: int) -> None:
        written.append(os.readlink(f"/proc/self/fd/{file}"))
        real(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    database.to_disk(engine)
    assert written == [f"{tmp_path / 'hub.sqlite'}-wal"]
