"""Files in a local folder.

A file is written under a hidden name, brought to the disk, and then linked to its own: `link`
fails if the name is taken, and whoever sees the name sees the whole file.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from workroom_data.errors import NotFound, PartitionError, Unavailable
from workroom_data.storage import Entry, Exists


class Local:
    """Paths that begin with `/`. Names that begin with a dot are unfinished files, never listed."""

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        folder = os.path.dirname(path)
        hidden = os.path.join(folder, f".{secrets.token_hex(8)}")
        with _sentences(path):
            _make_folders(folder)
            try:
                size = _write(hidden, content)
                os.link(hidden, path)
            except FileExistsError:
                raise Exists(f"{path} is there already.", "Nothing was written.") from None
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(hidden)
            _to_disk(folder)
        return size

    def read(self, path: str) -> bytes:
        with _sentences(path):
            return Path(path).read_bytes()

    def open(self, path: str) -> Any:
        with _sentences(path):
            return pa.OSFile(path, "rb")

    def size(self, path: str) -> int:
        with _sentences(path):
            return os.stat(path).st_size

    def folders(self, folder: str) -> list[str]:
        return sorted(entry.name for entry in _scan(folder) if entry.is_dir())

    def list(self, folder: str, after: str) -> list[Entry]:
        found = (
            Entry(entry.name, entry.stat().st_size)
            for entry in _scan(folder)
            if entry.name > after and entry.is_file()
        )
        return sorted(found, key=lambda entry: entry.name)


def _scan(folder: str) -> Iterator[os.DirEntry[str]]:
    with _sentences(folder), suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _write(path: str, content: bytes | Iterable[bytes]) -> int:
    chunks = (content,) if isinstance(content, bytes) else content
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    with os.fdopen(handle, "wb") as file:
        size = sum(file.write(chunk) for chunk in chunks)
        file.flush()
        os.fsync(file.fileno())
    return size


def _make_folders(folder: str) -> None:
    """Make a folder and what is missing above it, so that a power cut does not lose the names."""
    if os.path.isdir(folder):
        return
    above = os.path.dirname(folder)
    _make_folders(above)
    with suppress(FileExistsError):
        os.mkdir(folder)
    _to_disk(above)


def _to_disk(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _sentences(path: str) -> Iterator[None]:
    """Say errors of the disk in words."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise PartitionError(
                f"{path[:120]}… has a part that is too long for this disk (255 bytes).",
                "Use shorter partition values.",
            ) from error
        fix = {
            errno.ENOSPC: "The disk is full: make room, then try again. Nothing was changed.",
            errno.EDQUOT: "Your quota is used up: make room, then try again. Nothing was changed.",
            errno.EACCES: "Ask whoever owns the folder.",
            errno.EPERM: "The folder must allow hard links.",
            errno.ENOTSUP: "The folder must allow hard links.",
        }.get(error.errno or 0, "Nothing was changed.")
        raise Unavailable(f"{path}: {error.strerror or error}.", fix) from error
