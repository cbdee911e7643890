"""Columns of categories on their way: encoded block by block, joined by their dictionaries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workroom_data import categories, formats, joining, load_dataframe, slices, store_dataframe
from workroom_data import parquet as parquet_format
from workroom_data.casting import restore
from workroom_data.session import Session

LIKE = pa.dictionary(pa.int8(), pa.string())


def block(*values: str | None) -> pa.DictionaryArray:
    return categories.encoded(pa.array(values, pa.string()), LIKE)


def test_blocks_of_other_values_become_one_column() -> None:
    whole = categories.united([block("a", "b"), block("b", None, "c"), block()], LIKE)
    assert whole.type == LIKE
    assert whole.to_pylist() == ["a", "b", "b", None, "c"]
    assert {tuple(chunk.dictionary.to_pylist()) for chunk in whole.chunks} == {("a", "b", "c")}


def test_indices_are_as_narrow_as_the_originals_and_wider_where_they_must_be() -> None:
    few = [block(*(f"{n} {i}" for i in range(100))) for n in range(2)]
    assert {chunk.type.index_type for chunk in few} == {pa.int8()}
    whole = categories.united(few, LIKE)
    assert whole.type.index_type == pa.int16()
    assert whole.to_pylist() == [f"{n} {i}" for n in range(2) for i in range(100)]
    many = block(*map(str, range(200)))
    assert many.type.index_type == pa.int16()
    assert categories.united([*few, many], LIKE).null_count == 0


def test_a_dictionary_is_restored_without_its_text() -> None:
    large = pa.dictionary(pa.int8(), pa.large_string())
    back = restore(pa.chunked_array([block("a", "b"), block("c", None)]), large)
    assert back.type == large
    assert back.to_pylist() == ["a", "b", "c", None]


@pytest.mark.parametrize("count", [1, joining.TOGETHER, 3 * joining.TOGETHER + 1])
def test_many_blocks_are_put_together_in_order(count: int) -> None:
    pile = joining.Blocks("the file")
    for n in range(count):
        pile.add(pa.table({"c": block(str(n % 7), None), "n": [n, n]}))
    whole = pile.whole()
    assert whole["c"].to_pylist() == [v for n in range(count) for v in (str(n % 7), None)]
    assert whole["n"].to_pylist() == [n for n in range(count) for _ in range(2)]
    assert whole["c"].num_chunks <= count // joining.TOGETHER + joining.TOGETHER


def test_codes_of_chunks_that_each_have_their_own_dictionary() -> None:
    chunks = pa.chunked_array([block("b", "a", None), block("c"), block()])
    found = categories.codes(chunks, pa.array(["a", "b", "c", "unused"]))
    assert found.tolist() == [1, 0, -1, 2]
    assert found.dtype == np.int8


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_codes_of_zero_whatever_its_sign(value: float) -> None:
    chunks = pa.chunked_array([pa.array([value, 1.5]).dictionary_encode()])
    assert categories.codes(chunks, pa.array([1.5, 0.0])).tolist() == [1, 0]


# ---- Parquet ------------------------------------------------------------------------------


def test_categories_are_codes_in_parquet_and_those_without_a_row_are_left_out(
    local: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_format, "ROW_GROUP_BYTES", 20_000)
    values = pa.array(["none has it", "b", None, "a"], pa.string())
    column = pa.DictionaryArray.from_arrays(pa.array([3, 1, None] * 2000, pa.int32()), values)
    table = pa.table({"c": column, "n": range(6000)})
    batch = store_dataframe(table, "db", "t", format="parquet")
    file = pq.ParquetFile(f"{batch.location}/part-00000.parquet", read_dictionary=["c"])
    assert file.schema_arrow.field("n").type == pa.int64()
    assert pq.read_schema(f"{batch.location}/part-00000.parquet").field("c").type == pa.string()
    assert file.num_row_groups > 3
    for group in range(file.num_row_groups):
        for chunk in file.read_row_group(group)["c"].chunks:
            assert sorted(chunk.dictionary.to_pylist()) == ["a", "b"]
    found = load_dataframe("db", "t", as_="arrow")
    assert found["c"].to_pylist() == column.to_pylist()
    assert found["n"].to_pylist() == list(range(6000))


def test_a_long_dictionary_is_written_as_text(
    local: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_format, "_SHORT", 100)
    frame = pd.DataFrame({"c": pd.Categorical([f"value {n % 50}" for n in range(500)])})
    store_dataframe(frame, "db", "t", format="parquet")
    pd.testing.assert_frame_equal(load_dataframe("db", "t"), frame)


# ---- Through a table ----------------------------------------------------------------------


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_more_categories_than_one_block_has(
    local: Session, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several files, and partitions of other categories."""
    monkeypatch.setattr(formats, "FILE_BYTES", 300_000)
    ordered = [f"{n:05d}" for n in range(20_000)]
    frames = [pd.DataFrame({"c": pd.Categorical(ordered[n::3] * 3), "n": n}) for n in range(3)]
    for n, frame in enumerate(frames):
        store_dataframe(frame, "db", "t", {"k": str(n)}, format=format)
    found = load_dataframe("db", "t")
    assert found["c"].astype(str).tolist() == [v for f in frames for v in f["c"].astype(str)]
    assert found["c"].cat.categories.size == 20_000
    arrow = load_dataframe("db", "t", as_="arrow")["c"]
    assert arrow.to_pylist() == found["c"].astype(str).tolist()
    polars = load_dataframe("db", "t", as_="polars")["c"]
    assert polars.cast(pl.String).to_list() == arrow.to_pylist()


# ---- Slices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (pa.array([True] * 1000), 6000),
        (pa.array([1] * 1000, pa.int8()), 5000),
        (pa.nulls(1000), 3000),
        (pa.array([1] * 1000), 8000),
        (pa.array(["x" * 99] * 1000).dictionary_encode(), 100_000),
    ],
)
def test_narrow_columns_weigh_what_their_text_does(values: Any, text: int) -> None:
    table = pa.table({"c": values})
    assert slices.weight(table) == pytest.approx(text, rel=0.1)
    assert sum(part.num_rows for part in slices.slices(table, 1000)) == 1000


def test_a_long_category_of_most_rows_counts_for_each() -> None:
    def weight(codes: Sequence[int]) -> int:
        held = pa.array(["x" * 10_000, *map(str, range(100))])
        column = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), held)
        return slices.weight(pa.table({"c": column}))

    assert weight([0] * 50) >= 500_000
    assert weight([1] * 50) < 1000
