"""Casts between a column's original type and what files hold, and between batches of a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from workroom_data.categories import encoded, united
from workroom_data.commits import StoredColumn
from workroom_data.errors import FrameError, SchemaError
from workroom_data.frames_pandas import CATEGORY
from workroom_data.refusals import refusal
from workroom_data.typenames import arrow_from_name, arrow_name
from workroom_data.types import arrow_type, file_type, storage_type

_TOO_LONG = 1 << 31
"""Bytes of text that one chunk of Arrow's plain string type cannot hold any more."""


def to_storage(table: pa.Table, columns: Sequence[StoredColumn], format: str) -> pa.Table:
    """Return a table as its file holds it: storage types, names in lower case.

    Args:
        table: Columns of their original types, in the order of `columns`.
        columns: What they are to be stored as.
        format: "text" or "parquet".

    Raises:
        FrameError: The format cannot hold a column, or a value: named with its row.
    """
    arrays = []
    for position, column in enumerate(columns):
        values = table.column(position)
        storage_type(values.type, format, column.name)
        wanted = file_type(column.hive, arrow_name(values.type), format)
        arrays.append(_cast_exactly(values, wanted, column))
    return pa.Table.from_arrays(arrays, names=[column.name.lower() for column in columns])


def _cast_exactly(values: Any, wanted: Any, column: StoredColumn) -> Any:
    """Cast a column.

    Raises:
        FrameError: A value does not fit.
    """
    if values.type == wanted:
        return values
    if pa.types.is_null(values.type):
        return pa.chunked_array([pa.nulls(len(values), wanted)])
    try:
        return pa.chunked_array(
            [part.cast(wanted) for chunk in values.chunks for part in _portions(chunk)], wanted
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = _first_failing(values, wanted)
        if row is None:
            raise FrameError(
                f"Column {column.name!r} ({values.type}) cannot be stored as {column.hive}.",
                "Convert it to a type of plain values first.",
            ) from error
        raise refusal(
            column.name, row, _value(values, row), _why(values.type, wanted), _fix(column, wanted)
        ) from error


def _portions(chunk: Any) -> list[Any]:
    """Cut a chunk of long text into parts that fit Arrow's plain string type."""
    if len(chunk) < 2 or chunk.nbytes < _TOO_LONG:
        return [chunk]
    half = len(chunk) // 2
    return _portions(chunk.slice(0, half)) + _portions(chunk.slice(half))


def _first_failing(values: Any, wanted: Any) -> int | None:
    """Return the first row that cannot be cast, by halving; None if no row fails by itself."""

    def fails(start: int, stop: int) -> bool:
        try:
            values.slice(start, stop - start).cast(wanted)
        except pa.ArrowException:
            return True
        return False

    low, high = 0, len(values)
    if not fails(low, high) or not high:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(low, middle) else (middle, high)
    return low


def _value(values: Any, row: int) -> object:
    try:
        return values[row].as_py()
    except (ValueError, OverflowError):  # beyond Python's own years
        return values.slice(row, 1).to_string()


def _why(given: Any, wanted: Any) -> str:
    if pa.types.is_timestamp(given):
        return "is no whole number of microseconds"
    if pa.types.is_date(given):
        return "is no whole day"
    return f"does not fit in {wanted}"


def _fix(column: StoredColumn, wanted: Any) -> str:
    if pa.types.is_timestamp(wanted):
        name = f"df[{column.name!r}]"
        return f"Parquet in Hive has microseconds: use {name}.dt.floor('us'), or a text table."
    if pa.types.is_decimal(wanted):
        return "Hive's decimals have 38 digits: round, or store text."
    return "Convert the column first."


def restore(values: Any, arrow: Any) -> Any:
    """Return a column that a file held (pa.ChunkedArray) as its original type."""
    if values.type == arrow:
        return values
    if pa.types.is_null(arrow) or values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values), arrow)], arrow)
    if pa.types.is_dictionary(arrow):
        return _dictionary(values, arrow)
    if pa.types.is_dictionary(values.type):
        return restore(values.cast(values.type.value_type), arrow)
    if not _same_fields(values.type, arrow):
        raise SchemaError(
            f"Values of type {values.type} cannot be given back as {arrow}: fields differ.",
            "Load these partitions one at a time.",
        )
    return values.cast(arrow)


def _same_fields(given: Any, wanted: Any) -> bool:
    """Say whether structs have the same fields: Arrow's cast makes NULL of others."""
    if not (pa.types.is_nested(given) and pa.types.is_nested(wanted)):
        return True
    if pa.types.is_struct(given) and [f.name for f in given] != [f.name for f in wanted]:
        return False
    pairs = zip(_inner_types(given), _inner_types(wanted), strict=True)
    return all(_same_fields(a, b) for a, b in pairs)


def _inner_types(nested: Any) -> list[Any]:
    if pa.types.is_map(nested):
        return [nested.key_type, nested.item_type]
    return [nested.field(i).type for i in range(nested.num_fields)]


def _dictionary(values: Any, arrow: Any) -> Any:
    """Encode a column, with wider indices than asked where there are too many values for them."""
    made = []
    for chunk in values.chunks:
        if not pa.types.is_dictionary(chunk.type):
            chunk = restore(pa.chunked_array([chunk]), arrow.value_type).combine_chunks()
        part = encoded(chunk, arrow)
        if part.type.value_type != arrow.value_type:
            held = restore(pa.chunked_array([part.dictionary]), arrow.value_type).combine_chunks()
            part = pa.DictionaryArray.from_arrays(part.indices, held, ordered=arrow.ordered)
        made.append(part)
    return united(made, arrow)


# ---- Several batches ----------------------------------------------------------------------


def merge(batches: Sequence[Sequence[StoredColumn]]) -> tuple[StoredColumn, ...]:
    """Return the columns of a frame made of several batches of one table.

    Each has the name that the last batch with it gives it, and the narrowest type that holds the
    values of all. Columns come in the order in which batches bring them.

    Args:
        batches: The columns of each batch, oldest first.
    """
    found: dict[str, list[StoredColumn]] = {}
    for columns in batches:
        for column in columns:
            same = found.setdefault(column.name.lower(), [])
            if column not in same:
                same.append(column)
    return tuple(_common(same) for same in found.values())


def _common(same: list[StoredColumn]) -> StoredColumn:
    last = same[-1]
    if len(same) == 1:
        return last
    types = [arrow_from_name(column.arrow) for column in same]
    known = [column for column, kind in zip(same, types, strict=True) if kind != pa.null()]
    common = _common_type([t for t in types if t != pa.null()] or [pa.null()], last.hive)
    return replace(last, arrow=arrow_name(common), pandas=_common_dtype(known or same, common))


def _common_type(types: list[Any], hive: str) -> Any:
    first = types[0]
    if all(kind == first for kind in types):
        return first
    kind = pa.types
    if all(kind.is_dictionary(t) and t.value_type == first.value_type for t in types):
        widest = max((t.index_type for t in types), key=lambda index: index.bit_width)
        ordered = all(t.ordered for t in types)
        return pa.dictionary(widest, first.value_type, ordered=ordered)
    types = [t.value_type if kind.is_dictionary(t) else t for t in types]
    if all(kind.is_timestamp(t) for t in types):
        unit = max((t.unit for t in types), key=("s", "ms", "us", "ns").index)
        zones = {t.tz for t in types}
        return pa.timestamp(unit, tz=zones.pop() if len(zones) == 1 else "UTC")
    if all(kind.is_integer(t) or kind.is_floating(t) for t in types):
        return _common_number(types, hive)
    return types[0] if all(t == types[0] for t in types) else arrow_type(hive)


def _common_number(types: list[Any], hive: str) -> Any:
    """Return the narrowest type of numbers: the table's own if signs or points differ."""
    kind = pa.types
    families = {(kind.is_signed_integer(t), kind.is_floating(t)) for t in types}
    if len(families) > 1:
        return arrow_type(hive)
    return max(types, key=lambda t: t.bit_width)


def _common_dtype(same: list[StoredColumn], common: Any) -> str:
    """Return the pandas dtype for all; "" (what goes best with the type) where they disagree."""
    dtypes = [column.pandas for column in same]
    if all(dtype.startswith(CATEGORY) for dtype in dtypes):
        try:
            return _common_category(dtypes, common) if pa.types.is_dictionary(common) else ""
        except (ValueError, TypeError, KeyError, AttributeError):  # anybody can write a commit
            return ""
    if all(dtype == dtypes[0] for dtype in dtypes):
        return dtypes[0]
    nullable = [dtype for dtype in dtypes if dtype[:3] in ("Int", "UIn", "Flo")]
    number = pa.types.is_integer(common) or pa.types.is_floating(common)
    if nullable and set(dtypes) <= {"", *nullable} and number:
        word = "Float" if pa.types.is_floating(common) else "Int"
        unsigned = "U" if pa.types.is_unsigned_integer(common) else ""
        return f"{unsigned}{word}{common.bit_width}"
    wide = ("boolean", "string[python]", "string[pyarrow]", "str[python]", "str[pyarrow]")
    best = [dtype for dtype in dtypes if dtype in wide]
    if best and not pa.types.is_dictionary(common):
        return best[-1]
    return "object" if "object" in dtypes else ""


def _common_category(dtypes: list[str], common: Any) -> str:
    """Unite categories, those of the first batch first; an order is kept only where all agree."""
    # To pandas 0.0 and -0.0 are one category, whose sign is that of the first batch.
    same = float if pa.types.is_floating(common.value_type) else lambda value: value
    told = [json.loads(dtype.removeprefix(CATEGORY)) for dtype in dtypes]
    united: dict[str, Any] = {"ordered": all(t["ordered"] for t in told), "of": told[-1]["of"]}
    if all("values" in t for t in told):
        first: dict[Any, Any] = {}
        for value in (value for t in told for value in t["values"]):
            first.setdefault(same(value), value)
        united["values"] = list(first.values())
        lists = [t["values"] for t in told]
        united["ordered"] = united["ordered"] and all(held == lists[0] for held in lists)
    else:
        united["ordered"] = False
    return CATEGORY + json.dumps(united, ensure_ascii=False)


def conform(
    table: pa.Table, columns: Sequence[StoredColumn], wanted: Sequence[StoredColumn]
) -> pa.Table:
    """Return one batch as part of a frame made of several, ready for `pa.concat_tables`.

    Args:
        table: The batch as it was read: columns in the order of `columns`.
        columns: The batch's own columns.
        wanted: What `merge` says. Those the batch does not have are NULL.

    Returns:
        pa.Table: Columns of the Arrow types of `wanted`, under its names.

    Raises:
        SchemaError: A column's batches have no type in common: times in nanoseconds and some
            outside the years these have; structs of other fields.
    """
    position = {column.name.lower(): i for i, column in enumerate(columns)}
    arrays: list[Any] = []
    for column in wanted:
        kind = arrow_from_name(column.arrow)
        place = position.get(column.name.lower())
        if place is None:
            arrays.append(pa.nulls(table.num_rows, kind))
        else:
            arrays.append(_in_common(table.column(place), kind, column.name))
    return pa.Table.from_arrays(arrays, names=[column.name for column in wanted])


def _in_common(values: Any, kind: Any, name: str) -> Any:
    try:
        return restore(values, kind)
    except pa.ArrowInvalid as error:
        raise SchemaError(
            f"Column {name!r} has nanoseconds in one of these batches, and in another one a time "
            "outside the years 1677 to 2262, which nanoseconds end with.",
            "Load them one at a time; or store those in nanoseconds again, in microseconds: "
            f"df[{name!r}].dt.as_unit('us').",
        ) from error
