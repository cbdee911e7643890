"""What is refused, before anything is written: column, row, value, and what to do instead."""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from workroom_data import store_dataframe
from workroom_data.errors import FrameError, SchemaError
from workroom_data.frames import to_arrow
from workroom_data.session import Session

NOON = dt.datetime(2020, 1, 1, 12)
BERLIN = ZoneInfo("Europe/Berlin")


def objects(*values: Any) -> pd.DataFrame:
    """Return a frame with a column "c" of objects, whose index are letters."""
    array = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        array[row] = value
    column = pd.Series(array, index=list("abcdefgh")[: len(values)], dtype=object)
    return column.to_frame("c")


def column(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"c": pd.Series(values, dtype=dtype)})


def arrow(values: Sequence[Any], kind: pa.DataType) -> pa.Table:
    return pa.table({"c": pa.array(values, kind)})


def days(*counts: int) -> pa.Table:
    return pa.table({"c": pa.array(counts, pa.int32()).view(pa.date32())})


def refused(local: Session, frame: Any, format: str = "text", **how: Any) -> str:
    """Return the message of the refusal; nothing has been written."""
    with pytest.raises(FrameError) as caught:
        store_dataframe(frame, "db", "t", format=format, progress=False, **how)
    root = Path(local.settings.warehouse)
    assert not [path for path in root.rglob("*") if path.is_file()]
    assert local.catalogue.table("db", "t") is None
    assert caught.value.fix
    return str(caught.value)


# ---- One value ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "row", "shown", "why", "fix"),
    [
        (["a", None, 1], 2, "1", "(int) among str", "astype(str)"),
        ([1, 2, "a"], 2, "'a'", "(str) among int", "astype(str)"),
        ([True, 0], 1, "0", "(int) among bool", "astype(str)"),
        ([1, 2.5], 1, "2.5", "(float) among int", "astype(float)"),
        ([b"a", "a"], 1, "'a'", "(str) among bytes", "astype(str)"),
        ([Decimal(1), 1.5], 1, "1.5", "(float) among Decimal", "astype(str)"),
        ([NOON, dt.date(2020, 1, 1)], 1, "datetime.date(2020, 1, 1)", "among datetime", "to_datet"),
        (["a", [1]], 1, "[1]", "is nested (a list)", "format='parquet'"),
        ([{"k": 1}], 0, "{'k': 1}", "is nested (a dict)", "json.dumps"),
        ([None, (1, 2)], 1, "(1, 2)", "is nested (a tuple)", "json.dumps"),
        ([{1}], 0, "{1}", "is nested (a set)", "json.dumps"),
        ([np.array([1])], 0, "array([1])", "is nested (a ndarray)", "json.dumps"),
        ([0, 2**63], 1, str(2**63), "does not fit in 64 bits", "decimal.Decimal"),
        ([-(2**63) - 1], 0, str(-(2**63) - 1), "does not fit in 64 bits", "decimal.Decimal"),
        ([10**40], 0, str(10**40), "does not fit in 64 bits", "astype(str)"),
        ([Decimal(1), Decimal("1" * 39)], 1, "Decimal", "has more than 38 digits", "round"),
        ([Decimal(1), Decimal("Infinity")], 1, "Infinity", "is no number", "None"),
        (["a", "\ud800"], 1, r"'\ud800'", "half of a surrogate pair", "replace"),
        ([NOON, NOON.replace(tzinfo=BERLIN)], 1, "tzinfo", "has a time zone", "Give all of them"),
        ([NOON.replace(tzinfo=BERLIN), NOON], 1, "12, 0)", "has no time zone", "Give all of them"),
        (
            [NOON.replace(tzinfo=BERLIN), None, NOON.replace(tzinfo=dt.UTC)],
            2,
            "utc",
            "among times of another time zone",
            "utc=True",
        ),
        ([dt.datetime(1, 1, 1), pd.Timestamp(1)], 0, "(1, 1, 1", "does not fit", "floor('us')"),
        ([1j], 0, "1j", "is a complex", "two columns"),
        ([dt.time(1, 2)], 0, "datetime.time(1, 2)", "is a time", "astype(str)"),
        ([dt.timedelta(1)], 0, "days=1", "is a timedelta", "total_seconds"),
        ([np.timedelta64(1, "s")], 0, "1", "is a timedelta64", "total_seconds"),
        ([np.datetime64("2020-01-01")], 0, "2020-01-01", "is a datetime64", "pd.to_datetime"),
        ([bytearray(b"a")], 0, "bytearray", "is a bytearray", "map(bytes)"),
        ([uuid.UUID(int=1)], 0, "UUID", "is a UUID", "astype(str)"),
        ([Path("/x")], 0, "PosixPath", "is a PosixPath", "astype(str)"),
        ([pd.Period("2020-01")], 0, "Period", "is a Period", "astype(str)"),
        ([pd.Interval(0, 1)], 0, "Interval", "is a Interval", "astype(str)"),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, list) else "",
)
def test_a_value_is_named_with_its_column_row_index_and_a_fix(
    local: Session, values: list[Any], row: int, shown: str, why: str, fix: str
) -> None:
    said = refused(local, objects(*values))
    assert said.startswith(f"Column 'c', row {row} (index {'abcdefgh'[row]!r}): ")
    for part in (shown, why, fix):
        assert part in said


def test_the_rarer_kind_is_the_one_that_is_named(local: Session) -> None:
    said = refused(local, objects("a", 1, 2, 3))
    assert "row 0 (index 'a'): 'a' (str) among int" in said


def test_a_row_counted_from_0_is_no_index(local: Session) -> None:
    assert refused(local, column(["a", 1], object)).startswith("Column 'c', row 1: 1 (int)")


def test_digits_before_and_after_the_point_of_different_values(local: Session) -> None:
    said = refused(local, objects(Decimal(10**30), Decimal("1E-30")))
    assert "needs 31 digits before the point and 30 after it" in said


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (column(np.array([0, 253402300800], "M8[s]")), "row 1: '10000-01-01 00:00:00'"),
        (column(np.array([0, -62135596801], "M8[s]")), "row 1: '0000-12-31 23:59:59'"),
        (
            arrow([0, 2932897], pa.int32()).cast(pa.schema([("c", pa.date32())])),
            "row 1: '10000-01-01'",
        ),
        (days(-719163), "row 0: '0000-12-31'"),
    ],
)
def test_years_that_hive_has_not(local: Session, frame: Any, shown: str) -> None:
    said = refused(local, frame)
    assert shown in said
    assert "is outside the years 1 to 9999" in said
    assert "None" in said


@pytest.mark.parametrize(
    ("frame", "format", "said"),
    [
        (
            arrow([1, 10**38], pa.decimal256(60, 0)),
            "text",
            "row 1: Decimal('100000000000000000000000000000000000000') does not fit",
        ),
        (
            arrow([None, 1], pa.int64()).cast(pa.schema([("c", pa.timestamp("ns"))])),
            "parquet",
            "row 1: Timestamp('1970-01-01 00:00:00.000000001') is no whole number of microseconds",
        ),
    ],
    ids=["decimal", "nanoseconds"],
)
def test_a_value_that_its_file_cannot_hold(
    local: Session, frame: Any, format: str, said: str
) -> None:
    message = refused(local, frame, format)
    assert message.startswith(f"Column 'c', {said}")


def test_a_time_of_day_in_a_date(local: Session) -> None:
    half = pa.table({"c": pa.array([0] * 9 + [43_200_000], pa.int64()).view(pa.date64())})
    said = refused(local, half)
    assert said.startswith("Column 'c', row 9 is not what the type date64[ms] allows.")


def test_text_that_is_not_utf8_in_arrow_data(local: Session) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    said = refused(local, pa.table({"c": broken}))
    assert said.startswith("Column 'c', row 0 is not what the type string allows.")
    assert "binary column" in said


# ---- One column ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "dtype", "fix"),
    [
        (column(pd.period_range("2020", periods=2, freq="M")), "period[M]", "to_timestamp()"),
        (column(pd.interval_range(0, 2)), "interval[int64, right]", "array.left"),
        (column(pd.cut([1, 2], 2)), "interval[float64, right]", "array.left"),
        (column(pd.arrays.SparseArray([1, 0])), "Sparse[int64, 0]", "to_dense()"),
        (column(pd.to_timedelta([1])), "timedelta64[ns]", "df['c'].dt.total_seconds()"),
        (column([1j]), "complex128", "two columns"),
        (column(np.array([1], "longdouble")), "float128", "astype('float64')"),
        (arrow([dt.time(1)], pa.time64("us")), "time64[us]", "df['c'].astype(str)"),
        (arrow([1], pa.duration("s")), "duration[s]", "df['c'].dt.total_seconds()"),
        (arrow([Decimal("1E-40")], pa.decimal256(50, 40)), "40 digits after", "round"),
        (pl.DataFrame({"c": [dt.time(1)]}), "time64[ns]", "microseconds"),
        (pl.DataFrame({"c": pl.Series([1], dtype=pl.Int128)}), "Int128", "pl.Decimal(38, 0)"),
        (pl.DataFrame({"c": pl.Series([object()], dtype=pl.Object)}), "Object", "Make it text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("format", ["text", "parquet"])
def test_a_column_that_no_table_holds(
    local: Session, frame: Any, dtype: str, fix: str, format: str
) -> None:
    said = refused(local, frame, format)
    assert said.startswith("Column 'c' ")
    assert dtype in said
    assert fix in said


NESTED = [
    arrow([[1]], pa.list_(pa.int64())),
    arrow([{"a": 1}], pa.struct([("a", pa.int64())])),
    arrow([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    pl.DataFrame({"c": [[1]]}),
    column(pd.array([[1]], dtype=pd.ArrowDtype(pa.list_(pa.int64())))),
]


@pytest.mark.parametrize("frame", NESTED, ids=["list", "struct", "map", "polars", "pandas"])
def test_nested_columns_are_for_parquet(local: Session, frame: Any) -> None:
    said = refused(local, frame)
    assert said.startswith("Column 'c' is nested (")
    assert "Create the table with format='parquet', or store JSON text." in said
    assert store_dataframe(frame, "db", "t", format="parquet", progress=False).rows == 1


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (pa.struct([("a b", pa.int64())]), "a field named 'a b'"),
        (pa.struct([("a", pa.int64()), ("A", pa.int64())]), "differ by more than case"),
        (pa.struct([]), "at least one field"),
        (pa.list_(pa.null()), "null inside a nested type"),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), "inside a nested type"),
        (pa.list_(pa.duration("s")), "duration[s]"),
    ],
    ids=str,
)
def test_nested_columns_that_hive_cannot_hold(local: Session, kind: pa.DataType, said: str) -> None:
    assert said in refused(local, pa.table({"c": pa.nulls(1, kind)}), "parquet")


def test_a_time_zone_without_a_name(local: Session) -> None:
    class Nowhere(dt.tzinfo):
        def utcoffset(self, _: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(seconds=1)

        def dst(self, _: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(0)

        def tzname(self, _: dt.datetime | None) -> str:
            return "nowhere"

    said = refused(local, objects(NOON.replace(tzinfo=Nowhere())))
    assert "no usual name" in said
    assert "tz_convert('UTC')" in said


# ---- Names --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", "a"], "Two columns are called 'a'. Rename one of them."),
        (["Id", "iD"], "Columns 'Id' and 'iD' are one name to Hive"),
        (["Ä", "ä"], "Columns 'Ä' and 'ä' are one name to Hive"),
        (["a", ""], "The name of column 1, '', is blank"),
        ([" "], "is blank"),
        (["a,b"], "has a comma"),
        (["a\nb"], r"'a\nb', has a control character"),
        (["a\0"], "has a control character"),
        (["\x7f"], "has a control character"),
        (["\ud800"], "half of a surrogate pair"),
        (["a" * 768], "has 768 characters, the metastore takes 767"),
        ([1], "The name of column 0 is 1, of type int. Make names text"),
        ([("a", "b")], "Join the levels"),
        ([None], "The name of column 0 is None, of type NoneType"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_names_that_hive_or_a_reader_could_not_take(
    local: Session, names: list[Any], said: str
) -> None:
    df = pd.DataFrame([range(len(names))])
    df.columns = pd.Index(names, tupleize_cols=False)
    assert said in refused(local, df)


def test_a_name_of_an_index_counts_too(local: Session) -> None:
    df = pd.DataFrame({"a": [1]}, index=pd.Index([1], name="A"))
    assert "Columns 'A' and 'a' are one name" in refused(local, df, index=True)


def test_no_columns(local: Session) -> None:
    assert refused(local, pd.DataFrame(index=[0, 1])).startswith("The frame has no columns.")


# ---- What is no frame ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1], "A list is not a data frame"),
        (None, "A NoneType is not a data frame"),
        (pl.DataFrame({"c": [1]}).lazy(), "frame.collect()"),
    ],
)
def test_what_is_no_frame(local: Session, given: Any, said: str) -> None:
    assert said in refused(local, given)


def test_only_pandas_has_an_index(local: Session) -> None:
    assert "A Table has no index" in refused(local, arrow([1], pa.int8()), index=True)


# ---- Against the table --------------------------------------------------------------------


AWARE = column(pd.to_datetime(["2020-01-01"]).tz_localize("Europe/Berlin"))
NAIVE = column(pd.to_datetime(["2020-01-01"]))


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (NAIVE, AWARE, "has times without a time zone; the frame's have one.*tz_convert"),
        (AWARE, NAIVE, "has times with a time zone; the frame's have none.*tz_localize"),
        (NAIVE, AWARE.astype("category"), "has times without a time zone; the frame's have one"),
        (AWARE.astype("category"), NAIVE, "has times with a time zone; the frame's have none"),
        (column([1], "int8"), column([1], "int16"), "is tinyint; the frame's is smallint.*'int8'"),
        (column([1], "int64"), column([1.5]), r"is bigint; the frame's is double.*astype\('Int64'"),
        (column([1.5], "float32"), column([1.5]), "is float; the frame's is double.*'float32'"),
        (column(["a"]), column([1]), "is string; the frame's is bigint.*convert the column"),
        (
            objects(Decimal("1.5")),
            objects(Decimal("1.55")),
            r"is decimal\(2,1\); the frame's is decimal\(3,2\).*2 digits, 1 of them after",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_column_of_another_type_than_the_tables(
    local: Session, first: pd.DataFrame, then: pd.DataFrame, said: str
) -> None:
    batch = store_dataframe(first, "db", "t", progress=False)
    with pytest.raises(SchemaError, match=f"^Column 'c' of db.t {said}"):
        store_dataframe(then, "db", "t", progress=False)
    with pytest.raises(SchemaError, match=f"^Column 'c' of db.t {said}"):
        store_dataframe(then, "db", "t", expect=batch.batch_id, progress=False)


def test_the_fixes_that_are_named_work() -> None:
    """Those that are code are carried out; the frame is stored then."""
    big = objects(0, None, 2**63)
    said = fix_of(big)
    assert "df['c'].map(decimal.Decimal, na_action='ignore')" in said
    big["c"] = big["c"].map(decimal.Decimal, na_action="ignore")
    assert to_arrow(big)[1][0].hive == "decimal(19,0)"

    half = objects("a", "\ud800")
    assert "df['c'].str.encode('utf-8', 'replace').str.decode('utf-8')" in fix_of(half)
    half["c"] = half["c"].str.encode("utf-8", "replace").str.decode("utf-8")
    assert to_arrow(half)[0].column("c").to_pylist() == ["a", "?"]

    zones = objects(NOON.replace(tzinfo=BERLIN), None, NOON.replace(tzinfo=dt.UTC))
    assert "df['c'] = pd.to_datetime(df['c'], utc=True)" in fix_of(zones)
    zones["c"] = pd.to_datetime(zones["c"], utc=True)
    assert to_arrow(zones)[1][0].arrow == "timestamp[ns, tz=UTC]"

    spans = objects(dt.timedelta(1), None)
    assert "pd.to_timedelta(df['c']).dt.total_seconds()" in fix_of(spans)
    spans["c"] = pd.to_timedelta(spans["c"]).dt.total_seconds()
    assert to_arrow(spans)[1][0].hive == "double"

    deep = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    assert "df.columns = ['_'.join(map(str, c)) for c in df.columns]" in fix_of(deep)
    deep.columns = ["_".join(map(str, c)) for c in deep.columns]  # type: ignore[assignment]
    assert to_arrow(deep)[0].column_names == ["a_b"]


def fix_of(frame: pd.DataFrame) -> str:
    """Return what the refusal of a frame advises."""
    with pytest.raises(FrameError) as caught:
        to_arrow(frame)
    assert not re.search(r"df\[c\]", caught.value.fix)
    return caught.value.fix
