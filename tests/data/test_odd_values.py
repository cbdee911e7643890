"""Input that is odd: refused in words, or kept."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from workroom_data import (
    FrameError,
    PartitionError,
    load_dataframe,
    store_dataframe,
)
from workroom_data.session import Session

FRAME = pd.DataFrame({"a": [1, 2]})
FAR = datetime(9999, 12, 31, 23, 59, 59)
YEAR_12000 = 316516204800


def stored(frame: Any, name: str = "t", **given: Any) -> Any:
    """Store and load again."""
    kind = "arrow" if isinstance(frame, pa.Table) else "pandas"
    store_dataframe(frame, "db", name, progress=False, **given)
    return load_dataframe("db", name, as_=kind, progress=False)


# ---- Partition keys -----------------------------------------------------------------------


def test_a_date_key_drops_no_nanosecond(local: Session) -> None:
    day = pd.Timestamp("2020-01-01") + pd.Timedelta(1, "ns")
    with pytest.raises(PartitionError, match="time of day"):
        store_dataframe(FRAME, "db", "t", {"day": day}, partition_keys={"day": "date"})


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize("format", [str, pd.Timestamp, datetime.fromisoformat])
@pytest.mark.parametrize("zone", [None, UTC])
def test_midnight_is_a_day(local: Session, format: Any, zone: Any) -> None:
    day: Any = "2020-01-01" if format is str else format("2020-01-01")
    day = day if format is str else day.replace(tzinfo=zone)
    batch = store_dataframe(FRAME, "db", "t", {"day": day}, partition_keys={"day": "date"})
    assert batch.partition == "day=2020-01-01"


@pytest.mark.parametrize(
    "day",
    [datetime(2020, 1, 1, tzinfo=BERLIN), pd.Timestamp("2020-01-01", tz="Asia/Tokyo")],
)
def test_midnight_elsewhere_is_no_day_of_a_date_key(local: Session, day: Any) -> None:
    with pytest.raises(PartitionError, match=r"no time zone: use value\.date\(\)"):
        store_dataframe(FRAME, "db", "t", {"day": day}, partition_keys={"day": "date"})


@pytest.mark.parametrize(
    "column",
    [
        pa.array([["x"]]),
        pa.array([{"x": 1}]),
        pa.array([np.float16(1)], pa.float16()),
        pa.array(["y"], pa.string_view()),
        pa.array([float("nan")]),
    ],
)
def test_a_column_that_is_not_the_partition_is_refused_in_words(
    local: Session, column: Any
) -> None:
    frame = pa.table({"a": [1], "k": column})
    with pytest.raises(PartitionError, match=r"Column 'k'(, row 0| has the name)"):
        store_dataframe(frame, "db", "t", {"k": "x"}, format="parquet")


# ---- Values -------------------------------------------------------------------------------


def test_the_value_with_half_a_character_is_named_and_not_an_empty_one(local: Session) -> None:
    with pytest.raises(FrameError, match="row 2"):
        stored(pd.DataFrame({"s": ["ok", "", "b\ud800"]}, dtype=object))


def test_an_integer_of_thousands_of_digits_is_refused(local: Session) -> None:
    with pytest.raises(FrameError, match=r"row 1.*64 bits"):
        stored(pd.DataFrame({"n": np.array([1, 10**5000], dtype=object)}))


def test_a_dictionary_of_float16_is_refused(local: Session) -> None:
    values = pa.array([np.float16(1)], pa.float16())
    column = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), values)
    with pytest.raises(FrameError, match="'c'"):
        stored(pa.table({"c": column}))


def test_wide_indices_of_a_dictionary_come_to_pandas(local: Session) -> None:
    column = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.uint64()), pa.array(["x"]))
    stored(pa.table({"c": column}))
    assert load_dataframe("db", "t")["c"].tolist()[0] == "x"


def test_a_time_zone_that_does_not_exist_is_refused(local: Session) -> None:
    with pytest.raises(FrameError, match="Mars/Phobos"):
        stored(pa.table({"c": pa.array([1], pa.timestamp("s", "Mars/Phobos"))}))


@pytest.mark.parametrize("kind", [pa.decimal256(50, 2), pa.decimal128(5, -2)])
def test_every_decimal_comes_to_polars(local: Session, kind: Any) -> None:
    frame = pa.table({"c": pa.array([1500, None], pa.int64()).cast(pa.decimal128(19, 0))})
    stored(frame.set_column(0, "c", frame["c"].cast(kind)))
    assert load_dataframe("db", "t", as_="polars")["c"].to_list() == [1500, None]


PRICE = Decimal("1.50")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.list_(pa.decimal256(60, 2)), [PRICE]),
        (pa.large_list(pa.decimal256(60, 2)), [PRICE]),
        (pa.list_(pa.decimal256(60, 2), 2), [PRICE, None]),
        (pa.list_(pa.list_(pa.decimal256(60, 2))), [[PRICE]]),
        (pa.struct([("a", pa.decimal256(60, 2))]), {"a": PRICE}),
        (pa.list_(pa.decimal128(5, -2)), [Decimal(1500)]),
        (pa.list_(pa.timestamp("us", "+05:30")), [datetime(2020, 1, 1, tzinfo=UTC)]),
    ],
)
def test_what_polars_does_not_know_inside_others_is_converted(
    local: Session, kind: Any, value: Any
) -> None:
    stored(pa.table({"c": pa.array([value, None], kind)}), format="parquet")
    assert load_dataframe("db", "t", as_="polars")["c"].to_list() == [value, None]


@pytest.mark.parametrize("format", ["text", "parquet"])
@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_a_dictionary_of_views_comes_back_as_one_of_its_values(
    local: Session, kind: Any, format: str
) -> None:
    values = pa.array(["a", "b"]).cast(pa.binary()).cast(kind)
    column = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.int8()), values)
    expected = [value.as_py() for value in column]
    found = stored(pa.table({"c": column}), format=format)["c"]
    assert pa.types.is_dictionary(found.type)
    assert found.to_pylist() == expected
    frame = pd.DataFrame({"c": pd.arrays.ArrowExtensionArray(pa.chunked_array([column]))})
    assert stored(frame, "p", format=format)["c"].array._pa_array.to_pylist() == expected


def test_what_polars_alone_has_is_refused_inside_a_list_too(local: Session) -> None:
    with pytest.raises(FrameError, match="Arrow does not have"):
        stored(pl.DataFrame({"c": pl.Series([[2**100]], dtype=pl.List(pl.Int128))}))


_LATE = pa.array([0, YEAR_12000], pa.timestamp("s"))


@pytest.mark.parametrize(
    "column",
    [
        _LATE.dictionary_encode(),
        pa.array([[0], [YEAR_12000]], pa.list_(pa.timestamp("s"))),
        pa.StructArray.from_arrays([_LATE], ["t"]),
        pa.array([[("a", 0)], [("b", YEAR_12000)]], pa.map_(pa.string(), pa.timestamp("s"))),
        pa.array([[-(10**14)], None], pa.list_(pa.timestamp("s"))),
    ],
)
def test_years_end_within_other_types_too(local: Session, column: Any) -> None:
    with pytest.raises(FrameError, match=r"'c'.*years 1 to 9999"):
        stored(pa.table({"c": column}), format="parquet")


def test_the_last_second_fits_within_other_types(local: Session) -> None:
    kind = pa.struct(
        [("l", pa.list_(pa.timestamp("us"))), ("m", pa.map_(pa.string(), pa.date32()))]
    )
    table = pa.table({"c": pa.array([{"l": [FAR, None], "m": [("a", FAR.date())]}, None], kind)})
    assert stored(table, format="parquet").to_pydict() == table.to_pydict()


def test_categories_of_late_dates_are_refused_with_their_row(local: Session) -> None:
    late = pd.Series(np.array(["2020-01-01", "12000-01-01"], dtype="M8[s]")).astype("category")
    for format in ("text", "parquet"):
        with pytest.raises(FrameError, match="'c', row 1"):
            stored(pd.DataFrame({"c": late}), format=format)
