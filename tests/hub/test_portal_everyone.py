"""Everyone's servers: the right rows from one question, found, ordered and added up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from jupyterhub import orm
from sqlalchemy import event
from sqlalchemy.orm import Session

from workroom_hub.portal import everyone
from workroom_hub.portal.cards import lasted, now
from workroom_spawner.profiles import Catalog, Image, Profile

GIB = 2**30
CATALOG = Catalog(
    profiles=(
        Profile("small", "Small", "", 1, 2 * GIB, 0, ("i",)),
        Profile("big", "Big", "", 4, 16 * GIB, 0, ("i",)),
    ),
    images=(Image("i", "i:1", "I"),),
    cpus=8,
    memory=64 * GIB,
    default="small",
)


@pytest.fixture
def db() -> Iterator[Session]:
    session = orm.new_session_factory("sqlite:///:memory:")()
    yield session
    session.close()


def add(db: Session, name: str, server: str = "", active: bool = True, **more: Any) -> None:
    user = orm.User.find(db, name) or orm.User(name=name)
    db.add(user)
    spawner = orm.Spawner(name=server, user=user, **more)
    if active:
        spawner.server = orm.Server(base_url=f"/user/{name}/{server}")
    db.add(spawner)
    db.commit()


def questions(db: Session) -> list[str]:
    asked: list[str] = []

    def note(*words: Any) -> None:
        if words[2] != "SELECT 1":  # JupyterHub sees whether the database is there
            asked.append(words[2])

    event.listen(db.get_bind(), "before_cursor_execute", note)
    return asked


def test_only_what_is_active_in_one_question(db: Session) -> None:
    began = datetime(2026, 1, 1)
    state = {"profile": "big", "cpu": 4, "memory": 16 * GIB, "started_at": began.isoformat()}
    add(db, "ann", state=state, last_activity=began, user_options={"profile": "small"})
    add(db, "ann", "spark", display_name="Spark", user_options={"profile": "small"})
    add(db, "bob", active=False, state={})
    add(db, "caro", state={"profile": "retired", "cpu": 2, "memory": GIB})
    add(db, "dan", state=None, user_options=None)
    add(db, "eve", state={}, user_options={"profile": ["big"]})
    db.expunge_all()
    asked = questions(db)
    rows = everyone.active_rows(db, {}, CATALOG)
    assert len(asked) == 1
    found = {(row.user, row.title): (row.profile, row.cpu, row.memory, row.state) for row in rows}
    assert found == {
        ("ann", ""): ("Big", 4, 16 * GIB, "running"),
        ("ann", "Spark"): ("Small", 1, 2 * GIB, "running"),
        ("caro", ""): ("retired", 2, GIB, "running"),
        ("dan", ""): ("Unknown", 0, 0, "running"),
        ("eve", ""): ("['big']", 0, 0, "running"),
    }
    assert {row.started for row in rows if row.user == "ann" and not row.title} == {began}


def row(user: str, profile: str = "Small", **more: Any) -> everyone.Row:
    base = {
        "server": "", "title": "", "cpu": 1, "memory": GIB, "state": "running",
        "started": None, "last_activity": None, "url": "/",
    }  # fmt: skip
    return everyone.Row(user=user, profile=profile, **{**base, **more})


def test_finding() -> None:
    rows = [row("Ann"), row("bob", title="GPU test"), row("zoë", "Big")]
    for words, found in {
        "": ["Ann", "bob", "zoë"],
        "ANN": ["Ann"],
        "gpu bob": ["bob"],
        "gpu ann": [],
        "ZOË": ["zoë"],
        "small": ["Ann", "bob"],
        "%": [],
    }.items():
        assert [r.user for r in everyone.matching_rows(rows, words)] == found, words


def test_ordering() -> None:
    old, new = datetime(2026, 1, 1), datetime(2026, 2, 1)
    rows = [
        row("b", started=new, last_activity=old, memory=GIB),
        row("A", started=old, last_activity=new, memory=4 * GIB, state="starting"),
        row("c", memory=2 * GIB),
    ]
    for sort, order in {
        "user": "Abc",
        "profile": "Acb",
        "state": "Abc",
        "started": "Abc",
        "used": "cbA",
        "nonsense": "Abc",
    }.items():
        assert "".join(r.user for r in everyone.sorted_rows(rows, sort)) == order, sort


def test_totals() -> None:
    rows = [row("a"), row("b", cpu=0.5), row("c", "Big", cpu=4, memory=16 * GIB)]
    assert [(t.profile, t.servers, t.cpu, t.memory) for t in everyone.totals(rows)] == [
        ("Big", 1, 4, 16 * GIB),
        ("Small", 2, 1.5, 2 * GIB),
    ]
    assert everyone.totals([]) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-5, "under a minute"), (59, "under a minute"), (60, "1 min"), (3599, "59 min"),
     (3600, "1 h"), (10_900, "3 h"), (172_799, "47 h"), (172_800, "2 days")],
)  # fmt: skip
def test_how_long(seconds: int, words: str) -> None:
    assert lasted(now() - timedelta(seconds=seconds)) == words
