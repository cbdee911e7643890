"""Batches that were stored with different types, loaded as one frame: no value is another one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.data import strategies
from workroom_data.casting import conform, merge, restore, to_storage
from workroom_data.commits import StoredColumn
from workroom_data.errors import SchemaError
from workroom_data.fit import narrower
from workroom_data.frames import from_arrow, to_arrow


def together(frames: list[Any], as_: str = "pandas", hive: str = "") -> Any:
    """Store frames as batches of one table, oldest first, and load them as one.

    Args:
        frames: pandas frames or Arrow tables.
        as_: What to give back.
        hive: Of the table's column; that of the first batch by default.
    """
    batches = []
    for frame in frames:
        table, columns = to_arrow(frame)
        if hive:
            columns = tuple(StoredColumn(c.name, hive, c.arrow, c.pandas) for c in columns)
        held = to_storage(table, columns, "text")
        batches.append((pa.table(held.columns, [c.name for c in columns]), columns))
    wanted = merge([columns for _, columns in batches])
    rows = pa.concat_tables([conform(table, columns, wanted) for table, columns in batches])
    return from_arrow(rows, wanted, as_)


def series(values: Any, dtype: Any = None) -> pd.DataFrame:
    return pd.DataFrame({"a": pd.Series(values, dtype=dtype)})


@pytest.mark.parametrize(
    ("first", "second", "hive", "dtype"),
    [
        (series([1], "int8"), series([2**40], "int64"), "bigint", "int64"),
        (series([1], "int8"), series([2, None], "Int64"), "bigint", "Int64"),
        (series([2, None], "Int8"), series([1], "int64"), "bigint", "Int64"),
        (series([1], "uint8"), series([-1], "int16"), "smallint", "int16"),
        (series([1], "uint8"), series([2], "uint32"), "bigint", "uint32"),
        (series([1.5], "float32"), series([1e300]), "double", "float64"),
        (series([1.5, None], "Float32"), series([1e300]), "double", "Float64"),
        (series([True]), series([None, False], "boolean"), "boolean", "boolean"),
        (series(["a"]), series(["b", None], "string[python]"), "string", "string"),
        (series(["a"]), series(["b"], "category"), "string", "object"),
        (series([None], object), series([7], "int64"), "bigint", "Int64"),
        (series([None], object), series([7, None], "Int64"), "bigint", "Int64"),
        (series(pd.to_datetime(["2020"]).as_unit("s")), series(pd.to_datetime(["2021"])),
         "timestamp", "datetime64[ns]"),
        (series(pd.to_datetime(["2020"]).tz_localize("Europe/Berlin")),
         series(pd.to_datetime(["2021"]).tz_localize("Asia/Tokyo")), "timestamp",
         "datetime64[ns, UTC]"),
        (series([Decimal("1.5")]), series([Decimal("1.25")]), "decimal(38,10)", "object"),
    ],
    ids=lambda value: str(value.dtypes["a"]) if isinstance(value, pd.DataFrame) else "",
)  # fmt: skip
def test_two_dtypes_become_the_one_that_holds_both(
    first: pd.DataFrame, second: pd.DataFrame, hive: str, dtype: str
) -> None:
    back = together([first, second], hive=hive)
    assert str(back["a"].dtype) == dtype
    wanted = [*first["a"], *second["a"]]
    for got, given_ in zip(back["a"], wanted, strict=True):
        assert (pd.isna(got) and pd.isna(given_)) or got == given_


def test_a_column_that_a_batch_does_not_have_is_null() -> None:
    new = series([2], "int8").assign(B=["x"])
    back = together([series([1], "int64"), new], hive="")
    assert back.columns.tolist() == ["a", "B"]
    assert back["B"].tolist() == [None, "x"]
    assert together([new, series([1], "int64")])["B"].tolist() == ["x", None]


def test_names_are_those_of_the_last_batch() -> None:
    back = together([pd.DataFrame({"Id": [1], "b": ["x"]}), pd.DataFrame({"ID": [2], "B": ["y"]})])
    assert back.columns.tolist() == ["ID", "B"]
    assert back["ID"].tolist() == [1, 2]


def test_categories_are_united_in_the_order_they_came() -> None:
    first = series(pd.Categorical(["b"], ["c", "b"]))
    back = together([first, series(pd.Categorical(["a", None], ["a", "b"]))])["a"]
    assert back.cat.categories.tolist() == ["c", "b", "a"]
    assert back.astype(object).tolist()[:2] == ["b", "a"]
    assert not back.cat.ordered


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_categories_of_both_zeros_are_one(dtype: str) -> None:
    zeros = [series(pd.Categorical(np.array([zero, 1.5], dtype))) for zero in (-0.0, 0.0)]
    back = together(zeros)["a"]
    assert [repr(float(value)) for value in back.cat.categories] == ["-0.0", "1.5"]
    assert back.astype(float).tolist() == [0.0, 1.5, 0.0, 1.5]
    text = together([series(pd.Categorical(["0"])), series(pd.Categorical(["-0"]))])["a"]
    assert text.cat.categories.tolist() == ["0", "-0"]


def test_an_order_is_kept_where_all_agree() -> None:
    ordered = series(pd.Categorical(["b"], ["c", "b"], ordered=True))
    assert together([ordered, ordered])["a"].cat.ordered
    other = series(pd.Categorical(["b"], ["b", "c"], ordered=True))
    assert not together([ordered, other])["a"].cat.ordered


def test_more_categories_than_indices_hold() -> None:
    parts = [series(pd.Categorical([f"{n}-{i}" for i in range(100)])) for n in range(3)]
    back = together(parts)["a"]
    assert back.astype(str).tolist() == [f"{n}-{i}" for n in range(3) for i in range(100)]
    codes = pa.table({"a": pa.array([f"{i}" for i in range(200)]).dictionary_encode()})
    narrow = codes.cast(pa.schema([("a", pa.dictionary(pa.uint8(), pa.string()))]))
    other = pa.table({"a": pa.array([f"x{i}" for i in range(200)]).dictionary_encode()}).cast(
        narrow.schema
    )
    arrow = together([narrow, other], "arrow")
    assert arrow["a"].to_pylist() == [*(f"{i}" for i in range(200)), *(f"x{i}" for i in range(200))]


def test_chunks_with_dictionaries_of_their_own() -> None:
    """Together they have more values than indices of eight bits tell apart."""
    kind = pa.dictionary(pa.int8(), pa.string())
    words = [[f"{n}-{i}" for i in range(100)] for n in range(3)]
    table = pa.table({"a": pa.chunked_array([strategies.array_of(part, kind) for part in words])})
    back = together([table], "arrow")["a"]
    assert back.to_pylist() == [word for part in words for word in part]
    assert back.type == pa.dictionary(pa.int16(), pa.string())


def test_nanoseconds_and_years_beyond_them() -> None:
    far = series(np.array(["9999-12-31"], "M8[us]"))
    near = series(pd.to_datetime(["2020-01-01"]))
    for frames in ([far, near], [near, far]):
        with pytest.raises(SchemaError, match=r"Column 'a' has nanoseconds in one .*as_unit\('us'"):
            together(frames)
    near["a"] = near["a"].dt.as_unit("us")  # as the message says
    assert together([far, near])["a"].tolist() == [*far["a"], *near["a"]]


def test_structs_of_other_fields_are_no_nulls() -> None:
    """Arrow's own cast makes NULL of fields that are called differently."""
    values = pa.chunked_array([pa.array([{"a": 1}])])
    with pytest.raises(SchemaError, match=r"fields differ\. Load these partitions one at a time"):
        restore(values, pa.struct([("b", pa.int64())]))
    lists = pa.chunked_array([pa.array([[{"a": 1}]])])
    with pytest.raises(SchemaError, match="fields differ"):
        restore(lists, pa.list_(pa.struct([("b", pa.int64())])))


NUMBERS = {
    kind: strategies.COLUMNS[kind](3)
    for kind in strategies.COLUMNS
    if kind.lower().lstrip("u").startswith(("int", "float3", "float6"))
}


def _pairs() -> list[tuple[str, str, str]]:
    """Return kinds of columns: one that makes the table, one it takes; and the table's type."""
    hives = {kind: to_arrow(series([1], kind))[1][0].hive for kind in NUMBERS}
    return [
        (one, other, hive)
        for one, hive in hives.items()
        for other, given_ in hives.items()
        if given_ == hive or narrower(given_, hive)
    ]


@settings(
    max_examples=400, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.sampled_from(_pairs()), st.data())
def test_numbers_of_any_two_types_of_a_family_stay_what_they_are(
    kinds: tuple[str, str, str], data: st.DataObject
) -> None:
    one, other, hive = kinds
    first, second = (data.draw(NUMBERS[kind]).to_frame("a") for kind in (one, other))
    back = together([first, second], hive=hive)["a"]
    assert [_value(v) for v in back] == [_value(v) for v in [*first["a"], *second["a"]]]


FAMILIES = [
    [kind for kind in strategies.COLUMNS if word in kind.lower()]
    for word in ("date", "str", "int", "float", "bool", "bytes", "decimal")
]


@settings(
    max_examples=300, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.sampled_from(FAMILIES), st.data())
def test_batches_of_any_two_kinds_are_loaded_or_refused(
    family: list[str], data: st.DataObject
) -> None:
    """What a table of one Hive type got is given back as any kind of frame, row by row."""
    kinds = [data.draw(st.sampled_from(family)) for _ in range(2)]
    frames = [data.draw(strategies.COLUMNS[kind](3)).to_frame("a") for kind in kinds]
    one, other = (to_arrow(frame)[1][0].hive for frame in frames)
    assume(one == other)
    for as_ in ("pandas", "arrow", "polars"):
        whole = _together_unless_nanoseconds(frames, as_)
        if whole is not None:
            parts = [_missing(together([frame], as_)) for frame in frames]
            assert _missing(whole) == parts[0] + parts[1]


def _together_unless_nanoseconds(frames: list[pd.DataFrame], as_: str) -> Any:
    try:
        return together(frames, as_)
    except SchemaError as error:
        if "nanoseconds" not in error.message:
            raise
        return None


def _missing(frame: Any) -> list[bool]:
    if isinstance(frame, pd.DataFrame):
        return [bool(pd.isna(value)) for value in frame["a"]]
    if isinstance(frame, pa.Table):
        return list(frame["a"].is_null().to_pylist())
    return list(frame["a"].is_null())


def _value(value: Any) -> Any:
    """NaN is NaN and NULL too: a plain float has no other; integers are compared as such."""
    if pd.isna(value):
        return None
    return repr(float(value)) if isinstance(value, float | np.floating) else int(value)
