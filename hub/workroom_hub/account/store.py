"""The SSH keys of each user, in the hub's database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jupyterhub.utils import utcnow
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from workroom_hub.account import standing
from workroom_hub.account.keys import KeyRefused, PublicKey, checked_name, name_for
from workroom_hub.account.tables import ready, ssh_keys

MOST_KEYS = 50


class Taken(KeyRefused):
    """The key cannot be added to what is there already."""


def of_user(db: Session, user_id: int) -> list[dict[str, Any]]:
    """Return a user's keys, in the order they were added."""
    hers = select(ssh_keys).where(ssh_keys.c.user_id == user_id).order_by(ssh_keys.c.id)
    return [dict(row) for row in ready(db).execute(hers).mappings()]


def find(db: Session, user_id: int, fingerprint: str) -> int | None:
    """Return the id of a user's key, or None if she has no such key."""
    hers = select(ssh_keys.c.id).where(
        ssh_keys.c.user_id == user_id, ssh_keys.c.fingerprint == fingerprint
    )
    found: int | None = ready(db).execute(hers).scalar()
    return found


def add(db: Session, user_id: int, key: PublicKey, wanted_name: str = "") -> dict[str, Any]:
    """Give a user a key and return its row.

    Raises:
        Taken: She has it already, or has too many.
        KeyRefused: The name will not do.
    """
    name = name_for(key, wanted_name)
    for row in of_user(db, user_id):
        if row["fingerprint"] == key.fingerprint:
            raise Taken(f"This key is here already, under the name '{row['name']}'.")
    count = select(func.count()).where(ssh_keys.c.user_id == user_id)
    if db.execute(count).scalar_one() >= MOST_KEYS:
        raise Taken(f"There are {MOST_KEYS} keys already, which is the most. Remove one first.")
    row = {
        "user_id": user_id,
        "name": name,
        "type": key.type,
        "bits": key.bits,
        "line": key.line,
        "fingerprint": key.fingerprint,
        "added": utcnow(with_tz=False),
        "last_used": None,
        "last_address": None,
    }
    try:
        done: Any = db.execute(insert(ssh_keys).values(**row))
        standing.count_from_now(db, user_id)
        db.commit()
    except Exception:
        db.rollback()
        raise
    return {"id": done.inserted_primary_key[0], **row}


def rename(db: Session, user_id: int, key_id: int, wanted: str) -> bool:
    """Give a key another name; False if the user has no such key.

    Raises:
        KeyRefused: The name will not do.
    """
    name = checked_name(wanted)
    if not name:
        raise KeyRefused("Give the key a name.")
    return _changed(db, update(ssh_keys).values(name=name), user_id, key_id)


def remove(db: Session, user_id: int, key_id: int) -> bool:
    """Remove a key; False if the user has no such key."""
    return _changed(db, delete(ssh_keys), user_id, key_id)


def used(db: Session, key_id: int, address: str, when: datetime | None = None) -> None:
    """Note that somebody logged in with a key, and from where."""
    seen = {"last_used": when or utcnow(with_tz=False), "last_address": address}
    ready(db).execute(update(ssh_keys).where(ssh_keys.c.id == key_id).values(**seen))
    db.commit()


def _changed(db: Session, statement: Any, user_id: int, key_id: int) -> bool:
    hers = (ssh_keys.c.user_id == user_id, ssh_keys.c.id == key_id)
    done: Any = ready(db).execute(statement.where(*hers))
    db.commit()
    return bool(done.rowcount)
