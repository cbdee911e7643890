"""Several writers and readers at once, on the real servers."""

from __future__ import annotations

import multiprocessing
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.metastore_relay import MetastoreRelay
from tests.fakes.s3_relay import S3Relay
from tests.support.data_writers import (
    PROCESSES,
    TABLE,
    YEAR,
    frame,
    loaded,
    small_files,
    store_at,
    stored,
)
from workroom_data import Batch, history, rollback, session, store_dataframe
from workroom_data.errors import Conflict, DataError, DataWarning, SchemaError
from workroom_data.session import Session
from workroom_data.settings import Settings

pytestmark = pytest.mark.docker

OTHER = {"year": "2017"}
FORKED = multiprocessing.get_context("fork")


@pytest.fixture
def now(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The session of this process, on the real servers; no pointer may be left behind in it."""
    monkeypatch.setattr(session, "_current", None)
    chosen = session.connect(settings)
    with warnings.catch_warnings(), small_files():
        warnings.simplefilter("error", DataWarning)
        yield chosen
    chosen.catalogue.close()


@pytest.fixture
def relays(settings: Settings) -> Iterator[tuple[S3Relay, MetastoreRelay]]:
    with S3Relay(settings.s3_endpoint) as s3, MetastoreRelay(settings.metastore) as metastore:
        yield s3, metastore


@pytest.fixture
def through(settings: Settings, relays: tuple[S3Relay, MetastoreRelay], now: Session) -> Session:
    """The session of this process, through relays."""
    s3, metastore = relays
    return session.connect(replace(settings, s3_endpoint=s3.endpoint, metastore=metastore.address))


def pointer_of(now: Session, database: str) -> tuple[int, str]:
    """Return number and batch ID of the one pointer of the table."""
    table = now.catalogue.table(database, TABLE)
    assert table is not None
    (pointer,) = now.catalogue.pointers(table)
    return pointer.number, pointer.batch_id


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """Do things in threads that begin together; return what each returned or raised."""
    together = threading.Barrier(len(acts))

    def one(act: Callable[[], Any]) -> Any:
        together.wait(30)
        try:
            return act()
        except DataError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


class Reader:
    """Loads over and over in a thread, as a context; raises at the end what it met.

    Attributes:
        tags: The frames it saw, in order.
        floor: The frame (of an ascending series) that must be seen from now on.
    """

    def __init__(self, database: str, partition: dict[str, str] | None = YEAR) -> None:
        self._given = (database, partition)
        self._over = threading.Event()
        self.tags: list[int] = []
        self.floor = -1

    def __enter__(self) -> Reader:
        self._pool = ThreadPoolExecutor(1)
        self._read: Future[None] = self._pool.submit(self._loop)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()
        self._read.result()

    def _loop(self) -> None:
        while not self._over.is_set():
            floor = self.floor
            self.tags.append(loaded(*self._given))
            assert self.tags[-1] >= floor, f"{floor} was stored before, and is not seen"


@pytest.mark.parametrize(
    ("partition", "format", "threads"),
    [(YEAR, "text", 10), (None, "parquet", 2)],
    ids=["partition", "whole table"],
)
def test_many_writers(
    now: Session, database: str, partition: dict[str, str] | None, format: str, threads: int
) -> None:
    """Five processes of ten threads, of which the first also makes the table; or a few."""
    count, start = 5 * threads, time.time() + 1.5
    with (
        Reader(database, partition) as reader,
        ProcessPoolExecutor(5, mp_context=PROCESSES) as pool,
    ):
        work = [
            pool.submit(
                store_at,
                start,
                now.settings,
                database,
                range(first, first + threads),
                partition,
                format=format,
            )
            for first in range(0, count, threads)
        ]
        done, _ = wait(work, timeout=60)
        assert len(done) == 5
        ids = [batch_id for one in work for batch_id in one.result()]
    assert len(set(ids)) == count
    told = history(database, TABLE, partition)
    assert told["number"].tolist() == list(range(count, 0, -1))
    assert sorted(told["batch_id"]) == sorted(ids)
    assert pointer_of(now, database) == (count, told["batch_id"][0])
    assert loaded(database, partition) == ids.index(told["batch_id"][0])
    with ThreadPoolExecutor(8) as pool:  # nothing of anybody is lost
        kept = pool.map(lambda one: loaded(database, partition, batch_id=one), ids[::5])
        assert list(kept) == list(range(0, count, 5))
    assert {tag for tag in reader.tags if tag >= 0} <= set(range(count))
    assert len(reader.tags) > 5


def test_readers_during_a_hundred_overwrites(now: Session, database: str) -> None:
    """Each load is one whole batch, never an earlier one than the load before, nor than a store."""
    stored(database, 0, YEAR)
    with Reader(database) as reader:
        for tag in range(1, 101):
            stored(database, tag, YEAR)
            reader.floor = tag
    assert reader.tags == sorted(reader.tags)
    assert len(set(reader.tags)) > 10
    assert pointer_of(now, database)[0] == 101


class TestCreators:
    """Both have seen that there is no table before either makes it."""

    @pytest.fixture(autouse=True)
    def both_have_looked(
        self, relays: tuple[S3Relay, MetastoreRelay], through: Session
    ) -> threading.Barrier:
        looked = threading.Barrier(2, timeout=20)
        seen: list[str] = []

        def before(request: str) -> None:
            seen.append(request)
            if request == "create_table" and seen.count(request) <= 2:
                looked.wait()

        relays[1].before = before
        return looked

    @pytest.mark.parametrize("partition", [YEAR, None], ids=["partition", "whole table"])
    def test_of_the_same_table_both_store(
        self, now: Session, database: str, partition: dict[str, str] | None
    ) -> None:
        batches = at_once(*(lambda tag=tag: stored(database, tag, partition) for tag in (1, 2)))
        told = history(database, TABLE, partition)
        assert told["number"].tolist() == [2, 1]
        assert sorted(told["batch_id"]) == sorted(batches)
        assert pointer_of(now, database) == (2, told["batch_id"][0])

    def test_of_two_tables_of_one_name_one_is_refused(self, now: Session, database: str) -> None:
        other = frame(2).rename(columns={"text": "words"})
        results = at_once(
            lambda: store_dataframe(frame(1), database, TABLE, YEAR),
            lambda: store_dataframe(other, database, TABLE, YEAR),
        )
        (refused,) = [result for result in results if isinstance(result, SchemaError)]
        (batch,) = [result for result in results if isinstance(result, Batch)]
        assert "Somebody else made" in str(refused)
        assert history(database, TABLE)["batch_id"].tolist() == [batch.batch_id]
        assert pointer_of(now, database) == (1, batch.batch_id)


def test_of_those_who_expect_the_same_one_wins(now: Session, database: str) -> None:
    before = stored(database, 0, YEAR)
    acts = [lambda tag=tag: stored(database, tag, YEAR, expect=before) for tag in range(1, 9)]
    results = at_once(*acts)
    won = [result for result in results if isinstance(result, str)]
    lost = [result for result in results if isinstance(result, Conflict)]
    assert (len(won), len(lost)) == (1, 7)
    assert history(database, TABLE, YEAR)["batch_id"].tolist() == [won[0], before]
    assert loaded(database, YEAR) == results.index(won[0]) + 1
    folder = f"{now.settings.warehouse}/{database}/{TABLE}/year=2016"
    for conflict in lost:
        # Whoever saw the conflict before writing anything has no batch.
        if conflict.batch_id:
            assert now.storage.list(f"{folder}/{conflict.batch_id}")


def test_who_loses_after_writing_keeps_the_files(
    relays: tuple[S3Relay, MetastoreRelay], through: Session, database: str
) -> None:
    """The other one commits between her last look and her commit."""
    before = stored(database, 0, YEAR)
    quick: list[str] = []

    def overtake(request: str) -> None:
        if request.startswith("PUT ") and "_workroom" in request and not quick:
            quick.append("")
            quick[0] = stored(database, 1, YEAR)

    relays[0].before = overtake
    with pytest.raises(Conflict) as caught:
        stored(database, 2, YEAR, expect=before)
    assert history(database, TABLE, YEAR)["batch_id"].tolist() == [quick[0], before]
    folder = f"{through.settings.warehouse}/{database}/{TABLE}/year=2016/{caught.value.batch_id}"
    assert len(through.storage.list(folder)) > 1
    assert caught.value.batch_id in str(caught.value)
    assert loaded(database, YEAR) == 1


def test_a_pointer_that_is_set_late_is_set_again(
    relays: tuple[S3Relay, MetastoreRelay], through: Session, now: Session, database: str
) -> None:
    """The first of two sets her pointer last: it ends at the second's batch all the same."""
    stored(database, 0, YEAR)
    waiting, go_on = threading.Event(), threading.Event()

    def before(request: str) -> None:
        if request.startswith("alter_partition") and not waiting.is_set():
            waiting.set()
            assert go_on.wait(20)

    relays[1].before = before
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stored, database, 1, YEAR)
        assert waiting.wait(20)
        quick = stored(database, 2, YEAR)
        assert pointer_of(now, database) == (3, quick)
        go_on.set()
        slow.result(20)
    assert pointer_of(now, database) == (3, quick)


def test_partitions_do_not_know_of_each_other(
    relays: tuple[S3Relay, MetastoreRelay], through: Session, now: Session, database: str
) -> None:
    """One store hangs in the middle of its commit; the other partition goes on."""
    for partition in (YEAR, OTHER):
        stored(database, 0, partition)
    waiting, go_on = threading.Event(), threading.Event()

    def before(request: str) -> None:
        if request.startswith("PUT ") and "2016" in request and "_workroom" in request:
            waiting.set()
            assert go_on.wait(20)

    relays[0].before = before
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stored, database, 1, YEAR)
        assert waiting.wait(20)
        for tag in (2, 3):
            stored(database, tag, OTHER)
        assert (loaded(database, YEAR), loaded(database, OTHER)) == (0, 3)
        go_on.set()
        slow.result(20)
    assert (loaded(database, YEAR), loaded(database, OTHER)) == (1, 3)
    assert history(database, TABLE, YEAR)["number"].tolist() == [2, 1]
    assert history(database, TABLE, OTHER)["number"].tolist() == [3, 2, 1]


def test_stores_and_rollbacks(now: Session, database: str) -> None:
    first = stored(database, 0, YEAR)
    stored(database, 1, YEAR)
    stores = [lambda tag=tag: stored(database, tag, YEAR) for tag in range(2, 8)]
    backs = [lambda: rollback(database, TABLE, YEAR, batch_id=first).batch_id] * 6
    results = at_once(*stores, *backs)
    told = history(database, TABLE, YEAR)
    # Who finds that batch current already has nothing to go back to.
    happened = [result for result in results if isinstance(result, str)]
    assert all(isinstance(result, str | Conflict) for result in results)
    assert told["number"].tolist() == list(range(len(happened) + 2, 0, -1))
    assert sorted(told["batch_id"][:-2]) == sorted(happened)
    assert pointer_of(now, database) == (len(told), told["batch_id"][0])


def test_a_forked_process_has_connections_of_its_own(
    relays: tuple[S3Relay, MetastoreRelay], through: Session, database: str
) -> None:
    """On one of its parent's it could read the answer to its parent's question."""
    stored(database, 0, YEAR)
    before = relays[1].connections
    loaded(database, YEAR)
    assert relays[1].connections == before  # what is open is used again
    child = FORKED.Process(target=loaded, args=(database, YEAR))
    child.start()
    child.join(30)
    child.kill()
    assert child.exitcode == 0
    assert relays[1].connections == before + 1
    assert loaded(database, YEAR) == 0
    assert relays[1].connections == before + 1  # and the child has not closed its parent's


def test_threads_and_forked_processes_share_what_is_open(now: Session, database: str) -> None:
    """Children are forked while threads of their parent are in the middle of stores and loads."""
    stored(database, 0, YEAR)
    with Reader(database), ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(stored, database, tag, OTHER) for tag in range(1, 7)]
        children = []
        for tag in range(20, 24):
            child = FORKED.Process(target=stored, args=(database, tag, YEAR))
            child.start()
            children.append(child)
        for child in children:
            child.join(30)
        codes = [child.exitcode for child in children]
        for child in children:
            child.kill()
        assert codes == [0] * 4
        for one in busy:
            one.result(30)
    assert len(history(database, TABLE, YEAR)) == 5
    assert len(history(database, TABLE, OTHER)) == 6
