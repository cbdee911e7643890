"""Frames in and out: pandas, Arrow and polars.

    table, columns = to_arrow(df)                  what is stored
    df = from_arrow(table, columns, "pandas")      the same again

`columns` say of each column what a file does not: the name as it was, the exact Arrow type and the
pandas dtype. docs/data-types.md is the table of all types, for people.
"""

from __future__ import annotations

import sys
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from workroom_data.casting import conform, merge, restore, to_storage
from workroom_data.categories import dictionary_of, without_views
from workroom_data.commits import StoredColumn
from workroom_data.errors import FrameError
from workroom_data.frames_back import to_pandas
from workroom_data.frames_pandas import from_pandas
from workroom_data.refusals import at, check_names, refusal
from workroom_data.typenames import arrow_from_name, arrow_name
from workroom_data.types import hive_type, storage_type

__all__ = ["conform", "from_arrow", "merge", "to_arrow", "to_storage"]

KINDS = ("pandas", "arrow", "polars")
_SECONDS = (-62135596800, 253402300799)  # 0001-01-01 00:00:00 and 9999-12-31 23:59:59
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def to_arrow(df: Any, index: bool = False) -> tuple[pa.Table, tuple[StoredColumn, ...]]:
    """Return a frame as Arrow, sharing memory where it can, and what its columns are.

    Args:
        df: pandas or polars DataFrame, pyarrow Table or RecordBatch, or anything that hands out
            Arrow data (`__arrow_c_stream__`).
        index: Of a pandas frame: store the index as leading columns. It is dropped otherwise.

    Returns:
        The rows, columns of their original types, and one StoredColumn each.

    Raises:
        FrameError: Something in it cannot be stored exactly: named with column, row and value.
    """
    if isinstance(df, pd.Series):
        df = df.to_frame()
    if isinstance(df, pd.DataFrame):
        table, columns = from_pandas(df, index)
        _check_years(table, None if isinstance(df.index, pd.RangeIndex) else df.index)
        return table, columns
    if index:
        raise FrameError(f"A {type(df).__name__} has no index.", "Leave out index=True.")
    table = _as_table(df)
    check_names(table.column_names)
    table = pa.table([without_views(c) for c in table.columns], names=table.column_names)
    columns = tuple(
        StoredColumn(
            field.name, hive_type(field.type, "parquet", field.name), arrow_name(field.type)
        )
        for field in table.schema
    )
    _check_content(table)
    _check_years(table)
    return table, columns


def from_arrow(
    table: pa.Table, columns: tuple[StoredColumn, ...], as_: str = "pandas"
) -> pd.DataFrame | pa.Table | Any:
    """Return rows as they were stored.

    Args:
        table: Columns in the order of `columns`, of the types that files hold or of the original.
        columns: Names, Arrow types and pandas dtypes to give back.
        as_: "pandas", "arrow" or "polars".

    Returns:
        pandas.DataFrame, pyarrow.Table or polars.DataFrame.

    Raises:
        FrameError: `as_` is none of them, or polars is not installed.
    """
    check_kind(as_)
    rows = table.num_rows
    arrays = [
        restore(table.column(i), arrow_from_name(column.arrow)) for i, column in enumerate(columns)
    ]
    del table
    if any(map(dictionary_of, columns)):
        # What decoding their text took would stay beside what pandas takes.
        pa.default_memory_pool().release_unused()
    if as_ == "pandas":
        return to_pandas(arrays, columns, rows)
    names = [column.name for column in columns]
    whole = pa.Table.from_arrays(arrays, names=names)
    if as_ == "arrow":
        return whole
    import polars

    return polars.from_arrow(_for_polars(whole))


def _for_polars(table: pa.Table) -> pa.Table:
    """Put times of zones such as "+05:30" into UTC, and decimals into types that polars knows."""
    for position, field in enumerate(table.schema):
        kind = _polars_type(field.type)
        if kind != field.type:
            values = table.column(position).cast(kind)
            table = table.set_column(position, field.with_type(kind), values)
    return table


def _polars_type(kind: Any) -> Any:
    """Return a type that polars knows, for the same values: also of those within others."""
    if pa.types.is_timestamp(kind) and (kind.tz or "").startswith(("+", "-")):
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_decimal(kind):
        wide = pa.types.is_decimal256(kind) or kind.scale < 0
        return storage_type(kind, "text", "") if wide else kind
    if pa.types.is_dictionary(kind):
        plain = _polars_type(kind.value_type)
        return kind if plain == kind.value_type else plain
    if pa.types.is_map(kind):
        return pa.map_(_polars_type(kind.key_type), _inner_field(kind.item_field))
    if pa.types.is_struct(kind):
        return pa.struct([_inner_field(field) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_inner_field(kind.value_field))
    if pa.types.is_large_list(kind):
        return pa.large_list(_inner_field(kind.value_field))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_inner_field(kind.value_field), kind.list_size)
    return kind


def _inner_field(field: Any) -> Any:
    return field.with_type(_polars_type(field.type))


def check_kind(as_: str) -> None:
    """Refuse an `as_` that `from_arrow` does not know, before anything is read.

    Raises:
        FrameError: It is unknown, or polars is not installed.
    """
    if as_ not in KINDS:
        raise FrameError(f"as_ is {as_!r}.", f"Use one of {', '.join(map(repr, KINDS))}.")
    if as_ == "polars":
        try:
            import polars  # noqa: F401
        except ImportError as error:
            raise FrameError("polars is not installed.", "pip install polars") from error


def _as_table(df: Any) -> pa.Table:
    if isinstance(df, pa.Table):
        return df
    if isinstance(df, pa.RecordBatch):
        return pa.Table.from_batches([df])
    polars = sys.modules.get("polars")  # nobody has a polars frame without having imported it
    if polars is not None and isinstance(df, polars.DataFrame):
        return _from_polars(df, polars)
    if polars is not None and isinstance(df, polars.LazyFrame):
        raise FrameError("A LazyFrame has not been computed yet.", "Give frame.collect().")
    if hasattr(df, "__arrow_c_stream__"):
        return pa.table(df)
    if hasattr(df, "toPandas"):
        raise FrameError("A Spark frame is not in this process.", "Give frame.toPandas().")
    raise FrameError(
        f"A {type(df).__name__} is not a data frame.",
        "Give a pandas or polars DataFrame or a pyarrow Table, such as pd.DataFrame(…).",
    )


def _from_polars(df: Any, polars: Any) -> pa.Table:
    for name, dtype in df.schema.items():
        if dtype in (polars.Object, polars.Int128, polars.UInt128):
            raise FrameError(
                f"Column {name!r} is of polars' type {dtype}, which Arrow does not have.",
                "Make it text or numbers first."
                if dtype == polars.Object
                else f"Cast it: pl.col({name!r}).cast(pl.Decimal(38, 0)) holds 38 digits.",
            )
    # The oldest level has strings and not string views, which is what everybody reads.
    try:
        return df.to_arrow(compat_level=polars.CompatLevel.oldest())
    except pa.ArrowInvalid as error:  # lists of Int128
        raise FrameError(
            f"A column holds a type that Arrow does not have: {error}.", "Cast it in polars first."
        ) from error


def _check_content(table: pa.Table) -> None:
    """Refuse what Arrow data made elsewhere may hold by mistake, such as text that is not UTF-8.

    Raises:
        FrameError: Naming column and row.
    """
    for position, name in enumerate(table.column_names):
        values = table.column(position)
        if _valid(values):
            continue
        row, end = 0, len(values)
        while end - row > 1:
            middle = (row + end) // 2
            row, end = (middle, end) if _valid(values.slice(row, middle - row)) else (row, middle)
        fix = "Make the column anew."
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            fix = "Bytes that are not UTF-8 belong in a binary column."
        raise FrameError(f"{at(name, row)} is not what the type {values.type} allows.", fix)


def _valid(values: Any) -> bool:
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _check_years(table: pa.Table, labels: Any = None) -> None:
    """Refuse times and dates outside the years 1 to 9999, which Hive's have.

    Raises:
        FrameError: Naming the first.
    """
    for position, field in enumerate(table.schema):
        values = table.column(position)
        if pa.types.is_dictionary(field.type):
            if not pa.types.is_temporal(field.type.value_type):
                continue
            values = values.cast(field.type.value_type)
        _check_column_years(field.with_type(values.type), values, labels)


def _check_column_years(field: Any, values: Any, labels: Any) -> None:
    kind = field.type
    for inner in _inside(values):
        try:
            _check_column_years(pa.field(field.name, inner.type), inner, None)
        except FrameError as error:  # its row is that of the inner values
            raise FrameError(
                f"Column {field.name!r} holds a time outside the years 1 to 9999.", error.fix
            ) from error
    if pa.types.is_timestamp(kind) and kind.unit != "ns":  # those end in 1677 and 2262
        low, high = (second * _UNITS[kind.unit] for second in _SECONDS)
        _check_between(field, values, low, high + _UNITS[kind.unit] - 1, labels)
    elif pa.types.is_date(kind):
        per_day = 86_400_000 if pa.types.is_date64(kind) else 1
        low, high = (second // 86_400 * per_day for second in _SECONDS)
        _check_between(field, values, low, high, labels)


def _inside(values: Any) -> list[Any]:
    """Return the values within lists, structs and maps, as columns of their own."""
    kind = values.type
    if pa.types.is_struct(kind):
        return [pc.struct_field(values, [i]) for i in range(kind.num_fields)]
    if pa.types.is_map(kind):
        parts = [(chunk.keys, chunk.items) for chunk in values.chunks]
        return [pa.chunked_array(part) for part in zip(*parts, strict=True)]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [pc.list_flatten(values)]
    return []


def _check_between(field: Any, values: Any, low: int, high: int, labels: Any) -> None:
    numbers = values.cast(pa.int32() if pa.types.is_date32(field.type) else pa.int64())
    found = pc.min_max(numbers).as_py()
    if found["min"] is None or (low <= found["min"] and found["max"] <= high):
        return
    outside = pc.or_(pc.less(numbers, low), pc.greater(numbers, high))
    row = pc.index(outside, True).as_py()
    one = values.slice(row, 1)
    if pa.types.is_timestamp(field.type):
        one = one.cast(pa.timestamp(field.type.unit))  # in UTC, where the calendar counts
    raise refusal(
        field.name,
        row,
        one.cast(pa.string())[0].as_py(),  # Python's own years end there too
        "is outside the years 1 to 9999",
        "Hive has no others: use None where it stands for a date that is not known.",
        labels,
    )
