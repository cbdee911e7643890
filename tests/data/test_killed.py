"""Writers that are killed with SIGKILL, on the real servers: at random, and at every request."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.fakes.metastore_relay import MetastoreRelay
from tests.fakes.power_cut import PowerCut
from tests.fakes.s3_relay import S3Relay
from tests.support.data_writers import (
    PROCESSES,
    TABLE,
    YEAR,
    act,
    frame,
    killed_after,
    loaded,
    store_for_ever,
    stored,
)
from workroom_data import check, history, load_dataframe, session, store_dataframe
from workroom_data.errors import NotFound
from workroom_data.log import Log
from workroom_data.session import Session
from workroom_data.settings import Settings

pytestmark = pytest.mark.docker

KILLS = 30


@pytest.fixture
def now(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """The session of this process, on the real servers."""
    monkeypatch.setattr(session, "_current", None)
    chosen = session.connect(settings)
    yield chosen
    chosen.catalogue.close()


def numbers(now: Session, database: str, partition: dict[str, str] | None = YEAR) -> list[int]:
    """Return the numbers of the log."""
    folder = f"{now.settings.warehouse}/{database}/{TABLE}{'/year=2016' if partition else ''}"
    return Log(now.storage, folder).numbers()


def pointer_of(now: Session, database: str) -> int:
    """Return the number that the metastore points at, 0 if at none."""
    table = now.catalogue.table(database, TABLE)
    pointers = now.catalogue.pointers(table) if table else []
    return pointers[0].number if pointers else 0


def test_thirty_times_at_random(now: Session, database: str) -> None:
    seed = random.randrange(1 << 32)  # noqa: S311
    print(f"seed {seed}")
    moments = random.Random(seed)  # noqa: S311
    stored(database, 0, YEAR)
    begun = time.monotonic()
    stored(database, 1, YEAR)
    takes = time.monotonic() - begun  # on a busy machine as on an idle one
    over = threading.Event()
    seen: list[int] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not over.is_set():
                seen.append(loaded(database, YEAR))
        except BaseException as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for kill in range(1, KILLS + 1):
            wait = moments.uniform(0, min(3 * takes, 0.5))
            killed_after(wait, store_for_ever, now.settings, database, YEAR, kill * 1000)
            assert not failures
            loaded(database, YEAR)  # whoever looks moves the pointer up
            assert pointer_of(now, database) == numbers(now, database)[-1]
    finally:
        over.set()
        reader.join(30)
    assert not failures
    assert len(seen) > KILLS / 3
    assert seen == sorted(seen)  # the writers counted upwards, and nobody went back
    told = history(database, TABLE, YEAR)
    assert told["number"].tolist() == list(range(len(told), 0, -1))
    assert told["batch_id"].is_unique
    assert len(told) > 4
    assert {finding.kind for finding in check(database)} <= {"orphans"}
    stored(database, 999_999, YEAR)
    assert loaded(database, YEAR) == 999_999


class TestAtEveryRequest:
    """A writer is killed as its first, its second, … request is to be sent."""

    @pytest.mark.parametrize(
        ("verb", "batches", "least"),
        [
            ("store", 0, 8),
            ("store more", 2, 14),
            ("store plain", 0, 7),
            ("rollback plain", 2, 7),
        ],
        ids=[
            "first store of a table",
            "a store with a new column, in parts",
            "first store without partitions",
            "rollback without partitions",
        ],
    )
    def test_readers_are_on_one_whole_batch(
        self, now: Session, database: str, verb: str, batches: int, least: int
    ) -> None:
        at, cut = 0, True
        while cut:
            at += 1
            name = f"{database}_{at}"
            partition = None if "plain" in verb else YEAR
            for tag in range(1, batches + 1):
                stored(name, tag, partition)
            requests, cut = self._killed(now, verb, name, at)
            story = f"at request {at}: {requests[-1]}"
            self._whole(now, verb, name, partition, batches, at, story)
        assert at >= least  # so many requests it takes

    def _killed(self, now: Session, verb: str, database: str, at: int) -> tuple[list[str], bool]:
        """Let a process do it, and kill it at that request; say what it asked, and if it died."""
        here, there = PROCESSES.Pipe()
        power = PowerCut(at)
        with (
            S3Relay(now.settings.s3_endpoint) as s3,
            MetastoreRelay(now.settings.metastore) as metastore,
        ):
            s3.before = metastore.before = power
            relayed = replace(now.settings, s3_endpoint=s3.endpoint, metastore=metastore.address)
            process = PROCESSES.Process(
                target=act, args=(verb, relayed, database, 9, there), daemon=True
            )
            process.start()
            power.pid = process.pid
            here.send("go")
            process.join(20)
            process.kill()
        assert process.exitcode == (-9 if power.cut else 0)
        return power.requests, power.cut

    def _whole(
        self,
        now: Session,
        verb: str,
        database: str,
        partition: dict[str, str] | None,
        batches: int,
        at: int,
        story: str,
    ) -> None:
        there = numbers(now, database, partition)
        assert there in (list(range(1, batches + 1)), list(range(1, batches + 2))), story
        happened = len(there) > batches
        behind = pointer_of(now, database) < len(there)

        found = {finding.kind for finding in check(database)} if there else set()
        assert found <= {"orphans", "behind", "unlisted"}, story
        assert bool(found & {"behind", "unlisted"}) == behind, story
        if at % 2 and there:
            check(database, fix=True)
            assert pointer_of(now, database) == len(there), story

        new = 1 if verb == "rollback plain" else 9
        old = batches or -1
        if happened and verb == "store plain" and behind and not at % 2:
            with pytest.raises(NotFound, match="check --fix"):  # there is no table to load
                load_dataframe(database, TABLE)
        else:
            assert loaded(database, partition) == (new if happened else old), story
            assert pointer_of(now, database) == len(there), story

        given = frame(12) if verb != "store more" else frame(12).assign(more=None)
        store_dataframe(given, database, TABLE, partition)
        assert loaded(database, partition) == 12, story
        assert pointer_of(now, database) == len(there) + 1, story
        assert {finding.kind for finding in check(database)} <= {"orphans"}, story
