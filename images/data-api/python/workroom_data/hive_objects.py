"""Tables and pointers as the Hive Metastore keeps them, and back.

The properties are the standard ones, so that Spark, Hive and others read the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymetastore.hive_metastore.ttypes import (
    FieldSchema,
    Partition,
    SerDeInfo,
    StorageDescriptor,
)
from pymetastore.hive_metastore.ttypes import Table as HiveTable

from workroom_data import partitions as parts
from workroom_data.catalogue import Altered, Column, Pointer, Table
from workroom_data.errors import SchemaError

VERSION = "1"
COMMIT = "workroom.commit"
BATCH_ID = "workroom.batch_id"
SCHEMA = "workroom.schema"
"""Counts the changes of a partitioned table's columns, to notice that somebody else made one."""

_FORMAT = "workroom.format"
_VERSION = "workroom.version"
_ROOT = "workroom.root"
_OF_POINTERS = (COMMIT, BATCH_ID, "numRows", "totalSize")


@dataclass(frozen=True)
class _Serde:
    """How Hive reads and writes files: class names and properties."""

    library: str
    input: str
    output: str
    properties: Mapping[str, str]


_SERDES = {
    "text": _Serde(
        "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe",
        "org.apache.hadoop.mapred.TextInputFormat",
        "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
        {
            # The character NUL. Written out, a metastore in PostgreSQL refuses it.
            "field.delim": "0",
            "serialization.format": "0",
            "escape.delim": "\\",
            "serialization.escape.crlf": "true",
        },
    ),
    "parquet": _Serde(
        "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat",
        {"serialization.format": "1"},
    ),
}


# ---- To the metastore ---------------------------------------------------------------------


def hive_table(table: Table, pointer: Pointer | None = None) -> Any:
    """Return a table for the metastore.

    Args:
        table: The table.
        pointer: Of an unpartitioned table what it is to point at. Otherwise the location and the
            parameters it has are kept.
    """
    parameters = dict(table.parameters) | {
        "EXTERNAL": "TRUE",  # dropping the table leaves its files
        _FORMAT: table.format,
        _VERSION: VERSION,
    }
    location, columns = table.location, table.columns
    if table.keys:
        parameters.setdefault(SCHEMA, "1")
    else:
        parameters[_ROOT] = uri(table.root)
    if pointer is not None:
        location, columns = pointer.location, pointer.columns
        parameters = _without_pointer(parameters) | _pointer_parameters(pointer)
    return HiveTable(
        tableName=table.name,
        dbName=table.database,
        owner=table.owner,
        createTime=int(time.time()),
        lastAccessTime=0,
        retention=0,
        sd=_descriptor(table.format, location, columns),
        partitionKeys=_fields(table.keys),
        parameters=parameters,
        tableType="EXTERNAL_TABLE",
    )


def hive_partition(table: Table, pointer: Pointer) -> Any:
    """Return a partition for the metastore.

    Raises:
        PartitionError: A value, or all of them together, is longer than a metastore keeps.
    """
    # A longer one is refused by the metastore's database too, after 20 s of attempts.
    parts.short_enough(table.keys, pointer.values)
    return Partition(
        values=list(pointer.values),
        dbName=table.database,
        tableName=table.name,
        createTime=int(time.time()),
        lastAccessTime=0,
        sd=_descriptor(table.format, pointer.location, pointer.columns),
        parameters=_pointer_parameters(pointer),
    )


def partition_name(table: Table, values: Sequence[str]) -> str:
    """Return a partition's name as the metastore makes it: `year=2016/city=a%2Fb`."""
    return parts.name(table.keys, values)


def uri(location: str) -> str:
    """Return a location as the metastore has it: a local path becomes `file:/…`."""
    return f"file:{location}" if location.startswith("/") else location


# ---- From the metastore -------------------------------------------------------------------


def table_of(given: Any) -> Table:
    """Return a table of ours.

    Raises:
        SchemaError: It is not one of ours, or somebody has changed how it is read.
    """
    parameters = dict(given.parameters or {})
    _ours(given, parameters)
    keys = _columns(given.partitionKeys)
    location = _path(given.sd.location)
    return Table(
        given.dbName,
        given.tableName,
        _columns(given.sd.cols),
        keys,
        parameters[_FORMAT],
        location,
        location if keys else _path(parameters.get(_ROOT) or given.sd.location),
        parameters,
        given.owner or "",
    )


def pointer_of(given: Any) -> Pointer:
    """Return the pointer of a partition; one that a stranger made has number 0."""
    return _pointer(tuple(given.values), given.sd, given.parameters or {})


def table_pointer_of(given: Any) -> list[Pointer]:
    """Return the pointer of an unpartitioned table, in a list; none if it never had one."""
    parameters = given.parameters or {}
    if COMMIT not in parameters and _path(given.sd.location) == _path(parameters.get(_ROOT, "")):
        return []
    return [_pointer((), given.sd, parameters)]


def holds(there: Table, wanted: Table) -> bool:
    """Say whether a table has the columns and parameters that were wanted, wherever it points."""
    passing = {SCHEMA, "transient_lastDdlTime", *_OF_POINTERS}
    same = all(
        there.parameters.get(name) == value
        for name, value in wanted.parameters.items()
        if name not in passing
    )
    return same and there.columns == wanted.columns


def moved(table: Table, now: Table) -> Table:
    """Return a table with the pointer that it has by now."""
    pointer = {name: now.parameters[name] for name in _OF_POINTERS if name in now.parameters}
    parameters = _without_pointer(table.parameters) | pointer
    return replace(table, location=now.location, parameters=parameters)


# ---- Parts --------------------------------------------------------------------------------


def _descriptor(format: str, location: str, columns: Sequence[Column]) -> Any:
    serde = _SERDES[format]
    return StorageDescriptor(
        cols=_fields(columns),
        location=uri(location),
        inputFormat=serde.input,
        outputFormat=serde.output,
        compressed=False,
        numBuckets=-1,
        serdeInfo=SerDeInfo(
            name="", serializationLib=serde.library, parameters=dict(serde.properties)
        ),
        bucketCols=[],
        sortCols=[],
        parameters={},
    )


def _fields(columns: Sequence[Column]) -> list[Any]:
    return [FieldSchema(column.name.lower(), column.hive, column.comment) for column in columns]


def _columns(fields: Any) -> tuple[Column, ...]:
    return tuple(Column(one.name, one.type, one.comment or "") for one in fields or ())


def _pointer_parameters(pointer: Pointer) -> dict[str, str]:
    parameters = {COMMIT: str(pointer.number), BATCH_ID: pointer.batch_id}
    if pointer.rows is not None:
        parameters["numRows"] = str(pointer.rows)
    if pointer.size is not None:
        parameters["totalSize"] = str(pointer.size)
    return parameters


def _without_pointer(parameters: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name not in _OF_POINTERS}


def _pointer(values: tuple[str, ...], descriptor: Any, parameters: Mapping[str, str]) -> Pointer:
    number = parameters.get(COMMIT, "")
    return Pointer(
        values,
        _path(descriptor.location),
        int(number) if number.isdecimal() and number.isascii() else 0,
        parameters.get(BATCH_ID, ""),
        _columns(descriptor.cols),
        _count(parameters.get("numRows")),
        _count(parameters.get("totalSize")),
    )


def _count(text: str | None) -> int | None:
    """Return a statistic, or None: others write -1 for what they do not know."""
    return int(text) if text and text.isascii() and text.isdecimal() else None


def _path(location: str | None) -> str:
    """Return a location in our own spelling: `s3://…`, or an absolute path for `file:/…`."""
    text = location or ""
    for scheme in ("s3a://", "s3n://"):
        if text.startswith(scheme):
            text = "s3://" + text.removeprefix(scheme)
    if text.startswith("file:"):
        text = "/" + text.removeprefix("file:").lstrip("/")
    return text.rstrip("/")


def _ours(given: Any, parameters: Mapping[str, str]) -> None:
    """See that a table is ours, and read as ours are.

    Raises:
        SchemaError: It says what the table is instead.
    """
    name = f"{given.dbName}.{given.tableName}"
    version, format = parameters.get(_VERSION), parameters.get(_FORMAT)
    if given.tableType == "VIRTUAL_VIEW":
        raise SchemaError(f"{name} is a view.", "Read it with Spark.")
    if version is None or format is None:
        raise SchemaError(
            f"{name} was not made by workroom_data: it has no batches and no history.",
            "Read it with Spark (spark.table), and store it under another name to have both.",
        )
    if version != VERSION or format not in _SERDES:
        raise SchemaError(
            f"{name} is of version {version!r} and format {format!r}, which this library does "
            "not know.",
            "Use a newer image (a newer workroom-data).",
        )
    library = given.sd.serdeInfo.serializationLib
    wanted = _SERDES[format]
    changed = [
        f"{key}={(given.sd.serdeInfo.parameters or {}).get(key)!r}"
        for key, value in wanted.properties.items()
        if (given.sd.serdeInfo.parameters or {}).get(key) != value
    ]
    if library != wanted.library or changed:
        raise Altered(
            f"Somebody changed how {name} is read: {library}, {', '.join(changed) or 'other'}.",
            "Files are as they were. `workroom-data rebuild` makes the table anew from its logs.",
        )
