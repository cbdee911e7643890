"""Adversarial frames: every dtype, and in each the values that formats get wrong."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns", "Pacific/Apia", "+05:30")
TRAPS = (
    *(
        "",
        " ",
        "\\",
        "\\N",
        "\\n",
        "\\\\N",
        "N",
        "NULL",
        "null",
        "None",
        "nan",
        "NaN",
        "\0",
        "\\\0",
    ),
    *(
        "\n",
        "\r",
        "\r\n",
        "\t",
        '"',
        "''",
        '"a,b"',
        ",",
        "\x01",
        "\x1a",
        "\x7f",
        "\ufeff",
        "\u2028",
    ),
    *("😀", "e\u0301", "é", "0", "-0", "true", "__HIVE_DEFAULT_PARTITION__", "a" * 300, "=1+1"),
)
"""Texts that look like something else to a reader."""

texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.text("\\N\n\r\0,'\"a", max_size=6),
)
doubles = st.one_of(
    st.sampled_from(
        [0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, 0.1]
    ),
    st.floats(),
)
singles = st.floats(width=32)
dates = st.one_of(
    st.sampled_from([dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1582, 10, 10)]), st.dates()
)
times = st.one_of(
    st.sampled_from(
        [
            dt.datetime(1, 1, 1),
            dt.datetime(9999, 12, 31, 23, 59, 59, 999999),
            dt.datetime(1900, 1, 1, 0, 0, 0, 1),
            dt.datetime(2024, 3, 31, 2, 30),  # not in Berlin
        ]
    ),
    st.datetimes(),
)
nanoseconds = st.integers(-(2**63) + 1, 2**63 - 1)  # the smallest is NaT
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=10).filter(
    lambda d: abs(d) < 10**20
)
names = st.one_of(
    st.sampled_from(["select", "Größe", "a b", "Date", "x.y", "`q`", "1st", "😀", "a:b", "%41"]),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters=","),
        min_size=1,
        max_size=8,
    ).filter(str.strip),
)


def integers(bits: int, signed: bool = True) -> st.SearchStrategy[int]:
    """Integers of a width, its ends often."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.one_of(st.sampled_from([low, high, 0]), st.integers(low, high))


def _numpy(dtype: str, values: st.SearchStrategy[Any]) -> Callable[[int], st.SearchStrategy[Any]]:
    return lambda rows: st.lists(values, min_size=rows, max_size=rows).map(
        lambda made: pd.Series(np.array(made, dtype=dtype))
    )


def _nullable(
    dtype: Any, values: st.SearchStrategy[Any]
) -> Callable[[int], st.SearchStrategy[Any]]:
    return lambda rows: st.lists(values | st.none(), min_size=rows, max_size=rows).map(
        lambda made: pd.Series(pd.array(made, dtype=dtype))
    )


def _objects(values: st.SearchStrategy[Any]) -> Callable[[int], st.SearchStrategy[Any]]:
    def column(made: list[Any]) -> pd.Series:
        array = np.empty(len(made), dtype=object)
        array[:] = made
        return pd.Series(array)

    return lambda rows: st.lists(values | st.none(), min_size=rows, max_size=rows).map(column)


def _masked_floats(
    dtype: str, values: st.SearchStrategy[float]
) -> Callable[[int], st.SearchStrategy[Any]]:
    """NaN and NULL side by side."""

    def column(made: list[tuple[float, bool]]) -> pd.Series:
        held = np.array([value for value, _ in made], dtype=dtype)
        mask = np.array([mask for _, mask in made], dtype=bool)
        return pd.Series(pd.arrays.FloatingArray(held, mask))

    pairs = st.tuples(values, st.booleans())
    return lambda rows: st.lists(pairs, min_size=rows, max_size=rows).map(column)


def _moments(unit: str, zone: str | None) -> Callable[[int], st.SearchStrategy[Any]]:
    per_day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    low, high = -719162 * per_day, 2932897 * per_day - 1
    values = nanoseconds if unit == "ns" else st.integers(low, high)

    def column(made: list[int | None]) -> pd.Series:
        numbers = [np.iinfo("int64").min if value is None else value for value in made]
        series = pd.Series(np.array(numbers, dtype="int64").view(f"M8[{unit}]"))
        return series if zone is None else series.dt.tz_localize("UTC").dt.tz_convert(zone)

    return lambda rows: st.lists(values | st.none(), min_size=rows, max_size=rows).map(column)


def _categories(values: st.SearchStrategy[Any]) -> Callable[[int], st.SearchStrategy[Any]]:
    def columns(rows: int) -> st.SearchStrategy[Any]:
        held = st.lists(values, min_size=1, max_size=5, unique=True)
        codes = st.lists(st.integers(-1, 4), min_size=rows, max_size=rows)
        return st.builds(
            lambda held, codes, ordered: pd.Series(
                pd.Categorical.from_codes(
                    [code if code < len(held) else -1 for code in codes], held, ordered=ordered
                )
            ),
            held,
            codes,
            st.booleans(),
        )

    return columns


def _arrow(kind: Any, values: st.SearchStrategy[Any]) -> Callable[[int], st.SearchStrategy[Any]]:
    return lambda rows: st.lists(values | st.none(), min_size=rows, max_size=rows).map(
        lambda made: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(made, kind)))
    )


def times_of(zone: str) -> st.SearchStrategy[dt.datetime]:
    """Return times of a time zone; those at the ends of the calendar leave it in UTC."""
    day = dt.timedelta(days=1)
    inside = times.filter(lambda t: dt.datetime.min + day < t < dt.datetime.max - day)
    tzinfo = dt.UTC if zone == "UTC" else ZoneInfo(zone)
    return inside.map(lambda t: t.replace(tzinfo=dt.UTC).astimezone(tzinfo))


COLUMNS: dict[str, Callable[[int], st.SearchStrategy[Any]]] = {
    "bool": _numpy("bool", st.booleans()),
    **{f"int{n}": _numpy(f"int{n}", integers(n)) for n in (8, 16, 32, 64)},
    **{f"uint{n}": _numpy(f"uint{n}", integers(n, False)) for n in (8, 16, 32, 64)},
    "float16": _numpy("float16", st.floats(width=16)),
    "float32": _numpy("float32", singles),
    "float64": _numpy("float64", doubles),
    "boolean": _nullable("boolean", st.booleans()),
    **{f"Int{n}": _nullable(f"Int{n}", integers(n)) for n in (8, 16, 32, 64)},
    **{f"UInt{n}": _nullable(f"UInt{n}", integers(n, False)) for n in (8, 16, 32, 64)},
    "Float32": _masked_floats("float32", singles),
    "Float64": _masked_floats("float64", doubles),
    "string[python]": _nullable(pd.StringDtype("python"), texts),
    "string[pyarrow]": _nullable(pd.StringDtype("pyarrow"), texts),
    "str": _nullable(pd.StringDtype("pyarrow", na_value=np.nan), texts),
    "str[python]": _nullable(pd.StringDtype("python", na_value=np.nan), texts),
    "object of str": _objects(texts),
    "object of bytes": _objects(st.binary(max_size=12)),
    "object of bool": _objects(st.booleans()),
    "object of int": _objects(integers(64)),
    "object of float": _objects(doubles.filter(lambda value: value == value)),
    "object of Decimal": _objects(decimals),
    "object of date": _objects(dates),
    "object of datetime": _objects(times),
    **{f"object of datetime, {zone}": _objects(times_of(zone)) for zone in ZONES[:3]},
    "nothing": _objects(st.none()),
    **{f"datetime64[{unit}]": _moments(unit, None) for unit in ("s", "ms", "us", "ns")},
    **{f"datetime64[{unit}, UTC]": _moments(unit, "UTC") for unit in ("s", "ms", "us")},
    **{f"datetime64[ns, {zone}]": _moments("ns", zone) for zone in ZONES[1:]},
    "category of str": _categories(texts),
    "category of int": _categories(integers(64)),
    "category of float": _categories(doubles.filter(lambda value: value == value)),
    "category of date": _categories(dates),
    "category of Decimal": _categories(decimals),
    "category of bytes": _categories(st.binary(max_size=4)),
    "category of bool": _categories(st.booleans()),
    "category of datetime64[ns]": _categories(nanoseconds.map(pd.Timestamp)),
    "arrow null": _arrow(pa.null(), st.none()),
    "arrow bool": _arrow(pa.bool_(), st.booleans()),
    "arrow int32": _arrow(pa.int32(), integers(32)),
    "arrow uint64": _arrow(pa.uint64(), integers(64, False)),
    "arrow double": _arrow(pa.float64(), doubles),
    "arrow timestamp": _arrow(pa.timestamp("us", "Europe/Berlin"), times_of(ZONES[1])),
    "arrow decimal": _arrow(pa.decimal128(38, 10), decimals),
    "arrow large_string": _arrow(pa.large_string(), texts),
    "arrow binary": _arrow(pa.binary(3), st.binary(min_size=3, max_size=3)),
    "arrow date": _arrow(pa.date32(), dates),
}
"""Every kind of pandas column that can be stored, by a name for people: rows → columns."""


@st.composite
def frames(
    draw: st.DrawFn, kinds: tuple[str, ...] = tuple(COLUMNS), max_rows: int = 6
) -> pd.DataFrame:
    """Return a frame of one to six columns of any kinds; its index is 0, 1, 2 …"""
    rows = draw(st.integers(0, max_rows))
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=6))
    called = draw(st.lists(names, min_size=len(chosen), max_size=len(chosen), unique_by=str.lower))
    series = [draw(COLUMNS[kind](rows)) for kind in chosen]
    return pd.DataFrame(dict(zip(called, series, strict=True)), index=pd.RangeIndex(rows))


def moments(unit: str) -> st.SearchStrategy[int]:
    """Return times from the year 1 to 9999, or all that nanoseconds have, as counts of a unit."""
    per_day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    low, high = (-719162 * per_day, 2932897 * per_day - 1)
    if unit == "ns":
        low, high = -(2**63), 2**63 - 1
    return st.one_of(st.sampled_from([low, high, 0, -1]), st.integers(low, high))


def wide_decimals(scale: int) -> st.SearchStrategy[Decimal]:
    """Return decimals of up to 38 digits."""
    most = 10**38 - 1
    digits = st.one_of(st.sampled_from([most, -most, 0, 1, -1]), st.integers(-most, most))
    return digits.map(lambda n: Decimal(n).scaleb(-scale, Context(prec=38)))


_ARROW_TYPES: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (pa.null(), st.none()),
    (pa.bool_(), st.booleans()),
    *((getattr(pa, f"uint{n}")(), integers(n, False)) for n in (8, 16, 32, 64)),
    *((getattr(pa, f"int{n}")(), integers(n)) for n in (8, 16, 32, 64)),
    (pa.float16(), st.floats(width=16).map(np.float16)),
    (pa.float32(), singles),
    (pa.float64(), doubles),
    (pa.string(), texts),
    (pa.large_string(), texts),
    (pa.string_view(), texts),
    (pa.binary(), st.binary(max_size=5)),
    (pa.large_binary(), st.binary(max_size=5)),
    (pa.binary_view(), st.binary(max_size=5)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.date32(), dates),
    (pa.date64(), dates),
    (pa.timestamp("us"), times),
    (
        pa.timestamp("ms", "Asia/Tokyo"),
        times.map(lambda t: t.replace(microsecond=0, tzinfo=dt.UTC)),
    ),
    *((pa.timestamp(unit, "UTC"), moments(unit)) for unit in ("s", "ms", "us", "ns")),
    *((pa.timestamp(unit), moments(unit)) for unit in ("s", "ms", "ns")),
    (pa.decimal128(38, 0), wide_decimals(0)),
    (pa.decimal128(38, 10), wide_decimals(10)),
    (pa.decimal128(38, 38), wide_decimals(38)),
    (pa.decimal32(9, 9), st.decimals("-0.999999999", "0.999999999", places=9)),
    (pa.decimal128(30, 10), decimals),
    (pa.decimal256(60, 10), decimals),
    (pa.decimal64(5, 2), st.decimals(-999, 999, places=2)),
    (pa.decimal128(2, 4), st.sampled_from([Decimal("0.0099"), Decimal("-0.0001")])),
    (pa.dictionary(pa.uint8(), pa.large_string()), texts),
    (pa.dictionary(pa.int32(), pa.int16(), ordered=True), integers(16)),
)
_NESTED_TYPES: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (pa.list_(pa.uint8()), st.lists(st.integers(0, 255) | st.none(), max_size=3)),
    (pa.large_list(pa.field("element", pa.string())), st.lists(texts, max_size=3)),
    (pa.list_(pa.int16(), 2), st.lists(integers(16), min_size=2, max_size=2)),
    (
        pa.struct([("a", pa.uint32()), ("B", pa.list_(pa.timestamp("us")))]),
        st.fixed_dictionaries({"a": integers(32, False), "B": st.lists(times, max_size=2)}),
    ),
    (
        pa.map_(pa.large_string(), pa.float64()),
        st.dictionaries(texts, st.floats(), max_size=2).map(lambda d: list(d.items())),
    ),
)


@st.composite
def tables(
    draw: st.DrawFn, nested: bool = False, nanoseconds: bool = True, max_rows: int = 6
) -> pa.Table:
    """Return an Arrow table of one to six columns, in one or two chunks, of any type."""
    rows = draw(st.integers(0, max_rows))
    types = [
        (kind, values)
        for kind, values in _ARROW_TYPES + (_NESTED_TYPES if nested else ())
        if nanoseconds or kind not in (pa.timestamp("ns"), pa.timestamp("ns", "UTC"))
    ]
    chosen = draw(st.lists(st.sampled_from(types), min_size=1, max_size=6))
    called = draw(st.lists(names, min_size=len(chosen), max_size=len(chosen), unique_by=str.lower))
    cut = draw(st.integers(0, rows))
    columns = []
    for kind, values in chosen:
        made = draw(st.lists(values | st.none(), min_size=rows, max_size=rows))
        columns.append(pa.chunked_array([array_of(made[:cut], kind), array_of(made[cut:], kind)]))
    return pa.Table.from_arrays(columns, names=called)


def array_of(values: list[Any], kind: Any) -> Any:
    """Return values as an array of a type, dictionaries too."""
    if not pa.types.is_dictionary(kind):
        if pa.types.is_decimal(kind) and kind.scale > kind.precision:
            return pa.array(values, pa.decimal128(kind.scale, kind.scale)).cast(kind)
        if pa.types.is_timestamp(kind) and all(isinstance(v, int | None) for v in values):
            return pa.array(values, pa.int64()).cast(kind)
        return pa.array(values, kind)
    held = pa.array(sorted({value for value in values if value is not None}), kind.value_type)
    position = {value: at for at, value in enumerate(held.to_pylist())}
    indices = [None if value is None else position[value] for value in values]
    return pa.DictionaryArray.from_arrays(
        pa.array(indices, kind.index_type), held, ordered=kind.ordered
    )


_POLARS_TYPES: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (pl.Null, st.none()),
    (pl.Boolean, st.booleans()),
    *((getattr(pl, f"Int{n}"), integers(n)) for n in (8, 16, 32, 64)),
    *((getattr(pl, f"UInt{n}"), integers(n, False)) for n in (8, 16, 32, 64)),
    (pl.Float32, singles),
    (pl.Float64, doubles),
    (pl.String, texts),
    (pl.Categorical, texts),
    (pl.Binary, st.binary(max_size=5)),
    (pl.Date, dates),
    (pl.Datetime("ms"), moments("ms")),
    (pl.Datetime("us"), moments("us")),
    (pl.Datetime("us", "Asia/Kolkata"), moments("us")),
    (pl.Datetime("ns"), moments("ns")),
    (pl.Decimal(38, 10), decimals),
)
_POLARS_NESTED: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = (
    (pl.List(pl.UInt16), st.lists(integers(16, False) | st.none(), max_size=3)),
    (pl.Array(pl.Int8, 2), st.lists(integers(8), min_size=2, max_size=2)),
    (
        pl.Struct({"a": pl.String, "b": pl.List(pl.Float64)}),
        st.fixed_dictionaries({"a": texts, "b": st.lists(doubles, max_size=2)}),
    ),
)


@st.composite
def polars_frames(
    draw: st.DrawFn, nested: bool = False, nanoseconds: bool = True, max_rows: int = 6
) -> pl.DataFrame:
    """Return a polars frame of one to six columns of any type."""
    rows = draw(st.integers(0, max_rows))
    types = [
        (kind, values)
        for kind, values in _POLARS_TYPES + (_POLARS_NESTED if nested else ())
        if nanoseconds or kind != pl.Datetime("ns")
    ]
    chosen = draw(st.lists(st.sampled_from(types), min_size=1, max_size=6))
    called = draw(st.lists(names, min_size=len(chosen), max_size=len(chosen), unique_by=str.lower))
    columns = []
    for name, (kind, values) in zip(called, chosen, strict=True):
        made = draw(st.lists(values | st.none(), min_size=rows, max_size=rows))
        counts = isinstance(kind, pl.Datetime)
        column = pl.Series(name, made, dtype=pl.Int64 if counts else kind)
        columns.append(column.cast(kind) if counts else column)
    return pl.DataFrame(columns)
