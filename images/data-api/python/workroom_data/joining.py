"""Blocks of a file, and files of a batch, put together."""

from __future__ import annotations

import pyarrow as pa

from workroom_data.categories import united
from workroom_data.errors import Damaged

TOGETHER = 32
"""Blocks whose codes are put together: alone, each costs more memory and time than it holds."""


class Blocks:
    """Blocks of one file, taken in order.

    Args:
        name: The file's, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._done: list[pa.Table] = []
        self._fresh: list[pa.Table] = []

    def add(self, block: pa.Table) -> None:
        """Take the next block."""
        self._fresh.append(block)
        if len(self._fresh) == TOGETHER and any(map(pa.types.is_dictionary, block.schema.types)):
            whole = joined(self._fresh, self._name)
            columns = [
                pa.chunked_array([column.combine_chunks()])
                if pa.types.is_dictionary(column.type)
                else column
                for column in whole.columns
            ]
            self._done.append(pa.table(columns, names=whole.column_names))

    def whole(self) -> pa.Table:
        """Return all of them, at least one, as one table; `self` is empty then."""
        blocks, self._done, self._fresh = [*self._done, *self._fresh], [], []
        return joined(blocks, self._name)


def joined(parts: list[pa.Table], name: str) -> pa.Table:
    """Put blocks together; the finest unit of time that one of them needed is that of all.

    Empties the list, so that the memory of blocks can go as columns are made of them.
    """
    schema = parts[0].schema
    columns = [[part.column(at) for part in parts] for at in range(len(schema))]
    parts.clear()
    whole: list[pa.ChunkedArray] = []
    try:
        while columns:
            whole.append(_joined(columns.pop(0)))
    except pa.ArrowInvalid as error:
        raise Damaged(
            f"{name} has a time in nanoseconds and one outside the years 1677 to 2262.",
            "No type holds both; give the column the type string.",
        ) from error
    return pa.table(whole, names=schema.names)


def _joined(blocks: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    kinds = {block.type for block in blocks}
    if all(pa.types.is_dictionary(kind) for kind in kinds):
        like = blocks[0].type
        return united([chunk for block in blocks for chunk in block.chunks], like)
    if len(kinds) > 1:  # some blocks are of another unit, which no dictionary is kept for
        plain = [b.cast(b.type.value_type) if pa.types.is_dictionary(b.type) else b for b in blocks]
        units = ("s", "ms", "us", "ns")
        finest = max((block.type for block in plain), key=lambda kind: units.index(kind.unit))
        blocks = [block.cast(finest) for block in plain]
    return pa.chunked_array([chunk for block in blocks for chunk in block.chunks], blocks[0].type)
