"""Cutting a table into runs of rows that take about so much memory each."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

_LONGEST_TEXT = 1 << 29
"""Bytes that a column of categories may become as text: Arrow's strings end at 2 GiB."""


def slices(table: pa.Table, size: int) -> Iterator[pa.Table]:
    """Yield the rows in order, in parts of about `size` bytes, of equal counts of rows.

    Where rows are much longer than the average, parts have fewer. Categories count as the text
    they stand for. No rows, no parts.
    """
    if not table.num_rows:
        return
    parts = max(1, -(-_weight(table) // size))
    step = max(1, min(-(-table.num_rows // parts), _LONGEST_TEXT // _longest(table)))
    for start in range(0, table.num_rows, step):
        yield from _halved(table.slice(start, step), 2 * size)


def _halved(table: pa.Table, limit: int) -> Iterator[pa.Table]:
    if table.num_rows == 1 or _weight(table) <= limit:
        yield table
        return
    half = table.num_rows // 2
    yield from _halved(table.slice(0, half), limit)
    yield from _halved(table.slice(half), limit)


def _weight(table: pa.Table) -> int:
    total = 0
    for values in table.columns:
        if not pa.types.is_dictionary(values.type):
            total += values.nbytes
            continue
        for chunk in values.chunks:
            mean = chunk.dictionary.nbytes // max(1, len(chunk.dictionary))
            total += len(chunk) * (mean + 1)
    return total


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
