"""The hub's database while no hub runs: one file that can be copied."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

FILE = "hub.sqlite"
PATIENCE = 5.0
"""Seconds to wait for whoever writes to it."""


def settle(home: Path) -> bool:
    """Move what is only in `hub.sqlite-wal` into `hub.sqlite`; without a database do nothing.

    A hub that was killed, and often one that ended, leaves the newest changes in the log beside
    the database (https://www.sqlite.org/wal.html), where a copy of `hub.sqlite` alone misses them.

    Returns:
        False if somebody else has the database open, so that part of it is still in the log.

    Raises:
        sqlite3.Error: It is damaged, or cannot be written.
    """
    path = home / FILE
    if not path.is_file():
        return True
    # mode=rw: never an empty database where there was none.
    with closing(
        sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE)
    ) as database:
        busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
