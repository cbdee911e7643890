"""Bad days of a local disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from workroom_data.errors import Unavailable
from workroom_data.settings import Settings
from workroom_data.storage import Storage

FULL_DISK = """
import resource, signal, sys
from workroom_data.errors import DataError
from workroom_data.settings import Settings
from workroom_data.storage import Storage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Storage(Settings("/", "thrift://x:1")).create(sys.argv[1], iter([bytes(60_000)] * 3))
except DataError as error:
    print(type(error).__name__, error)
"""

FOR_EVER = """
import sys, time
from workroom_data.settings import Settings
from workroom_data.storage import Storage
def chunks():
    yield bytes(100_000)
    print("half", flush=True)
    time.sleep(60)
Storage(Settings("/", "thrift://x:1")).create(sys.argv[1], chunks())
"""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(Settings(str(tmp_path), "thrift://nowhere:1"))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, path], capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(f"Unavailable {path}: File too large."), done
    assert list(path.parent.iterdir()) == []


def test_no_room_at_all_is_said_with_what_to_do(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (tmp_path / "folder").mkdir()
    with pytest.raises(Unavailable, match=r"No space left on device.*make room"):
        storage.create(f"{tmp_path}/folder/file", b"x")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_writer_that_is_killed_leaves_no_name(storage: Storage, tmp_path: Path) -> None:
    path = f"{tmp_path}/folder/file"
    with subprocess.Popen(
        [sys.executable, "-c", FOR_EVER, path], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "half\n"
        writer.kill()
    assert storage.list(f"{tmp_path}/folder") == []
    storage.create(path, b"whole")
    assert storage.read(path) == b"whole"


def test_a_reader_never_sees_a_part(storage: Storage, tmp_path: Path) -> None:
    seen: list[int] = []

    def chunks() -> Iterator[bytes]:
        for _ in range(20):
            seen.append(len(storage.list(str(tmp_path))))
            yield bytes(10_000)

    storage.create(f"{tmp_path}/file", chunks())
    assert set(seen) == {0}
    assert storage.size(f"{tmp_path}/file") == 200_000


def test_a_file_is_on_the_disk_before_it_has_its_name(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut a name must not be there without its bytes."""
    order: list[str] = []
    fsync, link = os.fsync, os.link

    def note_fsync(handle: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file"
        order.append(f"{kind} to disk")
        fsync(handle)

    def note_link(source: str, target: str) -> None:
        order.append("name")
        link(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    storage.create(f"{tmp_path}/file", b"x")
    assert order == ["file to disk", "name", "folder to disk"]


def test_a_folder_that_may_not_be_written_is_named(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(Unavailable, match=f"{tmp_path}/file: Permission denied. Ask whoever"):
        storage.create(f"{tmp_path}/file", b"x")


def test_local_data_does_not_wait_for_the_sdk() -> None:
    code = (
        "import sys; from workroom_data.settings import Settings;"
        "from workroom_data.storage import Storage;"
        "Storage(Settings('/tmp', 'thrift://x:1')).list('/tmp/none');"
        "print('boto3' in sys.modules)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", (done, time.monotonic() - began)
