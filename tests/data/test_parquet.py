"""Parquet as Hive 2.3, Spark and Presto read it, and as others write it."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from workroom_data import parquet
from workroom_data.commits import StoredColumn
from workroom_data.errors import Damaged
from workroom_data.frames import from_arrow, to_arrow
from workroom_data.parquet import decode, encode

TABLE = pa.table(
    {
        "Größe": pa.array([1.5, None, float("nan")]),
        "When": pa.array([datetime(2020, 1, 1, 0, 0, 0, 1), None, datetime(1, 1, 1)]),
        "zoned": pa.array([0, 1, None], pa.timestamp("ms", "Europe/Berlin")),
        "word": pa.array(["a", "", None]),
        "count": pa.array([0, 2**32 - 1, None], pa.uint32()),
        "nothing": pa.nulls(3),
        "deep": pa.array([{"A": [1, None]}, {"A": None}, None]),
    }
)
COLUMNS = to_arrow(TABLE)[1]


def written(table: pa.Table = TABLE) -> bytes:
    return b"".join(encode(table, to_arrow(table)[1]))


def others(table: pa.Table, **how: Any) -> bytes:
    """Return Parquet that somebody else wrote."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **how)
    return sink.getvalue()


def columns(**hives: str) -> tuple[StoredColumn, ...]:
    return tuple(StoredColumn(name, hive, "") for name, hive in hives.items())


def test_a_table_comes_back_as_it_was() -> None:
    back = from_arrow(decode(written(), COLUMNS), COLUMNS, "arrow")
    assert back.schema == TABLE.schema
    assert str(back.to_pylist()) == str(TABLE.to_pylist())


def test_the_file_is_what_hive_reads() -> None:
    file = pq.ParquetFile(io.BytesIO(written()))
    schema = {file.schema.column(i).path: file.schema.column(i) for i in range(7)}
    assert {path: one.physical_type for path, one in schema.items()} == {
        "größe": "DOUBLE",
        "when": "INT96",
        "zoned": "INT96",
        "word": "BYTE_ARRAY",
        "count": "INT64",
        "nothing": "BYTE_ARRAY",
        "deep.A.list.element": "INT64",
    }
    assert str(schema["word"].logical_type) == "String"
    assert str(schema["count"].logical_type) == "None"  # and not an unsigned one
    group = file.metadata.row_group(0)
    chunks = {group.column(i).path_in_schema: group.column(i) for i in range(7)}
    assert {chunk.compression for chunk in chunks.values()} == {"SNAPPY"}
    assert "RLE_DICTIONARY" in chunks["word"].encodings
    assert "RLE_DICTIONARY" not in chunks["count"].encodings
    assert b"ARROW:schema" not in written()


def test_times_with_a_zone_are_in_utc() -> None:
    table = pa.table({"a": pa.array([0], pa.timestamp("s", "Asia/Tokyo"))})
    assert pq.read_table(io.BytesIO(written(table))).column("a")[0].as_py() == datetime(1970, 1, 1)


def test_row_groups_are_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 8_000)
    table = pa.table({"a": range(10_000)})
    parts = list(encode(table, to_arrow(table)[1]))
    assert len([part for part in parts if part]) > 9  # each goes out as soon as it is made
    file = pq.ParquetFile(io.BytesIO(b"".join(parts)))
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [1000] * 10
    assert decode(b"".join(parts), to_arrow(table)[1]).equals(table)


def test_names_are_found_in_any_case_and_order() -> None:
    """Spark keeps the case of a frame; the table's columns are in lower case."""
    data = others(pa.table({"ID": [1], "Name": ["x"]}))
    assert decode(data, columns(name="string", id="bigint")).to_pylist() == [{"name": "x", "id": 1}]
    assert decode(data, columns(name="string", id="bigint"), ["id"]).column_names == ["id"]


def test_a_column_that_is_younger_than_the_file_is_null() -> None:
    data = others(pa.table({"id": [1, 2]}))
    back = decode(data, columns(id="bigint", later="decimal(5,2)", when="timestamp"))
    assert back.column("later").to_pylist() == [None, None]
    assert back.schema.field("later").type == pa.decimal128(5, 2)
    assert back.schema.field("when").type == pa.timestamp("us")


@pytest.mark.parametrize(
    "how", [{}, {"compression": "zstd"}, {"use_deprecated_int96_timestamps": True}], ids=str
)
def test_times_of_others_in_any_of_their_types(how: dict[str, Any]) -> None:
    when = datetime(2020, 1, 1, 12, 0, 0, 5)
    data = others(pa.table({"a": pa.array([when, None])}), **how)
    assert decode(data, columns(a="timestamp")).column(0).to_pylist() == [when, None]


def test_a_narrower_type_of_others_is_widened() -> None:
    data = others(pa.table({"a": pa.array([1, 2], pa.int8())}))
    assert decode(data, columns(a="bigint")).schema.field(0).type == pa.int64()


@pytest.mark.parametrize(
    ("values", "hive"), [(["x"], "bigint"), ([2**40], "int"), ([[1]], "string")], ids=str
)
def test_a_type_that_is_another_is_refused(values: list[Any], hive: str) -> None:
    with pytest.raises(Damaged, match=rf"x\.parquet: column 'a' is .*does not fit {hive}"):
        decode(others(pa.table({"a": values})), columns(a=hive), name="x.parquet")


@pytest.mark.parametrize("cut", [0, 4, 100, -8, -1])
def test_a_file_that_is_cut_is_refused(cut: int) -> None:
    with pytest.raises(Damaged, match=r"x\.parquet is not whole Parquet"):
        decode(written()[:cut], COLUMNS, name="x.parquet")


def test_text_is_no_parquet() -> None:
    with pytest.raises(Damaged, match="is not whole Parquet"):
        decode(b"1\x002\n" * 100, columns(a="int", b="int"))
