"""Tables larger than memory, and frames whose text is: what storing and loading them takes.

`tests/benchmarks/data_memory.py` has the figures for a whole frame at full size.
"""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

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


def begin() -> int:
    """Count the most resident memory from now on; return what is resident."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


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

    before = begin()
    taken["store"] = 0
    frame: pd.DataFrame | None = None
    for number in range(PARTITIONS):
        del frame  # before the next is made, or the place of both may count
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


def in_a_process(act: Callable[..., None], *given: str) -> dict[str, int]:
    """Measure in a process of its own; return what it says."""
    here, there = PROCESSES.Pipe()
    process = PROCESSES.Process(target=act, args=(*given, there))
    process.start()
    there.close()
    try:
        assert here.poll(60), "no measurement"
        taken: dict[str, int] = here.recv()
    finally:
        process.kill()
        process.join(20)
    return taken


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_a_table_larger_than_memory(tmp_path: Path, format: str) -> None:
    """Eight partitions are stored, and loaded one by one, in three times the memory of one; and a
    column of all of them in little more: they are not all decoded at once.
    """
    taken = in_a_process(measure, str(tmp_path / "w"), format)
    ratios = {name: value / taken["size"] for name, value in taken.items() if name != "size"}
    print(format, taken["size"] >> 20, "MB a partition;", ratios)
    constant = (32 << 20) / taken["size"]  # what encoding takes of a frame of any size
    assert ratios["store"] <= 3 + constant
    assert ratios["partitions"] <= 3
    assert ratios["column"] <= 3.5


# ---- Narrow columns -----------------------------------------------------------------------

ROOM = 192 << 20
"""What work takes beside three times the frame; docs/data-api.md adds some for transfers to S3."""
NARROW, NARROW_ROWS = 30, 700_000


def narrow(kind: str, rows: int) -> pd.DataFrame:
    """Return a frame of columns of one byte, of which a cell's text is up to twenty."""
    random = np.random.default_rng(1)
    words = [f"some long category {n}" for n in range(5)]

    def column() -> Any:
        codes = random.integers(0, 5, rows, dtype="int8")
        if kind == "category":
            return pd.Categorical.from_codes(codes, words)
        if kind == "category of int":
            return pd.Categorical.from_codes(codes, range(10**17, 10**17 + 5))
        return codes < 2 if kind == "bool" else random.integers(-128, 128, rows, dtype="int8")

    return pd.DataFrame({f"c{n}": column() for n in range(NARROW)})


def measure_narrow(folder: str, kind: str, format: str, said: Connection) -> None:
    """Store a frame of narrow columns and load it again; say what each took."""
    session.connect(Settings(folder, "thrift://nowhere:1"), CatalogueInMemory())
    store_dataframe(narrow(kind, 1000), "db", "warm", format=format)
    load_dataframe("db", "warm")
    before = begin()
    frame = narrow(kind, NARROW_ROWS)
    taken = {"size": int(frame.memory_usage(deep=True).sum())}
    begin()
    store_dataframe(frame, "db", "t", format=format)
    taken["store"] = peak() - before
    del frame
    before = begin()
    assert len(load_dataframe("db", "t")) == NARROW_ROWS
    taken["load"] = peak() - before
    said.send(taken)


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize("kind", ["category", "category of int", "bool", "int8"])
def test_narrow_columns_do_not_become_text_all_at_once(
    tmp_path: Path, kind: str, format: str
) -> None:
    """As text of all rows they would take up to thirty times the frame."""
    taken = in_a_process(measure_narrow, str(tmp_path / "w"), kind, format)
    print(kind, format, {name: value >> 20 for name, value in taken.items()}, "MB")
    assert taken["size"] == pytest.approx(NARROW * NARROW_ROWS, rel=0.01)
    for step in ("store", "load"):
        assert taken[step] <= 3 * taken["size"] + ROOM
