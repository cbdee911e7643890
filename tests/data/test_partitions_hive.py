"""Partitions on the real servers: awkward values, and filters of the Hive Metastore."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from workroom_data import load_dataframe, session, store_dataframe
from workroom_data.selections import select
from workroom_data.session import Session, connect
from workroom_data.settings import Settings

pytestmark = pytest.mark.docker

AWKWARD = [
    "2016", "001", "-5", "2016-01-01", "a/b", "a=b", "a%b", "a%2Fb", "..", ".", "ü ñ", "😀",
    "it's", 'say "x"', "back\\", "b\\n", "A", "a", "é", "e\u0301", "#?[]{}^*:", "x\u2028y", "NULL",
    "x" * 200,
]  # fmt: skip


@pytest.fixture
def real(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(session, "_current", None)  # put back afterwards
    return connect(settings)


def test_awkward_values(real: Session, database: str) -> None:
    for number, value in enumerate(AWKWARD):
        store_dataframe(pd.DataFrame({"n": [number]}), database, "t", {"k": value})
    loaded = load_dataframe(database, "t")
    assert dict(zip(loaded["k"], loaded["n"], strict=True)) == {
        value: number for number, value in enumerate(AWKWARD)
    }
    for number, value in enumerate(AWKWARD):
        quoted = "'" + value.replace("'", "''") + "'"
        for given in ({"partitions": [value]}, {"where": f"k = {quoted}"}):
            assert load_dataframe(database, "t", **given)["n"].tolist() == [number], (value, given)
    assert load_dataframe(database, "t", {"k": ("2016", "2016-01-01")})["n"].tolist() == [0, 3]


@pytest.mark.parametrize(
    ("hive", "values", "low"),
    [
        ("int", [-3, 2, 7, 11], "2"),
        ("bigint", [-(2**62), 1, 2**62], "1"),
        ("tinyint", [-1, 2, 11], "2"),
        ("date", ["0001-01-01", "2016-03-01", "9999-12-31"], "2016-03-01"),
    ],
)
def test_ranges_are_answered_by_the_metastore(
    real: Session, database: str, hive: str, values: list[Any], low: str
) -> None:
    frame = pd.DataFrame({"n": [1]})
    for value in reversed(values):
        store_dataframe(frame, database, hive, [value], partition_keys={"k": hive})
    assert load_dataframe(database, hive)["k"].astype(str).tolist() == list(map(str, values))
    from_low = [str(value) for value in values[1:]]
    assert load_dataframe(database, hive, {"k": (low, None)})["k"].astype(str).tolist() == from_low
    table = real.catalogue.table(database, hive)
    assert table is not None
    filter = select(table.keys, {"k": (low, None)}, None).filter
    found = [pointer.values[0] for pointer in real.catalogue.pointers(table, filter=filter)]
    assert sorted(found) == sorted(from_low)


@pytest.mark.parametrize("name", ["date", "order", "in", "const", "select", "null", "hash"])
def test_keys_that_are_words(real: Session, database: str, name: str) -> None:
    frame = pd.DataFrame({"n": [1]})
    for value in ("2016", "2017"):
        store_dataframe(frame, database, "t", {name: value})
    assert len(load_dataframe(database, "t", {name: ("2017", None)})) == 1
    assert len(load_dataframe(database, "t", where=f"{name} = '2016'")) == 1


def test_requests_of_the_metastore(real: Session, database: str) -> None:
    frame = pd.DataFrame({"n": [1]})

    def requests(work: Any) -> int:
        before = real.catalogue.calls
        work()
        return real.catalogue.calls - before

    stores = [
        requests(lambda: store_dataframe(frame, database, "first", {"k": "0"})),
        *(
            requests(lambda value=value: store_dataframe(frame, database, "first", {"k": value}))
            for value in "0123456789"
        ),
        requests(lambda: store_dataframe(frame.assign(m=1), database, "first", {"k": "0"})),
        requests(lambda: store_dataframe(frame, database, "plain")),
        requests(lambda: store_dataframe(frame, database, "plain")),
    ]
    assert max(stores) <= 4, stores
    for given in (None, ["3"], {"k": ("2", "7")}, {"k": ["1", "2"]}):
        assert requests(lambda given=given: load_dataframe(database, "first", given)) <= 3
    assert requests(lambda: load_dataframe(database, "plain")) <= 3
