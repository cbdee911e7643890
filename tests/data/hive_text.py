"""The text format told a second time: plain Python, one value at a time, from Hive's own rules.

`written` is what a row must be in the file, `read` is what LazySimpleSerDe makes of one. With them
the fast code is compared; strategies make tables of every Hive type.
"""

from __future__ import annotations

import base64
import datetime as dt
import math
import struct
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tests.data.strategies import TRAPS
from workroom_data.commits import StoredColumn
from workroom_data.types import arrow_type, hive_type

EPOCH = dt.datetime(1970, 1, 1)
FIRST, LAST = dt.datetime.min, dt.datetime.max
UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


def stored(table: pa.Table) -> tuple[StoredColumn, ...]:
    """Columns of a table that is stored as it is."""
    return tuple(
        StoredColumn(field.name, hive_type(field.type, "parquet", field.name), str(field.type))
        for field in table.schema
    )


def column(values: Sequence[Any], kind: pa.DataType, name: str = "a") -> pa.Table:
    """A table of one column."""
    return pa.table({name: pa.array(values, kind)})


# ---- The rules ----------------------------------------------------------------------------


def escaped(value: str) -> bytes:
    special = {"\\": "\\\\", "\0": "\\\0", "\n": "\\n", "\r": "\\r"}
    return "".join(special.get(letter, letter) for letter in value).encode()


def fields(line: bytes) -> list[bytes]:
    """Split a line at NULs that no backslash precedes, escapes kept."""
    found, start, at = [], 0, 0
    while at < len(line):
        if line[at : at + 1] == b"\\":
            at += 2
            continue
        if line[at] == 0:
            found.append(line[start:at])
            start = at + 1
        at += 1
    return [*found, line[start:]]


def unescaped(field: bytes) -> bytes:
    made, at = bytearray(), 0
    while at < len(field):
        if field[at : at + 1] == b"\\" and at + 1 < len(field):
            at += 1
            made += {b"n": b"\n", b"r": b"\r"}.get(field[at : at + 1], field[at : at + 1])
        else:
            made += field[at : at + 1]
        at += 1
    return bytes(made)


def read(field: bytes, hive: str) -> Any:
    """What the SerDe makes of a field; numbers of time as text, floats as their bits."""
    if field == b"\\N":
        return None
    if hive == "binary":
        return base64.b64decode(field, validate=True)
    text = unescaped(field).decode()
    if hive == "string":
        return text
    if hive == "boolean":
        return {"true": True, "false": False}[text]
    if hive in ("tinyint", "smallint", "int", "bigint"):
        assert text.lstrip("-").isdecimal(), text
        return int(text)
    if hive in ("float", "double"):
        return bits(_java_float(text), hive)
    if hive.startswith("decimal"):
        assert "E" not in text, text
        return Decimal(text)
    return text


def _java_float(text: str) -> float:
    """Java's parseDouble: of words it knows two, of one spelling."""
    if text.lstrip("-").isalpha():
        return {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}[text]
    return float(text)


def bits(value: float | None, hive: str) -> Any:
    """A float's bits (one NaN is as good as another), so that -0.0 is not 0.0."""
    if value is None or math.isnan(value):
        return "NaN" if value is not None else None
    return struct.pack("<f" if hive == "float" else "<d", value)


def meant(values: pa.ChunkedArray, hive: str) -> list[Any]:
    """What `read` must give for a column."""
    if hive in ("float", "double"):
        return [bits(value, hive) for value in values.to_pylist()]
    if hive == "timestamp":
        digits = UNITS[values.type.unit]
        return [_moment(v, digits) for v in values.cast(pa.int64()).to_pylist()]
    if hive == "date":
        return [None if v is None else v.isoformat() for v in values.to_pylist()]
    return list(values.to_pylist())


def _moment(count: int | None, digits: int) -> str | None:
    if count is None:
        return None
    whole, fraction = divmod(count, 10**digits)
    text = (EPOCH + dt.timedelta(seconds=whole)).isoformat(sep=" ")
    return f"{text}.{fraction:0{digits}d}".rstrip("0") if fraction else text


def same(one: pa.Table, other: pa.Table) -> bool:
    """Say whether two tables are equal to the bit, NaN being NaN."""
    if one.schema.remove_metadata() != other.schema.remove_metadata():
        return False
    hives = [c.hive for c in stored(one)]
    return all(
        meant(a, hive) == meant(b, hive) if hive in ("float", "double") else a.equals(b)
        for a, b, hive in zip(one.columns, other.columns, hives, strict=True)
    )


# ---- Tables of every type -----------------------------------------------------------------

texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(max_size=10),
    st.text("\\N\n\r\0nr\ufeff\x01\x02😀", max_size=8),
    st.sampled_from(["\\", "\\\\", "a\\", "\\\0", "\0\\", "\\n", "\\\n", "\n\\", "\ufeff\\"]),
)


def _decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1

    def scaled(digits: int) -> Decimal:
        with localcontext() as context:
            context.prec = 76
            return Decimal(digits).scaleb(-scale)

    return st.one_of(st.integers(-most, most), st.sampled_from([0, 1, -1, most, -most])).map(scaled)


def _times(unit: str) -> st.SearchStrategy[int]:
    per = 10 ** UNITS[unit]
    first = round((FIRST - EPOCH).total_seconds()) * per
    last = ((LAST - EPOCH) // dt.timedelta(seconds=1) + 1) * per - 1
    if unit == "ns":
        first, last = -(2**63) + 1, 2**63 - 1
    day = 86_400 * per
    return st.one_of(
        st.integers(first, last),
        st.sampled_from([first, last, 0, -1, 1, day, -day, day - 1]),
        st.integers(first // day + 1, last // day).map(lambda days: days * day),
    )


def _integers(width: int) -> st.SearchStrategy[int]:
    low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
    return st.one_of(st.integers(low, high), st.sampled_from([low, high, 0, -1]))


def _kinds() -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    plain: dict[pa.DataType, st.SearchStrategy[Any]] = {
        pa.bool_(): st.booleans(),
        pa.int8(): _integers(8),
        pa.int16(): _integers(16),
        pa.int32(): _integers(32),
        pa.int64(): _integers(64),
        pa.float32(): st.floats(width=32),
        pa.float64(): st.one_of(st.floats(), st.sampled_from([-0.0, 5e-324, 1e22, 0.1 + 0.2])),
        pa.string(): texts,
        pa.binary(): st.binary(max_size=9),
        pa.date32(): st.dates(),
    }
    times = {pa.timestamp(unit): _times(unit) for unit in UNITS}
    sizes = st.tuples(st.integers(1, 38), st.integers(0, 38)).filter(lambda s: s[1] <= s[0])
    decimals = st.one_of(sizes, st.sampled_from([(38, 38), (38, 0), (38, 10), (1, 1)])).map(
        lambda size: (pa.decimal128(*size), _decimals(*size))
    )
    return st.one_of(
        st.sampled_from(list(plain.items())), st.sampled_from(list(times.items())), decimals
    )


@st.composite
def tables(draw: st.DrawFn, most_columns: int = 5, most_rows: int = 7) -> pa.Table:
    """Tables of one to a few columns of any types, with NULLs, in one chunk or two."""
    rows = draw(st.integers(0, most_rows))
    arrays = []
    for kind, values in draw(st.lists(_kinds(), min_size=1, max_size=most_columns)):
        held = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        if pa.types.is_timestamp(kind):
            arrays.append(pa.array(held, pa.int64()).cast(kind))
        else:
            arrays.append(pa.array(held, kind))
    whole = pa.table(arrays, names=[f"c{at}" for at in range(len(arrays))])
    cut = draw(st.integers(0, rows))
    return pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])


def kind_of(hive: str) -> pa.DataType:
    """The Arrow type of a Hive type."""
    return arrow_type(hive)
