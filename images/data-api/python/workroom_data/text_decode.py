"""Reading the text format, ours and what Hive or Spark wrote with the same SerDe.

pyarrow's CSV reader does the work, block by block on several threads. It knows neither NUL as a
delimiter nor escapes, so before it sees a block (`_readable`):

    `\\\\`          becomes a mark that the block does not hold, so that every `\\` left escapes
                   what follows it
    `\\` and NUL    becomes a second mark
    NUL            becomes a character that the block does not hold

and afterwards the string columns that hold a backslash or a mark are turned back (`_plain`). A
block that the CSV reader refuses (rows of too few fields, a number written in another way) is read
again as strings, and each column is converted with what Hive forgives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from isal import isal_zlib

from workroom_data.categories import dictionary_of, encoded
from workroom_data.commits import StoredColumn
from workroom_data.errors import Damaged
from workroom_data.joining import Blocks
from workroom_data.text import BOM
from workroom_data.text_csv import Block, Unreadable, forgiving, read_csv, read_type
from workroom_data.text_values import content, from_base64

BLOCK_BYTES = 2 << 20
"""Text that one thread takes at a time, about; always whole rows."""
_FEED = 256 << 10
_NOT_GZIP: Any = isal_zlib.IsalError  # whose own annotation is no exception's
_BACKSLASH = ord("\\")
_CHARACTERS = (*range(1, 10), 11, 12, *range(14, 32), *range(127, 31, -1))
"""ASCII that may stand for something in a block that does not hold it, control characters first."""


def decode(
    data: bytes,
    columns: Sequence[StoredColumn],
    wanted: Sequence[str] | None = None,
    name: str = "the file",
) -> pa.Table:
    """Read a file of the text format.

    Args:
        data: The file: gzip, of one member or several, or plain text.
        columns: All columns of the file in order: names, Hive types, units of times.
        wanted: Names of the columns to give back, in this order; all by default. Those left out
            cost little.
        name: The file's, for messages.

    Returns:
        The columns in the Arrow types that `types.file_type` says; a timestamp in a finer unit
        where the file has more digits. What was a dictionary is one again, of such values.

    Raises:
        Damaged: It is not gzip to its end, or a value is not of its column's type.
    """
    reader = partial(_read, columns=tuple(columns), places=_places(columns, wanted))
    blocks, rows = Blocks(name), 0
    for outcome in _in_order(reader, _blocks(data, name)):
        try:
            block = outcome()
        except Unreadable as error:
            raise Damaged(
                f"{name}, row {rows + error.row + 1}: {error.what}.",
                "Read an earlier batch, or give the column the type string.",
            ) from error
        rows += block.num_rows
        blocks.add(block)
    if not rows:
        blocks.add(reader(b"", False))
    return blocks.whole()


def _places(columns: Sequence[StoredColumn], wanted: Sequence[str] | None) -> tuple[int, ...]:
    position = {column.name: at for at, column in enumerate(columns)}
    return tuple(range(len(columns))) if wanted is None else tuple(position[n] for n in wanted)


def _in_order(
    reader: Callable[[bytes, bool], Any], blocks: Iterator[tuple[bytes, bool]]
) -> Iterator[Any]:
    """Read blocks on several threads, a few ahead; yield in order what returns or raises."""
    first = next(blocks, None)
    if first is None:
        return
    second = next(blocks, None)
    if second is None:  # a small file needs no threads
        yield partial(reader, *first)
        return
    threads = min(4, pa.cpu_count())
    with ThreadPoolExecutor(threads, "workroom-data-decode") as pool:
        waiting: deque[Future[pa.Table]] = deque(
            pool.submit(reader, text, later) for text, later in (first, second)
        )
        first = second = None
        try:
            for text, later in blocks:
                if len(waiting) > threads:
                    yield waiting.popleft().result
                waiting.append(pool.submit(reader, text, later))
            while waiting:
                yield waiting.popleft().result
        finally:
            for left in waiting:
                left.cancel()


def _blocks(data: bytes, name: str) -> Iterator[tuple[bytes, bool]]:
    """Yield text in blocks of whole rows, with True for those after the first.

    A LF always ends a row, whatever stands before it: Hadoop cuts lines before Hive sees them.
    """
    parts: list[bytes] = []
    size, later = 0, False
    for part in _inflated(data, name):
        parts.append(part)
        size += len(part)
        if size >= BLOCK_BYTES:
            text = b"".join(parts)
            end = text.rfind(b"\n") + 1
            parts = [text[end:]]
            size = len(parts[0]) if end else 0  # a long row: look again after as much more
            if end:
                yield text[:end], later
                later = True
    rest = b"".join(parts)
    if rest:
        yield rest, later


def _inflated(data: bytes, name: str) -> Iterator[bytes]:
    if data[:2] != b"\x1f\x8b":
        yield data
        return
    view = memoryview(data)
    at = 0
    machine = isal_zlib.decompressobj(31)
    try:
        while True:
            fed = machine.unconsumed_tail or view[at : at + _FEED]
            at += 0 if machine.unconsumed_tail else len(fed)
            text = machine.decompress(fed, BLOCK_BYTES)
            if text:
                yield text
            if machine.eof:
                at -= len(machine.unused_data)
                if at >= len(data):
                    return
                machine = isal_zlib.decompressobj(31)  # another member
            elif not len(fed) and not text:
                raise Damaged(f"{name} ends too early.", "Read an earlier batch.")
    except _NOT_GZIP as error:
        raise Damaged(f"{name} is not whole gzip: {error}.", "Read an earlier batch.") from error


def _read(
    text: bytes, later: bool, columns: tuple[StoredColumn, ...], places: tuple[int, ...]
) -> pa.Table:
    """Read one block."""
    if later and text.startswith(BOM):
        text = BOM + text  # the CSV reader drops one at the start, right only for a file's start
    block = _readable(text)
    types = {str(at): read_type(columns[at]) for at in places}
    try:
        table = read_csv(block.text, block.delimiter, len(columns), types)
    except pa.ArrowInvalid:
        table = forgiving(block, columns, places)
    fields = [
        _encoded(_plain(values, block.marks), columns[at])
        for values, at in zip(table.columns, places, strict=True)
    ]
    return pa.table(fields, names=[columns[at].name for at in places])


def _encoded(values: Any, column: StoredColumn) -> Any:
    """Make codes of what was categories: all blocks as text may be many times the column."""
    like = dictionary_of(column)
    return values if like is None or values.type != read_type(column) else encoded(values, like)


def _readable(text: bytes) -> Block:
    """Put marks in place of what the CSV reader does not know."""
    marks: list[tuple[bytes, bytes]] = []
    held = np.frombuffer(text, dtype=np.uint8)
    slashes = held == _BACKSLASH
    if slashes.any():
        after = held[1:][slashes[:-1]]
        pairs, nuls = (after == _BACKSLASH).any(), (after == 0).any()
        for found, plain in ((pairs, b"\\\\"), (nuls, b"\\\0")):
            if found:
                marks.append((plain, _mark(text)))
                text = text.replace(*marks[-1])
    delimiter = _absent(text)
    if delimiter is None:  # every one is in use: the rarest in practice makes way
        delimiter = b"\x01"
        marks.append((delimiter, _mark(text)))
        text = text.replace(*marks[-1])
    if delimiter == b"\x01":  # four times as fast as translate, and other threads go on
        return Block(np.maximum(np.frombuffer(text, np.uint8), 1), delimiter, tuple(marks))
    return Block(text.replace(b"\0", delimiter), delimiter, tuple(marks))


def _absent(text: bytes) -> bytes | None:
    return next((bytes([c]) for c in _CHARACTERS if c != _BACKSLASH and c not in text), None)


def _mark(text: bytes) -> bytes:
    """Return a short string that the text does not hold and that cannot overlap with itself."""
    single = _absent(text)
    if single is not None:
        return single
    number = 0
    while (mark := b"\x02%d\x03" % number) in text:
        number += 1
    return mark


def _plain(values: pa.ChunkedArray, marks: tuple[tuple[bytes, bytes], ...]) -> Any:
    """Turn marks and escapes of a column back, the last put first."""
    array = values.combine_chunks()
    if pa.types.is_binary(array.type):
        for plain, mark in reversed(marks):
            array = pc.replace_substring(array, mark, plain)
        return from_base64(array)
    if not pa.types.is_string(array.type):
        return array
    held = content(array)
    if not marks and not (held == _BACKSLASH).any():
        return array
    escapes = {b"\\\\": b"\\", b"\\\0": b"\0"}
    for plain, mark in reversed(marks):
        if plain not in escapes:
            array = pc.replace_substring(array, mark, plain)
    if (held == _BACKSLASH).any():
        alone = pc.ends_with(array, "\\")  # it escapes nothing, and stands for itself
        for written, plain in ((b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\", b"")):
            array = pc.replace_substring(array, written, plain)
        if pc.any(alone, min_count=0).as_py():
            array = pc.binary_join_element_wise(array, pc.if_else(alone, "\\", ""), "")
    for plain, mark in reversed(marks):
        if plain in escapes:
            array = pc.replace_substring(array, mark, escapes[plain])
    return array
