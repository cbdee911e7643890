"""What a store is to do: what is known, and what is refused, before a byte is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workroom_data import formats
from workroom_data import partitions as parts
from workroom_data.catalogue import Column, Table
from workroom_data.commits import StoredColumn
from workroom_data.errors import PartitionError, SchemaError
from workroom_data.fit import Fitted, fit, hive_column
from workroom_data.frames import to_arrow
from workroom_data.refusals import first_row
from workroom_data.session import Session


@dataclass(frozen=True)
class Plan:
    """All that is known before the first byte is written.

    Attributes:
        table: The table, with the columns it will have.
        new: It is not there yet.
        values: Values of the partition keys, as text.
        partition: The partition's name in paths, or "".
        fitted: The rows and columns to store.
    """

    table: Table
    new: bool
    values: tuple[str, ...]
    partition: str
    fitted: Fitted

    @property
    def folder(self) -> str:
        """The partition's folder, or the table's."""
        return f"{self.table.root}/{self.partition}".rstrip("/")


def planned(
    now: Session,
    place: tuple[str, str],
    df: Any,
    given: Any,
    keys: Sequence[str] | Mapping[str, str] | None,
    format: str | None,
    index: bool,
) -> Plan:
    """Look at everything that may speak against the store."""
    formats.named(format or "text")
    there = now.catalogue.table(*place)
    if there is None:
        key_columns = parts.keys_of(given, keys)
        root = f"{now.settings.warehouse}/{place[0]}/{place[1]}"
        table = Table(*place, (), key_columns, format or "text", root, root)
    else:
        table = there
        _agrees(table, format, keys)
    values = parts.values(table.keys, given)
    data, columns = to_arrow(df, index=index)
    data, columns = _without_keys(data, columns, table.keys, values)
    if there is None:
        table = replace(table, columns=tuple(hive_column(column) for column in columns))
    fitted = fit(data, columns, table)
    return Plan(table, there is None, values, parts.name(table.keys, values), fitted)


def _agrees(
    table: Table, format: str | None, keys: Sequence[str] | Mapping[str, str] | None
) -> None:
    """See that a table that exists is of the format and has the keys that were asked for."""
    where = f"{table.database}.{table.name}"
    if format not in (None, table.format):
        raise SchemaError(
            f"{where} is a table of format {table.format!r}, not {format!r}.",
            "A table keeps its format: leave `format` out, or store to another table.",
        )
    if keys is None:
        return
    asked = parts.key_columns(keys)
    typed = isinstance(keys, Mapping)
    if [(key.name, typed and key.hive) for key in asked] != [
        (key.name, typed and key.hive) for key in table.keys
    ]:
        raise PartitionError(
            f"{where} is partitioned by {parts.listed(table.keys)}, not {parts.listed(asked)}.",
            "A table keeps its keys: leave `partition_keys` out, or store to another table.",
        )


def _without_keys(
    data: pa.Table,
    columns: tuple[StoredColumn, ...],
    keys: tuple[Column, ...],
    values: tuple[str, ...],
) -> tuple[pa.Table, tuple[StoredColumn, ...]]:
    """Take partition keys out of the frame, which a load had put there.

    Raises:
        PartitionError: A row has another value than the partition.
    """
    wanted = dict(zip((key.name for key in keys), values, strict=True))
    kept = []
    for i, column in enumerate(columns):
        if column.name.lower() not in wanted:
            kept.append(i)
            continue
        key = next(key for key in keys if key.name == column.name.lower())
        _only_value(data.column(i), column, key, wanted[key.name])
    if not kept:
        raise SchemaError(
            "The frame has no columns other than partition keys.",
            "A table needs at least one of its own.",
        )
    return data.select(kept), tuple(columns[i] for i in kept)


def _only_value(values: pa.ChunkedArray, column: StoredColumn, key: Column, wanted: str) -> None:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    try:
        found = pc.unique(values).to_pylist()
    except pa.ArrowNotImplementedError as error:  # lists, structs
        raise PartitionError(
            f"Column {column.name!r} has the name of the partition key {key.name!r} and is of type "
            f"{values.type}.",
            "Rename it, or drop it from the frame.",
        ) from error
    for value in found:
        if _is_text(value, key, wanted):
            continue
        row, _ = first_row(values.to_pylist(), lambda v: not _is_text(v, key, wanted))
        raise PartitionError(
            f"Column {column.name!r}, row {row}: {value!r} is not the value of the partition key "
            f"{key.name!r}, {wanted!r}.",
            "Store each partition's rows by themselves, or drop the column from the frame.",
        )


def _is_text(value: Any, key: Column, wanted: str) -> bool:
    try:
        return parts.text(value, key) == wanted
    except PartitionError:
        return False
