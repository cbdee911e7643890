"""History, audit and rollback: whole, in order, and a commit like any other."""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import workroom_data
from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import audit, going_back, history, load_dataframe, rollback, store_dataframe
from workroom_data.catalogue import Pointer
from workroom_data.errors import (
    Conflict,
    Damaged,
    DataError,
    DataWarning,
    NotFound,
    PartitionError,
    SchemaError,
    Unavailable,
)
from workroom_data.session import Session

YEAR = {"year": "2016"}


@pytest.fixture
def metastore(local: Session) -> CatalogueInMemory:
    assert isinstance(local.catalogue, CatalogueInMemory)
    return local.catalogue


def stored(value: int, partition: Any = None, table: str = "t", **more: Any) -> str:
    frame = pd.DataFrame({"id": [value]})
    return store_dataframe(frame, "sales", table, partition, **more).batch_id


def loaded(partition: Any = None, **more: Any) -> list[int]:
    return [int(one) for one in load_dataframe("sales", "t", partition, **more)["id"]]


def commit_file(local: Session, number: int, partition: str = "") -> Path:
    folder = Path(local.settings.warehouse, "sales/t", partition, "_workroom")
    return folder / f"{number:08d}.json"


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_bytes()) | values))


class TestHistory:
    def test_newest_first_with_all_that_commits_say(self, local: Session) -> None:
        ids = [stored(1, note="first"), stored(2)]
        rollback("sales", "t", number=1, note="back")
        found = history("Sales", "T")
        assert found["number"].tolist() == [3, 2, 1]
        assert found["batch_id"].tolist() == [ids[0], ids[1], ids[0]]
        assert found["action"].tolist() == ["rollback", "store", "store"]
        assert found["current"].tolist() == [True, False, False]
        assert found["source"].tolist() == [1, 0, 0]
        assert found["note"].tolist() == ["back", "", "first"]
        assert found["rows"].tolist() == [1, 1, 1]
        assert found["who"].tolist() == ["ada"] * 3
        assert found["partition"].tolist() == [""] * 3
        assert found["library"][0].startswith("workroom-data ")
        assert found["size"].min() > 0
        assert str(found["when"].dtype) == "datetime64[us, UTC]"
        assert abs(found["when"][0] - datetime.now(UTC)) < timedelta(minutes=1)

    def test_one_partition_or_all_or_some(self, local: Session) -> None:
        for year, month in (("2015", 1), ("2016", 1), ("2016", 2), ("2016", 1)):
            stored(
                1, {"year": year, "month": month}, partition_keys={"year": "int", "month": "int"}
            )
        assert history("sales", "t")["partition"].tolist() == [
            "year=2016/month=1",
            "year=2016/month=2",
            "year=2016/month=1",
            "year=2015/month=1",
        ]
        assert history("sales", "t", [2016, 1])["number"].tolist() == [2, 1]
        assert set(history("sales", "t", {"year": 2016})["partition"]) == {
            "year=2016/month=1",
            "year=2016/month=2",
        }
        assert len(history("sales", "t", {"year": (2014, 2015)})) == 1
        with pytest.raises(NotFound, match=r"year=2016/month=3.*Did you mean 'year=2016/month="):
            history("sales", "t", [2016, 3])
        with pytest.raises(NotFound, match="no history where you look"):
            history("sales", "t", {"year": 1999})
        with pytest.raises(PartitionError):
            history("sales", "t", {"day": 1})

    def test_by_number_where_the_clock_went_back(self, local: Session) -> None:
        for value in range(3):
            stored(value)
        changed(commit_file(local, 3), when="1999-01-01T00:00:00.000000+00:00")
        assert history("sales", "t")["number"].tolist() == [3, 2, 1]
        assert history("sales", "t")["current"].tolist() == [True, False, False]

    def test_a_metastore_that_refuses(self, local: Session, metastore: CatalogueInMemory) -> None:
        stored(1)
        stored(2)

        def refuses(_: Pointer) -> None:
            raise SchemaError("Somebody changed the table.")

        metastore.before_point = refuses
        with pytest.warns(DataWarning, match="Rolled back to batch .* could not be told"):
            assert rollback("sales", "t").number == 3
        assert history("sales", "t")["number"].tolist() == [3, 2, 1]

    def test_without_the_metastore(self, local: Session, metastore: CatalogueInMemory) -> None:
        stored(1, YEAR)
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning):
            stored(2, {"year": "2017"})
        assert history("sales", "t", ["2017"])["number"].tolist() == [1]
        metastore.down = True
        assert history("sales", "t", ["2017"])["number"].tolist() == [1]
        metastore.down = False
        metastore.lose_all()
        assert history("sales", "t")["partition"].tolist() == ["year=2017", "year=2016"]
        assert history("sales", "t", YEAR)["rows"].tolist() == [1]

    def test_no_such_table(self, local: Session) -> None:
        stored(1, table="orders")
        with pytest.raises(NotFound, match="Did you mean 'orders'"):
            history("sales", "order")
        with pytest.raises(NotFound, match=r"no database 'sale'.*Did you mean 'sales'"):
            history("sale", "orders")

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(b"not json"),
            lambda path: path.write_bytes(b""),
            lambda path: changed(path, when="yesterday"),
            lambda path: changed(path, rows="many"),
            lambda path: changed(path, who=7),
            lambda path: changed(path, table="another"),
            lambda path: changed(path, files=[dict.fromkeys(("name", "checksum"), "a/b")]),
        ],
    )
    def test_a_damaged_commit_is_shown_in_its_place(
        self, local: Session, damage: Callable[[Path], None]
    ) -> None:
        for value in range(3):
            stored(value)
        damage(commit_file(local, 2))
        found = history("sales", "t")
        assert found["number"].tolist() == [3, 2, 1]
        assert found["action"].tolist() == ["store", "damaged", "store"]
        assert "00000002.json" in found["note"][1]
        assert pd.isna(found["rows"][1])
        assert pd.isna(found["when"][1])

    def test_nothing_is_current_where_the_newest_is_damaged(self, local: Session) -> None:
        stored(1)
        stored(2)
        commit_file(local, 2).write_bytes(b"{}")
        assert history("sales", "t")["current"].tolist() == [False, False]


class TestAudit:
    def test_every_commit_of_every_table(self, local: Session) -> None:
        stored(1, YEAR)
        stored(2, table="other")
        store_dataframe(pd.DataFrame({"id": [1]}), "hr", "people")
        stored(3, YEAR)
        found = audit()
        assert found[["database", "table", "number"]].values.tolist() == [
            ["sales", "t", 2],
            ["hr", "people", 1],
            ["sales", "other", 1],
            ["sales", "t", 1],
        ]
        assert audit("sales")["table"].tolist() == ["t", "other", "t"]
        assert audit("sales", "other")["number"].tolist() == [1]
        assert found.query("current and partition == 'year=2016'")["number"].tolist() == [2]

    def test_of_nothing(self, local: Session) -> None:
        assert audit().empty
        assert "batch_id" in audit().columns
        with pytest.raises(NotFound):
            audit("sales")
        with pytest.raises(DataError, match="of which database"):
            audit(table="t")


class TestRollback:
    def test_to_the_batch_before_and_back_again(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        ids = [stored(1), stored(2), stored(3)]
        batch = rollback("sales", "t", note="3 was wrong")
        assert (batch.batch_id, batch.number) == (ids[1], 4)
        assert loaded() == [2]
        (pointer,) = metastore.pointers(metastore.table("sales", "t"))  # type: ignore[arg-type]
        assert (pointer.number, pointer.location) == (4, batch.location)
        assert rollback("sales", "t").batch_id == ids[2]
        assert loaded() == [3]
        assert rollback("sales", "t", batch_id=ids[0]).number == 6
        assert loaded() == [1]
        assert rollback("sales", "t", number=4).batch_id == ids[1]
        assert history("sales", "t")["source"].tolist() == [4, 1, 3, 2, 0, 0, 0]

    def test_of_one_partition(self, local: Session) -> None:
        for value, year in ((1, "2015"), (2, "2016"), (3, "2016"), (4, "2015")):
            stored(value, {"year": year})
        assert rollback("sales", "t", ["2016"]).partition == "year=2016"
        assert loaded() == [4, 2]

    def test_what_there_is_is_named_once(self, local: Session) -> None:
        first, second = stored(1, YEAR), stored(2, YEAR)
        rollback("sales", "t", YEAR)
        with pytest.raises(NotFound, match=rf"There are: {first}, {second}\.$"):
            rollback("sales", "t", YEAR, batch_id="x")

    def test_what_cannot_be_gone_back_to(self, local: Session) -> None:
        current = stored(1, YEAR)
        with pytest.raises(NotFound, match="no earlier batch"):
            rollback("sales", "t", YEAR)
        with pytest.raises(NotFound, match=r"no commit 7.*There is: 1\."):
            rollback("sales", "t", YEAR, number=7)
        with pytest.raises(NotFound, match="no batch 'x'"):
            rollback("sales", "t", YEAR, batch_id="x")
        with pytest.raises(NotFound, match=r"year=2017.*Did you mean 'year=2016'"):
            rollback("sales", "t", ["2017"])
        with pytest.raises(Conflict, match="current already"):
            rollback("sales", "t", YEAR, batch_id=current)
        with pytest.raises(DataError, match="Give one of them"):
            rollback("sales", "t", YEAR, batch_id=current, number=1)
        with pytest.raises(PartitionError):
            rollback("sales", "t")
        assert len(history("sales", "t")) == 1

    @pytest.mark.parametrize("wrong", ["gone", "shorter"])
    def test_a_batch_whose_files_are_not_whole(self, local: Session, wrong: str) -> None:
        batch = store_dataframe(pd.DataFrame({"id": [1]}), "sales", "t")
        stored(2)
        file = Path(batch.location, "part-00000.gz")
        if wrong == "gone":
            file.unlink()
        else:
            file.write_bytes(b"x")
        with pytest.raises(Damaged, match=r"part-00000.gz (is not there|has 1 bytes, not)"):
            rollback("sales", "t")
        assert history("sales", "t")["number"].tolist() == [2, 1]
        assert loaded() == [2]

    def test_past_a_newest_commit_that_cannot_be_read(self, local: Session) -> None:
        stored(1)
        stored(2)
        commit_file(local, 2).write_bytes(b"")
        with pytest.raises(Damaged):
            rollback("sales", "t", number=2)
        assert rollback("sales", "t").number == 3
        assert loaded() == [1]

    @pytest.mark.parametrize("partition", [None, YEAR])
    def test_to_a_batch_without_later_columns_which_are_null(
        self, local: Session, metastore: CatalogueInMemory, partition: Any
    ) -> None:
        stored(1, partition)
        wide = pd.DataFrame({"id": [2], "extra": ["x"]})
        store_dataframe(wide, "sales", "t", partition)
        rollback("sales", "t", partition)
        table = metastore.table("sales", "t")
        assert table is not None
        assert [column.name for column in table.columns] == ["id", "extra"]
        frame = load_dataframe("sales", "t", partition)
        assert frame["id"].tolist() == [1]
        assert frame["extra"].isna().all()
        with pytest.raises(SchemaError, match="lacks 'extra'"):
            stored(3, partition)
        store_dataframe(wide, "sales", "t", partition)
        assert load_dataframe("sales", "t", partition)["extra"].tolist() == ["x"]

    def test_a_batch_of_a_table_that_was_made_anew_is_refused(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        stored(1, YEAR)
        stored(2, YEAR)
        for number in (1, 2):
            changed(commit_file(local, number, "year=2016"), format="parquet")
        with pytest.raises(SchemaError, match="of format parquet, the table is text"):
            rollback("sales", "t", YEAR)

    def test_ten_at_once_each_are_a_commit(self, local: Session) -> None:
        ids = [stored(1), stored(2), stored(3)]

        def back(number: int) -> int:
            return rollback("sales", "t", batch_id=ids[number % 2]).number

        with ThreadPoolExecutor(10) as pool:
            tasks = [pool.submit(back, number) for number in range(10)]
        errors = [task.exception() for task in tasks if task.exception()]
        numbers = [task.result() for task in tasks if not task.exception()]
        # One that begins when its batch is current already is told so.
        assert all(isinstance(error, Conflict) for error in errors)
        assert sorted(numbers) == list(range(4, 4 + len(numbers)))
        assert len(numbers) + len(errors) == 10
        found = history("sales", "t")
        assert loaded() == [ids.index(found["batch_id"][0]) + 1]

    def test_to_the_one_before_is_refused_when_somebody_stored_meanwhile(
        self, local: Session
    ) -> None:
        stored(1)
        stored(2)
        way = going_back.way_back(local, "sales", "t", None)
        stored(3)
        with pytest.raises(Conflict, match=r"ada made commit 3 of sales\.t just now"):
            going_back.go_back(local, way, only_from_here=True)
        assert loaded() == [3]
        assert going_back.go_back(local, way, only_from_here=False).number == 4
        assert loaded() == [1]

    def test_without_the_metastore(self, local: Session, metastore: CatalogueInMemory) -> None:
        stored(1)
        stored(2)
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning, match="Rolled back to batch .* could not be told"):
            rollback("sales", "t")
        metastore.down = True
        with pytest.raises(Unavailable):
            rollback("sales", "t", number=2)
        metastore.down, metastore.down_for = False, set()
        assert loaded() == [1]


def test_no_name_of_the_package_is_a_module_too() -> None:
    """`import workroom_data.x` would put the module in the place of the verb `x`."""
    modules = {module.name for module in pkgutil.iter_modules(workroom_data.__path__)}
    assert "versions" in modules
    assert not modules & set(workroom_data.__all__)
    assert all(getattr(workroom_data, name) is not None for name in workroom_data.__all__)
