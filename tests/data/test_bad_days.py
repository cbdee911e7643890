"""Bad days of the servers, the disk and the clock, as whoever stores and loads meets them.

The servers are real, behind relays that fail. What each request does when it fails is tried in
`test_storage_s3.py` and `test_hive_bad_days.py`; here it is stores and loads.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.fakes import s3_failures as failures
from tests.fakes.metastore_relay import MetastoreRelay
from tests.fakes.s3_relay import Failure, Request, S3Relay
from tests.support.data_servers import DataServers
from tests.support.data_writers import TABLE, YEAR, frame, loaded, small_files, stored
from workroom_data import (
    history,
    hive_wire,
    load_dataframe,
    rebuild,
    session,
    store,
    store_dataframe,
)
from workroom_data.errors import Damaged, DataWarning, NotFound, Unavailable
from workroom_data.hive import HiveCatalogue
from workroom_data.session import Session
from workroom_data.settings import Settings
from workroom_data.storage import Storage
from workroom_data.storage_s3_calls import Patience

SHORT = Patience(connect=1, answer=5, silent=0, busy=0, attempts=2, pause=0.05)
FOLDER = f"{TABLE}/year=2016"


class World:
    """The real servers, and the way of this process to them, which may fail.

    Attributes:
        s3, metastore: The relays.
        through: A session through them that soon gives up.
        direct: A session past them.
    """

    def __init__(self, settings: Settings, s3: S3Relay, metastore: MetastoreRelay) -> None:
        self.s3, self.metastore = s3, metastore
        relayed = replace(settings, s3_endpoint=s3.endpoint, metastore=metastore.address)
        self.through = _session(relayed, SHORT)
        self.direct = _session(settings, None)

    def use(self, chosen: Session) -> None:
        """Store and load in this session from here on."""
        session._current = chosen

    def seen(self, database: str) -> int:
        """Return the frame that everybody else sees."""
        self.use(self.direct)
        try:
            return loaded(database, YEAR)
        finally:
            self.use(self.through)

    def pointer(self, database: str) -> int:
        """Return the number that the metastore points at."""
        table = self.direct.catalogue.table(database, TABLE)
        assert table is not None
        (pointer,) = self.direct.catalogue.pointers(table)
        return pointer.number


def _session(settings: Settings, patience: Patience | None) -> Session:
    storage = Storage(settings, patience)
    return Session(settings, storage, HiveCatalogue(settings), os.getpid(), chosen=True)


@pytest.fixture
def world(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(session, "_current", None)
    monkeypatch.setattr(hive_wire, "PAUSES", (0.01, 0.01))
    with (
        S3Relay(settings.s3_endpoint) as s3,
        MetastoreRelay(settings.metastore) as metastore,
        small_files(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error", DataWarning)
        world = World(settings, s3, metastore)
        world.use(world.through)
        yield world
        for one in (world.through, world.direct):
            one.catalogue.close()


def each_once() -> Callable[[Request], bool]:
    """Return what holds for each request once: not for its repetition."""
    met: set[tuple[str, str]] = set()

    def first(request: Request) -> bool:
        key = (request.method, request.path)
        new = key not in met
        met.add(key)
        return new

    return first


def commits(request: Request) -> bool:
    """Say whether it is the writing of a commit."""
    return request.method == "PUT" and "_workroom" in request.path


def data(request: Request) -> bool:
    """Say whether it is the reading of a file of a batch."""
    return request.method == "GET" and "/part-" in request.path


def refusal(database: str, tag: int) -> str:
    """Store; return what the error says if a server cannot be had, or ""."""
    try:
        stored(database, tag, YEAR)
    except Unavailable as error:
        return str(error)
    return ""


@pytest.mark.docker
class TestTheS3Server:
    @pytest.mark.parametrize(
        "failure",
        [
            failures.internal_error,
            failures.slow_down,
            failures.drops_connection,
            failures.half_a_body,
            failures.not_xml,
            failures.internal_error_after_success,
            failures.no_answer_after_success,
        ],
    )
    def test_fails_once_at_every_request(
        self, world: World, database: str, failure: Failure
    ) -> None:
        """Nobody notices, and there is one commit of each store, whatever became of an answer."""
        stored(database, 1, YEAR)
        world.s3.fail(failure, 1_000_000, each_once())
        batch = store_dataframe(frame(2), database, TABLE, YEAR)
        assert loaded(database, YEAR) == 2
        told = history(database, TABLE, YEAR)
        assert told["number"].tolist() == [2, 1]
        assert (batch.number, batch.batch_id) == (2, told["batch_id"][0])
        assert world.pointer(database) == 2

    def test_loses_the_answer_to_a_commit_that_somebody_else_made(
        self, world: World, database: str
    ) -> None:
        """Ours was not written, and the retry meets another's: that is no success of ours."""
        stored(database, 1, YEAR)

        def another(request: Request, server: object) -> failures.Answer:
            world.use(world.direct)
            stored(database, 7, YEAR)
            world.use(world.through)
            raise ConnectionError

        world.s3.fail(another, 1, commits)
        batch = store_dataframe(frame(2), database, TABLE, YEAR)
        told = history(database, TABLE, YEAR)
        assert told["number"].tolist() == [3, 2, 1]
        assert told["batch_id"].is_unique
        assert (batch.number, batch.batch_id) == (3, told["batch_id"][0])
        assert world.seen(database) == 2

    @pytest.mark.parametrize("failure", [failures.drops_connection, failures.slow_down])
    def test_goes_away_during_a_store(self, world: World, database: str, failure: Failure) -> None:
        """At each request, and does not come back: others see the batch before or the new one."""
        stored(database, 1, YEAR)
        world.seen(database)
        at, last = 0, 1
        while True:
            at += 1
            world.s3.requests.clear()
            count = iter(range(1, 1000))
            world.s3._plans.clear()
            world.s3.fail(failure, 1_000_000, lambda _, c=count, at=at: next(c) >= at)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", DataWarning)
                told = refusal(database, at + 1)
            if told:
                assert "not visible to anybody" in told
                assert world.seen(database) == last
                continue
            # The commit is there: from now on a store does not fail any more.
            assert world.seen(database) == at + 1
            last = at + 1
            if not said:
                break
            assert "Stored as batch" in str(said[0].message)
        assert at > 5
        assert len(world.s3.requests) < at

    def test_refuses_the_commit(self, world: World, database: str) -> None:
        stored(database, 1, YEAR)
        world.s3.fail(failures.access_denied, 1_000_000, commits)
        with pytest.raises(Unavailable, match=r"refuses .*_workroom.*AccessDenied") as caught:
            stored(database, 2, YEAR)
        assert "not visible to anybody" in str(caught.value)
        assert world.seen(database) == 1

    def test_refuses_a_read(self, world: World, database: str) -> None:
        stored(database, 1, YEAR)
        world.s3.fail(failures.access_denied, 1_000_000, data)
        with pytest.raises(Unavailable, match="refuses"):
            loaded(database, YEAR)

    @pytest.mark.parametrize("failure", [failures.wrong_bytes_down, failures.half_a_body])
    def test_never_gives_a_file_whole(self, world: World, database: str, failure: Failure) -> None:
        stored(database, 1, YEAR)
        world.s3.fail(failure, 1_000_000, data)
        with pytest.raises((Damaged, Unavailable)) as caught:
            loaded(database, YEAR)
        assert "part-0000" in str(caught.value)
        assert world.seen(database) == 1

    @pytest.mark.parametrize("change", ["a byte", "the end", "all of it"])
    def test_has_other_bytes_than_were_written(
        self, world: World, database: str, data_servers: DataServers, change: str
    ) -> None:
        """Somebody with the platform's keys wrote over a file: the S3 server finds it in order."""
        batch = store_dataframe(frame(1), database, TABLE, YEAR)
        stored(database, 2, {"year": "2017"})
        bucket, _, folder = batch.location[len("s3://") :].partition("/")
        client, key = data_servers.s3(), f"{folder}/part-00000.gz"
        content = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        other = {
            "a byte": content[:-1] + bytes([content[-1] ^ 1]),
            "the end": content[:-1],
            "all of it": content[::-1],
        }[change]
        client.put_object(Bucket=bucket, Key=key, Body=other)
        with pytest.raises(Damaged, match=r"part-00000\.gz") as caught:
            load_dataframe(database, TABLE)
        assert "checksum" in str(caught.value) or "bytes" in str(caught.value)
        assert loaded(database, {"year": "2017"}) == 2

    def test_lost_a_file(self, world: World, database: str, data_servers: DataServers) -> None:
        batch = store_dataframe(frame(1), database, TABLE, YEAR)
        bucket, _, folder = batch.location[len("s3://") :].partition("/")
        data_servers.s3().delete_object(Bucket=bucket, Key=f"{folder}/part-00001.gz")
        with pytest.raises(Damaged, match=r"part-00001.gz is gone"):
            loaded(database, YEAR)
        stored(database, 2, YEAR)
        assert loaded(database, YEAR) == 2

    def test_has_a_commit_that_is_none(
        self, world: World, database: str, data_servers: DataServers
    ) -> None:
        """No earlier batch is taken for the newest; a new store goes on behind it."""
        stored(database, 1, YEAR)
        path = f"{world.direct.settings.warehouse}/{database}/{FOLDER}/_workroom/00000002.json"
        bucket, _, key = path[len("s3://") :].partition("/")
        data_servers.s3().put_object(Bucket=bucket, Key=key, Body=b'{"number": 2}')
        with pytest.raises(Damaged, match=r"00000002.json is not a commit"):
            loaded(database, YEAR)
        assert store_dataframe(frame(3), database, TABLE, YEAR).number == 3
        assert loaded(database, YEAR) == 3


@pytest.mark.docker
class TestTheMetastore:
    def test_is_down_before(self, world: World, database: str) -> None:
        """Nothing is written at all."""
        stored(database, 1, YEAR)
        world.metastore.down = True
        world.s3.requests.clear()
        for verb in (stored, lambda *_: loaded(database, YEAR)):
            with pytest.raises(Unavailable, match=r"metastore at .* does not answer"):
                verb(database, 2, YEAR)
        assert world.s3.requests == []
        world.metastore.down = False
        assert loaded(database, YEAR) == 1

    def test_goes_down_with_the_commit_and_comes_back(self, world: World, database: str) -> None:
        stored(database, 1, YEAR)

        def down(request: str) -> None:
            if request.startswith("PUT ") and "_workroom" in request:
                world.metastore.down = True

        world.s3.before = down
        with pytest.warns(DataWarning, match="Stored as batch .* could not be told"):
            batch = store_dataframe(frame(2), database, TABLE, YEAR)
        assert (batch.number, world.pointer(database)) == (2, 1)  # Spark sees the first
        assert world.seen(database) == 2
        assert world.pointer(database) == 2

    def test_goes_down_before_the_table_is_made(self, world: World, database: str) -> None:
        """The files are written, and nobody will ever see them."""

        def down(request: str) -> None:
            world.metastore.down |= request.startswith("PUT ")

        world.s3.before = down
        with pytest.raises(Unavailable, match="not visible to anybody"):
            stored(database, 1, YEAR)
        world.metastore.down = False
        world.s3.before = lambda _: None
        assert loaded(database, YEAR) == -1
        stored(database, 2, YEAR)
        assert loaded(database, YEAR) == 2
        assert history(database, TABLE)["number"].tolist() == [1]

    def test_is_down_while_a_load_moves_its_pointer(self, world: World, database: str) -> None:
        stored(database, 1, YEAR)

        def no_pointers(request: str) -> None:
            if request.startswith("alter_partition"):
                raise ConnectionError

        world.metastore.before = no_pointers
        with pytest.warns(DataWarning, match="could not be told"):
            stored(database, 2, YEAR)
        with pytest.warns(DataWarning, match="still points at an earlier batch"):
            assert loaded(database, YEAR) == 2
        world.metastore.before = lambda _: None
        assert loaded(database, YEAR) == 2
        assert world.pointer(database) == 2

    @pytest.mark.parametrize("partition", [YEAR, None], ids=["partition", "whole table"])
    def test_loses_the_answer_to_each_request(
        self, world: World, database: str, partition: dict[str, str] | None
    ) -> None:
        """It did what it was asked: making the table, adding the partition, moving the pointer."""
        met: set[str] = set()

        def lose(request: str) -> None:
            if (request, database) not in met:
                met.add((request, database))
                world.metastore.lose_answers(1)

        world.metastore.before = lose
        for tag in (1, 2):
            stored(database, tag, partition)
            met.clear()
            assert loaded(database, partition) == tag
        assert world.metastore.lost >= 6
        assert history(database, TABLE)["number"].tolist() == [2, 1]

    def test_forgot_the_table_while_it_is_stored(self, world: World, database: str) -> None:
        """Somebody drops it with Spark: the batch is there, and the warning says what to do."""
        stored(database, 1, YEAR)

        def drop(request: str) -> None:
            if request.startswith("PUT ") and "_workroom" in request:
                wire = world.direct.catalogue._wire
                wire.ask("drop", lambda c: c.drop_table(database, TABLE, False))

        world.s3.before = drop
        with pytest.warns(DataWarning, match="workroom-data rebuild"):
            stored(database, 2, YEAR)
        with pytest.raises(NotFound):
            load_dataframe(database, TABLE)
        rebuild(database)
        assert world.seen(database) == 2


@pytest.mark.docker
def test_a_clock_that_goes_back(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number decides, not the time."""
    stored(database, 1, YEAR)
    past = datetime(1999, 12, 31, tzinfo=UTC)
    monkeypatch.setattr(store, "new_batch_id", lambda: f"{past:%Y%m%dT%H%M%SZ}-00000000")

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return past

    monkeypatch.setattr(store, "datetime", Stopped)
    batch = store_dataframe(frame(2), database, TABLE, YEAR)
    assert batch.batch_id < history(database, TABLE, YEAR)["batch_id"][1]
    assert loaded(database, YEAR) == 2
    assert world.pointer(database) == 2


@pytest.mark.docker
@pytest.mark.parametrize(
    "value", ["a/b", "a=b", "50 %", "%2F", "..", ".", "ü🎈", "x" * 200, "'\"\\"]
)
def test_awkward_values_and_names(world: World, database: str, value: str) -> None:
    """A partition of any name, columns of any name: on S3 and in the metastore as in a folder."""
    given = frame(1).rename(columns={"text": "Select From"}).assign(Größe=1, order=2)
    store_dataframe(given, database, TABLE, {"city": value})
    store_dataframe(
        frame(2).assign(**{"Select From": "", "Größe": 1, "order": 2}).drop(columns="text"),
        database,
        TABLE,
        {"city": "other"},
    )
    back = load_dataframe(database, TABLE, {"city": value})
    assert back.columns.tolist() == [*given.columns, "city"]
    assert back["Select From"].tolist() == given["Select From"].tolist()
    assert back["city"].unique().tolist() == [value]
    assert len(load_dataframe(database, TABLE)) == len(given) + len(frame(2))


# ---- The disk -----------------------------------------------------------------------------


def _stores_on_a_full_disk(settings: Settings, catalogue: object, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    session.connect(settings, catalogue)  # type: ignore[arg-type]
    told = refusal("db", 2)
    os._exit(7 if "not visible to anybody" in told and "File too large" in told else 1)


@pytest.mark.parametrize(
    "limit", [0, 200, 700], ids=["no room", "for half a file", "for no commit"]
)
def test_a_full_disk(local: Session, limit: int) -> None:
    """Files, then the commit, do not fit: the batch before stays, and the next store works."""
    stored("db", 1, YEAR)
    fork = multiprocessing.get_context("fork")
    child = fork.Process(
        target=_stores_on_a_full_disk, args=(local.settings, local.catalogue, limit)
    )
    child.start()
    child.join(30)
    child.kill()
    assert child.exitcode == 7
    assert loaded("db", YEAR) == 1
    assert not list(Path(local.settings.warehouse).rglob(".*"))
    stored("db", 3, YEAR)
    assert history("db", TABLE, YEAR)["number"].tolist() == [2, 1]
    assert loaded("db", YEAR) == 3
