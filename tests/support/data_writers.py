"""Frames that can tell whether they are one whole batch, and processes that store and load them."""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pandas as pd

from workroom_data import formats, hive, load, repair, session, storage_s3, store, versions
from workroom_data.errors import DataWarning, NotFound
from workroom_data.going_back import rollback
from workroom_data.load import load_dataframe
from workroom_data.settings import Settings
from workroom_data.storage_s3_calls import connect
from workroom_data.store import store_dataframe

# Each process is forked from one that has imported all this and has no threads: in milliseconds.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])
IMPORTED = (connect, hive, load, repair, storage_s3, store, versions)

YEAR = {"year": "2016"}
TABLE = "t"
SMALL = 600
"""Bytes of rows of a file, for batches of several files without many rows."""


def frame(tag: int) -> pd.DataFrame:
    """Return a frame that says in each row which one it is, and how many rows it has."""
    rows = 20 + tag % 17
    row = np.arange(rows)
    return pd.DataFrame({"tag": tag, "row": row, "of": rows, "text": [f"{tag}ü{i}" for i in row]})


def tag_of(loaded: pd.DataFrame) -> int:
    """Return which frame it is; fail if it is not exactly one, whole and in order."""
    tag = int(loaded["tag"].iloc[0])
    expected = frame(tag)
    for column in expected.columns:
        assert loaded[column].tolist() == expected[column].tolist(), f"{column} of {tag}: a mix"
    return tag


def stored(database: str, tag: int, partition: dict[str, str] | None, **more: Any) -> str:
    """Store one frame; return its batch ID."""
    return str(store_dataframe(frame(tag), database, TABLE, partition, **more).batch_id)


def loaded(database: str, partition: dict[str, str] | None, **more: Any) -> int:
    """Load; return which frame it is, -1 where there is none yet."""
    try:
        return tag_of(load_dataframe(database, TABLE, partition, **more))
    except NotFound:
        return -1


@contextmanager
def small_files() -> Iterator[None]:
    """Make batches of several files, in this process."""
    before, formats.FILE_BYTES = formats.FILE_BYTES, SMALL
    try:
        yield
    finally:
        formats.FILE_BYTES = before


# ---- What processes do --------------------------------------------------------------------


def store_at(
    start: float,
    settings: Settings,
    database: str,
    tags: Sequence[int],
    partition: dict[str, str] | None,
    **more: Any,
) -> list[str]:
    """Store frames in as many threads, all at one time of the clock; return their batch IDs."""
    warnings.simplefilter("error", DataWarning)
    formats.FILE_BYTES = SMALL
    session.connect(settings)

    def one(tag: int) -> str:
        time.sleep(max(0.0, start - time.time()))
        return stored(database, tag, partition, **more)

    with ThreadPoolExecutor(len(tags)) as pool:
        return list(pool.map(one, tags))


def store_for_ever(
    settings: Settings, database: str, partition: dict[str, str] | None, tag: int, said: Connection
) -> None:
    """Store one frame after the other, until killed. Says when it begins."""
    formats.FILE_BYTES = SMALL
    session.connect(settings)
    session.current().storage.list(settings.warehouse)  # the SDK has been imported now
    said.send("ready")
    while True:
        stored(database, tag, partition)
        tag += 1


def act(verb: str, settings: Settings, database: str, tag: int, go: Connection) -> None:
    """Do one thing, once told to: "store", "store more", "store plain", or "rollback plain"."""
    formats.FILE_BYTES = SMALL
    session.connect(settings)
    go.recv()
    if verb == "rollback plain":
        rollback(database, TABLE)
        return
    given = frame(tag)
    if verb == "store more":  # a new column, and files that travel in parts
        storage_s3.ONE_PUT = 64
        given["more"] = 1
    store_dataframe(given, database, TABLE, None if verb == "store plain" else YEAR)


def killed_after(seconds: float, target: Callable[..., None], *given: Any) -> None:
    """Run `target(*given, pipe)` in a process, and kill it so long after it says something."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=target, args=(*given, there), daemon=True)
    process.start()
    there.close()
    try:
        assert here.poll(20), "the writer did not begin"
        here.recv()
        time.sleep(seconds)
        assert process.is_alive(), "the writer ended by itself"
    finally:
        process.kill()
        process.join(20)
        here.close()
