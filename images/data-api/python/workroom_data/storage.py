"""Files, written once and never over: on S3 or in a local folder.

There is no verb here that overwrites or deletes. Every write is "create if it is not there",
which the S3 server (If-None-Match) or the kernel (link) decides, so that of any number of writers
of one name exactly one wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from workroom_data.errors import Conflict, PartitionError

if TYPE_CHECKING:
    from workroom_data.settings import Settings
    from workroom_data.storage_s3_calls import Patience

LONGEST_KEY = 1024
"""Bytes of the longest key of S3."""


class Exists(Conflict):
    """A file of that name is there already, and another's."""


@dataclass(frozen=True)
class Entry:
    """A file in a folder: its name there, and its size in bytes."""

    name: str
    size: int


class Backend(Protocol):
    """What S3 and a local folder both can. Paths are whole (`s3://BUCKET/KEY`, `/FOLDER/FILE`)."""

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        """See `Storage.create`."""

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""

    def open(self, path: str) -> Any:
        """See `Storage.open`."""

    def size(self, path: str) -> int:
        """See `Storage.size`."""

    def folders(self, folder: str) -> list[str]:
        """See `Storage.folders`."""

    def list(self, folder: str, after: str) -> list[Entry]:
        """See `Storage.list`."""


class Storage:
    """The files of a warehouse, and of any other path of the same S3 server or machine.

    May be shared by threads, and used on in a forked process.

    Args:
        settings: Addresses and keys; each path says itself whether it is S3 or local.
        patience: How long to wait for an S3 server; None for what suits a person at a notebook.
    """

    def __init__(self, settings: Settings, patience: Patience | None = None) -> None:
        self._settings = settings
        self._patience = patience
        self._backends: dict[bool, Backend] = {}

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        """Write a file that is not there yet; return the bytes written.

        Nobody sees a part of it: it is there whole, or not at all. A write whose answer was lost
        is tried again; if it turns out to have succeeded that is a success. An iterable is
        written as it comes, with some 150 MB of memory at most.

        Raises:
            Exists: The name is taken.
            Unavailable: The server does not answer or refuses; the disk is full.
        """
        return self._backend(path).create(path, content)

    def read(self, path: str) -> bytes:
        """Return a whole file.

        Raises:
            NotFound: It is not there.
            Damaged: It arrives broken every time.
            Unavailable: The server does not answer or refuses.
        """
        return self._backend(path).read(path)

    def open(self, path: str) -> Any:
        """Return a `pyarrow.NativeFile` to read parts of; raises as `read`, also later on."""
        return self._backend(path).open(path)

    def size(self, path: str) -> int:
        """Return a file's size in bytes; raises as `read`."""
        return self._backend(path).size(path)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders right in a folder, sorted; [] without a folder."""
        return self._backend(folder).folders(folder.rstrip("/"))

    def list(self, folder: str, after: str = "") -> list[Entry]:
        """Return the files right in a folder, by name, those after `after`; [] without a folder."""
        return self._backend(folder).list(folder.rstrip("/"), after)

    def _backend(self, path: str) -> Backend:
        s3 = path.startswith("s3://")
        _check(path, s3)
        if s3 not in self._backends:
            self._backends[s3] = self._make(s3)
        return self._backends[s3]

    def _make(self, s3: bool) -> Backend:
        if not s3:
            from workroom_data.storage_local import Local

            return Local()
        # Its import takes a third of a second, which local data need not wait for.
        from workroom_data.storage_s3 import S3
        from workroom_data.storage_s3_calls import Patience

        return S3(self._settings, self._patience or Patience())


def _check(path: str, s3: bool) -> None:
    """Refuse a path that names something else than it says, or nothing.

    Raises:
        PartitionError: It is relative, has an empty, `.` or `..` part, NUL, or is too long.
    """
    bare = path[len("s3://") :] if s3 else path[1:]
    parts = bare.rstrip("/").split("/")
    if not (s3 or path.startswith("/")) or {"", ".", ".."} & set(parts) or "\0" in path:
        raise PartitionError(
            f"{path!r} is not a path to keep data at.",
            "It must be s3://BUCKET/KEY or absolute, without empty parts, '.' and '..'.",
        )
    if s3 and len("/".join(parts[1:]).encode()) > LONGEST_KEY:
        raise PartitionError(
            f"{path[:120]}… is longer than S3 allows ({LONGEST_KEY} bytes).",
            "Use shorter partition values, or fewer keys.",
        )
