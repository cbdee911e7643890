"""After `down` the database is one file, also where the hub was killed."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from workroom_hub.errors import EngineError
from workroom_hub.machine import database, down
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.settings import Settings

KILLED = """
import os, signal, sqlite3, sys
hub = sqlite3.connect(sys.argv[1])
hub.execute("PRAGMA journal_mode=WAL")
hub.execute("CREATE TABLE users (name)")
hub.execute("INSERT INTO users VALUES ('ann')")
hub.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A state folder whose hub was killed."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, str(home / "hub.sqlite")], check=False)
    return home


def at(home: Path) -> Stack:
    return Stack(Settings(), None, home, Reporter(quiet=True))


def users_in_copy(home: Path, to: Path) -> list[tuple[str]]:
    shutil.copy(home / "hub.sqlite", to)
    return sqlite3.connect(to).execute("SELECT name FROM users").fetchall()


def test_a_copy_of_the_one_file_has_everything(killed: Path, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        users_in_copy(killed, tmp_path / "before")
    assert database.settle(killed)
    assert [path.name for path in killed.iterdir()] == ["hub.sqlite"]
    assert users_in_copy(killed, tmp_path / "after") == [("ann",)]


def test_down_does_it_once_the_hub_is_gone(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise EngineError("No Docker engine answers.")

    monkeypatch.setattr(down.engine, "connect", away)
    down.down(at(killed))
    assert users_in_copy(killed, tmp_path / "copy") == [("ann",)]


def test_without_a_database_none_is_made(tmp_path: Path) -> None:
    assert database.settle(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_down_warns_of_a_database_that_somebody_reads(
    killed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader = sqlite3.connect(killed / "hub.sqlite")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM users").fetchall()
    # Another one writes after that, which the reader does not see and the checkpoint must keep.
    writer = sqlite3.connect(killed / "hub.sqlite")
    writer.execute("INSERT INTO users VALUES ('bob')")
    writer.commit()
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    down._settle_database(at(killed))
    assert "another program has it open" in capsys.readouterr().err
    reader.close()
    writer.close()


def test_down_goes_on_where_the_database_is_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hub.sqlite").write_bytes(b"no database, but longer than a header " * 40)
    down._settle_database(at(tmp_path))
    assert "file is not a database" in capsys.readouterr().err
