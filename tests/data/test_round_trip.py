"""What is stored is what is loaded: any frame, through files, and through the two verbs.

`EXAMPLES` says how many frames each test tries; each counts what it tried.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data import strategies
from tests.data.exact import assert_frames, assert_tables
from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import formats, load_dataframe, session, store_dataframe
from workroom_data.frames import from_arrow, to_arrow
from workroom_data.session import Session, connect
from workroom_data.settings import Settings
from workroom_data.storage import Storage

EXAMPLES = {
    "pandas text": 700,
    "pandas parquet": 300,
    "arrow text": 400,
    "arrow parquet": 300,
    "polars text": 150,
    "polars parquet": 150,
    "index": 50,
    "store and load pandas": 120,
    "store and load arrow": 80,
}
"""Frames that are tried in each test."""

PARQUET_KINDS = tuple(kind for kind in strategies.COLUMNS if "[ns" not in kind)
"""Times in nanoseconds are for text: Parquet in Hive has microseconds."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder in memory, so that it is not the disk that takes the time."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as made:
        yield Path(made)


@pytest.fixture
def local(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    """As the fixture of all tests, in memory."""
    monkeypatch.setattr(session, "_current", None)
    warehouse = tempfile.mkdtemp(dir=folder)
    return connect(Settings(warehouse, "thrift://nowhere:1", who="ada"), CatalogueInMemory())


def examine(name: str, frames: st.SearchStrategy[Any], see: Callable[[Any, int], None]) -> None:
    """Try as many frames as `EXAMPLES` says, and count them.

    Args:
        name: In `EXAMPLES`.
        frames: What to draw from.
        see: Called with a frame and its number.
    """
    tried = 0

    @settings(
        max_examples=EXAMPLES[name],
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(frames)
    def one(frame: Any) -> None:
        nonlocal tried
        tried += 1
        see(frame, tried)

    one()
    print(f"{name}: {tried} frames came back as they were")
    assert tried >= EXAMPLES[name]


def through_files(folder: Path, df: Any, format: str, as_: str, index: bool = False) -> Any:
    """Write a frame as the files of a batch, read these, and give the frame back."""
    storage = Storage(Settings(str(folder), "thrift://nowhere:1"))
    location = tempfile.mkdtemp(dir=folder)
    table, columns = to_arrow(df, index)
    form = formats.named(format)
    files = form.write(storage, location, table, columns)
    return from_arrow(form.read(storage, location, files, columns), columns, as_)


def test_two_thousand_examples_are_tried() -> None:
    assert sum(EXAMPLES.values()) >= 2000


@pytest.mark.parametrize(
    ("format", "kinds"), [("text", tuple(strategies.COLUMNS)), ("parquet", PARQUET_KINDS)]
)
def test_pandas(folder: Path, format: str, kinds: tuple[str, ...]) -> None:
    def see(df: pd.DataFrame, _: int) -> None:
        assert_frames(through_files(folder, df, format, "pandas"), df)

    examine(f"pandas {format}", strategies.frames(kinds), see)


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_arrow(folder: Path, format: str) -> None:
    def see(table: pa.Table, _: int) -> None:
        assert_tables(through_files(folder, table, format, "arrow"), table)

    nested = format == "parquet"
    examine(f"arrow {format}", strategies.tables(nested, nanoseconds=not nested), see)


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_polars(folder: Path, format: str) -> None:
    def see(df: pl.DataFrame, _: int) -> None:
        back = through_files(folder, df, format, "polars")
        assert back.schema == df.schema
        assert_tables(back.to_arrow(), df.to_arrow())

    nested = format == "parquet"
    examine(f"polars {format}", strategies.polars_frames(nested, nanoseconds=not nested), see)


def test_an_index(folder: Path) -> None:
    """It becomes columns; in an index pandas makes NaN of None, and a load None of both."""

    def see(df: pd.DataFrame, _: int) -> None:
        wanted = df.reset_index()
        for name in wanted.select_dtypes(object).columns:
            wanted[name] = wanted[name].where(wanted[name].notna(), None)
        assert_frames(through_files(folder, df, "text", "pandas", index=True), wanted)

    def indexed(df: pd.DataFrame) -> pd.DataFrame:
        return df.set_index(list(df.columns[: 1 + len(df.columns) // 3]))

    kinds = ("int64", "object of str", "datetime64[ns]", "bool", "datetime64[ms, UTC]")
    wide = strategies.frames(kinds).filter(lambda df: len(df.columns) > 1)
    examine("index", wide.map(indexed), see)


def test_pandas_through_store_and_load(local: Session) -> None:
    def see(df: pd.DataFrame, number: int) -> None:
        format = ("text", "parquet")[number % 2]
        name = f"t{number}"
        batch = store_dataframe(df, "db", name, format=format, progress=False)
        assert (batch.rows, load_dataframe("db", name, progress=False).shape) == (
            len(df),
            df.shape,
        )
        assert_frames(load_dataframe("db", name, progress=False), df)

    examine("store and load pandas", strategies.frames(PARQUET_KINDS), see)


def test_arrow_in_partitions_through_store_and_load(local: Session) -> None:
    """Two partitions come back as one table: the first one's rows, then the second one's."""

    def see(table: pa.Table, number: int) -> None:
        cut, name = table.num_rows // 2, f"p{number}"
        for key, part in (("1", table.slice(0, cut)), ("2", table.slice(cut))):
            store_dataframe(part, "db", name, {"the_part": key}, progress=False)
        back = load_dataframe("db", name, as_="arrow", progress=False)
        keys = ["1"] * cut + ["2"] * (table.num_rows - cut)
        assert back.column("the_part").to_pylist() == keys
        assert_tables(back.drop_columns("the_part"), table)

    examine("store and load arrow", strategies.tables(), see)
