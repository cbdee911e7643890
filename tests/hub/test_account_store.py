"""Keys and standing in the hub's database: whose they are, and that they go with their owner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import asyncssh
import pytest
from jupyterhub import orm
from jupyterhub.utils import utcnow
from sqlalchemy.orm import Session

from workroom_hub.account import standing, store
from workroom_hub.account.keys import KeyRefused, PublicKey, read


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Session]:
    session: Session = orm.new_session_factory(f"sqlite:///{tmp_path}/hub.sqlite")()
    yield session
    session.close()


def user(db: Session, name: str) -> orm.User:
    made = orm.User(name=name)
    db.add(made)
    db.commit()
    return made


def new_key(comment: str = "ann@laptop") -> PublicKey:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return read(key.export_public_key())


def test_a_key_belongs_to_who_added_it(db: Session) -> None:
    ann, ben = user(db, "ann"), user(db, "ben")
    key = new_key()
    row = store.add(db, ann.id, key)
    assert store.of_user(db, ann.id) == [row]
    assert store.find(db, ann.id, key.fingerprint) == row["id"]
    assert store.find(db, ben.id, key.fingerprint) is None
    assert store.find(db, standing.NOBODY, key.fingerprint) is None
    assert not store.remove(db, ben.id, row["id"])
    assert not store.rename(db, ben.id, row["id"], "mine now")
    assert store.of_user(db, ann.id) == [row]


def test_two_people_may_have_the_same_key_and_nobody_has_one_twice(db: Session) -> None:
    ann, ben = user(db, "ann"), user(db, "ben")
    key = new_key()
    hers, his = store.add(db, ann.id, key, "laptop"), store.add(db, ben.id, key)
    assert hers["id"] != his["id"]
    with pytest.raises(store.Taken, match="already, under the name 'laptop'"):
        store.add(db, ann.id, key, "another name")
    assert len(store.of_user(db, ann.id)) == 1


def test_there_is_a_most(db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_KEYS", 2)
    ann = user(db, "ann")
    for _ in range(2):
        store.add(db, ann.id, new_key())
    with pytest.raises(store.Taken, match="2 keys already"):
        store.add(db, ann.id, new_key())


def test_keys_are_renamed_and_used_and_removed(db: Session) -> None:
    ann = user(db, "ann")
    row = store.add(db, ann.id, new_key())
    assert store.rename(db, ann.id, row["id"], " desk ")
    with pytest.raises(KeyRefused, match="Give the key a name"):
        store.rename(db, ann.id, row["id"], "\u200b ")
    store.used(db, row["id"], "203.0.113.9")
    [found] = store.of_user(db, ann.id)
    assert (found["name"], found["last_address"]) == ("desk", "203.0.113.9")
    assert found["last_used"] >= found["added"]
    assert store.remove(db, ann.id, row["id"])
    assert not store.remove(db, ann.id, row["id"])
    # An old page must not reach the next key.
    assert store.add(db, ann.id, new_key())["id"] != row["id"]


def test_a_new_account_of_an_old_name_and_number_has_nothing(db: Session) -> None:
    ann = user(db, "ann")
    number = ann.id
    store.add(db, ann.id, new_key())
    standing.disable(db, ann.id)
    db.delete(ann)
    db.commit()
    again = user(db, "ann")
    assert again.id == number  # SQLite gives it again
    assert store.of_user(db, again.id) == []
    assert standing.disabled_since(db, again.id) is None
    assert not standing.logged_in_within(db, again.id, 10**6)


def test_disabled_and_enabled(db: Session) -> None:
    ann = user(db, "ann")
    assert standing.disabled_since(db, ann.id) is None
    standing.disable(db, ann.id)
    since = standing.disabled_since(db, ann.id)
    standing.disable(db, ann.id)
    assert since is not None
    assert standing.disabled_since(db, ann.id) == since
    assert standing.all_disabled(db) == {ann.id}
    standing.enable(db, ann.id)
    standing.enable(db, ann.id)
    assert standing.all_disabled(db) == set()


def test_keys_end_so_long_after_the_last_log_in(db: Session) -> None:
    ann = user(db, "ann")
    assert standing.logged_in_within(db, ann.id, 0)
    assert not standing.logged_in_within(db, ann.id, 3600)
    standing.record_log_in(db, ann.id, utcnow(with_tz=False) - timedelta(hours=2))
    assert not standing.logged_in_within(db, ann.id, 3600)
    assert standing.logged_in_within(db, ann.id, 3 * 3600)
    store.add(db, ann.id, new_key())  # which is no log-in
    assert not standing.logged_in_within(db, ann.id, 3600)
    standing.record_log_in(db, ann.id)
    assert standing.logged_in_within(db, ann.id, 3600)


def test_whose_log_in_nobody_saw_counts_from_her_first_key(db: Session) -> None:
    ann = user(db, "ann")
    store.add(db, ann.id, new_key())
    assert standing.logged_in_within(db, ann.id, 60)
