"""The text format as it is written: whole byte strings, and the rules against plain Python."""

from __future__ import annotations

import gzip
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings

from tests.data.hive_text import column, escaped, fields, meant, read, stored, tables
from workroom_data import slices, text
from workroom_data.commits import StoredColumn
from workroom_data.errors import FrameError
from workroom_data.text import encode


def content(table: pa.Table, columns: tuple[StoredColumn, ...] | None = None) -> bytes:
    """Text of a table's file, as any gzip reader sees it."""
    return gzip.decompress(b"".join(encode(table, columns or stored(table))))


def test_a_table_of_every_type_is_these_bytes() -> None:
    table = pa.table(
        {
            "yes": pa.array([True, None]),
            "tiny": pa.array([-128, None], pa.int8()),
            "small": pa.array([32767, None], pa.int16()),
            "whole": pa.array([-(2**31), None], pa.int32()),
            "big": pa.array([2**63 - 1, None], pa.int64()),
            "single": pa.array([0.1, None], pa.float32()),
            "double": pa.array([-0.0, None], pa.float64()),
            "money": pa.array([Decimal("-1.50"), None], pa.decimal128(38, 2)),
            "text": pa.array(["a\\b\0c\nd\re\tf", None]),
            "bytes": pa.array([b"\0\xff\\", None], pa.binary()),
            "when": pa.array([datetime(1, 1, 1, 0, 0, 0, 5), None], pa.timestamp("us")),
            "day": pa.array([date(9999, 12, 31), None]),
        }
    )
    assert content(table) == (
        b"true\x00-128\x0032767\x00-2147483648\x009223372036854775807\x000.1\x00-0\x00-1.50\x00"
        b"a\\\\b\\\x00c\\nd\\re\tf\x00AP9c\x000001-01-01 00:00:00.000005\x009999-12-31\n"
        + b"\0".join([rb"\N"] * 12)
        + b"\n"
    )


@pytest.mark.parametrize(
    ("kind", "values", "written"),
    [
        (
            pa.float64(),
            [float("nan"), float("inf"), float("-inf"), None, 1e300],
            rb"NaN Infinity -Infinity \N 1e+300",
        ),
        (
            pa.float32(),
            [float("nan"), float("-inf"), 16777216, 1e-45],
            b"NaN -Infinity 16777216 1e-45",
        ),
        (
            pa.decimal128(38, 10),
            [Decimal(0), Decimal("1E-10"), Decimal("-1E-9"), None, Decimal("-12.5")],
            rb"0.0000000000 0.0000000001 -0.0000000010 \N -12.5000000000",
        ),
        (pa.decimal128(38, 38), [Decimal("-1E-38")], b"-0." + b"0" * 37 + b"1"),
        (pa.string(), ["", None, "\\N", "\\", "N"], rb" \N \\N \\ N"),
        (pa.binary(), [b"", None, b"a", b"ab", b"abc"], rb" \N YQ== YWI= YWJj"),
    ],
    ids=str,
)
def test_values_are_written_as_hive_reads_them(
    kind: pa.DataType, values: list[Any], written: bytes
) -> None:
    assert content(column(values, kind)).split(b"\n") == [*written.split(b" "), b""]


@pytest.mark.parametrize(
    ("unit", "count", "written"),
    [
        ("ns", 1, b"1970-01-01 00:00:00.000000001"),
        ("ns", 1_000, b"1970-01-01 00:00:00.000001"),
        ("us", 1_000, b"1970-01-01 00:00:00.001"),
        ("ns", 1_000_000_000, b"1970-01-01 00:00:01"),
        ("s", -1, b"1969-12-31 23:59:59"),
    ],
)
def test_a_time_has_as_many_digits_as_it_needs(unit: str, count: int, written: bytes) -> None:
    assert content(column([count], pa.timestamp(unit))) == written + b"\n"


def test_a_time_with_a_zone_is_written_in_utc() -> None:
    noon = column([datetime(2016, 7, 1, 10)], pa.timestamp("us", "Europe/Berlin"))
    assert content(noon, (StoredColumn("a", "timestamp", "timestamp[us, tz=Europe/Berlin]"),)) == (
        b"2016-07-01 10:00:00\n"
    )


def test_an_empty_string_is_an_empty_line() -> None:
    assert content(column(["", ""], pa.string())) == b"\n\n"


def test_a_byte_order_mark_at_the_start_is_escaped_for_hadoop_drops_it() -> None:
    table = column(["\ufeffx", "\ufeffy"], pa.string())
    assert content(table) == b"\\\xef\xbb\xbfx\n\xef\xbb\xbfy\n"


def test_no_rows_are_a_file_of_nothing() -> None:
    nothing = column([], pa.string())
    assert gzip.decompress(b"".join(encode(nothing, stored(nothing)))) == b""


def test_the_same_rows_are_the_same_bytes() -> None:
    table = column(list(range(1000)), pa.int64())
    assert list(encode(table, stored(table))) == list(encode(table, stored(table)))


def test_a_narrower_type_is_written_as_the_tables() -> None:
    assert content(column([1.5], pa.float32()), (StoredColumn("a", "double", "float"),)) == b"1.5\n"


def test_what_does_not_fit_its_type_is_refused_with_column_and_value() -> None:
    with pytest.raises(FrameError, match=r"'a'.*300"):
        content(column([1, 300], pa.int64()), (StoredColumn("a", "tinyint", "int64"),))


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (pa.timestamp("us"), -62_135_596_800_000_001),
        (pa.timestamp("s"), 253_402_300_800),
        (pa.date32(), -719_163),
        (pa.date32(), 2_932_897),
    ],
)
def test_years_that_hive_does_not_have_are_refused(kind: pa.DataType, count: int) -> None:
    whole = pa.int32() if pa.types.is_date(kind) else pa.int64()
    table = pa.table({"when": pa.array([0, None, count], whole).cast(kind)})
    with pytest.raises(FrameError, match=r"'when'.*years 1 to 9999"):
        content(table)


def test_a_row_longer_than_readers_take_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "ROW_LIMIT", 1000)
    assert content(column(["x" * 900], pa.string())) == b"x" * 900 + b"\n"
    with pytest.raises(FrameError, match="the most is 1,000"):
        content(column(["x" * 1001], pa.string()))


@given(tables())
@settings(max_examples=500, deadline=None)
def test_every_row_is_what_hives_rules_read(table: pa.Table) -> None:
    columns = stored(table)
    lines = content(table).split(b"\n")[:-1] if table.num_rows else []
    assert len(lines) == table.num_rows
    split = [fields(line) for line in lines]
    for at, one in enumerate(columns):
        assert [_moment(read(row[at], one.hive), one.hive) for row in split] == meant(
            table.column(at), one.hive
        )


def _moment(value: Any, hive: str) -> Any:
    """Zeros at the end of a fraction mean nothing."""
    if hive == "timestamp" and value and "." in value:
        return value.rstrip("0").rstrip(".")
    return value


def test_pieces_of_a_large_table_are_one_gzip_member(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PIECE_BYTES", 1000)
    values = [f"row {n}\n" for n in range(5000)]
    packed = b"".join(encode(column(values, pa.string()), stored(column([""], pa.string()))))
    assert gzip.decompress(packed) == b"".join(escaped(v) + b"\n" for v in values)
    # A second member would begin where the first ends: nothing may be left over.
    machine = __import__("zlib").decompressobj(31)
    machine.decompress(packed)
    assert machine.eof
    assert machine.unused_data == b""


def test_an_error_in_a_late_piece_reaches_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PIECE_BYTES", 1000)
    table = column([*range(5000), 10**15], pa.timestamp("s"))
    with pytest.raises(FrameError, match="years"):
        content(table)


def test_slices_cut_where_rows_are_long() -> None:
    long = column(["x" * 10_000] * 50 + ["y"] * 50_000, pa.string())
    parts = list(slices.slices(long, 20_000))
    assert max(part.nbytes for part in parts) <= 40_000
    assert pa.concat_tables(parts).equals(long)


def test_slices_count_categories_as_their_text() -> None:
    words = pa.array(["w" * 1000, "v" * 1000])
    codes = pa.array(np.tile([0, 1], 5000).astype(np.int8))
    table = pa.table({"a": pa.DictionaryArray.from_arrays(codes, words)})
    parts = list(slices.slices(table, 100_000))
    assert max(part.num_rows for part in parts) <= 200
    assert sum(part.num_rows for part in parts) == 10_000


def test_categories_are_written_as_text() -> None:
    words = pa.array(["a", None, "b", "a"]).dictionary_encode()
    assert content(pa.table({"a": words}), (StoredColumn("a", "string", "x"),)) == b"a\n\\N\nb\na\n"
