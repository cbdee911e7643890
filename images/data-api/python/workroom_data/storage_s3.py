"""Files on S3, through boto3: the one client that can say If-None-Match on every kind of upload.

The retries are our own, not the SDK's, because whoever writes once must know whether an attempt
is the first: "it is there already" after a lost answer may be our own success.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from botocore.exceptions import ClientError

from workroom_data.errors import NotFound
from workroom_data.storage import Entry
from workroom_data.storage_s3_calls import (
    TAKEN,
    Patience,
    connect,
    error_code,
    patiently,
    taken,
    where,
)
from workroom_data.storage_s3_parts import LANES, PART, Upload

if TYPE_CHECKING:
    from workroom_data.settings import Settings

ONE_PUT = PART
"""Up to this many bytes a file is one PUT, whose If-None-Match every S3 server decides exactly. A
larger one travels while it is made: its upload costs little time then."""

T = TypeVar("T")


class S3:
    """Paths that begin with `s3://`."""

    def __init__(self, settings: Settings, patience: Patience) -> None:
        self._settings = settings
        self._patience = patience

    @property
    def client(self) -> Any:
        """The process's client."""
        return connect(self._settings, self._patience, os.getpid())

    def ask(self, path: str, call: Callable[[bool], T]) -> T:
        """Call until there is an answer; see `patiently`."""
        return patiently(self._patience, path, call)

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        if isinstance(content, bytes):
            if len(content) <= ONE_PUT:
                return self._put(path, content)
            return Upload(self, path).run(_slices(content))
        pieces = iter(content)
        head = bytearray()
        for piece in pieces:
            head += piece
            if len(head) > ONE_PUT:
                del piece
                return Upload(self, path).run(_regrouped(head, pieces))
        return self._put(path, bytes(head))

    def _put(self, path: str, content: bytes) -> int:
        # The server refuses the body if it does not fit: what is damaged on the way is not kept.
        checksum = base64.b64encode(hashlib.sha256(content).digest()).decode()

        def put(again: bool) -> int:
            try:
                self.client.put_object(
                    **where(path), Body=content, IfNoneMatch="*", ChecksumSHA256=checksum
                )
            except ClientError as error:
                if error_code(error) not in TAKEN:
                    raise
                if not (again and self._holds(path, content)):
                    raise taken(path) from None
            return len(content)

        return self.ask(path, put)

    def _holds(self, path: str, content: bytes) -> bool:
        """Whether our own earlier attempt is what is there."""
        try:
            return self.size(path) == len(content) and self.read(path) == content
        except NotFound:
            return False

    def read(self, path: str) -> bytes:
        return self.ask(path, lambda _: self._get(path))

    def _get(self, path: str) -> bytes:
        answer = self.client.get_object(**where(path), ChecksumMode="ENABLED")
        size = int(answer["ContentLength"])
        # `with answer["Body"]` would hand out the stream below it, which checks nothing.
        with closing(answer["Body"]) as body:
            if size <= 2 * PART:
                return bytes(body.read())
        # One connection to S3 carries some 90 MB/s; a large file comes on several.
        with ThreadPoolExecutor(LANES, "workroom-data-read") as pool:
            starts = range(0, size, PART)
            parts = pool.map(lambda at: self.part(path, at, PART, answer["ETag"]), starts)
            return b"".join(parts)

    def part(self, path: str, start: int, length: int, etag: str) -> bytes:
        """Return bytes `start` to `start + length` of the file that has this ETag."""

        def get(_: bool) -> bytes:
            span = f"bytes={start}-{start + length - 1}"
            answer = self.client.get_object(**where(path), Range=span, IfMatch=etag)
            with closing(answer["Body"]) as body:
                return bytes(body.read())

        return self.ask(path, get)

    def open(self, path: str) -> Any:
        head = self.head(path)
        remote = _Remote(self, path, int(head["ContentLength"]), head["ETag"])
        return pa.PythonFile(remote, mode="r")

    def size(self, path: str) -> int:
        return int(self.head(path)["ContentLength"])

    def head(self, path: str) -> Any:
        """Return what S3 says of a file; raises as `Storage.read`."""
        return self.ask(
            path, lambda _: self.client.head_object(**where(path), ChecksumMode="ENABLED")
        )

    def folders(self, folder: str) -> list[str]:
        prefix = _prefix(folder)
        return sorted(
            found["Prefix"][len(prefix) : -1]
            for page in self._pages(folder, prefix)
            for found in page.get("CommonPrefixes", ())
        )

    def list(self, folder: str, after: str) -> list[Entry]:
        prefix = _prefix(folder)
        return sorted(
            (
                Entry(found["Key"][len(prefix) :], int(found["Size"]))
                for page in self._pages(folder, prefix, prefix + after if after else "")
                for found in page.get("Contents", ())
                # A folder made in a console is an empty object of the folder's own name.
                if found["Key"] != prefix
            ),
            key=lambda entry: entry.name,
        )

    def _pages(self, folder: str, prefix: str, after: str = "") -> Iterator[Any]:
        given = {"Bucket": where(folder)["Bucket"], "Prefix": prefix, "Delimiter": "/"}
        if after:
            given["StartAfter"] = after
        while True:
            page = self.ask(folder, lambda _: self.client.list_objects_v2(**given))
            yield page
            if not page.get("IsTruncated"):
                return
            given["ContinuationToken"] = page["NextContinuationToken"]


class _Remote(io.RawIOBase):
    """A file on S3 that can be read here and there, for column reads of Parquet."""

    def __init__(self, s3: S3, path: str, size: int, etag: str) -> None:
        self._s3, self._path, self._size, self._etag = s3, path, size, etag
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(self._size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        content = self._s3.part(self._path, self._at, wanted, self._etag)
        self._at += len(content)
        return content


def _prefix(folder: str) -> str:
    key = where(folder)["Key"]
    return f"{key}/" if key else ""


def _slices(content: bytes) -> Iterator[bytes]:
    return (content[at : at + PART] for at in range(0, len(content), PART))


def _regrouped(held: bytearray, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Cut `held` and the pieces that follow into parts of one size, the last one shorter."""
    while True:
        while len(held) < PART and (piece := next(pieces, None)) is not None:
            held += piece
        if not held:
            return
        yield bytes(held[:PART])
        del held[:PART]
