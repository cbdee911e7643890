"""One block of the text format through pyarrow's CSV reader, or past it as Hive would read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from workroom_data.commits import StoredColumn
from workroom_data.text import NULL
from workroom_data.text_values import to_nanoseconds
from workroom_data.types import file_type


@dataclass(frozen=True)
class Block:
    """A block as the CSV reader can take it.

    Attributes:
        text: The rows.
        delimiter: Between fields.
        marks: What stands for what, in the order in which it was put: (plain, mark).
    """

    text: Any
    delimiter: bytes
    marks: tuple[tuple[bytes, bytes], ...]


class Unreadable(Exception):
    """Row of the block, and what is wrong with it."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row = row
        self.what = what


def read_type(column: StoredColumn) -> pa.DataType:
    """Return the Arrow type the column is read as."""
    return file_type(column.hive, column.arrow, "text")


def read_csv(text: Any, delimiter: bytes, count: int, types: dict[str, pa.DataType]) -> pa.Table:
    """Read text of `count` columns called "0", "1" …, those that `types` names."""
    if not len(text) or not types:
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    return csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),
        read_options=csv.ReadOptions(
            column_names=[str(at) for at in range(count)],
            use_threads=False,
            block_size=len(text) + 1,
        ),
        parse_options=csv.ParseOptions(
            delimiter=delimiter.decode(),
            quote_char=False,
            double_quote=False,
            escape_char=False,
            newlines_in_values=False,
            ignore_empty_lines=False,
        ),
        convert_options=csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            null_values=[NULL],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            true_values=["true", "TRUE", "True"],
            false_values=["false", "FALSE", "False"],
        ),
    )


def forgiving(block: Block, columns: tuple[StoredColumn, ...], places: tuple[int, ...]) -> pa.Table:
    """Read a block that is not as we write it.

    Missing fields at a row's end are NULL and fields too many are passed over; an empty field is
    NULL in any column but strings; the case of booleans and a `+` do not matter.
    """
    rows = bytes(block.text).splitlines()
    count = len(columns)
    null, end = NULL.encode(), block.delimiter
    squared = b"".join(end.join((row.split(end) + [null] * count)[:count]) + b"\n" for row in rows)
    table = read_csv(squared, end, count, {str(at): pa.binary() for at in places})
    fields = [
        _converted(table.column(index).combine_chunks(), columns[at])
        for index, at in enumerate(places)
    ]
    return pa.table(fields, names=[str(at) for at in places])


def _converted(values: pa.Array, column: StoredColumn) -> pa.Array:
    """Convert a column of bytes as Hive would, but refuse what Hive makes NULL in silence."""
    kinds = [read_type(column)]
    if pa.types.is_binary(kinds[0]):
        return values
    try:
        given = values.cast(pa.string())
    except pa.ArrowInvalid:
        row = next(i for i, v in enumerate(values.to_pylist()) if v and not _is_utf8(v))
        raise Unreadable(row, f"column {column.name!r} is not UTF-8") from None
    if pa.types.is_string(kinds[0]):
        return given
    text = pc.if_else(pc.equal(given, ""), pa.scalar(None, pa.string()), given)
    text = pc.utf8_lower(text) if column.hive == "boolean" else pc.utf8_ltrim(text, "+")
    if pa.types.is_timestamp(kinds[0]):
        kinds += [pa.timestamp("us"), pa.timestamp("ns")]
    for kind in kinds:
        try:
            return _cast(text, kind)
        except pa.ArrowInvalid:
            continue
    row = next(i for i in range(len(text)) if not _casts(text.slice(i, 1), kinds[-1]))
    value = given[row].as_py()
    raise Unreadable(row, f"column {column.name!r} holds {value!r}, which is no {column.hive}")


def _cast(text: pa.Array, kind: pa.DataType) -> pa.Array:
    return to_nanoseconds(text) if kind == pa.timestamp("ns") else text.cast(kind)


def _casts(text: pa.Array, kind: pa.DataType) -> bool:
    try:
        _cast(text, kind)
    except pa.ArrowInvalid:
        return False
    return True


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
