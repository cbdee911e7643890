"""Cutting a table into runs of rows that take about so much memory each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_AS_TEXT = {
    pa.null(): 3,
    pa.bool_(): 6,
    pa.int8(): 5,
    pa.uint8(): 4,
    pa.int16(): 7,
    pa.uint16(): 6,
}
"""Bytes of text of a cell, and the separator, of types that take much less memory than that."""
_LONGEST_TEXT = 1 << 29
"""Bytes that a column of categories may become as text: Arrow's strings end at 2 GiB."""


def slices(table: pa.Table, size: int) -> Iterator[pa.Table]:
    """Yield the rows in order, in parts of about `size` bytes, of equal counts of rows.

    Where rows are much longer than the average, parts have fewer. Categories, booleans and small
    integers count as the text they become. No rows, no parts.
    """
    if not table.num_rows:
        return
    parts = max(1, -(-weight(table) // size))
    step = max(1, min(-(-table.num_rows // parts), _LONGEST_TEXT // _longest(table)))
    for start in range(0, table.num_rows, step):
        yield from _halved(table.slice(start, step), 2 * size)


def _halved(table: pa.Table, limit: int) -> Iterator[pa.Table]:
    if table.num_rows == 1 or weight(table) <= limit:
        yield table
        return
    half = table.num_rows // 2
    yield from _halved(table.slice(0, half), limit)
    yield from _halved(table.slice(half), limit)


def weight(table: pa.Table) -> int:
    """Return the bytes that rows take in memory, or as text in columns where that is far more."""
    total = 0
    for values in table.columns:
        if pa.types.is_dictionary(values.type):
            total += sum(map(_text_of, values.chunks))
        else:
            total += max(values.nbytes, len(values) * _AS_TEXT.get(values.type, 0))
    return total


def _text_of(chunk: Any) -> int:
    """Return how many bytes the rows of a column of categories are as text."""
    held = chunk.dictionary
    mean = int(held.nbytes) // max(1, len(held))
    try:
        lengths = pc.binary_length(held)
    except pa.ArrowNotImplementedError:  # categories that are no text
        return len(chunk) * (mean + 1)
    if (pc.max(lengths).as_py() or 0) <= 4 * mean:
        return len(chunk) * (mean + 1)
    used = pc.value_counts(chunk.indices.drop_null())  # a few long ones may be those of most rows
    each = lengths.take(used.field("values")).cast(pa.int64())
    return len(chunk) + int(pc.sum(pc.multiply(each, used.field("counts"))).as_py() or 0)


def _longest(table: pa.Table) -> int:
    """Return the length of the longest category of text, at least 1."""
    longest = 1
    for values in table.columns:
        if not pa.types.is_dictionary(values.type):
            continue
        for chunk in values.chunks:
            try:
                length = pc.max(pc.binary_length(chunk.dictionary)).as_py() or 1
            except pa.ArrowNotImplementedError:  # categories that are no text
                break
            longest = max(longest, length)
    return longest
