"""Loading: which batch, which columns, in which order, and what is healed on the way."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from tests.fakes.storage_in_step import StorageInStep
from workroom_data import formats, load, load_dataframe, session, store_dataframe
from workroom_data.catalogue import Pointer, Table
from workroom_data.errors import (
    Damaged,
    DataError,
    DataWarning,
    FrameError,
    NotFound,
    PartitionError,
    SchemaError,
    Unavailable,
)
from workroom_data.session import Session

FRAME = pd.DataFrame({"Id": [1, 2, 3], "name": ["a", None, "ü"]})


@pytest.fixture
def metastore(local: Session) -> CatalogueInMemory:
    assert isinstance(local.catalogue, CatalogueInMemory)
    return local.catalogue


@pytest.fixture
def orders(local: Session) -> Table:
    """sales.orders, of three years of three months; `Id` is 100 * year + month, and 0."""
    for year in ("2017", "2015", "2016"):
        for month in (11, 2, 1):
            frame = pd.DataFrame({"Id": [int(year) * 100 + month, 0], "name": ["ü", None]})
            keys = {"year": "string", "month": "int"}
            store_dataframe(frame, "sales", "orders", [year, month], partition_keys=keys)
    table = local.catalogue.table("sales", "orders")
    assert table is not None
    return table


def ids(*given: Any, **more: Any) -> list[int]:
    """Return what of `Id` a load of sales.orders gives, without zeros."""
    return [one for one in load_dataframe("sales", "orders", *given, **more)["Id"].tolist() if one]


class TestPartitions:
    def test_all_in_the_order_of_their_keys(self, orders: Table) -> None:
        loaded = load_dataframe("Sales", "ORDERS")
        assert list(loaded.columns) == ["Id", "name", "year", "month"]
        assert loaded["Id"].tolist()[:4] == [201501, 0, 201502, 0]
        assert loaded["month"].tolist() == [1, 1, 2, 2, 11, 11] * 3
        assert loaded["month"].dtype == np.int32
        assert loaded["year"].tolist()[::6] == ["2015", "2016", "2017"]
        assert loaded["name"].tolist()[:2] == ["ü", None]
        assert loaded.index.equals(pd.RangeIndex(18))

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            (["2016", 2], [201602]),
            ({"month": "02", "year": 2016}, [201602]),
            ({"month": 2}, [201502, 201602, 201702]),
            (["2016"], [201601, 201602, 201611]),
            ({"year": ["2017", "2015"], "month": [11]}, [201511, 201711]),
            ({"year": ("2016", None), "month": (None, 1)}, [201601, 201701]),
            ([("2017", 1), ("2015", 11)], [201511, 201701]),
            ([{"year": "2015"}, {"year": "2016", "month": 2}], [201501, 201502, 201511, 201602]),
        ],
    )
    def test_by_value_and_range(self, orders: Table, given: Any, found: list[int]) -> None:
        assert ids(given) == found

    def test_by_a_condition(self, orders: Table, metastore: CatalogueInMemory) -> None:
        assert ids(where="year >= '2016' and month < 3") == [201601, 201602, 201701, 201702]
        assert ids(["2016"], where="month != 2") == [201601, 201611]
        assert metastore.filters == ["(year >= '2016' and month < 3)", "year = '2016'"]

    def test_one_that_is_not_there(self, orders: Table) -> None:
        with pytest.raises(NotFound, match=r"no partition year=2016/month=12 .*year=2016/month=1"):
            ids(["2016", 12])
        with pytest.raises(NotFound, match=r"no partition year=2O16 .*Did you mean"):
            ids(["2O16"])
        with pytest.raises(NotFound, match="month=5"):
            ids({"year": "2016", "month": [1, 5]})
        with pytest.raises(PartitionError, match="'yaer' is no partition key"):
            ids({"yaer": 1})

    def test_a_condition_that_nothing_meets(self, orders: Table) -> None:
        for given in ({"partitions": {"year": ("2030", None)}}, {"where": "month = 7"}):
            loaded = load_dataframe("sales", "orders", **given)
            assert loaded.shape == (0, 4)
            assert loaded.dtypes.astype(str).tolist()[::3] == ["int64", "int32"]

    def test_keys_of_each_type(self, local: Session) -> None:
        keys = {"a": "tinyint", "b": "bigint", "c": "date", "d": "string"}
        store_dataframe(FRAME, "sales", "t", [1, 2**60, "2016-03-01", "x"], partition_keys=keys)
        loaded = load_dataframe("sales", "t", as_="arrow")
        assert loaded.schema.types[2:] == [pa.int8(), pa.int64(), pa.date32(), pa.string()]
        assert loaded.to_pylist()[0] == {
            "Id": 1, "name": "a", "a": 1, "b": 2**60, "c": date(2016, 3, 1), "d": "x",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "value", ["a/b", "a=b", "a%b", "a%2Fb", "..", ".", "ü 😀", 'it\'s "so"', "\\", "*?[]#"]
    )
    def test_values_that_are_awkward_in_paths(self, local: Session, value: str) -> None:
        store_dataframe(FRAME[:1], "sales", "t", {"k": "other"})
        store_dataframe(FRAME, "sales", "t", {"k": value})
        assert load_dataframe("sales", "t", {"k": value})["k"].tolist() == [value] * 3
        assert len(load_dataframe("sales", "t", where="k != 'other'")) == 3
        assert len(load_dataframe("sales", "t")) == 4
        outside = Path(local.settings.warehouse) / "sales"
        assert {path.name for path in outside.iterdir()} == {"t"}

    def test_are_read_in_parallel(
        self, orders: Table, local: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = StorageInStep(local.settings, readers=3)
        monkeypatch.setattr(session, "_current", dataclasses.replace(local, storage=storage))
        assert len(ids()) == 9

    def test_requests_of_the_metastore(self, orders: Table, metastore: CatalogueInMemory) -> None:
        for given in (None, ["2016", 1], {"month": 1}, {"year": ("2015", "2017")}):
            before = metastore.calls
            load_dataframe("sales", "orders", given)
            assert metastore.calls - before == 2


class TestColumns:
    def test_only_these_in_this_order(self, orders: Table) -> None:
        loaded = load_dataframe("sales", "orders", columns=["month", "id"])
        assert list(loaded.columns) == ["month", "Id"]
        assert loaded.iloc[0].tolist() == [1, 201501]
        assert load_dataframe("sales", "orders", columns="year")["year"].tolist()[0] == "2015"

    def test_one_that_is_not_there(self, orders: Table) -> None:
        with pytest.raises(NotFound, match=r"no column 'nmae' .*Did you mean 'name'"):
            load_dataframe("sales", "orders", columns=["Id", "nmae"])
        with pytest.raises(NotFound, match="names no column"):
            load_dataframe("sales", "orders", columns=[])
        with pytest.raises(NotFound, match="no column 3"):
            load_dataframe("sales", "orders", columns=[3])  # type: ignore[list-item]

    @pytest.mark.parametrize("format", ["text", "parquet"])
    def test_of_batches_that_differ(self, local: Session, format: str) -> None:
        narrow = pd.DataFrame({"a": np.array([1], np.int64)})
        wide = pd.DataFrame({"A": np.array([2], np.int8), "b": ["x"]})
        store_dataframe(narrow, "sales", "t", {"k": "2"}, format=format)
        store_dataframe(wide, "sales", "t", {"k": "1"})
        loaded = load_dataframe("sales", "t")
        assert list(loaded.columns) == ["A", "b", "k"]
        assert loaded.to_numpy().tolist() == [[2, "x", "1"], [1, None, "2"]]
        only = load_dataframe("sales", "t", ["2"])
        assert list(only.columns) == ["a", "b", "k"]
        assert load_dataframe("sales", "t", ["2"], columns=["B"])["b"].tolist() == [None]

    def test_what_is_given_back(self, orders: Table) -> None:
        import polars

        assert isinstance(load_dataframe("sales", "orders", as_="arrow"), pa.Table)
        assert isinstance(load_dataframe("sales", "orders", as_="polars"), polars.DataFrame)
        with pytest.raises(FrameError, match="as_ is 'dask'"):
            load_dataframe("sales", "orders", as_="dask")

    @pytest.mark.parametrize("format", ["text", "parquet"])
    def test_rows_of_several_files_keep_their_order(
        self, local: Session, monkeypatch: pytest.MonkeyPatch, format: str
    ) -> None:
        monkeypatch.setattr(formats, "FILE_BYTES", 10_000)
        frame = pd.DataFrame({"n": np.arange(20_000), "t": [f"row {n}" for n in range(20_000)]})
        batch = store_dataframe(frame, "sales", "t", format=format)
        assert len(list(Path(batch.location).iterdir())) > 10
        pd.testing.assert_frame_equal(load_dataframe("sales", "t"), frame)


class TestEarlierStates:
    def test_a_batch(self, local: Session) -> None:
        old = store_dataframe(FRAME, "sales", "t", {"k": "1"})
        store_dataframe(FRAME[:1].assign(more=1), "sales", "t", {"k": "1"})
        store_dataframe(FRAME[:2].assign(more=1), "sales", "t", {"k": "2"})
        for given in (None, ["1"]):
            loaded = load_dataframe("sales", "t", given, batch_id=old.batch_id)
            assert list(loaded.columns) == ["Id", "name", "k"]
            assert len(loaded) == 3
        with pytest.raises(NotFound, match="nothing of batch '20260301T120000Z-1a2b3c4d'"):
            load_dataframe("sales", "t", batch_id="20260301T120000Z-1a2b3c4d")
        with pytest.raises(NotFound, match="nothing of batch"):
            load_dataframe("sales", "t", ["2"], batch_id=old.batch_id)

    def test_as_it_was_then(self, local: Session) -> None:
        before = datetime.now(UTC)
        store_dataframe(FRAME, "sales", "t", {"k": "1"})
        time.sleep(0.01)
        between = datetime.now(UTC)
        store_dataframe(FRAME[:1], "sales", "t", {"k": "1"})
        store_dataframe(FRAME[:1], "sales", "t", {"k": "2"})

        def rows(as_of: Any) -> int:
            return len(load_dataframe("sales", "t", as_of=as_of))

        assert rows(between) == rows(between.isoformat()) == 3
        assert rows(between.replace(tzinfo=None)) == 3
        assert rows(between.astimezone().isoformat()) == 3
        assert rows(datetime.now(UTC) + timedelta(days=1)) == 2
        with pytest.raises(NotFound, match=r"nothing from .* UTC or before"):
            rows(before)
        with pytest.raises(NotFound, match=r"Partition k=2 of sales.t has nothing from"):
            load_dataframe("sales", "t", ["2"], as_of=between)
        for wrong in ("yesterday", 3, "2026-13-01"):
            with pytest.raises(DataError, match="no point in time"):
                rows(wrong)

    def test_an_anchor(self, local: Session) -> None:
        first = store_dataframe(FRAME, "sales", "t", {"k": "a/b"})
        content = {"batches": {"k=a%2Fb": {"batch_id": first.batch_id, "number": 1}}}
        folder = f"{local.settings.warehouse}/sales/t/_workroom/anchors/march"
        local.storage.create(f"{folder}/00000001.json", json.dumps(content).encode())
        store_dataframe(FRAME[:1], "sales", "t", {"k": "a/b"})
        store_dataframe(FRAME[:1], "sales", "t", {"k": "c"})
        assert len(load_dataframe("sales", "t", anchor="march")) == 3
        with pytest.raises(NotFound, match=r"anchor 'mrach'.*'march'"):
            load_dataframe("sales", "t", anchor="mrach")
        with pytest.raises(NotFound, match=r"Partition k=c of sales.t has nothing in anchor"):
            load_dataframe("sales", "t", ["c"], anchor="march")

    def test_a_batch_behind_a_damaged_commit(self, local: Session) -> None:
        first = store_dataframe(FRAME, "sales", "t")
        store_dataframe(FRAME[:1], "sales", "t")
        newest = Path(local.settings.warehouse, "sales/t/_workroom/00000002.json")
        newest.chmod(0o644)
        newest.write_text("{}")
        assert len(load_dataframe("sales", "t", batch_id=first.batch_id)) == 3
        with pytest.raises(Damaged, match=r"00000002\.json is not a commit"):
            load_dataframe("sales", "t", batch_id="another")

    def test_one_of_the_three(self, orders: Table) -> None:
        with pytest.raises(DataError, match="batch_id and anchor are given"):
            load_dataframe("sales", "orders", batch_id="x", anchor="y")


class TestThePointer:
    def test_is_moved_up(self, local: Session, metastore: CatalogueInMemory) -> None:
        store_dataframe(FRAME, "sales", "t", {"k": "1"})
        metastore.down_for = {"point"}
        with pytest.warns(DataWarning):
            store_dataframe(FRAME[:1], "sales", "t", {"k": "1"})
        with pytest.warns(DataWarning, match="still points at an earlier batch") as caught:
            assert len(load_dataframe("sales", "t")) == 1
        assert caught[0].filename == __file__
        metastore.down_for = set()
        assert len(load_dataframe("sales", "t")) == 1
        table = metastore.table("sales", "t")
        assert table is not None
        assert [pointer.number for pointer in metastore.pointers(table)] == [2]

    def test_of_a_stranger(self, local: Session, metastore: CatalogueInMemory) -> None:
        store_dataframe(FRAME, "sales", "t", {"k": "1"})
        table = metastore.table("sales", "t")
        assert table is not None
        location = f"{table.root}/k=2"
        for name, content in {
            "000000_0": b"7\0seven\n8\0\\N\n",
            "_SUCCESS": b"",
            "_metadata": b"9\0hidden\n",
            ".000000_0.crc": b"x",
            "empty": b"",
        }.items():
            local.storage.create(f"{location}/{name}", content)
        metastore.point(table, Pointer(("2",), location, 0, "", table.columns), new=True)
        with pytest.warns(DataWarning, match="k=2 was written by another program"):
            loaded = load_dataframe("sales", "t")
        assert loaded["Id"].tolist() == [1, 2, 3, 7, 8]
        assert loaded["k"].tolist() == ["1"] * 3 + ["2"] * 2
        with pytest.warns(DataWarning):
            assert load_dataframe("sales", "t", ["2"], columns=["k"])["k"].tolist() == ["2", "2"]
        store_dataframe(FRAME[:1], "sales", "t", {"k": "2"})
        assert load_dataframe("sales", "t", ["2"])["Id"].tolist() == [1]

    def test_to_a_history_that_is_gone(self, orders: Table) -> None:
        (log,) = (Path(orders.root) / "year=2016" / "month=1").glob("_workroom/*.json")
        log.unlink()
        with pytest.raises(Damaged, match=r"commit 1 of sales.orders year=2016/month=1.*not in"):
            ids()


class TestWhatIsWrong:
    def test_files(self, orders: Table) -> None:
        (file,) = (Path(orders.root) / "year=2016" / "month=1").glob("*/part-00000.gz")
        content = file.read_bytes()
        for wrong in (content[:-1], content[:-1] + b"x", b"", content + b"x"):
            file.write_bytes(wrong)
            with pytest.raises(Damaged, match=r"part-00000.gz"):
                ids()
            with pytest.raises(Damaged):
                ids(columns=["Id"])
        assert ids(["2015"])
        file.unlink()
        with pytest.raises(Damaged, match="is gone"):
            ids()

    def test_the_first_error_ends_the_load(
        self, orders: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for month in range(1, 41):
            store_dataframe(FRAME, "sales", "orders", ["2020", month])
        begun = []

        def read(*given: Any) -> Any:
            begun.append(given)
            if len(begun) == 1:
                raise Damaged("The first is not whole.")
            time.sleep(0.05)
            return None

        monkeypatch.setattr(load, "_read", read)
        with pytest.raises(Damaged, match="The first is not whole"):
            load_dataframe("sales", "orders", {"year": "2020"})
        assert len(begun) <= 3 * load.LANES  # of 40

    def test_names(self, orders: Table) -> None:
        with pytest.raises(NotFound, match=r"no table 'order' in 'sales'.*'orders'"):
            load_dataframe("sales", "order")
        with pytest.raises(NotFound, match=r"no database 'sale'.*'sales'"):
            load_dataframe("sale", "orders")
        with pytest.raises(SchemaError, match="'a/b' cannot be the name of a table"):
            load_dataframe("sales", "a/b")

    def test_a_metastore_that_is_down(self, orders: Table, metastore: CatalogueInMemory) -> None:
        metastore.down = True
        with pytest.raises(Unavailable):
            ids()
