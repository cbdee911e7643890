"""Notes and commits that are odd: never the reason that other tables cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from workroom_data import (
    Damaged,
    DataError,
    anchor,
    audit,
    check,
    history,
    load_dataframe,
    rollback,
    store_dataframe,
)
from workroom_data.session import Session

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
