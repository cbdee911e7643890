"""Notes and commits that are odd: never the reason that other tables cannot be read."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from tests.fakes.catalogue_in_memory import CatalogueInMemory
from workroom_data import (
    Damaged,
    DataError,
    DataWarning,
    anchor,
    audit,
    check,
    find,
    history,
    load_dataframe,
    rebuild,
    rollback,
    store_dataframe,
)
from workroom_data.catalogue import Column, Pointer, Table
from workroom_data.session import Session, connect

FRAME = pd.DataFrame({"a": [1, 2], "s": ["x", None]})


def stored(frame: Any, name: str = "t", **given: Any) -> Any:
    """Store and load again."""
    kind = "arrow" if isinstance(frame, pa.Table) else "pandas"
    store_dataframe(frame, "db", name, progress=False, **given)
    return load_dataframe("db", name, as_=kind, progress=False)


# ---- Notes --------------------------------------------------------------------------------


def test_a_note_of_none_is_no_note(local: Session) -> None:
    assert len(stored(FRAME, note=None)) == 2
    stored(FRAME)
    rollback("db", "t", note=None)  # type: ignore[arg-type]
    anchor("db", "t", "pin", note=None)  # type: ignore[arg-type]
    assert list(history("db", "t")["note"]) == ["", "", ""]
    assert len(load_dataframe("db", "t", anchor="pin")) == 2


@pytest.mark.parametrize("note", [5, b"x", "\ud800"])
def test_a_note_that_no_commit_can_hold_is_refused_at_once(local: Session, note: Any) -> None:
    stored(FRAME)
    stored(FRAME)
    for act in (
        lambda: store_dataframe(FRAME, "db", "t", note=note),
        lambda: rollback("db", "t", note=note),
        lambda: anchor("db", "t", "pin", note=note),
    ):
        with pytest.raises(DataError, match="note is"):
            act()
    assert len(history("db", "t")) == 2


# ---- Commits that anybody may have written ------------------------------------------------


def _put(*path: Any) -> Callable[[dict[str, Any]], None]:
    *way, last, value = path

    def change(commit: Any) -> None:
        for step in way:
            commit = commit[step]
        commit[last] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _put("when", "0001-01-01T00:00:00+14:00"),
        _put("when", "9999-12-31T23:59:59-14:00"),
        _put("rows", 10**30),
        _put("files", 0, "size", 10**30),
        _put("files", 0, "checksum", 5),
        _put("files", 0, "checksum", ""),
        _put("files", 0, "name", ".."),
        _put("files", 0, "name", ""),
        _put("batch_id", ""),
        _put("batch_id", ".."),
        _put("batch_id", "../other"),
        _put("batch_id", "20260301T120000Z-1a2b3c4d/.."),
        _put("batch_id", "20260301T120000Z-1a2b3c4d\n"),
        lambda commit: commit.update(keys=[["year", "string"]], values=["2016"]),
        _put("columns", 0, "name", None),
        _put("columns", 0, "hive", 5),
        _put("columns", 0, "pandas", []),
        _put("columns", 0, "arrow", {}),
        lambda commit: commit["columns"].append(commit["columns"][0]),
        None,
    ],
)
def test_a_false_commit_stops_nobody(local: Session, change: Any) -> None:
    whole = store_dataframe(FRAME, "db", "t", progress=False)
    store_dataframe(FRAME, "db", "t", progress=False)
    store_dataframe(FRAME, "db", "other", progress=False)
    file = Path(local.settings.warehouse, "db/t/_workroom/00000002.json")
    content = b"[" * 100_000
    if change is not None:
        commit = json.loads(file.read_bytes())
        change(commit)
        content = json.dumps(commit).encode()
    file.unlink()
    file.write_bytes(content)
    with pytest.raises(Damaged):
        load_dataframe("db", "t")
    assert list(history("db", "t")["action"]) == ["damaged", "store"]
    assert sorted(audit()["table"]) == ["other", "t", "t"]
    assert "damaged" in {finding.kind for finding in check()}
    rollback("db", "t", number=whole.number)
    assert len(load_dataframe("db", "t")) == 2


# ---- Commits that lead elsewhere ----------------------------------------------------------


def forge(file: Path, **changes: Any) -> None:
    """Write over a commit, as whoever has the key can."""
    commit = json.loads(file.read_bytes()) | changes
    file.unlink()
    file.write_text(json.dumps(commit))


def test_a_commit_leads_nobody_out_of_its_folder(local: Session, tmp_path: Path) -> None:
    """Whatever it says, and with the right checksum of what is there."""
    batch = store_dataframe(FRAME, "db", "t", progress=False)
    content = gzip.compress(b"secret\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_bytes(content)
    file = {"name": "mine", "rows": 1, "size": len(content)}
    file["checksum"] = f"sha256:{hashlib.sha256(content).hexdigest()}"
    log = Path(local.settings.warehouse, "db/t/_workroom")
    forge(log / "00000001.json", location=str(outside), files=[file], number=2)
    (log / "00000001.json").rename(log / "00000002.json")
    for chosen in ({}, {"batch_id": batch.batch_id}, {"as_of": "2999-01-01"}):
        with pytest.raises(Damaged, match=f"{batch.location}/mine is gone"):
            load_dataframe("db", "t", **chosen)
    check(fix=True)
    rebuild()
    table = local.catalogue.table("db", "t")
    assert table is not None
    assert table.location == batch.location


def test_a_location_that_is_false_hides_no_rows(local: Session) -> None:
    batch = store_dataframe(FRAME, "db", "t", progress=False)
    anchor("db", "t", "pin")
    forge(Path(local.settings.warehouse, "db/t/_workroom/00000001.json"), location="/etc")
    for chosen in ({}, {"batch_id": batch.batch_id}, {"as_of": "2999-01-01"}, {"anchor": "pin"}):
        assert len(load_dataframe("db", "t", **chosen)) == 2
    store_dataframe(FRAME.head(1), "db", "t", progress=False)
    assert rollback("db", "t").location == batch.location
    assert len(load_dataframe("db", "t")) == 2
    assert check() == []


@pytest.mark.parametrize("values", [["2015"], []])
def test_a_commit_speaks_for_no_other_partition(local: Session, values: list[str]) -> None:
    """Its pointer would be another's, or the table's own."""
    for year in ("2015", "2016"):
        store_dataframe(FRAME.assign(a=int(year)), "db", "t", {"year": year}, progress=False)
    store_dataframe(FRAME, "db", "t", {"year": "2016"}, progress=False)
    log = Path(local.settings.warehouse, "db/t/year=2016/_workroom")
    keys = [["year", "string"]] if values else []
    forge(log / "00000002.json", keys=keys, values=values)
    with pytest.raises(Damaged, match="says that it is of"):
        load_dataframe("db", "t")
    check(fix=True)
    assert load_dataframe("db", "t", {"year": "2015"})["a"].tolist() == [2015, 2015]


def test_a_warehouse_that_was_copied_is_read_where_it_is(local: Session, tmp_path: Path) -> None:
    store_dataframe(FRAME, "db", "t", {"k": "a=b/c"}, progress=False)
    store_dataframe(FRAME.head(1), "db", "t", {"k": "a=b/c"}, progress=False)
    anchor("db", "t", "pin")
    copy = tmp_path / "copy=2"
    shutil.move(local.settings.warehouse, copy)
    connect(replace(local.settings, warehouse=str(copy)), CatalogueInMemory())
    rebuild()
    assert len(load_dataframe("db", "t")) == 1
    assert len(load_dataframe("db", "t", anchor="pin")) == 1
    assert rollback("db", "t", {"k": "a=b/c"}).location.startswith(str(copy))
    assert len(load_dataframe("db", "t")) == 2
    assert check() == []


def test_a_metastore_leads_nobody_from_s3_to_her_own_disk(local: Session) -> None:
    now = connect(replace(local.settings, warehouse="s3://b/w"), CatalogueInMemory())
    table = Table("db", "t", (Column("a", "string"),), (), "text", "s3://b/w/db/t", "s3://b/w/db/t")
    pointer = Pointer((), "/home/ada", 0, "", table.columns)
    with pytest.raises(Damaged, match=r"/home/ada, outside the S3 server"):
        find._without_commit(now, table, table.root, pointer)


# ---- What a commit says of pandas ---------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "dtype"),
    [
        ("s", "string[zz]"),
        ("s", "str[]"),
        ("s", "Int64"),
        ("s", "boolean"),
        ("a", "string[python"),
        ("c", "category "),
        ("c", "category {"),
        ("c", "category 5"),
        ("c", "category {}"),
        ("c", 'category {"ordered": false, "of": "object", "values": ["y"]}'),
        ("c", 'category {"ordered": false, "of": "object", "values": ["x", "x"]}'),
        ("c", 'category {"ordered": false, "of": "Int64", "values": ["x", "y"]}'),
        ("c", 'category {"ordered": false, "of": "object", "values": [[1], {}]}'),
    ],
)
@pytest.mark.parametrize("batches", [1, 2])
def test_nonsense_about_pandas_hides_no_row(
    local: Session, column: str, dtype: str, batches: int
) -> None:
    frame = FRAME.assign(c=pd.Categorical(["x", None], ["x", "y"]))
    for key in range(batches):
        store_dataframe(frame, "db", "t", {"k": str(key)}, progress=False)
    file = Path(local.settings.warehouse, "db/t/k=0/_workroom/00000001.json")
    columns = json.loads(file.read_bytes())["columns"]
    forge(file, columns=[c | {"pandas": dtype} if c["name"] == column else c for c in columns])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = load_dataframe("db", "t", {"k": "0"}, progress=False)
        every = load_dataframe("db", "t", progress=False)
    for one, times in ((found, 1), (every, batches)):
        values = [None if pd.isna(value) else value for value in one[column]]
        assert values == [None if pd.isna(value) else value for value in frame[column]] * times
    assert all(one.category is DataWarning for one in heard)
    if (column, dtype) != ("s", "str[]"):
        assert f"Column {column!r} is said to be" in str(heard[0].message)
