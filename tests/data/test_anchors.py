"""Anchors: what they pin, their versions, and what cannot be one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import anchor, anchors, load_dataframe, store_dataframe
from workroom_data.catalogue import Pointer
from workroom_data.errors import Damaged, DataError, DataWarning, NotFound
from workroom_data.session import Session


def stored(value: int, year: str | None = None) -> str:
    frame = pd.DataFrame({"id": [value]})
    return store_dataframe(frame, "sales", "t", {"year": year} if year else None).batch_id


def loaded(name: str) -> list[int]:
    return [int(one) for one in load_dataframe("sales", "t", anchor=name)["id"]]


def test_an_anchor_pins_each_partition(local: Session) -> None:
    first = stored(1, "2015")
    stored(2, "2016")
    made = anchor("Sales", "T", "report-march", note="what the board saw")
    stored(10, "2015")
    stored(30, "2017")
    assert loaded("report-march") == [1, 2]
    assert (made.version, made.who, made.note) == (1, "ada", "what the board saw")
    assert {name: one.number for name, one in made.batches.items()} == {
        "year=2015": 1,
        "year=2016": 1,
    }
    assert made.batches["year=2015"].batch_id == first
    assert str(made) == "report-march, version 1: 2 batches"


def test_a_table_without_partitions(local: Session) -> None:
    stored(1)
    made = anchor("sales", "t", "a")
    stored(2)
    assert list(made.batches) == [""]
    assert loaded("a") == [1]


def test_given_anew_it_is_a_new_version_and_the_earlier_is_kept(local: Session) -> None:
    stored(1)
    anchor("sales", "t", "a")
    before = Path(local.settings.warehouse, "sales/t/_workroom/anchors/a/00000001.json")
    kept = before.read_bytes()
    stored(2)
    anchor("sales", "t", "a", "again")
    anchor("sales", "t", "b")
    assert loaded("a") == [2]
    assert before.read_bytes() == kept
    listed = anchors("sales", "t")
    assert listed[["name", "version", "who", "note", "partitions"]].values.tolist() == [
        ["a", 2, "ada", "again", 1],
        ["b", 1, "ada", "", 1],
    ]
    assert str(listed["when"].dtype) == "datetime64[us, UTC]"


def test_eight_give_the_same_anchor_at_once(local: Session) -> None:
    stored(1)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: anchor("sales", "t", "a").version, range(8)))
    assert sorted(made) == list(range(1, 9))


def test_none_yet(local: Session) -> None:
    stored(1)
    assert anchors("sales", "t").empty
    assert str(anchors("sales", "t")["when"].dtype) == "datetime64[us, UTC]"
    with pytest.raises(NotFound, match="no anchor 'a'"):
        loaded("a")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".a", "a b", "ü", "-a", "a" * 101, 7, None])
def test_no_name(local: Session, name: str) -> None:
    stored(1)
    with pytest.raises(DataError, match="cannot be the name of an anchor"):
        anchor("sales", "t", name)
    assert anchors("sales", "t").empty


def test_a_partition_of_another_program_is_left_out_and_that_is_said(local: Session) -> None:
    assert isinstance(local.catalogue, CatalogueInMemory)
    stored(1, "2015")
    table = local.catalogue.table("sales", "t")
    assert table is not None
    local.catalogue.point(
        table, Pointer(("2016",), f"{table.root}/year=2016", 0, "", table.columns), new=True
    )
    with pytest.warns(DataWarning, match=r"1 of the partitions of sales\.t"):
        made = anchor("sales", "t", "a")
    assert list(made.batches) == ["year=2015"]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"batches": 7}', b'{"batches": {"": {}}}'])
def test_one_that_cannot_be_read(local: Session, content: bytes) -> None:
    stored(1)
    anchor("sales", "t", "good")
    folder = Path(local.settings.warehouse, "sales/t/_workroom/anchors/bad")
    folder.mkdir()
    (folder / "00000001.json").write_bytes(content)
    (folder / "notes.txt").write_text("a file of another name")
    with pytest.raises(Damaged, match="is not an anchor"):
        loaded("bad")
    with pytest.warns(DataWarning, match="is not an anchor"):
        assert anchors("sales", "t")["name"].tolist() == ["good"]
    anchor("sales", "t", "bad")
    assert loaded("bad") == [1]


def test_partitions_that_the_metastore_lost_are_still_pinned(local: Session) -> None:
    stored(1, "2015")
    stored(2, "a/b=c%")
    anchor("sales", "t", "a")
    table = local.catalogue.table("sales", "t")
    assert table is not None
    assert isinstance(local.catalogue, CatalogueInMemory)
    local.catalogue.lose_all()
    assert local.catalogue.create(table)
    assert loaded("a") == [1, 2]
    assert load_dataframe("sales", "t", where="year = 'a/b=c%'", anchor="a")["id"].tolist() == [2]


def test_a_pin_of_another_batch_is_not_taken_for_it(local: Session) -> None:
    stored(1)
    anchor("sales", "t", "a")
    file = Path(local.settings.warehouse, "sales/t/_workroom/anchors/a/00000001.json")
    content = json.loads(file.read_bytes())
    content["batches"][""]["batch_id"] = "20200101T000000Z-00000000"
    file.chmod(0o644)
    file.write_text(json.dumps(content))
    with pytest.raises(Damaged, match=r"pins batch 20200101T000000Z-00000000 as commit 1"):
        loaded("a")
