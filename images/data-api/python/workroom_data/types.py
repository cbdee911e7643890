"""Arrow types and Hive types.

Three types belong to a column:

    original   the Arrow type the frame had               uint8, large_string, timestamp[us, tz=…]
    storage    the Arrow type its file holds               int16, string,       timestamp[us]
    Hive       what the metastore and other engines see    smallint, string,    timestamp

`storage_type` goes from the first to the second, `hive_type` to the third, and casting to the
original gives back what was stored. `docs/data-types.md` has the table for people.
"""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from workroom_data.errors import FrameError, SchemaError
from workroom_data.typenames import arrow_from_name

UTC_COMMENT = "time zone aware: in UTC"
"""Comment of a Hive timestamp column whose values are instants, not wall-clock times."""

HIVE_OF: dict[Any, str] = {
    pa.bool_(): "boolean",
    pa.int8(): "tinyint",
    pa.int16(): "smallint",
    pa.int32(): "int",
    pa.int64(): "bigint",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
    pa.binary(): "binary",
    pa.date32(): "date",
}
_ARROW_OF: dict[str, Any] = {hive: arrow for arrow, hive in HIVE_OF.items()} | {
    "integer": pa.int32(),
    "timestamp": pa.timestamp("us"),
    "decimal": pa.decimal128(10, 0),
}
_STORED_AS: dict[Any, Any] = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
    pa.null(): pa.string(),
}
_DIGITS = 38  # of a Hive decimal
_ZONE = re.compile(r"[A-Za-z0-9_+\-/:]+")


def storage_type(arrow_type: Any, format: str, column: str) -> Any:
    """Return the Arrow type that a file holds for a column.

    Args:
        arrow_type: Type of the frame's column (pa.DataType).
        format: "text" or "parquet".
        column: Its name, for the message.

    Returns:
        pa.DataType: One that has a Hive type. Timestamps lose their zone (they are in UTC) and
        in Parquet have microseconds.

    Raises:
        FrameError: Hive cannot hold such values, or this format cannot.
    """
    kind = pa.types
    if arrow_type in HIVE_OF:
        return arrow_type
    if arrow_type in _STORED_AS:
        return _STORED_AS[arrow_type]
    if kind.is_timestamp(arrow_type):
        return _timestamp_type(arrow_type, format, column)
    if kind.is_decimal(arrow_type):
        return _decimal_type(arrow_type, column)
    if kind.is_fixed_size_binary(arrow_type):
        return pa.binary()
    if kind.is_dictionary(arrow_type) and not (
        kind.is_nested(arrow_type.value_type) or kind.is_float16(arrow_type.value_type)
    ):  # Arrow makes no dictionary of float16 again
        return storage_type(arrow_type.value_type, format, column)
    if _is_list(arrow_type) or kind.is_struct(arrow_type) or kind.is_map(arrow_type):
        return _nested_type(arrow_type, format, column)
    raise FrameError(f"Column {column!r} is of type {arrow_type}.", _advice(arrow_type, column))


def hive_type(arrow_type: Any, format: str, column: str) -> str:
    """Return the Hive type of a column ("bigint", "decimal(38,10)", "array<string>").

    Args:
        arrow_type: Type of the frame's column (pa.DataType).
        format: "text" or "parquet".
        column: Its name, for the message.

    Raises:
        FrameError: Hive cannot hold such values, or this format cannot.
    """
    return _hive(storage_type(arrow_type, format, column))


def file_type(hive: str, arrow: str, format: str) -> Any:
    """Return the Arrow type that a file of ours holds for a stored column.

    Args:
        hive: Its Hive type.
        arrow: Its original Arrow type, as `arrow_name` writes it: decides a timestamp's unit.
        format: "text" or "parquet".

    Returns:
        pa.DataType: As `arrow_type(hive)`, but a timestamp of text keeps its unit, and fields of
        structs keep the case of their names.
    """
    stored = arrow_type(hive)
    if pa.types.is_nested(stored):
        return storage_type(arrow_from_name(arrow), format, "")
    if format == "text" and pa.types.is_timestamp(stored) and "timestamp[" in arrow:
        original = arrow_from_name(arrow)
        if pa.types.is_dictionary(original):
            original = original.value_type
        return pa.timestamp(original.unit)
    return stored


def _hive(stored: Any) -> str:
    if stored in HIVE_OF:
        return HIVE_OF[stored]
    if pa.types.is_timestamp(stored):
        return "timestamp"
    if pa.types.is_decimal(stored):
        return f"decimal({stored.precision},{stored.scale})"
    if pa.types.is_list(stored):
        return f"array<{_hive(stored.value_type)}>"
    if pa.types.is_map(stored):
        return f"map<{_hive(stored.key_type)},{_hive(stored.item_type)}>"
    fields = [f"{field.name.lower()}:{_hive(field.type)}" for field in stored]
    return f"struct<{','.join(fields)}>"


def _timestamp_type(arrow_type: Any, format: str, column: str) -> Any:
    if arrow_type.tz is not None and not _is_zone(arrow_type.tz):
        raise FrameError(
            f"Column {column!r} has the time zone {arrow_type.tz!r}, which has no usual name.",
            "Convert it to one such as 'UTC' or 'Europe/Berlin'.",
        )
    return pa.timestamp("us" if format == "parquet" else arrow_type.unit)


def _is_zone(name: str) -> bool:
    """Say whether a load could read times of this zone."""
    try:
        return bool(_ZONE.fullmatch(name)) and pa.lib.string_to_tzinfo(name) is not None
    except (pa.ArrowException, ValueError, KeyError):
        return False


def _decimal_type(arrow_type: Any, column: str) -> Any:
    # A negative scale means zeros before the point; Hive wants them as digits.
    scale = max(arrow_type.scale, 0)
    precision = max(arrow_type.precision - min(arrow_type.scale, 0), scale)
    if scale > _DIGITS:
        raise FrameError(
            f"Column {column!r} has {scale} digits after the point.",
            f"Hive's decimals have {_DIGITS} digits in all: round, or store text.",
        )
    return pa.decimal128(min(precision, _DIGITS), scale)


def _is_list(arrow_type: Any) -> bool:
    kind = pa.types
    return bool(
        kind.is_list(arrow_type)
        or kind.is_large_list(arrow_type)
        or kind.is_fixed_size_list(arrow_type)
    )


def _nested_type(arrow_type: Any, format: str, column: str) -> Any:
    if format == "text":
        raise FrameError(
            f"Column {column!r} is nested ({arrow_type}), and a text table holds plain values.",
            "Create the table with format='parquet', or store JSON text.",
        )
    if pa.types.is_map(arrow_type):
        key = _inner(arrow_type.key_type, format, column)
        return pa.map_(key, _inner(arrow_type.item_type, format, column))
    if not pa.types.is_struct(arrow_type):
        return pa.list_(_inner(arrow_type.value_type, format, column))
    fields = list(arrow_type)
    names = [field.name.lower() for field in fields]
    for name in names:
        if not name or not all(letter.isalnum() or letter in "_$" for letter in name):
            raise FrameError(
                f"Column {column!r} has a field named {name!r}.",
                "Fields of a Hive struct have letters, digits, _ and $ only: rename it.",
            )
    if not fields or len(set(names)) < len(names):
        raise FrameError(
            f"Column {column!r} is {arrow_type}.",
            "A Hive struct has at least one field, and names differ by more than case.",
        )
    return pa.struct([(f.name, _inner(f.type, format, column)) for f in fields])


def _inner(arrow_type: Any, format: str, column: str) -> Any:
    """Return the storage type within a nested one, where the way back must be a plain cast."""
    kind = pa.types
    if kind.is_dictionary(arrow_type) or kind.is_null(arrow_type):
        raise FrameError(
            f"Column {column!r} has {arrow_type} inside a nested type.",
            "Cast it to a type of plain values first.",
        )
    return storage_type(arrow_type, format, column)


def _advice(arrow_type: Any, column: str) -> str:
    kind = pa.types
    if kind.is_time(arrow_type):
        return (
            f"Hive has no time of day: store text (df[{column!r}].astype(str)), or a number of "
            "microseconds."
        )
    if kind.is_duration(arrow_type) or kind.is_interval(arrow_type):
        return f"Hive has no durations: store a number, such as df[{column!r}].dt.total_seconds()."
    if kind.is_union(arrow_type):
        return "Values of several types do not fit one Hive column: split it."
    return f"Hive has no such type: cast column {column!r} to plain values first."


# ---- Hive's own text for types ------------------------------------------------------------


def arrow_type(hive: str) -> Any:
    """Return the Arrow type of a file for a Hive type.

    Args:
        hive: As the metastore has it: "bigint", "varchar(20)", "struct<a:int,b:array<string>>".

    Returns:
        pa.DataType: Timestamps are naive and in microseconds.

    Raises:
        SchemaError: It is not a Hive type, or one that Arrow cannot hold.
    """
    try:
        parsed, rest = _parse_hive(hive.strip().lower(), hive)
    except RecursionError as error:
        raise _no_hive_type(f"{hive[:80]}…") from error
    if rest:
        raise _no_hive_type(hive)
    return parsed


def _parse_hive(text: str, whole: str) -> tuple[Any, str]:
    """Read one type from the front of `text`; return it and what is left."""
    word = re.match(r"\s*([a-z0-9_]+)(?:\((\d+)(?:,\s*(\d+))?\))?\s*", text)
    if not word:
        raise _no_hive_type(whole)
    name, first, second = word.groups()
    rest = text[word.end() :]
    if name == "decimal" and first:
        precision, scale = int(first), int(second or 0)
        if not (1 <= precision <= _DIGITS and scale <= precision):
            raise _no_hive_type(whole)
        return pa.decimal128(precision, scale), rest
    if name in ("varchar", "char") and first and not second:
        return pa.string(), rest
    if name in _ARROW_OF and not first:
        return _ARROW_OF[name], rest
    if name in ("array", "map", "struct") and rest.startswith("<"):
        return _parse_nested(name, rest[1:], whole)
    raise _no_hive_type(whole)


def _parse_nested(name: str, text: str, whole: str) -> tuple[Any, str]:
    inner: list[tuple[str, Any]] = []
    while True:
        field = ""
        if name == "struct":
            field, colon, text = text.partition(":")
            if not colon:
                raise _no_hive_type(whole)
        parsed, text = _parse_hive(text, whole)
        inner.append((field.strip(), parsed))
        if text.startswith(","):
            text = text[1:]
            continue
        if not text.startswith(">"):
            raise _no_hive_type(whole)
        break
    types = [parsed for _, parsed in inner]
    if len(types) != {"array": 1, "map": 2}.get(name, len(types)):
        raise _no_hive_type(whole)
    made = {"array": pa.list_, "map": pa.map_}.get(name)
    return (made(*types) if made else pa.struct(inner)), text[1:]


def _no_hive_type(hive: str) -> SchemaError:
    return SchemaError(
        f"{hive!r} is not a Hive type that can be read here.",
        "Known are boolean, the integers, float, double, decimal(p,s), string, varchar(n), "
        "char(n), binary, date, timestamp, array<>, map<> and struct<>.",
    )
