"""The text format as it is read: what we wrote, what Hive and Spark write, and what is broken."""

from __future__ import annotations

import gzip
import random
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.hive_text import column, same, stored, tables, texts
from workroom_data import text, text_decode
from workroom_data.commits import StoredColumn
from workroom_data.errors import Damaged
from workroom_data.text import encode
from workroom_data.text_decode import decode


def columns(*hives: str) -> tuple[StoredColumn, ...]:
    """Columns "a", "b" … of a table that somebody else made."""
    return tuple(StoredColumn(chr(97 + at), hive, "") for at, hive in enumerate(hives))


def round_trip(table: pa.Table) -> pa.Table:
    return decode(b"".join(encode(table, stored(table))), stored(table))


# ---- What we wrote ------------------------------------------------------------------------


@given(tables())
@settings(max_examples=500, deadline=None)
def test_any_table_comes_back_equal(table: pa.Table) -> None:
    assert same(round_trip(table), table)


@given(st.lists(texts | st.none(), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_one_column_of_any_text_comes_back_equal(values: list[str | None]) -> None:
    assert round_trip(column(values, pa.string())).column(0).to_pylist() == values


@given(st.lists(st.binary(max_size=12) | st.none(), max_size=12), st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_slices_of_bytes_come_back_equal(values: list[bytes | None], start: int) -> None:
    part = column(values, pa.binary()).slice(start)
    assert round_trip(part).equals(part)


SPECIAL = "".join(map(chr, range(128)))


@given(st.lists(st.text(SPECIAL + "é😀", max_size=12), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_text_that_holds_every_character_comes_back_equal(values: list[str]) -> None:
    """No character is left that could stand for something: marks are several, and the delimiter
    is taken from one that is in use."""
    values = [SPECIAL, *values, "\x01\x02" * 3 + "\x020\x03\x021\x03\\", SPECIAL[::-1]]
    table = pa.table({"a": pa.array(values), "b": pa.array(list(range(len(values))))})
    assert same(round_trip(table), table)


@given(tables(most_columns=3, most_rows=30), st.integers(1, 60))
@settings(max_examples=200, deadline=None)
def test_blocks_and_pieces_of_any_size_come_back_equal(table: pa.Table, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "PIECE_BYTES", size)
        patch.setattr(text_decode, "BLOCK_BYTES", size)
        assert same(round_trip(table), table)


def test_a_large_table_comes_back_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)  # noqa: S311
    words = ["plain", "back\\slash", "nul\0", "line\nbreak\r", "", "\ufeffbom", "😀", None]
    rows = 60_000
    table = pa.table(
        {
            "id": pa.array(range(rows)),
            "word": pa.array([chance.choice(words) for _ in range(rows)]),
            "part": pa.array([chance.random() for _ in range(rows)]),
        }
    )
    monkeypatch.setattr(text, "PIECE_BYTES", 100_000)
    monkeypatch.setattr(text_decode, "BLOCK_BYTES", 100_000)
    assert round_trip(table).equals(table)


def test_a_block_that_begins_with_a_byte_order_mark_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(text_decode, "BLOCK_BYTES", 1)
    data = gzip.compress("x\n\ufeffy\n\ufeff\ufeff\n".encode())
    monkeypatch.setattr(text_decode, "_FEED", 3)
    assert decode(data, columns("string")).column(0).to_pylist() == ["x", "\ufeffy", "\ufeff\ufeff"]


def test_only_the_columns_asked_for_are_read_in_that_order() -> None:
    table = pa.table({"a": [1, 2], "b": ["x\\", "y"], "c": [1.5, None]})
    packed = b"".join(encode(table, stored(table)))
    assert decode(packed, stored(table), ["c", "b"]).equals(table.select(["c", "b"]))
    # The others are not even looked at: no number need be one.
    broken = gzip.compress(b"not a number\x00x\n")
    assert decode(broken, columns("int", "string"), ["b"]).to_pydict() == {"b": ["x"]}


def test_no_bytes_are_no_rows_of_the_right_types() -> None:
    empty = decode(b"", columns("string", "decimal(5,2)"))
    assert empty.schema == pa.schema([("a", pa.string()), ("b", pa.decimal128(5, 2))])
    assert empty.num_rows == 0
    assert decode(gzip.compress(b""), columns("int")).num_rows == 0


# ---- What others write --------------------------------------------------------------------


def test_a_row_of_sparks_is_read() -> None:
    row = (
        b"true\x00-5\x007\x001.0E10\x00NaN\x001.4E-45\x000.50\x00a\\\\b\\nc\\\x00\x00"
        b"2020-01-01 00:00:00.5\x002020-01-01\x00AP8=\n"
    )
    hives = (
        *("boolean", "tinyint", "bigint", "double", "double", "float", "decimal(10,2)"),
        *("string", "timestamp", "date", "binary"),
    )
    first = decode(row, columns(*hives)).to_pylist()[0]
    assert str(first.pop("e")) == "nan"
    assert first == {
        "a": True,
        "b": -5,
        "c": 7,
        "d": 1e10,
        "f": 1.401298464324817e-45,
        "g": Decimal("0.50"),
        "h": "a\\b\nc\0",
        "i": datetime(2020, 1, 1, 0, 0, 0, 500_000),
        "j": date(2020, 1, 1),
        "k": b"\0\xff",
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"a\bc", "abc"),
        (rb"\a\\n", "a\\n"),
        (b"\\\xef\xbb\xbfy", "\ufeffy"),
        (b"tail\\", "tail\\"),
        (b"tail\\\\", "tail\\"),
        (rb"\\N", "\\N"),
        (rb"\N", None),
        (rb"\Nx", "Nx"),
        (b'"quoted', '"quoted'),
        (b"\\\\\\\\\\n", "\\\\\n"),
        (b"", ""),
    ],
)
def test_escapes_are_read_as_hive_reads_them(written: bytes, meant: str | None) -> None:
    assert decode(written + b"\nz\n", columns("string")).column(0).to_pylist() == [meant, "z"]
    pair = decode(b"1\0" + written + b"\n", columns("int", "string"))
    assert pair.column("b").to_pylist() == [meant]


def test_rows_of_too_few_or_too_many_fields_are_read_as_hive_reads_them() -> None:
    rows = b"1\x00x\x002.5\n2\n3\x00y\x001\x00more\n\n"
    assert decode(rows, columns("int", "string", "double")).to_pylist() == [
        {"a": 1, "b": "x", "c": 2.5},
        {"a": 2, "b": None, "c": None},
        {"a": 3, "b": "y", "c": 1.0},
        {"a": None, "b": None, "c": None},
    ]


@pytest.mark.parametrize("ending", [b"\n", b"\r", b"\r\n"])
@pytest.mark.parametrize("square", [True, False])
def test_every_line_ending_of_hadoop_ends_a_row(ending: bytes, square: bool) -> None:
    rows = ending.join([b"1\x00x", b"2\x00y" if square else b"2", b""])
    assert decode(rows, columns("int", "string")).column("a").to_pylist() == [1, 2]


def test_members_and_plain_text_are_read() -> None:
    joined = gzip.compress(b"1\n2\n") + gzip.compress(b"") + gzip.compress(b"3\n")
    for data in (joined, b"1\n2\n3\n", b"1\n2\n3"):
        assert decode(data, columns("int")).column(0).to_pylist() == [1, 2, 3]


def test_fields_of_other_spellings_are_read() -> None:
    rows = b"+5\x00tRue\x00\x00\x002020-01-01\n\\N\x00FALSE\x00\\N\x00x\x00\n"
    kinds = columns("int", "boolean", "double", "string", "timestamp")
    assert decode(rows, kinds).to_pylist() == [
        {"a": 5, "b": True, "c": None, "d": "", "e": datetime(2020, 1, 1)},
        {"a": None, "b": False, "c": None, "d": "x", "e": None},
    ]


def test_varchar_and_char_are_text() -> None:
    rows = decode(b"a\\nb\x00c\n", columns("varchar(20)", "char(3)"))
    assert rows.to_pylist() == [{"a": "a\nb", "b": "c"}]


def test_nanoseconds_are_kept_where_a_stranger_wrote_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_decode, "BLOCK_BYTES", 1)
    monkeypatch.setattr(text_decode, "_FEED", 7)
    times = b"2020-01-01 00:00:00\n2020-01-01 00:00:00.000000001\n"
    read = decode(gzip.compress(times), columns("timestamp")).column(0)
    assert read.type == pa.timestamp("ns")
    assert read.cast(pa.int64()).to_pylist() == [1577836800 * 10**9, 1577836800 * 10**9 + 1]
    with pytest.raises(Damaged, match="nanoseconds and one outside"):
        decode(gzip.compress(times + b"0001-01-01 00:00:00\n"), columns("timestamp"))


@pytest.mark.parametrize("count", [-(2**63), -(2**63) + 1, -9223372036000000001])
def test_the_first_second_of_nanoseconds_is_read(count: int) -> None:
    table = column([count, None, 2**63 - 1], pa.timestamp("ns"))
    assert round_trip(table).equals(table)


def test_a_time_before_the_first_nanosecond_is_named() -> None:
    times = b"1677-09-21 00:12:43.5\n1677-09-21 00:12:43.145224191\n"
    with pytest.raises(Damaged, match=r"row 2: .*43\.145224191"):
        decode(times, (StoredColumn("a", "timestamp", "timestamp[ns]"),))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (b"YQ", b"a"),
        (b"YWI", b"ab"),
        (b"YWJjZ", b"abc"),
        (b"raw bytes!", b"raw bytes!"),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"\x01\\\\", b"\x01\\\\"),
        (b"====", b""),
        (b"a\\\x00b", b"a\\\x00b"),
    ],
)
def test_binary_that_is_not_padded_base64_is_read_as_hive_reads_it(
    written: bytes, meant: bytes
) -> None:
    assert decode(b"YWJj\n" + written + b"\n\\N\n", columns("binary")).column(0).to_pylist() == [
        b"abc",
        meant,
        None,
    ]


# ---- What is broken -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hive", "written", "value"),
    [
        ("tinyint", b"128", "'128'"),
        ("int", b"one", "'one'"),
        ("double", b"1,5", "'1,5'"),
        ("boolean", b"yes", "'yes'"),
        ("decimal(3,1)", b"123.45", "'123.45'"),
        ("timestamp", b"noon", "'noon'"),
        ("date", b"2020-13-01", "'2020-13-01'"),
        ("string", b"\xff", "UTF-8"),
    ],
)
def test_a_value_of_another_type_is_refused_with_row_and_value(
    hive: str, written: bytes, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = b"\\N\x001\n" * 9 + written + b"\x001\n"
    for block in (2**20, 8):
        monkeypatch.setattr(text_decode, "BLOCK_BYTES", block)
        monkeypatch.setattr(text_decode, "_FEED", 4)
        with pytest.raises(Damaged, match=f"s3://x/y.gz, row 10: column 'a' .*{value}"):
            decode(gzip.compress(rows), columns(hive, "int"), name="s3://x/y.gz")


def _cuts(data: bytes) -> list[Any]:
    return [data[:cut] for cut in (2, 5, 12, len(data) // 2, len(data) - 9, len(data) - 1)]


def test_a_file_cut_anywhere_is_refused() -> None:
    data = b"".join(encode(column(list(range(5000)), pa.int64()), columns("bigint")))
    for cut in _cuts(data):
        with pytest.raises(Damaged, match=r"y\.gz (ends too early|is not whole gzip)"):
            decode(cut, columns("bigint"), name="y.gz")


def test_a_flipped_bit_is_refused() -> None:
    data = bytearray(b"".join(encode(column(list(range(5000)), pa.int64()), columns("bigint"))))
    data[len(data) // 2] ^= 4
    with pytest.raises(Damaged):
        decode(bytes(data), columns("bigint"))
    with pytest.raises(Damaged):
        decode(gzip.compress(b"1\n") + b"rubbish", columns("bigint"))
