"""docs/data-types.md against the package, row by row; and the names of types, both ways."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tests.data import strategies
from tests.data.exact import assert_frames, assert_tables
from workroom_data import formats, frames_pandas, load_dataframe, refusals, store_dataframe, text
from workroom_data import types as hive_types
from workroom_data.errors import Damaged, FrameError, SchemaError
from workroom_data.fit import hive_column
from workroom_data.session import Session
from workroom_data.typenames import arrow_from_name, arrow_name
from workroom_data.types import UTC_COMMENT, arrow_type, file_type, hive_type, storage_type

PAGE = (Path(__file__).parents[2] / "docs" / "data-types.md").read_text()
NOON = dt.datetime(2020, 7, 1, 12, 0, 0, 5)


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the page."""
    section = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    found = next(part for part in section if part.startswith(f"{heading}\n"))
    lines = [line for line in found.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def code(cell: str) -> list[str]:
    """Return what a cell has in back-quotes."""
    return re.findall(r"`([^`]+)`", cell)


def types(heading: str) -> list[tuple[str, str, str]]:
    """Return each type of a table, its Hive type, and what the page says comes back."""
    found = []
    for first, second, third in rows(heading):
        names = [first] if first.startswith("`object`") else code(first)
        hives = code(second)
        assert len(hives) in (1, len(names)), first
        found += [
            (name, hive, third)
            for name, hive in zip(names, hives * (len(names) // len(hives)), strict=True)
        ]
    return found


def stored(local: Session, frame: Any, as_: str, format: str = "text") -> tuple[str, Any]:
    """Store a frame of one column; return its Hive type and what is loaded."""
    name = f"t{len(local.catalogue.tables('db')) if 'db' in local.catalogue.databases() else 0}"
    (column,) = store_dataframe(frame, "db", name, format=format, progress=False).columns
    return column.hive, load_dataframe("db", name, as_=as_, progress=False)


# ---- pandas -------------------------------------------------------------------------------


def objects(*values: Any) -> pd.Series:
    return pd.Series([*values, None], dtype=object)


def times(unit: str, zone: Any = None) -> pd.Series:
    series = pd.Series(pd.to_datetime([NOON, None])).dt.as_unit(unit)
    return series if zone is None else series.dt.tz_localize(zone)


PANDAS: dict[str, pd.Series] = {
    "bool": pd.Series([True, False]),
    **{
        f"{sign}int{n}": pd.Series([0, np.iinfo(f"{sign}int{n}").max], dtype=f"{sign}int{n}")
        for sign in ("", "u")
        for n in (8, 16, 32, 64)
    },
    **{
        f"float{n}": pd.Series([0.5, np.nan, np.inf, -0.0], dtype=f"float{n}") for n in (16, 32, 64)
    },
    "boolean": pd.Series([True, None], dtype="boolean"),
    **{
        f"{sign}Int{n}": pd.Series([1, None], dtype=f"{sign}Int{n}")
        for sign in ("", "U")
        for n in (8, 16, 32, 64)
    },
    **{
        f"Float{n}": pd.Series(
            pd.arrays.FloatingArray(
                np.array([0.5, np.nan, 0], f"float{n}"), np.array([False, False, True])
            )
        )
        for n in (32, 64)
    },
    "string[python]": pd.Series(["a", None], dtype="string[python]"),
    "string[pyarrow]": pd.Series(["a", None], dtype="string[pyarrow]"),
    "str": pd.Series(["a", None], dtype=pd.StringDtype("pyarrow", na_value=np.nan)),
    **{f"datetime64[{unit}]": times(unit) for unit in ("s", "ms", "us", "ns")},
    "datetime64[us, Europe/Berlin]": times("us", "Europe/Berlin"),
    "datetime64[ns, +05:30]": times("ns", "+05:30"),
    "category": pd.Series(pd.Categorical(["b", None], categories=["c", "b", "a"])),
    "category, ordered": pd.Series(pd.Categorical([2, None], categories=[3, 2, 1], ordered=True)),
    "int64[pyarrow]": pd.Series([1, None], dtype="int64[pyarrow]"),
    "double[pyarrow]": pd.Series([1.5, None], dtype="double[pyarrow]"),
    "decimal128(38, 10)[pyarrow]": pd.Series(
        [Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(38, 10))
    ),
    "`object` of `str`": objects("a", ""),
    "`object` of `bytes`": objects(b"a", b""),
    "`object` of `bool`": objects(True, False),
    "`object` of `int`": objects(1, -(2**63)),
    "`object` of `float`": objects(1.5, float("inf")),
    "`object` of `Decimal`": objects(Decimal("1.5"), Decimal("-0.25")),
    "`object` of `datetime`": objects(NOON, dt.datetime(1, 1, 1)),
    "`object` of `date`": objects(dt.date(2020, 1, 1), dt.date(9999, 12, 31)),
    "`object` of nothing but `None`": objects(None),
}
"""A column for each row of the page; the two have the same keys."""


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize(("dtype", "hive", "back"), types("pandas"), ids=lambda v: str(v)[:30])
def test_pandas(local: Session, dtype: str, hive: str, back: str, format: str) -> None:
    df = PANDAS[dtype].to_frame("a")
    assert back.startswith("the same")
    found, loaded = stored(local, df, "pandas", format)
    assert found == hive
    assert_frames(loaded, df)


def test_the_examples_are_of_the_dtypes_that_they_are_called() -> None:
    assert sorted(PANDAS) == sorted(name for name, _, _ in types("pandas"))
    for name, series in PANDAS.items():
        short = "object" if name.startswith("`object`") else name.partition(", ordered")[0]
        if short.startswith("string["):
            assert series.dtype == pd.StringDtype(short[7:-1])
        else:
            assert str(series.dtype).replace("UTC+", "+") == short


# ---- Arrow --------------------------------------------------------------------------------

_KINDS = (
    *(pa.bool_(), pa.null(), pa.string(), pa.large_string(), pa.string_view()),
    *(getattr(pa, f"{sign}int{n}")() for sign in ("", "u") for n in (8, 16, 32, 64)),
    *(pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64()),
    *(pa.decimal32(5, 2), pa.decimal64(18, 0), pa.decimal128(38, 38), pa.decimal256(60, 10)),
    *(pa.decimal128(5, -2), pa.decimal128(38, 10)),
    *(pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3)),
    *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ns", "UTC")),
    *(pa.timestamp("ms", "Europe/Berlin"), pa.dictionary(pa.int8(), pa.string())),
    *(pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_(pa.int64(), 2)),
    *(pa.struct([("a", pa.int64()), ("B", pa.string())]), pa.map_(pa.string(), pa.float64())),
)
ARROW: dict[str, Any] = {
    arrow_name(kind) if pa.types.is_dictionary(kind) else str(kind): kind for kind in _KINDS
}


def value_of(kind: Any) -> Any:
    """Return a value of an Arrow type."""
    is_ = pa.types
    table: list[tuple[Callable[[Any], bool], Any]] = [
        (is_.is_null, None),
        (is_.is_boolean, True),
        (is_.is_integer, 7),
        (is_.is_float16, np.float16(1.5)),
        (is_.is_floating, 1.5),
        (is_.is_decimal, Decimal(100) if getattr(kind, "scale", 0) <= 0 else Decimal("0.5")),
        (is_.is_fixed_size_binary, b"abc"),
        (lambda k: is_.is_binary(k) or is_.is_large_binary(k) or is_.is_binary_view(k), b"ab"),
        (is_.is_date, dt.date(2020, 1, 1)),
        (is_.is_timestamp, NOON.replace(microsecond=0, tzinfo=None)),
        (is_.is_struct, {"a": 1, "B": None}),
        (is_.is_map, [("k", 1.5)]),
        (is_.is_nested, [1, 2]),
    ]
    return next((value for fits, value in table if fits(kind)), "a")


def arrow_table(kind: Any, *, null: bool = True) -> pa.Table:
    values = [value_of(kind), None] if null else [value_of(kind)]
    if pa.types.is_dictionary(kind):
        return pa.table({"a": pa.array(values, kind.value_type).dictionary_encode().cast(kind)})
    if pa.types.is_decimal(kind) and kind.scale < 0:
        return pa.table({"a": pa.array(values, pa.decimal128(5, 0)).cast(kind)})
    return pa.table({"a": pa.array(values, kind)})


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize(("name", "hive", "back"), types("Arrow"), ids=lambda v: str(v)[:30])
def test_arrow(local: Session, name: str, hive: str, back: str, format: str) -> None:
    table = arrow_table(ARROW[name])
    assert back.startswith("the same")
    if "Parquet only" in back and format == "text":
        with pytest.raises(FrameError, match="format='parquet'"):
            stored(local, table, "arrow", format)
        return
    found, loaded = stored(local, table, "arrow", format)
    assert found == hive
    assert_tables(loaded, table)


def test_every_plain_type_of_arrow_is_on_the_page() -> None:
    told = {ARROW[name] for name, _, _ in types("Arrow")}
    assert told >= {*hive_types.HIVE_OF, *hive_types._STORED_AS}
    assert {kind.unit for kind in told if pa.types.is_timestamp(kind)} == {"s", "ms", "us", "ns"}


@pytest.mark.parametrize(("first", "without", "with_null"), rows("Another kind of frame"))
def test_arrow_as_pandas(local: Session, first: str, without: str, with_null: str) -> None:
    kind = ARROW[code(first)[0]]
    for null, dtype in ((False, without), (True, with_null)):
        table = arrow_table(kind, null=null)
        _, df = stored(local, table, "pandas", "parquet")
        assert [str(df["a"].dtype)] == code(dtype)
        assert df["a"].isna().tolist() == [False, True][: 1 + null]
        value = df["a"][0]
        if pa.types.is_nested(kind):
            assert list(value) == [1, 2]
        elif pa.types.is_timestamp(kind):
            assert value.tz_localize(None) == value_of(kind) + (value.utcoffset() or dt.timedelta())
        else:
            assert value == value_of(kind)


def test_batches_of_two_dtypes_come_back_as_the_one_that_holds_both(local: Session) -> None:
    wide = pd.DataFrame({"a": pd.array([2**40, None], dtype="Int64")})
    store_dataframe(wide, "db", "t", {"p": "2"}, progress=False)
    narrow = pd.DataFrame({"a": np.array([1], dtype="int8")})
    store_dataframe(narrow, "db", "t", {"p": "1"}, progress=False)
    df = load_dataframe("db", "t", progress=False)
    assert str(df["a"].dtype) == "Int64"
    assert df["a"].tolist() == [1, 2**40, pd.NA]


# ---- polars -------------------------------------------------------------------------------


def polars_series(name: str) -> pl.Series:
    """Return a column of the type that the page writes as polars does."""
    kind = eval(f"pl.{name}", {"pl": pl, **vars(pl)})  # noqa: S307 - of our own page
    values: dict[Any, Any] = {
        pl.Boolean: True, pl.Float32: 1.5, pl.Float64: 1.5, pl.Decimal: Decimal("1.5"),
        pl.String: "a", pl.Categorical: "a", pl.Enum: "a", pl.Binary: b"a", pl.Null: None,
        pl.Date: dt.date(2020, 1, 1), pl.List: [1], pl.Array: [1, 2], pl.Struct: {"a": 1},
    }  # fmt: skip
    base = kind if isinstance(kind, type) else type(kind)
    if base is pl.Datetime:
        return pl.Series("a", [NOON, None], dtype=pl.Datetime("us")).cast(kind)
    return pl.Series("a", [values.get(base, 7), None], dtype=kind)


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize(("name", "hive", "back"), types("polars"), ids=lambda v: str(v)[:30])
def test_polars(local: Session, name: str, hive: str, back: str, format: str) -> None:
    frame = polars_series(name).to_frame()
    if "Parquet only" in back and format == "text":
        with pytest.raises(FrameError, match="format='parquet'"):
            stored(local, frame, "polars", format)
        return
    found, loaded = stored(local, frame, "polars", format)
    assert found == hive
    wanted = frame.schema["a"] if back.startswith("the same") else getattr(pl, code(back)[0])
    assert loaded.schema["a"] == wanted
    assert loaded["a"].to_list() == frame["a"].to_list()


def test_zones_without_a_name_come_to_polars_in_utc(local: Session) -> None:
    table = pa.table({"a": pa.array([0, None], pa.timestamp("s", "+05:30"))})
    _, loaded = stored(local, table, "polars")
    assert loaded.schema["a"].time_zone == "UTC"
    assert loaded["a"].to_list() == [dt.datetime(1970, 1, 1, tzinfo=dt.UTC), None]


# ---- What is not kept, what is refused, limits --------------------------------------------


@pytest.mark.parametrize(
    ("given", "back"),
    [
        (pd.Series([None, float("nan"), pd.NaT, pd.NA, "a"], dtype=object), [None] * 4 + ["a"]),
        (pd.Series([np.int8(1), 2], dtype=object), [1, 2]),
        (pd.Series([np.str_("a")], dtype=object), ["a"]),
        (pd.Series([pd.Timestamp(NOON)], dtype=object), [NOON]),
        (objects(Decimal("1.10"), Decimal("1.123")), [Decimal("1.100"), Decimal("1.123"), None]),
    ],
)
def test_what_is_not_kept_of_objects(local: Session, given: pd.Series, back: list[Any]) -> None:
    _, df = stored(local, given.to_frame("a"), "pandas")
    assert df["a"].dtype == object
    assert [repr(value) for value in df["a"]] == [repr(value) for value in back]


def test_big_endian_columns_come_back_in_the_machines_order(local: Session) -> None:
    _, df = stored(local, pd.DataFrame({"a": np.array([1, 2], dtype=">i4")}), "pandas")
    assert df["a"].dtype.byteorder == "="
    assert df["a"].tolist() == [1, 2]


def test_the_index_is_dropped_and_rows_keep_their_order(local: Session) -> None:
    df = pd.DataFrame({"a": [3, 1, 2]}, index=pd.Index(["x", "y", "z"], name="k"))
    assert_frames(stored(local, df, "pandas")[1], pd.DataFrame({"a": [3, 1, 2]}))


def test_many_categories_come_back_sorted_and_used(
    local: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert f"more than {frames_pandas.MANY_CATEGORIES:,} categories" in PAGE
    monkeypatch.setattr(frames_pandas, "MANY_CATEGORIES", 2)
    given = pd.Series(pd.Categorical(["b", None, "a"], categories=["c", "b", "a"]))
    _, df = stored(local, given.to_frame("a"), "pandas")
    assert df["a"].cat.categories.tolist() == ["a", "b"]
    assert df["a"].astype(object).where(df["a"].notna(), None).tolist() == ["b", None, "a"]
    ordered = given.cat.as_ordered().to_frame("a")
    assert_frames(stored(local, ordered, "pandas")[1], ordered)


def frame_of(*values: Any, dtype: Any = object) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(list(values), dtype=dtype)})


UTC_NOON = NOON.replace(tzinfo=dt.UTC)
REFUSED: dict[str, list[Any]] = {
    "values of several types in one column": [
        frame_of("a", 1), frame_of(1, 1.5), frame_of(NOON, NOON.date()),
    ],
    "lists, dicts, arrays as objects": [frame_of([1]), frame_of({}), frame_of(np.array([1]))],
    "`timedelta64`, durations": [
        frame_of(1, dtype="m8[ns]"), pa.table({"a": pa.array([1], pa.duration("s"))}),
    ],
    "`time`, times of day": [frame_of(dt.time(1)), pa.table({"a": [dt.time(1)]})],
    "`Period`": [pd.DataFrame({"a": pd.period_range("2020", periods=1, freq="D")})],
    "`Interval` (`pd.cut`)": [pd.DataFrame({"a": pd.cut([1, 2], 2)})],
    "`Sparse`": [pd.DataFrame({"a": pd.arrays.SparseArray([1, 0])})],
    "`complex`": [frame_of(1j, dtype=complex), frame_of(1j)],
    "`float128`": [frame_of(1, dtype="longdouble")],
    "integers outside 64 bits": [frame_of(2**63)],
    "decimals of more than 38 digits": [frame_of(Decimal("1" * 39))],
    "dates and times outside the years 1 to 9999": [
        pa.table({"a": pa.array([10**15]).cast(pa.timestamp("s"))}),
    ],
    "times with and without a time zone in one column, or of several zones": [
        frame_of(NOON, UTC_NOON),
        frame_of(UTC_NOON, UTC_NOON.astimezone(dt.timezone(dt.timedelta(hours=1)))),
    ],
    "text with half a surrogate pair": [frame_of("\ud800")],
    "two columns of one name, or that differ only in case": [
        pd.DataFrame([[1, 2]], columns=["a", "a"]), pd.DataFrame({"a": [1], "A": [1]}),
    ],
    "names that are blank, not text, hold a comma or a control character": [
        *(pd.DataFrame({name: [1]}) for name in ("", " ", 1, "a,b", "a\n")),
    ],
    "no columns": [pd.DataFrame()],
}  # fmt: skip


@pytest.mark.parametrize(("what", "instead"), rows("What is refused"), ids=lambda v: str(v)[:30])
def test_refused(local: Session, what: str, instead: str) -> None:
    said = []
    for frame in REFUSED[what]:
        with pytest.raises(FrameError) as caught:
            store_dataframe(frame, "db", "t", format="parquet", progress=False)
        said.append(str(caught.value).replace('"', "'"))
    for snippet in code(instead):
        for part in snippet.replace('"', "'").split("…"):
            assert any(part.strip(", ") in one for one in said), (part, said)


def test_every_refusal_is_on_the_page() -> None:
    assert sorted(REFUSED) == sorted(what for what, _ in rows("What is refused"))


def test_limits() -> None:
    limits = dict(rows("Limits"))
    assert limits["Name of a column"] == f"{refusals.LONGEST_NAME} characters"
    assert limits["One row of a text table"] == f"{text.ROW_LIMIT >> 20} MiB in memory"
    assert limits["File"].startswith(f"about {formats.FILE_BYTES >> 20} MiB")
    assert f"`{UTC_COMMENT}`" in PAGE


def test_the_page_is_linked_and_links_to_headings_that_exist() -> None:
    headings = {
        line[3:].strip().lower().replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("## ")
    }
    assert set(re.findall(r"\]\(#([a-z-]+)\)", PAGE)) <= headings
    other = (Path(__file__).parents[2] / "docs" / "data-api.md").read_text()
    assert "(data-types.md)" in other
    for anchor in re.findall(r"\(data-api\.md#([a-z-]+)\)", PAGE):
        assert f"## {anchor.replace('-', ' ')}" in other.lower()


# ---- Names of types -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        *_KINDS,
        *(kind for kind, _ in strategies._ARROW_TYPES + strategies._NESTED_TYPES),
        pa.struct([pa.field('a"<,>: \\', pa.list_(pa.int8()), nullable=False), ("é\n", pa.null())]),
        pa.map_(pa.int8(), pa.struct([("x", pa.list_(pa.timestamp("s", "+01:00"), 3))])),
        pa.dictionary(pa.uint32(), pa.decimal128(5, 2), ordered=True),
    ],
    ids=str,
)
def test_a_name_is_read_back_as_the_type(kind: pa.DataType) -> None:
    assert arrow_from_name(arrow_name(kind)) == kind


@pytest.mark.parametrize(
    "text", ["", "int65", "int8 ", "list<>", 'list<"a": int8', 'struct<"a" int8>',
             "decimal128(99, 1)", "timestamp[h]", "dictionary<values=string>", "map<>",
             'list<"a: int8>'],
)  # fmt: skip
def test_a_name_of_no_type_is_damage(text: str) -> None:
    with pytest.raises(Damaged, match="is not an Arrow type that this version"):
        arrow_from_name(text)


@pytest.mark.parametrize(
    ("hive", "kind"),
    [
        ("BIGINT", pa.int64()),
        (" integer ", pa.int32()),
        ("decimal", pa.decimal128(10, 0)),
        ("decimal(5)", pa.decimal128(5, 0)),
        ("decimal(5, 2)", pa.decimal128(5, 2)),
        ("varchar(20)", pa.string()),
        ("char(3)", pa.string()),
        ("timestamp", pa.timestamp("us")),
        ("array<map<string,int>>", pa.list_(pa.map_(pa.string(), pa.int32()))),
        (
            "struct<a:int,b:array<decimal(5,2)>,c:struct<d:date>>",
            pa.struct(
                [
                    ("a", pa.int32()),
                    ("b", pa.list_(pa.decimal128(5, 2))),
                    ("c", pa.struct([("d", pa.date32())])),
                ]
            ),
        ),
    ],
)
def test_a_hive_type_is_read(hive: str, kind: pa.DataType) -> None:
    assert arrow_type(hive) == kind


@pytest.mark.parametrize(
    "hive",
    [
        *("", "interval", "int(3)", "decimal(39,0)", "decimal(5,6)", "varchar", "varchar(5,2)"),
        *("array<int", "array<>", "array<int,int>", "map<int>", "struct<int>", "int>", "int x"),
        "uniontype<int,string>",
    ],
)
def test_what_is_no_hive_type_is_named(hive: str) -> None:
    with pytest.raises(SchemaError, match="is not a Hive type that can be read here"):
        arrow_type(hive)


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize("kind", [k for k in _KINDS if not pa.types.is_nested(k)], ids=str)
def test_files_hold_what_the_hive_type_says(kind: pa.DataType, format: str) -> None:
    hive = hive_type(kind, format, "a")
    held = file_type(hive, arrow_name(kind), format)
    assert held == storage_type(kind, format, "a")
    assert hive_type(held, format, "a") == hive
    if not pa.types.is_timestamp(held):
        assert arrow_type(hive) == held


@pytest.mark.parametrize(
    ("kind", "aware"),
    [
        (pa.timestamp("us"), False),
        (pa.timestamp("us", "UTC"), True),
        (pa.dictionary(pa.int8(), pa.timestamp("s")), False),
        (pa.dictionary(pa.int8(), pa.timestamp("s", "UTC")), True),
        (pa.string(), False),
    ],
    ids=str,
)
def test_the_metastore_is_told_of_time_zones(
    local: Session, kind: pa.DataType, aware: bool
) -> None:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    values = pa.array([None], plain)
    if pa.types.is_dictionary(kind):
        values = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), values)
    batch = store_dataframe(pa.table({"a": values}), "db", "t", progress=False)
    table = local.catalogue.table("db", "t")
    assert table is not None
    assert table.columns == (hive_column(batch.columns[0]),)
    assert table.columns[0].comment == (UTC_COMMENT if aware else "")
