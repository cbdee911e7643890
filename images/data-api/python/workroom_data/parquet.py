"""Parquet as a table's format, as Spark 3 and 4, Presto and Hive 2.3 all read it.

Snappy, because all of them have it built in (zstd is a fifth smaller; Hive 2.3 lacks it). Times as
INT96, because Hive 2.3 knows no other way, Spark and Presto read it too, and Spark 3 writes it
itself; in UTC, to the microsecond. Dictionaries for text, and for integers of one byte, which take
four without: on other numbers they cost more time than they save space. Names are Hive's, in lower
case, since Parquet's readers go by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

from workroom_data.casting import to_storage
from workroom_data.categories import dictionary_of, encoded, only_used
from workroom_data.commits import StoredColumn
from workroom_data.errors import Damaged
from workroom_data.joining import joined
from workroom_data.slices import slices
from workroom_data.types import file_type

ROW_GROUP_BYTES = 64 << 20
"""Rows that are encoded at a time; also what a reader of one column skips by."""
_SHORT = 1 << 20


class _Sink:
    """A file for Arrow to write, whose content is taken away as it comes."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._size += len(data)
        return len(data)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """Return what was written since the last time."""
        content = b"".join(self._parts)
        self._parts.clear()
        return content


def encode(table: pa.Table, columns: Sequence[StoredColumn]) -> Iterator[bytes]:
    """Write a table as one Parquet file, a row group at a time.

    Args:
        table: Columns of their original types, in the order of `columns`.
        columns: Name and Hive type of each.

    Raises:
        FrameError: A value does not fit its Hive type.
    """
    sink = _Sink()
    whole = _with_categories(table)
    writer = _writer(sink, _stored(table.slice(0, 0), columns, whole).schema)
    coded = sum(map(pa.types.is_dictionary, table.schema.types))
    # Categories that are decoded are memory of their own, beside what is made of them.
    for rows in slices(table, ROW_GROUP_BYTES // (1 if coded == len(whole) else 2)):
        stored = _stored(rows, columns, whole)
        writer.write_table(stored, row_group_size=max(1, stored.num_rows))
        yield sink.take()
    writer.close()
    yield sink.take()


def _with_categories(table: pa.Table) -> frozenset[int]:
    """Return the columns whose categories are written as they are, without making text of rows.

    Only short dictionaries: each row group has one, and Parquet's writer goes without beyond 1 MB.
    """
    return frozenset(
        at
        for at, values in enumerate(table.columns)
        if pa.types.is_dictionary(values.type)
        and pa.types.is_string(values.type.value_type)
        and all(chunk.dictionary.nbytes <= _SHORT for chunk in values.chunks)
    )


def _stored(rows: pa.Table, columns: Sequence[StoredColumn], kept: frozenset[int]) -> pa.Table:
    """Return rows as the file holds them, but for the columns `kept`, which are dictionaries."""
    arrays = []
    for at, column in enumerate(columns):
        values = rows.column(at)
        if at in kept and column.hive == "string":
            values = pa.chunked_array(map(only_used, values.chunks), values.type)
        else:
            values = to_storage(rows.select([at]), [column], "parquet").column(0)
        arrays.append(values)
    return pa.Table.from_arrays(arrays, names=[column.name.lower() for column in columns])


def _writer(sink: _Sink, schema: pa.Schema) -> Any:
    text = [field.name for field in schema if _has_dictionary(field.type)]
    return pq.ParquetWriter(
        pa.PythonFile(sink, "w"),
        schema,
        compression="snappy",
        use_dictionary=text or False,
        use_deprecated_int96_timestamps=True,
        store_schema=False,  # commits know the types; a second opinion in the file helps nobody
        write_batch_size=4096,
    )


def _has_dictionary(kind: Any) -> bool:
    return pa.types.is_dictionary(kind) or kind in (pa.string(), pa.binary(), pa.int8())


def decode(
    data: bytes,
    columns: Sequence[StoredColumn],
    wanted: Sequence[str] | None = None,
    name: str = "the file",
) -> pa.Table:
    """Read a Parquet file, ours or another's.

    Args:
        data: The file.
        columns: All columns of the table.
        wanted: Names of the columns to give back, in this order; all by default.
        name: The file's, for messages.

    Returns:
        The columns in the Arrow types that `types.file_type` says; what was a dictionary is one
        again, of such values. One that the file does not have, being older than the column, is
        NULL.

    Raises:
        Damaged: It is not Parquet, or a column is of another type.
    """
    known = {column.name: column for column in columns}
    chosen = [known[one] for one in (known if wanted is None else wanted)]
    try:
        file = pq.ParquetFile(pa.BufferReader(data), coerce_int96_timestamp_unit="us")
        held = {field.name.lower(): field.name for field in file.schema_arrow}
        found = [held[c.name.lower()] for c in chosen if c.name.lower() in held]
        coded = [
            held[c.name.lower()] for c in chosen if dictionary_of(c) and c.name.lower() in held
        ]
        if coded:
            groups = _groups(data, coded, found)
            return joined([_fields(rows, chosen, held, name) for rows in groups], name)
        table = file.read(columns=found, use_threads=True)
    except (pa.ArrowException, OSError) as error:
        raise Damaged(f"{name} is not whole Parquet: {error}.", "Read an earlier batch.") from error
    return _fields(table, chosen, held, name)


def _groups(data: bytes, coded: list[str], found: list[str]) -> Iterator[pa.Table]:
    """Read a file by row groups, columns of categories as codes where the file has such."""
    file = pq.ParquetFile(
        pa.BufferReader(data), coerce_int96_timestamp_unit="us", read_dictionary=coded
    )
    if not file.num_row_groups:
        yield file.read(columns=found)
    for at in range(file.num_row_groups):
        yield file.read_row_group(at, columns=found, use_threads=True)


def _fields(
    table: pa.Table, chosen: Sequence[StoredColumn], held: Mapping[str, str], name: str
) -> pa.Table:
    fields = [_column(table, held.get(c.name.lower()), c, name) for c in chosen]
    return pa.table(fields, names=[column.name for column in chosen])


def _column(table: pa.Table, held: str | None, column: StoredColumn, name: str) -> Any:
    kind = file_type(column.hive, column.arrow, "parquet")
    like = dictionary_of(column)
    if held is None:
        return pa.nulls(table.num_rows, kind)
    values = table.column(held)
    try:
        if like is not None and values.type == pa.dictionary(pa.int32(), kind):
            return encoded(values, like)
        values = values.cast(kind)
        return values if like is None else encoded(values, like)
    except pa.ArrowException as error:
        raise Damaged(
            f"{name}: column {column.name!r} is {table.column(held).type}, "
            f"and does not fit {column.hive}: {error}.",
            "Whoever wrote the file used another schema than the table's.",
        ) from error
