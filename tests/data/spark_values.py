"""Adversarial frames for Spark, and what Spark must say of each value."""

from __future__ import annotations

import datetime as dt
import json
import math
import random
import struct
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from itertools import cycle, islice
from typing import Any

import pyarrow as pa

EPOCH = dt.datetime(1970, 1, 1)
LETTERS = "\\N\n\r\0\t,'\"nr aZ\x01\x02\x1a\x7f\ufeff\u2028é😀"
TEXTS = (
    "\ufefffirst of the file", "", None, "\\N", "\\\\N", "N", "NULL", "null", "\0", "\\\0", "\0\\",
    "\\", "\\\\", "\n", "\r", "\r\n", "\\n", "\\\n", "a\tb", '"', "''", ",", "\x01\x02\x03", "\x1a",
    "\x7f", "\ufeff", "\u2028", "😀", "e\u0301", " ", "  x  ", "nan", "true", "a" * 3000,
    "__HIVE_DEFAULT_PARTITION__",
)  # fmt: skip
DOUBLES = (
    0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1, 1e22, None,
    2.2250738585072014e-308, 123456789.12345679, 1e-7, 9007199254740993.0,
)  # fmt: skip
SINGLES = (0.0, -0.0, math.nan, math.inf, -math.inf, 1.401298464324817e-45, 3.4028234663852886e38,
           0.10000000149011612, 16777216.0, None)  # fmt: skip
DATES = (
    dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1582, 10, 4), dt.date(1582, 10, 15),
    dt.date(1500, 3, 1), dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2000, 2, 29), None,
)  # fmt: skip
TIMES = (
    dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None, EPOCH,
    dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(1582, 10, 4, 23, 59, 59),
    dt.datetime(1582, 10, 15), dt.datetime(1900, 2, 28, 0, 0, 0, 1),
    dt.datetime(2026, 3, 29, 2, 30), dt.datetime(2026, 10, 25, 2, 30),
    dt.datetime(2016, 1, 1, 12, 0, 0, 500000),
)  # fmt: skip
BYTES = (b"", b"\0", b"\xff\xfe", None, b"\\N", b"\n", bytes(range(256)))
GAP = (dt.date(1582, 10, 5), dt.date(1582, 10, 14))
"""Days that Hive's calendar for text does not have; the pope left them out."""


def adversarial(rows: int, seed: int, *, nested: bool) -> pa.Table:
    """Return a table of every Hive type; the traps first, then values drawn at random.

    The first column, `n`, is the row's number. Names are odd: Hive's reserved words, upper case,
    blanks, dots, back-quotes.

    Args:
        rows: Number of rows, more than the traps of a type.
        seed: Of the random values.
        nested: Also lists, maps and structs, which Parquet holds.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret is made of it

    def column(traps: Iterable[Any], make: Any, kind: pa.DataType) -> pa.Array:
        made = [*traps][:rows]
        made += [None if draw.random() < 0.05 else make() for _ in range(rows - len(made))]
        if pa.types.is_timestamp(kind):
            made = [None if v is None else micros(v) for v in made]
            return pa.array(made, pa.int64()).cast(pa.timestamp("us")).cast(kind)
        return pa.array(made, kind)

    def whole(bits: int) -> pa.Array:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        kind = getattr(pa, f"int{bits}")()
        return column([low, high, 0, -1, None], lambda: draw.randint(low, high), kind)

    def decimal(digits: int, scale: int) -> pa.Array:
        most = 10**digits - 1
        traps = [exactly(v, scale) for v in (most, -most, 0, 1, -1)]
        make = lambda: exactly(draw.randint(-most, most), scale)  # noqa: E731
        return column([*traps, None], make, pa.decimal128(digits, scale))

    def text() -> str:
        return "".join(draw.choices(LETTERS, k=draw.randint(0, 9)))

    def moment() -> dt.datetime:
        while True:
            found = dt.datetime.min + dt.timedelta(microseconds=draw.randrange(315537897600000000))
            if not GAP[0] <= found.date() <= GAP[1]:
                return found

    def number(form: str) -> float:
        return float(struct.unpack(form, draw.randbytes(struct.calcsize(form)))[0])

    columns = {
        # A text column first: a byte order mark may then begin the file.
        "Text": column(TEXTS, text, pa.string()),
        "n": pa.array(range(rows), pa.int32()),
        "select": column([True, False, None], lambda: draw.random() < 0.5, pa.bool_()),
        "tiny": whole(8),
        "small": whole(16),
        "An Int": whole(32),
        "big": whole(64),
        "single": column(SINGLES, lambda: number("<f"), pa.float32()),
        "double.precision": column(DOUBLES, lambda: number("<d"), pa.float64()),
        "money": decimal(38, 10),
        "all_digits_after": decimal(38, 38),
        "Grüße`x`": decimal(5, 2),
        "a=b;{c}": column(BYTES, lambda: draw.randbytes(draw.randint(0, 9)), pa.binary()),
        "date": column(DATES, lambda: moment().date(), pa.date32()),
        "timestamp": column(TIMES, moment, pa.timestamp("us")),
        "aware": column(TIMES, moment, pa.timestamp("us", tz="Europe/Berlin")),
    }
    if nested:
        items = list(islice(cycle([[1, None, 3], [], None, [-(2**63)]]), rows))
        columns["a list"] = pa.array(items, pa.list_(pa.int64()))
        pairs = list(islice(cycle([[("k", 1.5)], [], None, [("", None)]]), rows))
        columns["a map"] = pa.array(pairs, pa.map_(pa.string(), pa.float64()))
        boxes = list(islice(cycle([{"x": "é\n", "y": [b"\0"]}, None, {"x": None, "y": []}]), rows))
        columns["a struct"] = pa.array(
            boxes, pa.struct([("x", pa.string()), ("y", pa.list_(pa.binary()))])
        )
    return pa.table(columns)


def exactly(digits: int, scale: int) -> Decimal:
    """Return a decimal of so many digits after the point, whatever the context's precision."""
    with localcontext() as context:
        context.prec = 76
        return Decimal(digits).scaleb(-scale)


def micros(moment: dt.datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // dt.timedelta(microseconds=1)


def differences(
    table: pa.Table, said: Sequence[Sequence[str | None]], limit: int = 5
) -> list[tuple[str, int, Any, Any]]:
    """Compare what was stored with what Spark says.

    Args:
        table: The rows, in order.
        said: Spark's rows in that order, as text.
        limit: Where to stop.

    Returns:
        Of each difference the column, the row, what was stored and what Spark says.
    """
    return list(islice(_differences(table, said), limit))


def _differences(
    table: pa.Table, said: Sequence[Sequence[str | None]]
) -> Iterator[tuple[str, int, Any, Any]]:
    if len(said) != table.num_rows:
        yield "rows", 0, table.num_rows, len(said)
        return
    for place, field in enumerate(table.schema):
        for row, stored in enumerate(_plain(table.column(place))):
            shown = said[row][place]
            if comparable(stored, field.type) != spoken(shown, field.type):
                yield field.name, row, stored, shown


def _plain(values: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(values.type):
        return list(values.cast(pa.int64()).to_pylist())  # of zones too: Spark shows UTC
    return list(values.to_pylist())


def comparable(value: Any, kind: pa.DataType) -> Any:
    """Return a stored value as something that `==` tells apart: floats as their bits."""
    if value is None:
        return None
    if pa.types.is_floating(kind):
        return _bits(value, kind)
    if pa.types.is_map(kind):
        return dict(value)
    if pa.types.is_struct(kind):
        bare = {"x": value["x"], "y": [1 for _ in value["y"]]}
        return {name: inner for name, inner in bare.items() if inner is not None}
    return value


def spoken(text: str | None, kind: pa.DataType) -> Any:
    """Return what Spark's text means, as `comparable` does; nested values are JSON, structs
    without NULLs and with binary as base64, of which the number is compared."""
    if text is None:
        return None
    if pa.types.is_struct(kind):
        found = json.loads(text)
        return {**found, "y": [1 for _ in found["y"]]} if "y" in found else found
    if pa.types.is_nested(kind):
        return json.loads(text)
    if pa.types.is_boolean(kind):
        return {"true": True, "false": False}[text]
    if pa.types.is_integer(kind):
        return int(text)
    if pa.types.is_floating(kind):
        return _bits(float(text), kind)
    if pa.types.is_decimal(kind):
        return Decimal(text)
    if pa.types.is_binary(kind):
        return bytes.fromhex(text)
    if pa.types.is_date(kind):
        return dt.date.fromisoformat(text)
    if pa.types.is_timestamp(kind):
        return micros(dt.datetime.fromisoformat(text))
    return text


def _bits(value: float, kind: pa.DataType) -> bytes | str:
    if math.isnan(value):
        return "NaN"
    return struct.pack("<f" if pa.types.is_float32(kind) else "<d", value)
