"""Tables larger than memory: what storing and loading them by partitions and columns takes.

`tests/benchmarks/data_memory.py` has the figures for a whole frame at full size.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from tests.support.data_writers import PROCESSES
from workroom_data import formats, load, load_dataframe, session, store_dataframe
from workroom_data.settings import Settings

PARTITIONS, ROWS = 8, 800_000
FILE = 16 << 20
"""Bytes of rows of a file, in place of 256 MB: tables are smaller here in the same measure."""


def part(number: int) -> pd.DataFrame:
    """Return the frame of a partition: numbers, and text of which no two are alike."""
    ids = np.arange(ROWS) + number * ROWS
    words = (ids * 2654435761 % 2**32).astype(str).astype(object)
    return pd.DataFrame({"id": ids, "x": ids / 7, "y": ids % 97, "word": words})


def peak() -> int:
    """Return the most resident memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def measure(folder: str, format: str, said: Connection) -> None:
    """Store a table by partitions and load it by partitions and by a column; say what it took."""
    formats.FILE_BYTES, load.HEAVY = FILE, load.HEAVY * FILE // formats.FILE_BYTES
    session.connect(Settings(folder, "thrift://nowhere:1"), CatalogueInMemory())
    one = part(0)
    size = int(one.memory_usage(deep=True).sum())
    store_dataframe(one.head(1000), "db", "warm", format=format)
    load_dataframe("db", "warm")
    del one
    taken = {"size": size}

    def begin() -> int:
        Path("/proc/self/clear_refs").write_text("5")
        return peak()

    before = begin()
    taken["store"] = 0
    for number in range(PARTITIONS):
        frame = part(number)
        begin()  # making the frame is not storing it
        store_dataframe(frame, "db", "t", {"part": str(number)}, format=format)
        taken["store"] = max(taken["store"], peak() - before)
    del frame

    before = begin()
    for number in range(PARTITIONS):
        assert len(load_dataframe("db", "t", {"part": str(number)})) == ROWS
    taken["partitions"] = peak() - before

    before = begin()
    ids = load_dataframe("db", "t", columns=["id"])
    taken["column"] = peak() - before
    assert ids["id"].tolist() == list(range(PARTITIONS * ROWS))
    said.send(taken)


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_a_table_larger_than_memory(tmp_path: Path, format: str) -> None:
    """Eight partitions are stored, and loaded one by one, in three times the memory of one; and a
    column of all of them in little more: they are not all decoded at once.
    """
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=measure, args=(str(tmp_path / "w"), format, there))
    process.start()
    there.close()
    try:
        assert here.poll(60), "no measurement"
        taken = here.recv()
    finally:
        process.kill()
        process.join(20)
    ratios = {name: value / taken["size"] for name, value in taken.items() if name != "size"}
    print(format, taken["size"] >> 20, "MB a partition;", ratios)
    constant = (32 << 20) / taken["size"]  # what encoding takes of a frame of any size
    assert ratios["store"] <= 3 + constant
    assert ratios["partitions"] <= 3
    assert ratios["column"] <= 3.5
