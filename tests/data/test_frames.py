"""Frames to Arrow, to what a file holds, and back: names, types, dtypes and values as they were."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from tests.data import strategies
from tests.data.exact import assert_frames, assert_tables
from workroom_data.frames import from_arrow, to_arrow, to_storage
from workroom_data.types import file_type

EXAMPLES = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def round_trip(df: Any, format: str, as_: str) -> Any:
    """Through the types that a file holds, in two chunks."""
    table, columns = to_arrow(df)
    stored = to_storage(table, columns, format)
    for field, column in zip(stored.schema, columns, strict=True):
        assert field.type == file_type(column.hive, column.arrow, format)
        assert field.name == column.name.lower()
    half = stored.num_rows // 2
    stored = pa.concat_tables([stored.slice(0, half), stored.slice(half)])
    return from_arrow(stored, columns, as_)


@EXAMPLES
@given(strategies.frames())
def test_a_pandas_frame_comes_back_from_text_as_it_was(df: pd.DataFrame) -> None:
    assert_frames(round_trip(df, "text", "pandas"), df)


@EXAMPLES
@given(strategies.frames(tuple(k for k in strategies.COLUMNS if "[ns" not in k)))
def test_a_pandas_frame_comes_back_from_parquet_as_it_was(df: pd.DataFrame) -> None:
    assert_frames(round_trip(df, "parquet", "pandas"), df)


@EXAMPLES
@given(strategies.tables())
def test_an_arrow_table_comes_back_from_text_as_it_was(table: pa.Table) -> None:
    back = round_trip(table, "text", "arrow")
    assert_tables(back, table)


@EXAMPLES
@given(strategies.tables(nested=True, nanoseconds=False))
def test_an_arrow_table_comes_back_from_parquet_as_it_was(table: pa.Table) -> None:
    back = round_trip(table, "parquet", "arrow")
    assert_tables(back, table)


@pytest.mark.parametrize("kind", list(strategies.COLUMNS))
def test_every_kind_of_column_is_drawn_with_values(kind: str) -> None:
    """A strategy that only makes NULLs would show nothing."""
    found: list[int] = []

    @settings(max_examples=30, deadline=None, database=None)
    @given(strategies.COLUMNS[kind](4))
    def look(series: pd.Series) -> None:
        assert len(series) == 4
        found.append(int(series.notna().sum()))

    look()
    assert kind in ("nothing", "arrow null") or max(found) > 0
