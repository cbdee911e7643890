"""The catalogue when many want the same at once, and when the metastore is away."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.metastore_relay import MetastoreRelay
from tests.support.data_servers import DataServers
from workroom_data import hive_wire
from workroom_data.catalogue import Column, Pointer, Table
from workroom_data.errors import Conflict, Unavailable
from workroom_data.hive import HiveCatalogue
from workroom_data.settings import Settings

pytestmark = pytest.mark.docker

COLUMNS = (Column("id", "bigint"),)


@pytest.fixture
def table(settings: Settings, database: str) -> Table:
    root = f"{settings.warehouse}/{database}/t"
    return Table(database, "t", COLUMNS, (Column("year", "string"),), "text", root, root)


@pytest.fixture
def relay(settings: Settings) -> Iterator[MetastoreRelay]:
    """Something between us and the metastore that loses answers when it is told to."""
    with MetastoreRelay(settings.metastore) as relay:
        yield relay


@pytest.fixture
def through(settings: Settings, relay: MetastoreRelay) -> Iterator[HiveCatalogue]:
    """A catalogue whose metastore is behind the relay."""
    with HiveCatalogue(dataclasses.replace(settings, metastore=relay.address)) as catalogue:
        yield catalogue


def pointer(table: Table, value: str, number: int = 1) -> Pointer:
    location = f"{table.root}/year={value}/{number}"
    return Pointer((value,), location, number, f"batch-{number}", table.columns, number, number)


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Do something in `count` threads that begin together; return what each returned."""
    together = threading.Barrier(count)

    def one(number: int) -> Any:
        together.wait(30)
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class TestRaces:
    def test_two_make_the_same_table_and_its_database(
        self, settings: Settings, table: Table
    ) -> None:
        catalogues = [HiveCatalogue(settings) for _ in range(2)]
        made = at_once(2, lambda i: catalogues[i].create(table))
        assert sorted(made) == [False, True]
        there = catalogues[0].table(table.database, table.name)
        assert there is not None
        assert there.columns == COLUMNS
        for catalogue in catalogues:
            catalogue.close()

    def test_six_threads_add_the_same_partition(
        self, catalogue: HiveCatalogue, table: Table
    ) -> None:
        assert catalogue.create(table)
        made = at_once(6, lambda i: catalogue.point(table, pointer(table, "2016", i + 1), new=True))
        assert sorted(made) == [False] * 5 + [True]
        assert catalogue.pointers(table) == [pointer(table, "2016", made.index(True) + 1)]

    def test_six_threads_move_a_pointer(self, catalogue: HiveCatalogue, table: Table) -> None:
        """And none waits for Derby to tell apart two who wait for each other."""
        assert catalogue.create(table)
        assert catalogue.point(table, pointer(table, "2016"), new=True)

        def move(thread: int) -> list[bool]:
            numbers = range(10 * thread + 2, 10 * thread + 12)
            return [catalogue.point(table, pointer(table, "2016", n), new=False) for n in numbers]

        begun = time.monotonic()
        assert at_once(6, move) == [[True] * 10] * 6
        assert time.monotonic() - begun < 15
        (last,) = catalogue.pointers(table)
        assert last == pointer(table, "2016", last.number)  # never half of one, half of another

    def test_fifty_partitions_from_ten_threads(
        self, catalogue: HiveCatalogue, table: Table
    ) -> None:
        assert catalogue.create(table)

        def add(thread: int) -> list[bool]:
            values = [str(2000 + 5 * thread + i) for i in range(5)]
            return [catalogue.point(table, pointer(table, one), new=True) for one in values]

        assert at_once(10, add) == [[True] * 5] * 10
        expected = [pointer(table, str(year)) for year in range(2000, 2050)]
        assert catalogue.pointers(table) == expected

    def test_six_add_a_column_each_and_one_wins(
        self, catalogue: HiveCatalogue, table: Table
    ) -> None:
        assert catalogue.create(table)
        made = catalogue.table(table.database, table.name)
        assert made is not None

        def alter(thread: int) -> bool:
            extra = (*COLUMNS, Column(f"extra{thread}", "string"))
            try:
                catalogue.alter(dataclasses.replace(made, columns=extra))
            except Conflict:
                return False
            return True

        won = at_once(6, alter)
        assert sum(won) == 1
        there = catalogue.table(table.database, table.name)
        assert there is not None
        assert there.columns == (*COLUMNS, Column(f"extra{won.index(True)}", "string"))


class TestAway:
    def test_down_before_during_and_after(
        self,
        data_servers: DataServers,
        catalogue: HiveCatalogue,
        table: Table,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(hive_wire, "PAUSES", (0.01, 0.01))
        assert catalogue.create(table)
        data_servers.stop_metastore()
        try:
            with caplog.at_level(logging.INFO), pytest.raises(Unavailable) as caught:
                catalogue.table(table.database, table.name)
            with pytest.raises(Unavailable):
                catalogue.point(table, pointer(table, "2016"), new=True)
        finally:
            data_servers.start_metastore()
        assert str(data_servers.metastore_port) in str(caught.value)
        assert f"read table {table.database}.t" in str(caught.value)
        assert "Exception" not in str(caught.value)
        assert caplog.records == []  # thrift's own logging would land in a notebook
        assert catalogue.point(table, pointer(table, "2016"), new=True)
        assert catalogue.pointers(table) == [pointer(table, "2016")]

    def test_started_again_between_two_requests(
        self, data_servers: DataServers, catalogue: HiveCatalogue, table: Table
    ) -> None:
        assert catalogue.create(table)
        data_servers.stop_metastore()
        data_servers.start_metastore()
        before = catalogue.calls
        assert catalogue.pointers(table) == []
        assert catalogue.calls == before + 1  # the dead connection was noticed before it was used


class TestLostAnswers:
    """The metastore did it, and its answer never came."""

    def test_of_a_question(self, through: HiveCatalogue, relay: MetastoreRelay) -> None:
        expected = through.databases()
        relay.lose_answers(2)
        assert through.databases() == expected
        assert relay.lost == 2

    def test_of_making_a_table(
        self, through: HiveCatalogue, relay: MetastoreRelay, table: Table
    ) -> None:
        assert through.create(dataclasses.replace(table, name="other"))
        relay.lose_answers(1, after=1)  # the first is that the database is there
        assert not through.create(table)
        assert through.tables(table.database) == ["other", "t"]

    def test_of_making_a_database(
        self, through: HiveCatalogue, relay: MetastoreRelay, table: Table
    ) -> None:
        relay.lose_answers(1)
        assert through.create(table)
        assert through.tables(table.database) == ["t"]

    def test_of_adding_a_partition(
        self, through: HiveCatalogue, relay: MetastoreRelay, table: Table
    ) -> None:
        assert through.create(table)
        relay.lose_answers(1)
        assert not through.point(table, pointer(table, "2016"), new=True)
        assert through.pointers(table) == [pointer(table, "2016")]

    def test_of_moving_a_pointer(
        self, through: HiveCatalogue, relay: MetastoreRelay, table: Table
    ) -> None:
        assert through.create(table)
        assert through.point(table, pointer(table, "2016"), new=True)
        relay.lose_answers(1)
        assert through.point(table, pointer(table, "2016", 2), new=False)
        assert through.pointers(table) == [pointer(table, "2016", 2)]

    def test_of_altering_a_table(
        self, through: HiveCatalogue, relay: MetastoreRelay, table: Table
    ) -> None:
        assert through.create(table)
        made = through.table(table.database, table.name)
        assert made is not None
        relay.lose_answers(1)
        extra = (*COLUMNS, Column("extra", "string"))
        through.alter(dataclasses.replace(made, columns=extra))
        there = through.table(table.database, table.name)
        assert there is not None
        assert there.columns == extra
