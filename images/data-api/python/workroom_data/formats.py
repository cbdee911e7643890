"""One interface over the formats of files: text and Parquet.

A batch is written as files of some 256 MB of rows each, one after the other, so that a frame of
any size takes the same memory. Size and SHA-256 of each go into the commit, and nothing of a file
is looked at before they agree.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from workroom_data import parquet, text, text_decode
from workroom_data.casting import to_storage
from workroom_data.commits import File, StoredColumn
from workroom_data.errors import Damaged, FrameError, NotFound, SchemaError
from workroom_data.joining import joined
from workroom_data.slices import slices, weight
from workroom_data.types import file_type

FILE_BYTES = 256 << 20
"""Rows of one file, in bytes of memory."""
_CHECKED_ROWS = 1 << 20
ALGORITHM = "sha256"


class Storage(Protocol):
    """What is needed of `storage.Storage`."""

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        """Write a file that is not there yet; return its size."""

    def read(self, path: str) -> bytes:
        """Return a whole file."""


class _Measured:
    """Parts of a file on their way; knows their size and checksum in the end."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._hash = hashlib.new(ALGORITHM)
        self.size = 0

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            self._hash.update(part)
            self.size += len(part)
            yield part

    def checksum(self) -> str:
        """Return "sha256:…" of what has passed."""
        return f"{ALGORITHM}:{self._hash.hexdigest()}"


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: As a table names it.
        suffix: Of its files.
        portion: Bytes of memory of the rows that each part `encode` gives is of.
        encode: From a table and its columns to the parts of one file.
        decode: From a file, all columns, the names of those wanted, and the file's name, to rows.
    """

    name: str
    suffix: str
    portion: int
    encode: Callable[[pa.Table, Sequence[StoredColumn]], Iterator[bytes]]
    decode: Callable[[bytes, Sequence[StoredColumn], Sequence[str] | None, str], pa.Table]

    def write(
        self,
        storage: Storage,
        folder: str,
        table: pa.Table,
        columns: Sequence[StoredColumn],
        tell: Callable[[int], None] = lambda _: None,
    ) -> tuple[File, ...]:
        """Write rows as the files of a batch.

        Args:
            storage: Where.
            folder: The batch's.
            table: Columns of their original types, in the order of `columns`.
            columns: What they are stored as.
            tell: Called with how many more rows have been written, roughly.

        Returns:
            The files in the order of their rows. No rows are a file too: Spark and Hive refuse a
            table one of whose folders is not there.

        Raises:
            FrameError: A value does not fit its column; nothing is written then.
            Exists, Unavailable: As `Storage.create`.
        """
        _check(table, columns, self.name)
        # A reader has two files beside the frame, and of narrow columns a file is as large as that.
        size = FILE_BYTES // (1 if weight(table) <= 2 * table.nbytes else 2)
        parts = slices(table, size) if table.num_rows else iter([table])
        return tuple(
            self._write_file(
                storage, folder, f"part-{number:05d}{self.suffix}", rows, columns, tell
            )
            for number, rows in enumerate(parts)
        )

    def _write_file(
        self,
        storage: Storage,
        folder: str,
        name: str,
        rows: pa.Table,
        columns: Sequence[StoredColumn],
        tell: Callable[[int], None],
    ) -> File:
        parts = _Measured(self.encode(rows, columns))
        storage.create(f"{folder}/{name}", _told(parts, rows, self.portion, tell))
        return File(name, rows.num_rows, parts.size, parts.checksum())

    def read(
        self,
        storage: Storage,
        location: str,
        files: Sequence[File],
        columns: Sequence[StoredColumn],
        wanted: Sequence[str] | None = None,
        tell: Callable[[int], None] = lambda _: None,
    ) -> pa.Table:
        """Read files of a batch; while one is decoded the next one is fetched.

        Args:
            storage: Where.
            location: The batch's folder.
            files: In row order. Of a file with no checksum ("": it is a stranger's) nothing is
                verified.
            columns: All columns of the files.
            wanted: Names of the columns to give back, in this order; all by default.
            tell: Called with how many more bytes of files have been fetched.

        Returns:
            The columns in the Arrow types that `types.file_type` says; what was a dictionary is one
            again, of such values.

        Raises:
            Damaged: A file is gone, or not what it was when it was written.
            NotFound: A stranger's file is gone.
            Unavailable: As `Storage.read`.
        """
        tables = []
        for file, data in _fetched(storage, location, files):
            path = f"{location}/{file.name}"
            tell(len(data))
            rows = self.decode(data, columns, wanted, path)
            if file.checksum and rows.num_columns and rows.num_rows != file.rows:
                raise Damaged(
                    f"{path} has {rows.num_rows} rows; its commit says {file.rows}.",
                    "Read an earlier batch.",
                )
            tables.append(rows)
        if not tables:
            return _nothing(columns, wanted, self.name)
        return tables[0] if len(tables) == 1 else joined(tables, location)


TEXT = Format("text", ".gz", text.PIECE_BYTES, text.encode, text_decode.decode)
PARQUET = Format("parquet", ".parquet", parquet.ROW_GROUP_BYTES, parquet.encode, parquet.decode)


def named(name: str) -> Format:
    """Return a format.

    Raises:
        SchemaError: There is none of that name.
    """
    for one in (TEXT, PARQUET):
        if one.name == name:
            return one
    raise SchemaError(f"format is {name!r}.", "Use 'text' or 'parquet'.")


def _told(
    parts: Iterable[bytes], rows: pa.Table, portion: int, tell: Callable[[int], None]
) -> Iterator[bytes]:
    """Pass the parts of a file on, and say of how many rows each is: they are much alike."""
    left = rows.num_rows
    each = 1 + left * portion // max(portion, weight(rows))
    for part in parts:
        yield part
        tell(min(each, left))
        left -= min(each, left)


def _check(table: pa.Table, columns: Sequence[StoredColumn], name: str) -> None:
    """Cast before anything is written what may fail to be, some rows at a time.

    What comes of it is not kept: it may be many times as large as the column.

    Raises:
        FrameError: A value does not fit its column: named with its row.
    """
    for position, column in enumerate(columns):
        one = table.select([position])
        kind = one.schema.field(0).type
        if pa.types.is_dictionary(kind) and _is_text(kind.value_type):
            continue
        for start in range(0, max(table.num_rows, 1), _CHECKED_ROWS):
            try:
                to_storage(one.slice(start, _CHECKED_ROWS), [column], name)
            except FrameError:
                to_storage(one, [column], name)  # which counts rows from the first
                raise


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _fetched(
    storage: Storage, location: str, files: Sequence[File]
) -> Iterator[tuple[File, bytes]]:
    """Yield files and their verified bytes, one ahead."""
    if len(files) == 1:
        yield files[0], _verified(storage, location, files[0])
        return
    with ThreadPoolExecutor(1, "workroom-data-fetch") as pool:
        coming = [pool.submit(_verified, storage, location, file) for file in files[:1]]
        for at, file in enumerate(files):
            data = coming.pop().result()
            coming += [pool.submit(_verified, storage, location, f) for f in files[at + 1 : at + 2]]
            yield file, data
            del data


def _verified(storage: Storage, location: str, file: File) -> bytes:
    """Fetch a file and compare it with what its commit says.

    Raises:
        Damaged: It differs or is gone.
    """
    path = f"{location}/{file.name}"
    again = "Read an earlier batch (`history`), or ask whoever keeps the storage."
    try:
        data = storage.read(path)
    except NotFound as error:
        if not file.checksum:
            raise
        raise Damaged(f"{path} is gone.", again) from error
    if not file.checksum:
        return data
    if len(data) != file.size:
        raise Damaged(f"{path} has {len(data)} bytes; its commit says {file.size}.", again)
    algorithm, _, digest = file.checksum.partition(":")
    if algorithm != ALGORITHM:
        raise Damaged(
            f"{path} has a checksum of the kind {algorithm!r}, which is not known here.",
            "Upgrade workroom-data: a later version wrote this.",
        )
    if hashlib.new(ALGORITHM, data).hexdigest() != digest:
        raise Damaged(f"{path} is not what was written: its checksum differs.", again)
    return data


def _nothing(
    columns: Sequence[StoredColumn], wanted: Sequence[str] | None, format: str
) -> pa.Table:
    known = {column.name: column for column in columns}
    chosen = [known[name] for name in (known if wanted is None else wanted)]
    return pa.schema([(c.name, file_type(c.hive, c.arrow, format)) for c in chosen]).empty_table()
