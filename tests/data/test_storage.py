"""What S3 and a local folder both promise: one suite over the two."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workroom_data.errors import NotFound, PartitionError
from workroom_data.settings import Settings
from workroom_data.storage import Entry, Exists, Storage

UNICODE = ("key=ü☃%2F", "a=+&? #", "k='\"<>", "x=😀 %25", "~!@$^*()[]{}|`")


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.docker)])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings with an empty warehouse."""
    if request.param == "local":
        return Settings(str(tmp_path / "warehouse"), "thrift://nowhere:1")
    settings: Settings = request.getfixturevalue("settings")
    return settings


@pytest.fixture
def storage(warehouse: Settings) -> Storage:
    return Storage(warehouse)


@pytest.fixture
def folder(warehouse: Settings) -> str:
    return f"{warehouse.warehouse}/folder"


def test_what_is_created_is_read(storage: Storage, folder: str) -> None:
    content = os.urandom(100_000)
    assert storage.create(f"{folder}/a/file", content) == 100_000
    assert storage.read(f"{folder}/a/file") == content
    assert storage.size(f"{folder}/a/file") == 100_000


def test_an_empty_file_is_a_file(storage: Storage, folder: str) -> None:
    assert storage.create(f"{folder}/empty", b"") == 0
    assert storage.create(f"{folder}/no-chunks", iter(())) == 0
    assert storage.read(f"{folder}/empty") == storage.read(f"{folder}/no-chunks") == b""
    assert storage.open(f"{folder}/empty").read() == b""


def test_nothing_is_written_over(storage: Storage, folder: str) -> None:
    storage.create(f"{folder}/file", b"first")
    for content in (b"second", b"first", b"", iter([b"sec", b"ond"])):
        with pytest.raises(Exists, match="there already"):
            storage.create(f"{folder}/file", content)
    assert storage.read(f"{folder}/file") == b"first"
    assert storage.list(folder) == [Entry("file", 5)]


def test_of_many_writers_of_one_name_one_wins(storage: Storage, folder: str) -> None:
    writers = 16
    outcomes: list[tuple[int, str]] = []
    together = threading.Barrier(writers)

    def write(number: int, path: str) -> None:
        together.wait()
        try:
            # All the same length, and half of them the same content.
            storage.create(path, b"%06d" % (number // 2))
            outcomes.append((number, "won"))
        except Exists:
            outcomes.append((number, "lost"))

    for race in range(10):
        outcomes.clear()
        path = f"{folder}/race-{race}"
        threads = [threading.Thread(target=write, args=(n, path)) for n in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(outcome for _, outcome in outcomes) == {"won": 1, "lost": writers - 1}
        (winner,) = (number for number, outcome in outcomes if outcome == "won")
        assert storage.read(path) == b"%06d" % (winner // 2)


def test_a_large_file_comes_in_chunks_of_any_size(storage: Storage, folder: str) -> None:
    content = os.urandom(1 << 20) * 70 + b"end"
    sizes = [1, 3_000_000, 40 << 20, 17]

    def chunks() -> Iterator[bytes]:
        at = 0
        while at < len(content):
            size = sizes.pop(0) if sizes else 5 << 20
            yield content[at : at + size]
            at += size

    assert storage.create(f"{folder}/chunks", chunks()) == len(content)
    assert storage.read(f"{folder}/chunks") == content
    assert storage.create(f"{folder}/whole", content) == len(content)
    assert storage.read(f"{folder}/whole") == content
    with pytest.raises(Exists):
        storage.create(f"{folder}/whole", content)


def test_a_source_that_fails_leaves_nothing(storage: Storage, folder: str) -> None:
    for before in (1, 5):  # in one request, and in parts

        def chunks(count: int = before) -> Iterator[bytes]:
            for _ in range(count):
                yield bytes(16 << 20)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            storage.create(f"{folder}/file", chunks())
        assert storage.list(folder) == []


def test_columns_of_parquet_are_read_alone(storage: Storage, folder: str) -> None:
    table = pa.table({name: range(200_000) for name in "abc"})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=50_000)
    storage.create(f"{folder}/file.parquet", sink.getvalue().to_pybytes())
    with storage.open(f"{folder}/file.parquet") as file:
        assert pq.read_table(file, columns=["b"]).equals(table.select(["b"]))


def test_parts_of_a_file_are_read_here_and_there(storage: Storage, folder: str) -> None:
    content = bytes(range(256)) * 10
    storage.create(f"{folder}/file", content)
    with storage.open(f"{folder}/file") as file:
        assert file.size() == 2560
        assert file.read_at(5, 250) == content[250:255]
        file.seek(-3, 2)
        assert file.read() == content[-3:]
        assert file.read(5) == b""


def test_lists_are_in_order_and_begin_after_a_name(storage: Storage, folder: str) -> None:
    for name in ("b", "a", "c", "a.json", "B", "below/x", "below/y/z"):
        storage.create(f"{folder}/{name}", name.encode())
    names = [entry.name for entry in storage.list(folder)]
    assert names == ["B", "a", "a.json", "b", "c"]
    assert storage.list(folder, after="a") == [Entry("a.json", 6), Entry("b", 1), Entry("c", 1)]
    assert storage.list(folder, after="aa") == [Entry("b", 1), Entry("c", 1)]
    assert storage.list(f"{folder}/", after="z") == []
    assert storage.folders(folder) == ["below"]
    assert storage.folders(f"{folder}/below") == ["y"]


def test_a_folder_that_is_not_there_is_empty(storage: Storage, folder: str) -> None:
    assert storage.list(f"{folder}/none") == []
    assert storage.folders(f"{folder}/none") == []


def test_more_names_than_one_answer_holds(storage: Storage, folder: str) -> None:
    wanted = [f"{number:05d}" for number in range(1, 1106)]

    def write(names: list[str]) -> None:
        for name in names:
            storage.create(f"{folder}/{name}", b"")
            storage.create(f"{folder}/below-{name}/x", b"")

    threads = [threading.Thread(target=write, args=(wanted[at::8],)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.name for entry in storage.list(folder)] == wanted
    assert [entry.name for entry in storage.list(folder, after="00100")] == wanted[100:]
    assert storage.folders(folder) == [f"below-{name}" for name in wanted]


@pytest.mark.parametrize("name", UNICODE)
def test_names_of_any_characters(storage: Storage, folder: str, name: str) -> None:
    storage.create(f"{folder}/{name}/{name}", b"x")
    assert storage.folders(folder) == [name]
    assert storage.list(f"{folder}/{name}") == [Entry(name, 1)]
    assert storage.read(f"{folder}/{name}/{name}") == b"x"


def test_what_is_not_there_says_so(storage: Storage, folder: str) -> None:
    storage.create(f"{folder}/below/x", b"x")
    for read in (storage.read, storage.open, storage.size):
        with pytest.raises(NotFound, match=f"{folder}/none"):
            read(f"{folder}/none")


@pytest.mark.parametrize("part", ["..", ".", "", "a/../../b", "nul\0"])
def test_paths_that_lead_elsewhere_are_refused(storage: Storage, folder: str, part: str) -> None:
    for path in (f"{folder}/{part}/file", "relative/file"):
        with pytest.raises(PartitionError, match="not a path to keep data at"):
            storage.create(path, b"")


def test_names_that_are_too_long_are_refused(storage: Storage, folder: str) -> None:
    with pytest.raises(PartitionError, match="shorter partition values"):
        storage.create(f"{folder}/{'k=' + 'ü' * 600}/file", b"")


def test_a_forked_process_reads_and_writes_on(storage: Storage, folder: str) -> None:
    storage.create(f"{folder}/before", b"before")
    fork = multiprocessing.get_context("fork")

    def work(number: int) -> None:
        assert storage.read(f"{folder}/before") == b"before"
        storage.create(f"{folder}/child-{number}", b"%d" % number)

    children = [fork.Process(target=work, args=(number,)) for number in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert len(storage.list(folder)) == 5
    assert storage.read(f"{folder}/before") == b"before"
