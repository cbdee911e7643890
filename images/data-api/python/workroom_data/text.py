"""The text format: gzip text that Hive, Spark and Presto read through LazySimpleSerDe, exactly.

Fields are separated by NUL, rows by LF. In a string `\\` is written `\\\\`, NUL `\\` and NUL, LF
`\\n` and CR `\\r`; NULL is `\\N`. So a row of one empty string is an empty line. `text_values` says
how the other types are written, `text_decode` reads.

Work goes by pieces of rows on several threads (Arrow and isal both let go of the interpreter), a
few at a time, so that a frame of any size takes the same memory to write. All pieces of a file are
blocks of one gzip member: nothing depends on readers that know concatenated members.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import isal_zlib

from workroom_data.casting import to_storage
from workroom_data.commits import StoredColumn
from workroom_data.errors import FrameError
from workroom_data.slices import slices
from workroom_data.text_values import as_text

NULL = "\\N"
PIECE_BYTES = 2 << 20
"""Size in memory of the rows that one thread takes at a time: little enough that what it allocates
is used again, where larger pieces spend their time in the kernel, clearing pages."""
ROW_LIMIT = 1 << 29
"""Bytes of one row in memory; its text may be twice that, and a reader's limit is 2 GiB."""

BOM = b"\xef\xbb\xbf"
_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # no name, no time: the same rows are the same bytes
_LAST_BLOCK = b"\x03\0"


@dataclass(frozen=True)
class Piece:
    """Some rows, compressed: deflate blocks that end at a byte, with no block marked as last.

    Attributes:
        deflated: The blocks.
        checksum: CRC-32 of the text.
        size: Bytes of the text.
        rows: Number of rows.
    """

    deflated: bytes
    checksum: int
    size: int
    rows: int


def encode(table: pa.Table, columns: Sequence[StoredColumn]) -> Iterator[bytes]:
    """Write a table as one gzip file, a part at a time.

    Args:
        table: Columns of their original types, in the order of `columns`.
        columns: Name and Hive type of each.

    Raises:
        FrameError: A value does not fit its Hive type.
    """
    yield from gzip_file(pieces(table, columns))


def gzip_file(parts: Iterable[Piece]) -> Iterator[bytes]:
    """Make a gzip file of one member from pieces."""
    yield _HEADER
    checksum = size = 0
    for part in parts:
        checksum = isal_zlib.crc32_combine(checksum, part.checksum, part.size)
        size += part.size
        yield part.deflated
    yield _LAST_BLOCK + struct.pack("<LL", checksum, size & 0xFFFFFFFF)


def pieces(table: pa.Table, columns: Sequence[StoredColumn]) -> Iterator[Piece]:
    """Encode and compress a table, in order, a few pieces at a time.

    Raises:
        FrameError: A value does not fit its Hive type.
    """
    runs = slices(table, PIECE_BYTES)
    first, second = next(runs, None), next(runs, None)
    if second is None:  # a small table needs no threads
        if first is not None:
            yield _piece(first, columns)
        return
    threads = min(4, pa.cpu_count())
    with ThreadPoolExecutor(threads, "workroom-data-encode") as pool:
        waiting: deque[Future[Piece]] = deque()
        try:
            for rows in chain((first, second), runs):
                waiting.append(pool.submit(_piece, rows, columns))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # an error, or the reader of this stopped: what has not begun need not
            for left in waiting:
                left.cancel()


def _piece(table: pa.Table, columns: Sequence[StoredColumn]) -> Piece:
    text = rows_of_text(table, columns)
    machine = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
    deflated = machine.compress(text) + machine.flush(isal_zlib.Z_SYNC_FLUSH)
    return Piece(deflated, isal_zlib.crc32(text), len(text), table.num_rows)


def rows_of_text(table: pa.Table, columns: Sequence[StoredColumn]) -> Any:
    """Return rows as text, a buffer of bytes."""
    stored = to_storage(table, columns, "text")
    fields = [
        as_text(column.name, values.combine_chunks())
        for column, values in zip(columns, stored.columns, strict=True)
    ]
    how = {"null_handling": "replace", "null_replacement": NULL}
    if stored.num_rows == 1 and stored.nbytes > ROW_LIMIT:
        raise FrameError(
            f"A row takes {stored.nbytes:,} bytes; the most is {ROW_LIMIT:,}.",
            "Split its longest value, or keep it as a file of its own.",
        )
    fields[-1] = pc.binary_join_element_wise(fields[-1], "", "\n", **how)
    joined = pc.binary_join_element_wise(*fields, "\0", **how) if len(fields) > 1 else fields[0]
    offsets = np.frombuffer(joined.buffers()[1], dtype=np.int32)
    text = memoryview(joined.buffers()[2])[: offsets[len(joined)]]
    # Hadoop's line reader drops a byte order mark at the start of a file.
    return b"\\" + bytes(text) if bytes(text[:3]) == BOM else text
