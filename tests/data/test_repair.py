"""Check and rebuild: what differs is found, and the metastore is made anew from the logs alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import (
    check,
    connect,
    history,
    load_dataframe,
    rebuild,
    rollback,
    session,
    store_dataframe,
)
from workroom_data.catalogue import Column, Pointer, Table
from workroom_data.errors import DataWarning, NotFound, Unavailable
from workroom_data.hive import HiveCatalogue
from workroom_data.log import Log
from workroom_data.session import Session
from workroom_data.settings import Settings

YEAR = {"year": "2016"}


@pytest.fixture
def metastore(local: Session) -> CatalogueInMemory:
    assert isinstance(local.catalogue, CatalogueInMemory)
    return local.catalogue


def stored(value: int, partition: Any = None, table: str = "t", **more: Any) -> None:
    store_dataframe(pd.DataFrame({"id": [value]}), "sales", table, partition, **more)


def loaded(partition: Any = None, table: str = "t") -> list[int]:
    return [int(one) for one in load_dataframe("sales", table, partition)["id"]]


def table_of(metastore: CatalogueInMemory, name: str = "t") -> Table:
    table = metastore.table("sales", name)
    assert table is not None
    return table


def kinds(*given: Any, **more: Any) -> list[tuple[str, str, bool]]:
    """Return what a check finds: kind, partition, whether it was put right."""
    return [(one.kind, one.partition, one.fixed) for one in check(*given, **more)]


def unpointed(metastore: CatalogueInMemory, *given: Any, **more: Any) -> None:
    """Store while the metastore takes no pointers."""
    metastore.down_for = {"point", "create"} if more.pop("new_table", False) else {"point"}
    with pytest.warns(DataWarning, match="could not be told"):
        stored(*given, **more)
    metastore.down_for = set()


def some_tables() -> None:
    """Tables of each kind, with a history."""
    for year in (2015, 2016):
        for month in (1, 2):
            keys = {"year": "int", "month": "int"}
            stored(year, [year, month], "orders", partition_keys=keys)
    stored(2017, [2016, 2], "orders")
    wide = pd.DataFrame({"id": [7], "When": pd.to_datetime(["2026-01-01"], utc=True)})
    store_dataframe(wide, "sales", "orders", [2015, 1])
    store_dataframe(wide, "sales", "prices", {"city": "a/b=ü"}, format="parquet")
    store_dataframe(wide[["id"]], "hr", "people")
    store_dataframe(wide, "hr", "people")
    rollback("hr", "people")


def all_there_is(catalogue: Any) -> dict[str, Any]:
    """Return tables and pointers of some_tables as they are in a metastore."""
    found: dict[str, Any] = {}
    for name in (("sales", "orders"), ("sales", "prices"), ("hr", "people")):
        table = catalogue.table(*name)
        found[".".join(name)] = (
            table.columns,
            table.keys,
            table.format,
            table.root,
            table.location,
            catalogue.pointers(table),
        )
    return found


class TestCheck:
    def test_all_is_well(self, local: Session) -> None:
        some_tables()
        assert check() == []

    def test_a_pointer_behind_its_log(self, local: Session, metastore: CatalogueInMemory) -> None:
        stored(1, YEAR)
        stored(1, {"year": "2017"})
        unpointed(metastore, 2, YEAR)
        (found,) = check()
        assert found.kind == "behind"
        assert not found.harmless
        assert str(found) == (
            "sales.t year=2016: The metastore is at commit 1, its log at 2. "
            "`workroom-data check --fix` puts it right."
        )
        (fixed,) = check("sales", "t", fix=True)
        assert fixed.fixed
        assert fixed.harmless
        assert str(fixed).endswith("Put right.")
        assert check() == []
        assert [pointer.number for pointer in metastore.pointers(table_of(metastore))] == [2, 1]

    def test_what_the_metastore_never_heard_of(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        unpointed(metastore, 2, {"year": "2017"})
        unpointed(metastore, 3, table="alone", new_table=True)
        assert kinds() == [("unlisted", "", False), ("unlisted", "year=2017", False)]
        assert loaded() == [1]
        assert kinds(fix=True) == [("unlisted", "", True), ("unlisted", "year=2017", True)]
        assert check() == []
        assert loaded() == [1, 2]
        assert loaded(table="alone") == [3]

    def test_columns_that_the_metastore_lacks(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        wide = pd.DataFrame({"id": [1], "extra": ["x"]})
        store_dataframe(wide, "sales", "t", YEAR)
        table = table_of(metastore)
        metastore.alter(dataclasses.replace(table, columns=table.columns[:1]))
        assert kinds() == [("behind", "", False)]
        assert kinds(fix=True) == [("behind", "", True)]
        assert table_of(metastore).columns == table.columns
        assert check() == []

    def test_a_pointer_that_somebody_set_elsewhere(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        (pointer,) = metastore.pointers(table_of(metastore))
        wrong = dataclasses.replace(pointer, location="/tmp/elsewhere")
        metastore.point(table_of(metastore), wrong, new=False)
        (found,) = check()
        assert (found.kind, "/tmp/elsewhere" in found.text) == ("elsewhere", True)
        assert kinds(fix=True) == [("elsewhere", "year=2016", True)]
        assert metastore.pointers(table_of(metastore)) == [pointer]

    def test_a_strangers_partition_is_left_to_its_owner(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        table = table_of(metastore)
        for year, new in (("2016", False), ("2017", True)):
            metastore.point(table, Pointer((year,), "/tmp/s", 0, "", table.columns), new=new)
        expected = [("stranger", "year=2016", False), ("stranger", "year=2017", False)]
        assert kinds() == expected
        assert kinds(fix=True) == expected
        assert [p.location for p in metastore.pointers(table)] == ["/tmp/s"] * 2

    def test_a_log_that_lost_its_end(self, local: Session, metastore: CatalogueInMemory) -> None:
        stored(1, YEAR)
        stored(2, YEAR)
        stored(3, {"year": "2017"})
        root = Path(table_of(metastore).root)
        (root / "year=2016/_workroom/00000002.json").unlink()
        shutil.rmtree(root / "year=2017")
        found = [one for one in check(fix=True) if not one.harmless]
        assert [(one.kind, one.partition) for one in found] == [
            ("ahead", "year=2016"),
            ("ahead", "year=2017"),
        ]
        assert "restore-data" in found[0].fix
        assert rebuild()[0].startswith("sales.t year=2016: set back, at commit 1")
        assert loaded(YEAR) == [1]

    @pytest.mark.parametrize(("number", "says"), [(2, "A commit"), (3, "The newest commit")])
    def test_a_damaged_commit(self, local: Session, number: int, says: str) -> None:
        for value in range(3):
            stored(value)
        path = Path(local.settings.warehouse, f"sales/t/_workroom/{number:08d}.json")
        path.write_bytes(b"oh")
        found = [one for one in check() if not one.harmless]
        assert [one.kind for one in found] == ["damaged"]
        assert found[0].text.startswith(f"{says} cannot be read: {path} is not a commit")

    def test_a_commit_that_is_not_there(self, local: Session) -> None:
        for value in range(4):
            stored(value)
        for number in (1, 3):
            Path(local.settings.warehouse, f"sales/t/_workroom/{number:08d}.json").unlink()
        found = [one for one in check() if not one.harmless]
        assert [one.kind for one in found] == ["gap"]
        assert "2 of its 4 commits are not there: 1, 3." in found[0].text

    @pytest.mark.parametrize("wrong", ["gone", "longer"])
    def test_files_of_the_current_batch(self, local: Session, wrong: str) -> None:
        stored(1)
        batch = store_dataframe(pd.DataFrame({"id": [1]}), "sales", "t")
        file = Path(batch.location, "part-00000.gz")
        file.unlink() if wrong == "gone" else file.write_bytes(b"x" * 1000)
        (found,) = check()
        assert found.kind == "files"
        assert str(file) in found.text

    def test_folders_that_no_commit_names_are_counted_and_harmless(self, local: Session) -> None:
        stored(1, YEAR)
        for name in ("20260101T000000Z-00000000", "20260101T000000Z-00000001"):
            Path(local.settings.warehouse, "sales/t/year=2016", name).mkdir()
        (found,) = check()
        assert (found.kind, found.harmless) == ("orphans", True)
        assert found.text.startswith("2 batch folders that no commit names")

    def test_a_store_that_is_at_work_is_no_disagreement(
        self, local: Session, metastore: CatalogueInMemory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored(1, YEAR)
        real, stores = metastore.pointers, [2]

        def pointers(*given: Any, **more: Any) -> list[Pointer]:
            found = real(*given, **more)
            if stores:  # somebody stores between the look at the metastore and that at the logs
                stored(stores.pop(), YEAR)
            return found

        monkeypatch.setattr(metastore, "pointers", pointers)
        assert check() == []
        assert not stores

    def test_other_programs_tables_are_none_of_ours(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1)
        metastore.altered.add(("sales", "theirs"))
        metastore.create(dataclasses.replace(table_of(metastore), name="theirs", root="/tmp/x"))
        assert check() == []
        assert rebuild() == []

    def test_a_table_that_was_there_before_under_the_name(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        metastore.lose_all()
        stored(2)
        (found,) = check(fix=True)
        assert (found.kind, found.partition, found.harmless) == ("mixed", "year=2016", True)
        metastore.lose_all()
        assert len(rebuild()) == 1
        assert loaded() == [2]

    def test_a_table_in_another_warehouse(
        self, local: Session, metastore: CatalogueInMemory, tmp_path: Path
    ) -> None:
        stored(1, YEAR)
        unpointed(metastore, 2, YEAR)
        connect(Settings(str(tmp_path / "another"), "thrift://nowhere:1"), metastore)
        assert kinds() == [("behind", "year=2016", False)]
        assert history("sales", "t")["number"].tolist() == [2, 1]

    def test_of_nothing(self, local: Session, metastore: CatalogueInMemory) -> None:
        assert check() == []
        with pytest.raises(NotFound):
            check("sales")
        stored(1)
        with pytest.raises(NotFound, match="Did you mean 't'"):
            check("sales", "tt")
        metastore.down = True
        with pytest.raises(Unavailable):
            check()


class TestRebuild:
    def test_a_lost_metastore(self, local: Session, metastore: CatalogueInMemory) -> None:
        some_tables()
        before = all_there_is(metastore)
        metastore.lose_all()
        dry = rebuild(dry_run=True)
        assert metastore.databases() == []
        lines = rebuild()
        assert lines == dry
        assert lines[0] == "hr.people: new table of 2 columns"
        assert "sales.orders: new table of 2 columns, by year, month" in lines
        assert sum(line.startswith("sales.orders year=") for line in lines) == 4
        assert all_there_is(metastore) == before
        assert table_of(metastore, "orders").owner == "ada"
        assert load_dataframe("sales", "prices")["When"].dtype == "datetime64[ns, UTC]"
        assert rebuild() == []
        assert check() == []

    def test_only_one_table_or_database(self, local: Session, metastore: CatalogueInMemory) -> None:
        some_tables()
        metastore.lose_all()
        rebuild("sales", "orders")
        assert metastore.tables("sales") == ["orders"]
        rebuild("sales")
        assert metastore.databases() == ["sales"]

    def test_what_is_there_is_completed_and_not_overwritten(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        some_tables()
        before = all_there_is(metastore)
        orders = table_of(metastore, "orders")
        commented = (Column("id", "bigint", "a comment of Ann's"), *orders.columns[1:])
        metastore.lose_all()
        metastore.create(dataclasses.replace(orders, columns=commented))
        stranger = Pointer(("1999", "1"), "/tmp/spark", 0, "", orders.columns)
        metastore.point(orders, stranger, new=True)
        rebuild()
        after = all_there_is(metastore)
        assert after["sales.orders"][0] == commented
        assert after["sales.orders"][-1] == [stranger, *before["sales.orders"][-1]]
        assert after["hr.people"] == before["hr.people"]

    def test_the_logs_are_believed_against_pointers_that_others_set(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        for year in ("2014", "2015", "2016"):
            stored(int(year), {"year": year})
        table = table_of(metastore)
        before = metastore.pointers(table)
        for pointer, number in zip(before, (0, 1, 99), strict=True):
            wrong = dataclasses.replace(pointer, location="/tmp/false", number=number)
            metastore.point(table, wrong, new=False)
        assert len(rebuild()) == 3
        assert metastore.pointers(table) == before

    def test_rows_that_only_spark_has_are_not_taken_away(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        batch = store_dataframe(pd.DataFrame({"id": [1]}), "sales", "t", YEAR)
        table = table_of(metastore)
        stranger = Pointer(("2016",), "/tmp/spark", 0, "", table.columns)
        metastore.point(table, stranger, new=False)
        shutil.rmtree(batch.location)  # as Spark's INSERT OVERWRITE does
        assert rebuild() == []
        assert metastore.pointers(table) == [stranger]

    def test_a_table_whose_reading_somebody_changed(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        metastore.altered.add(("sales", "t"))
        assert kinds() == [("altered", "", False)]
        assert rebuild()[0] == "sales.t: read as it should be again"
        assert check() == []
        assert loaded() == [1]

    def test_a_partition_whose_newest_commit_is_damaged_is_not_passed_over(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        stored(2, YEAR)
        path = Path(local.settings.warehouse, "sales/t/year=2016/_workroom/00000002.json")
        path.write_bytes(b"")
        metastore.lose_all()
        rebuild()
        with pytest.raises(Exception, match=r"00000002\.json is not a commit"):
            load_dataframe("sales", "t")
        rollback("sales", "t", YEAR)
        assert loaded() == [1]

    def test_a_commit_of_another_table_is_not_followed(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        warehouse = Path(local.settings.warehouse)
        shutil.copytree(warehouse / "sales/t", warehouse / "sales/copy")
        assert rebuild() == []
        assert [one.kind for one in check() if not one.harmless] == ["damaged"]

    def test_while_others_store(self, local: Session, metastore: CatalogueInMemory) -> None:
        for partition, name in ((YEAR, "t"), (None, "alone")):
            stored(1, partition, name)
        metastore.lose_all()
        real = metastore.create

        def create(table: Table, pointer: Pointer | None = None) -> bool:
            # Somebody commits just now, and is killed before the metastore hears of it.
            log = Log(local.storage, f"{table.root}/year=2016" if table.keys else table.root)
            log.append(lambda _, newest: dataclasses.replace(newest, note="now"))  # type: ignore[type-var]
            return real(table, pointer)

        metastore.create = create  # type: ignore[method-assign]
        rebuild()
        assert [p.number for p in metastore.pointers(table_of(metastore))] == [2]
        assert [p.number for p in metastore.pointers(table_of(metastore, "alone"))] == [2]


@pytest.mark.docker
class TestRealServers:
    @pytest.fixture(autouse=True)
    def here(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "_current", None)
        connect(settings)

    def test_everything_dropped_is_made_anew(
        self, catalogue: HiveCatalogue, database: str, raw: Any
    ) -> None:
        frame = pd.DataFrame({"Id": [1], "at": pd.to_datetime(["2026-01-01"], utc=True)})
        for value in ("a/b=%ü", "x"):
            for day in ("2026-03-01", "2026-03-02"):
                keys = {"city": "string", "day": "date"}
                store_dataframe(frame, database, "orders", [value, day], partition_keys=keys)
        store_dataframe(frame[["Id"]], database, "plain", format="parquet")
        store_dataframe(frame, database, "plain", format="parquet")
        rollback(database, "plain")
        tables = [catalogue.table(database, name) for name in ("orders", "plain")]
        before = [(raw.get_table(database, t.name).sd, catalogue.pointers(t)) for t in tables if t]
        loads = [load_dataframe(database, name) for name in ("orders", "plain")]
        raw.drop_database(database, False, True)
        with pytest.raises(NotFound):
            load_dataframe(database, "orders")

        assert len(rebuild(database)) == 6
        tables = [catalogue.table(database, name) for name in ("orders", "plain")]
        after = [(raw.get_table(database, t.name).sd, catalogue.pointers(t)) for t in tables if t]
        assert after == before
        for name, expected in zip(("orders", "plain"), loads, strict=True):
            pd.testing.assert_frame_equal(load_dataframe(database, name), expected)
        assert rebuild(database) == []
        assert check(database) == []

    def test_a_pointer_that_was_left_behind(self, catalogue: HiveCatalogue, database: str) -> None:
        frame = pd.DataFrame({"id": [1]})
        for partition in ({"year": "2016"}, None):
            name = "years" if partition else "plain"
            store_dataframe(frame, database, name, partition)
            table = catalogue.table(database, name)
            assert table is not None
            (old,) = catalogue.pointers(table)
            store_dataframe(frame, database, name, partition)
            (new,) = catalogue.pointers(table)
            assert catalogue.point(table, old, new=False)
            assert [one.kind for one in check(database, name)] == ["behind"]
            assert [one.fixed for one in check(database, name, fix=True)] == [True]
            assert catalogue.pointers(table) == [new]

    def test_a_table_whose_reading_somebody_changed(
        self, catalogue: HiveCatalogue, database: str, raw: Any
    ) -> None:
        frame = pd.DataFrame({"id": [1]})
        for partition in ({"year": "2016"}, None):
            name = "years" if partition else "plain"
            store_dataframe(frame, database, name, partition)
            store_dataframe(frame.assign(more=1), database, name, partition)
            sound = raw.get_table(database, name)
            spoilt = raw.get_table(database, name)
            spoilt.sd.serdeInfo.parameters["field.delim"] = ","
            raw.alter_table(database, name, spoilt)
            assert [one.kind for one in check(database, name)] == ["altered"]
            assert "read as it should be again" in rebuild(database, name)[0]
            assert raw.get_table(database, name).sd == sound.sd
            assert load_dataframe(database, name)["more"].tolist() == [1]
            assert check(database, name) == []

    def test_two_hundred_partitions_are_made_anew_in_seconds(
        self, catalogue: HiveCatalogue, database: str, raw: Any, settings: Settings
    ) -> None:
        first = store_dataframe(pd.DataFrame({"id": [1]}), database, "many", {"n": "0"})
        now = session.current()
        path = f"{settings.warehouse}/{database}/many/n=0/_workroom/00000001.json"
        commit = json.loads(now.storage.read(path))
        for n in range(1, 200):  # commits alone: files are not looked at by a rebuild
            made = commit | {"values": [str(n)], "batch_id": f"20260101T000000Z-{n:08x}"}
            now.storage.create(path.replace("n=0", f"n={n}"), json.dumps(made).encode())
        raw.drop_table(database, "many", False)
        began = time.monotonic()
        assert len(rebuild(database)) == 201
        assert time.monotonic() - began < 20
        table = catalogue.table(database, "many")
        assert table is not None
        assert len(catalogue.pointers(table)) == 200
        assert history(database, "many", {"n": "0"})["batch_id"].tolist() == [first.batch_id]
