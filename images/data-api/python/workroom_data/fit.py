"""Does a frame fit a table? Put it in the table's order, take what is narrower, refuse the rest.

A file of the text format has no column names: readers go by position. So the columns of a table
stay where they are for ever, and new ones come at the end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from workroom_data.catalogue import Column, Table
from workroom_data.commits import Commit, StoredColumn
from workroom_data.errors import SchemaError
from workroom_data.types import UTC_COMMENT

_INTEGERS = ("tinyint", "smallint", "int", "bigint")
_FLOATS = ("float", "double")
_TIME = re.compile(r"(?:dictionary<values=)?timestamp\[\w+(, tz=)?")
_DECIMAL = re.compile(r"decimal\((\d+),(\d+)\)")


@dataclass(frozen=True)
class Fitted:
    """A frame that fits.

    Attributes:
        data: Rows, columns in the table's order, new ones last.
        columns: The same columns as they are stored.
        added: Columns that the table does not have yet.
    """

    data: pa.Table
    columns: tuple[StoredColumn, ...]
    added: tuple[Column, ...]


def hive_column(column: StoredColumn) -> Column:
    """Return the column as the metastore gets it.

    Hive has one type for times with and without a time zone; the comment tells them apart.
    """
    return Column(column.name.lower(), column.hive, UTC_COMMENT if _aware(column.arrow) else "")


def fit(data: pa.Table, columns: tuple[StoredColumn, ...], table: Table) -> Fitted:
    """Fit a frame to a table that exists.

    Args:
        data: Rows.
        columns: Its columns, of names that differ in lower case.
        table: The table.

    Raises:
        SchemaError: A column of the table is missing, or one has another type.
    """
    position = {column.name.lower(): i for i, column in enumerate(columns)}
    _nothing_missing(table, position)
    order = [position[column.name] for column in table.columns]
    known = set(order)
    extra = [i for i in range(len(columns)) if i not in known]
    stored = [
        _fit_column(columns[i], data.schema.field(i).type, target, table)
        for i, target in zip(order, table.columns, strict=True)
    ]
    stored += [columns[i] for i in extra]
    added = tuple(hive_column(columns[i]) for i in extra)
    return Fitted(data.select([*order, *extra]), tuple(stored), added)


def fit_newest(columns: tuple[StoredColumn, ...], format: str, newest: Commit) -> None:
    """See that a batch still fits the newest commit of its partition, just before it is committed.

    Somebody may have committed since the table was looked at.

    Raises:
        SchemaError: It does not.
    """
    where = f"{newest.database}.{newest.table}"
    if newest.format != format:
        raise SchemaError(
            f"{where} has batches of format {newest.format!r} since commit {newest.number}.",
            f"Store with format={newest.format!r}.",
        )
    for i, theirs in enumerate(newest.columns):
        ours = columns[i] if i < len(columns) else None
        if ours is None or ours.name.lower() != theirs.name.lower():
            raise SchemaError(
                f"Commit {newest.number} of {newest.who} gave {where} the column {theirs.name!r} "
                f"({theirs.hive}), which this frame does not have at that place.",
                "Add the column to the frame and store again.",
            )
        if ours.hive != theirs.hive or _mixed_zones(ours, theirs):
            raise SchemaError(
                f"Column {ours.name!r} of {where} is {_shown(theirs)} since commit "
                f"{newest.number} of {newest.who}; the frame's is {_shown(ours)}.",
                "Store it under another name, or as the type it has.",
            )


def _nothing_missing(table: Table, position: dict[str, int]) -> None:
    missing = [column for column in table.columns if column.name not in position]
    if not missing:
        return
    names = ", ".join(f"{column.name!r} ({column.hive})" for column in missing)
    example = f"df[{missing[0].name!r}] = None"
    raise SchemaError(
        f"The frame lacks {names} of {table.database}.{table.name}, which has "
        f"{', '.join(repr(column.name) for column in table.columns)}.",
        f"Columns are never dropped; give the frame the column ({example} for NULLs).",
    )


def _fit_column(column: StoredColumn, given: Any, target: Column, table: Table) -> StoredColumn:
    """Return the column as the table stores it. What a load gives back is its own type still.

    Raises:
        SchemaError: It is of another type and not a narrower one of the same family.
    """
    if pa.types.is_null(given) or narrower(column.hive, target.hive):
        return replace(column, hive=target.hive)
    if column.hive == target.hive:
        _same_awareness(column, target, table)
        return column
    raise SchemaError(
        f"Column {column.name!r} of {table.database}.{table.name} is {target.hive}; the frame's is "
        f"{column.hive} ({column.pandas or column.arrow}).",
        _advice(column, target),
    )


def narrower(given: str, wanted: str) -> bool:
    """Say whether every value of Hive type `given` is one of `wanted`, of the same family."""
    for family in (_INTEGERS, _FLOATS):
        if given in family and wanted in family:
            return family.index(given) < family.index(wanted)
    ours, theirs = _DECIMAL.fullmatch(given), _DECIMAL.fullmatch(wanted)
    if ours is None or theirs is None:
        return False
    precision, scale = int(ours[1]), int(ours[2])
    wider, finer = int(theirs[1]), int(theirs[2])
    return scale <= finer and precision - scale <= wider - finer


def _same_awareness(column: StoredColumn, target: Column, table: Table) -> None:
    """Refuse times with a time zone among times without one, and the reverse.

    A comment that somebody has changed says nothing; then the newest commit decides.
    """
    aware = _aware(column.arrow)
    if target.hive != "timestamp" or target.comment not in ("", UTC_COMMENT):
        return
    if aware == (target.comment == UTC_COMMENT):
        return
    name = f"df[{column.name!r}].dt"
    raise SchemaError(
        f"Column {column.name!r} of {table.database}.{table.name} has times "
        f"{'without' if aware else 'with'} a time zone; the frame's have "
        f"{'one' if aware else 'none'}.",
        f"Use {name}.tz_convert('UTC').dt.tz_localize(None), if UTC is what the table means."
        if aware
        else f"Name the zone they are in: {name}.tz_localize('Europe/Berlin').",
    )


def _aware(arrow: str) -> bool:
    """Say whether an Arrow type is of times with a time zone, or of categories of such."""
    found = _TIME.match(arrow)
    return bool(found and found[1])


def _mixed_zones(ours: StoredColumn, theirs: StoredColumn) -> bool:
    """Say whether one has times with a time zone, and the other one times without."""
    both = _TIME.match(ours.arrow) and _TIME.match(theirs.arrow)
    return bool(both) and _aware(ours.arrow) != _aware(theirs.arrow)


def _shown(column: StoredColumn) -> str:
    return f"{column.hive} ({column.arrow})"


def _advice(column: StoredColumn, target: Column) -> str:
    name = repr(column.name)
    if target.hive in _INTEGERS and column.hive in _FLOATS:
        return (
            f"A column of integers with NULLs becomes floating in pandas: "
            f"df[{name}].astype('Int64') makes integers of it."
        )
    if column.hive.startswith("decimal") and (wanted := _DECIMAL.fullmatch(target.hive)):
        return (
            f"Types of a table stay: it has {wanted[1]} digits, {wanted[2]} of them after the "
            "point. Round, or store it under another name."
        )
    if narrower(target.hive, column.hive):
        dtype = {"int": "int32", "bigint": "int64", "smallint": "int16", "tinyint": "int8"}.get(
            target.hive, {"float": "float32"}.get(target.hive, target.hive)
        )
        return f"Types of a table stay; if the values fit, use df[{name}].astype('{dtype}')."
    return "Types of a table stay; convert the column, or store it under another name."
