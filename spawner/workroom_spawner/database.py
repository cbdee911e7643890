"""The hub's SQLite database, so that nobody waits for the disk on the event loop.

JupyterHub commits about ten times for every start, on its event loop, and with SQLite's defaults
each commit waits for the disk three times: a thousand starts would stand still for minutes. With a
write-ahead log a commit is a write to memory. Whatever it says survives the end of the hub, however
sudden; to survive a power cut it must be on the disk, which `to_disk` sees to, in a thread: at once
for what a start may not lose (`checkpoints.py`), and every second for all the rest (the hub's app).

Source: sqlite.org, "Write-Ahead Logging" and "PRAGMA synchronous".
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event


def use_write_ahead_log() -> None:
    """Have every SQLite database in a file that is opened from now on keep a write-ahead log."""
    if not event.contains(Engine, "connect", _connected):
        event.listen(Engine, "connect", _connected)


def _connected(connection: Any, record: Any) -> None:  # noqa: ARG001 -- SQLAlchemy's signature
    if type(connection).__module__.partition(".")[0] != "sqlite3":
        return
    with closing(connection.cursor()) as cursor:
        # Where it cannot be had (in memory, some network file systems) SQLite stays as it is.
        [[mode]] = cursor.execute("PRAGMA journal_mode=WAL").fetchall()
        if mode == "wal":
            cursor.execute("PRAGMA synchronous=NORMAL")


def to_disk(engine: Engine) -> None:
    """Return when all that was committed so far is on the disk; blocking, for threads.

    Raises:
        OSError: The disk refused.
    """
    if engine.dialect.name != "sqlite" or not engine.url.database:
        return
    try:
        # Of the three files only this one may be opened beside SQLite: it carries no locks.
        log = os.open(Path(f"{engine.url.database}-wal"), os.O_RDONLY)
    except FileNotFoundError:
        return  # no such log: the commits themselves waited
    try:
        os.fdatasync(log)
    finally:
        os.close(log)
