"""Storing: what is written in which order, what is refused before, who wins."""

from __future__ import annotations

import dataclasses
import gzip
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from tests.fakes.storage_overtaken import StorageOvertaken
from workroom_data import load_dataframe, session, store_dataframe
from workroom_data.errors import (
    Conflict,
    DataWarning,
    FrameError,
    PartitionError,
    SchemaError,
    Unavailable,
)
from workroom_data.session import Session

FRAME = pd.DataFrame({"Id": [1, 2, 3], "name": ["a", None, "ü"]})
YEAR = {"year": "2016"}


@pytest.fixture
def metastore(local: Session) -> CatalogueInMemory:
    assert isinstance(local.catalogue, CatalogueInMemory)
    return local.catalogue


def files(local: Session) -> list[str]:
    """Return all files of the warehouse, below it."""
    root = Path(local.settings.warehouse)
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def contents(local: Session) -> dict[str, bytes]:
    """Return what is in each file of the warehouse."""
    return {name: (Path(local.settings.warehouse) / name).read_bytes() for name in files(local)}


def overtaken(local: Session, monkeypatch: pytest.MonkeyPatch, others: Any) -> None:
    """Let `others` act after this store has written its files and before its commit."""
    storage = StorageOvertaken(local.settings, others)
    monkeypatch.setattr(session, "_current", dataclasses.replace(local, storage=storage))


class TestWhatIsWritten:
    def test_files_and_a_commit(self, local: Session) -> None:
        batch = store_dataframe(FRAME, "Sales", "Orders", {"Year": 2016, "city": "a/b"}, note="x")
        folder = "sales/orders/year=2016/city=a%2Fb"
        assert files(local) == [
            f"{folder}/{batch.batch_id}/part-00000.gz",
            f"{folder}/_workroom/00000001.json",
        ]
        root = Path(local.settings.warehouse)
        text = gzip.decompress((root / files(local)[0]).read_bytes())
        assert text == "1\0a\n2\0\\N\n3\0ü\n".encode()
        commit = json.loads((root / files(local)[1]).read_bytes())
        assert commit["batch_id"] == batch.batch_id
        assert (commit["who"], commit["note"], commit["rows"]) == ("ada", "x", 3)
        assert commit["values"] == ["2016", "a/b"]
        assert [column["name"] for column in commit["columns"]] == ["Id", "name"]
        assert (batch.database, batch.table, batch.number, batch.rows, batch.new_table) == (
            "sales",
            "orders",
            1,
            3,
            True,
        )
        assert batch.partition == "year=2016/city=a%2Fb"
        assert batch.location == f"{root}/{folder}/{batch.batch_id}"
        assert batch.size == (root / files(local)[0]).stat().st_size

    def test_a_table_without_partitions(self, local: Session) -> None:
        first = store_dataframe(FRAME, "sales", "orders")
        second = store_dataframe(FRAME[:1], "sales", "orders")
        assert files(local) == sorted(
            [
                *(f"sales/orders/{batch.batch_id}/part-00000.gz" for batch in (first, second)),
                "sales/orders/_workroom/00000001.json",
                "sales/orders/_workroom/00000002.json",
            ]
        )
        assert (second.partition, second.number, second.new_table) == ("", 2, False)
        table = local.catalogue.table("sales", "orders")
        assert table is not None
        assert (table.location, table.root) == (
            second.location,
            f"{local.settings.warehouse}/sales/orders",
        )
        assert len(load_dataframe("sales", "orders")) == 1

    def test_an_overwrite_leaves_all_else(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        other = store_dataframe(FRAME, "sales", "orders", {"year": "2017"})
        before = contents(local)
        batch = store_dataframe(FRAME[::-1], "sales", "orders", ["2016"])
        after = contents(local)
        assert batch.number == 2
        assert before.items() < after.items()
        assert load_dataframe("sales", "orders", YEAR)["Id"].tolist() == [3, 2, 1]
        assert load_dataframe("sales", "orders", ["2017"], batch_id=other.batch_id).shape == (3, 3)

    def test_parquet_is_chosen_at_creation(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders", format="parquet")
        store_dataframe(FRAME, "sales", "orders")
        store_dataframe(FRAME, "sales", "orders", format="parquet")
        assert sum(name.endswith(".parquet") for name in files(local)) == 3
        with pytest.raises(SchemaError, match="'parquet', not 'text'"):
            store_dataframe(FRAME, "sales", "orders", format="text")
        with pytest.raises(SchemaError, match=r"format is 'csv'.*'text' or 'parquet'"):
            store_dataframe(FRAME, "sales", "other", format="csv")

    def test_requests_of_the_metastore(self, local: Session, metastore: CatalogueInMemory) -> None:
        wide = FRAME.assign(more=1)
        counts = []
        for frame, table, partition in (
            (FRAME, "orders", YEAR),
            (FRAME, "orders", YEAR),
            (FRAME, "orders", {"year": "2017"}),
            (wide, "orders", YEAR),
            (FRAME, "plain", None),
            (FRAME, "plain", None),
            (wide, "plain", None),
        ):
            before = metastore.calls
            store_dataframe(frame, "sales", table, partition)
            counts.append(metastore.calls - before)
        assert counts == [3, 2, 2, 3, 2, 2, 2]

    def test_arrow_and_polars(self, local: Session) -> None:
        import polars

        store_dataframe(pa.table({"a": [1, None]}), "sales", "orders")
        store_dataframe(polars.DataFrame({"a": [5, None]}), "sales", "orders")
        loaded = load_dataframe("sales", "orders", as_="polars")
        assert loaded.equals(polars.DataFrame({"a": [5, None]}))

    def test_by_position_with_keys_of_a_new_table(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders", ["07"], partition_keys={"month": "int"})
        store_dataframe(FRAME, "sales", "orders", [7], partition_keys="month")
        assert {name.split("/")[2] for name in files(local)} == {"month=7"}
        assert load_dataframe("sales", "orders")["month"].dtype == np.int32


class TestWhatIsRefused:
    @pytest.fixture(autouse=True)
    def nothing_is_written(self, local: Session) -> Any:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        before = files(local)
        yield
        assert files(local) == before

    @pytest.mark.parametrize(
        ("frame", "error", "says"),
        [
            (pd.DataFrame(), FrameError, "has no columns"),
            (pd.DataFrame(index=[1, 2]), FrameError, "has no columns"),
            (FRAME[["Id"]], SchemaError, r"lacks 'name' \(string\)"),
            (FRAME.assign(ID=1), FrameError, "'I[Dd]'"),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), FrameError, "Two columns are called 'a'"),
            (FRAME.assign(Id=["x", "y", "z"]), SchemaError, "'Id'.*bigint.*string"),
            (FRAME.assign(extra=[{}, [], 1]), FrameError, "'extra'"),
            (FRAME.assign(extra=[[1], [2], [3]]), FrameError, "'extra'"),
            (pd.DataFrame({"year": ["2016"]}), SchemaError, "no columns other than partition"),
            ([1, 2], FrameError, "list is not a data frame"),
        ],
    )
    def test_frames(self, frame: Any, error: type[Exception], says: str) -> None:
        with pytest.raises(error, match=says):
            store_dataframe(frame, "sales", "orders", YEAR)

    @pytest.mark.parametrize(
        ("partitions", "says"),
        [
            (None, "no value for year"),
            (["2016", "3"], "has 2 values"),
            ({"month": 3}, "'month' is no partition key"),
            ([""], "empty text"),
            ([".. "], "blanks"),
            (["x" * 257], "257 characters"),
        ],
    )
    def test_partitions(self, partitions: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            store_dataframe(FRAME, "sales", "orders", partitions)

    @pytest.mark.parametrize(
        ("keys", "says"),
        [
            (["month"], r"partitioned by year \(string\), not month"),
            (["year", "month"], "not year .string., month"),
            ({"year": "int"}, r"partitioned by year \(string\), not year \(int\)"),
            ([3], "3 cannot be the name"),
        ],
    )
    def test_other_keys_than_the_tables(self, keys: Any, says: str) -> None:
        with pytest.raises(PartitionError, match=says):
            store_dataframe(FRAME, "sales", "orders", YEAR, partition_keys=keys)

    def test_names(self) -> None:
        for database, table in (("a/b", "t"), ("a", "../t"), ("", "t"), ("a", None), ("a", "t.u")):
            with pytest.raises(SchemaError, match="cannot be the name of a"):
                store_dataframe(FRAME, database, table)  # type: ignore[arg-type]

    def test_a_key_in_the_frame_with_another_value(self) -> None:
        for year, row in ((["2016", "2017", "2016"], 1), (["2016", "2016", None], 2)):
            for values in (year, pd.Categorical(year)):
                with pytest.raises(PartitionError, match=f"'Year', row {row}.*'year', '2016'"):
                    store_dataframe(FRAME.assign(Year=values), "sales", "orders", YEAR)

    def test_a_metastore_that_is_down(self, metastore: CatalogueInMemory) -> None:
        metastore.down = True
        with pytest.raises(Unavailable, match="does not answer"):
            store_dataframe(FRAME, "sales", "orders", YEAR)
        metastore.down = False

    def test_an_unexpected_batch(self) -> None:
        for expect in ("", "20260301T120000Z-1a2b3c4d"):
            with pytest.raises(Conflict, match=f"expected was {expect or 'none'}") as caught:
                store_dataframe(FRAME, "sales", "orders", YEAR, expect=expect)
            assert caught.value.batch_id == ""


class TestColumns:
    def test_a_loaded_frame_can_be_stored_again(self, local: Session) -> None:
        keys = {"year": "string", "month": "int", "day": "date"}
        where = ["2016", 3, "2016-03-01"]
        store_dataframe(FRAME, "sales", "orders", where, partition_keys=keys)
        for as_ in ("pandas", "arrow", "polars"):
            loaded = load_dataframe("sales", "orders", as_=as_)
            store_dataframe(loaded, "sales", "orders", where)
        again = load_dataframe("sales", "orders")
        assert list(again.columns) == ["Id", "name", *keys]
        assert again["Id"].tolist() == [1, 2, 3]

    def test_in_another_order_and_more(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        store_dataframe(FRAME[["name", "Id"]].assign(More=1.5), "sales", "orders", {"year": "2017"})
        table = local.catalogue.table("sales", "orders")
        assert table is not None
        assert [(column.name, column.hive) for column in table.columns] == [
            ("id", "bigint"),
            ("name", "string"),
            ("more", "double"),
        ]
        loaded = load_dataframe("sales", "orders")
        assert list(loaded.columns) == ["Id", "name", "More", "year"]
        assert loaded["More"].tolist()[3:] == [1.5] * 3
        assert loaded["More"][:3].isna().all()

    def test_of_a_table_without_partitions_too(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders")
        store_dataframe(FRAME.assign(more=1), "sales", "orders")
        with pytest.raises(SchemaError, match="lacks 'more'"):
            store_dataframe(FRAME, "sales", "orders")

    def test_narrower_ones_and_nulls(self, local: Session) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        small = pd.DataFrame({"Id": np.array([1], np.int8), "name": [None]})
        store_dataframe(small, "sales", "orders", {"year": "2017"})
        assert load_dataframe("sales", "orders")["Id"].dtype == np.int64

    def test_the_index(self, local: Session) -> None:
        frame = FRAME.set_index(pd.Index([7, 8, 9], name="key"))
        store_dataframe(frame, "sales", "dropped")
        store_dataframe(frame, "sales", "kept", index=True)
        store_dataframe(frame[[]], "sales", "alone", index=True)
        assert list(load_dataframe("sales", "dropped").columns) == ["Id", "name"]
        kept = load_dataframe("sales", "kept")
        assert kept["key"].tolist() == [7, 8, 9]
        assert kept.index.equals(pd.RangeIndex(3))
        assert load_dataframe("sales", "alone")["key"].tolist() == [7, 8, 9]

    def test_an_empty_frame(self, local: Session) -> None:
        for format in ("text", "parquet"):
            batch = store_dataframe(FRAME[:0], "sales", format, YEAR, format=format)
            assert batch.rows == 0
            loaded = load_dataframe("sales", format, YEAR)
            assert loaded.shape == (0, 3)
            assert loaded["Id"].dtype == np.int64


class TestOthers:
    def test_what_is_expected(self, local: Session) -> None:
        first = store_dataframe(FRAME, "sales", "orders", YEAR, expect="")
        second = store_dataframe(FRAME, "sales", "orders", YEAR, expect=first.batch_id)
        assert second.number == 2

    def test_somebody_was_quicker(self, local: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        first = store_dataframe(FRAME, "sales", "orders", YEAR)
        theirs = []

        def others() -> None:
            theirs.append(store_dataframe(FRAME[:1], "sales", "orders", YEAR))

        overtaken(local, monkeypatch, others)
        with pytest.raises(Conflict, match="kept") as caught:
            store_dataframe(FRAME, "sales", "orders", YEAR, expect=first.batch_id)
        assert caught.value.batch_id
        assert any(caught.value.batch_id in name for name in files(local))
        assert theirs[0].batch_id in str(caught.value)
        assert len(load_dataframe("sales", "orders")) == 1

    def test_the_later_commit_is_current(
        self, local: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        overtaken(local, monkeypatch, lambda: store_dataframe(FRAME[:1], "sales", "orders", YEAR))
        ours = store_dataframe(FRAME[:2], "sales", "orders", YEAR)
        assert ours.number == 3
        assert len(load_dataframe("sales", "orders")) == 2

    @pytest.mark.parametrize("partition", [YEAR, None])
    def test_a_column_was_added_meanwhile(
        self, local: Session, monkeypatch: pytest.MonkeyPatch, partition: Any
    ) -> None:
        store_dataframe(FRAME, "sales", "t", partition)
        wide = FRAME.assign(more=1)
        overtaken(local, monkeypatch, lambda: store_dataframe(wide, "sales", "t", partition))
        with pytest.raises(SchemaError, match=r"Commit 2 of ada gave sales.t the column 'more'"):
            store_dataframe(FRAME, "sales", "t", partition)
        assert "more" in load_dataframe("sales", "t").columns

    def test_another_table_was_made_meanwhile(
        self, local: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, others, says in (
            ("keys", lambda: store_dataframe(FRAME, "sales", "keys"), "not partitioned"),
            (
                "format",
                lambda: store_dataframe(FRAME, "sales", "format", YEAR, format="parquet"),
                "of format parquet",
            ),
            (
                "columns",
                lambda: store_dataframe(FRAME[["name"]], "sales", "columns", YEAR),
                "with the columns 'name' string",
            ),
        ):
            overtaken(local, monkeypatch, others)
            with pytest.raises(SchemaError, match=f"Somebody else made sales.{name}.*{says}"):
                store_dataframe(FRAME, "sales", name, YEAR)
            assert len(load_dataframe("sales", name)) == 3

    @pytest.mark.parametrize("partition", [YEAR, None])
    def test_the_same_table_was_made_meanwhile(
        self, local: Session, monkeypatch: pytest.MonkeyPatch, partition: Any
    ) -> None:
        overtaken(local, monkeypatch, lambda: store_dataframe(FRAME[:1], "sales", "t", partition))
        batch = store_dataframe(FRAME, "sales", "t", partition)
        assert (batch.number, batch.new_table) == (2, False)
        assert len(load_dataframe("sales", "t")) == 3
        (pointer,) = local.catalogue.pointers(
            local.catalogue.table("sales", "t")  # type: ignore[arg-type]
        )
        assert pointer.number == 2


class TestTheMetastoreAfterTheCommit:
    def test_is_down(self, local: Session, metastore: CatalogueInMemory) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning, match="Stored as batch .*until then Spark") as caught:
            batch = store_dataframe(FRAME[:1], "sales", "orders", YEAR)
        assert caught[0].filename == __file__
        metastore.down_for = set()
        assert batch.number == 2
        assert len(load_dataframe("sales", "orders")) == 1

    def test_was_down_for_the_first_commit_of_all(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning, match="Stored as batch"):
            store_dataframe(FRAME, "sales", "orders", YEAR)
        metastore.down_for = set()
        assert len(load_dataframe("sales", "orders")) == 0
        assert len(load_dataframe("sales", "orders", ["2016"])) == 3
        assert len(load_dataframe("sales", "orders")) == 3

    def test_the_next_store_moves_the_pointer(
        self, local: Session, metastore: CatalogueInMemory
    ) -> None:
        store_dataframe(FRAME, "sales", "orders", YEAR)
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning):
            store_dataframe(FRAME, "sales", "orders", YEAR)
        metastore.down_for = set()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            batch = store_dataframe(FRAME[:2], "sales", "orders", YEAR)
        table = metastore.table("sales", "orders")
        assert table is not None
        assert [pointer.number for pointer in metastore.pointers(table)] == [batch.number] == [3]
