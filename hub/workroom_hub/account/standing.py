"""Whether somebody may get in: who is disabled, and when each person last logged in by browser.

A log-in in the browser is where the company's log-in, or the password, has its say. Keys know
nothing of either, so they may be given an end: so long after their owner's last log-in there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from jupyterhub.utils import utcnow
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from workroom_hub.account.tables import browser_log_ins, disabled_users, ready

NOBODY = -1
"""No user has this id; asked about where there is no such user, so that it takes as long."""


def disabled_since(db: Session, user_id: int) -> datetime | None:
    """Return since when a user is disabled, or None if she is not."""
    hers = select(disabled_users.c.since).where(disabled_users.c.user_id == user_id)
    since: datetime | None = ready(db).execute(hers).scalar()
    return since


def all_disabled(db: Session) -> set[int]:
    """Return the ids of all disabled users."""
    return set(ready(db).execute(select(disabled_users.c.user_id)).scalars())


def disable(db: Session, user_id: int) -> None:
    """Keep a user out from now on; again is harmless."""
    if disabled_since(db, user_id) is None:
        row = {"user_id": user_id, "since": utcnow(with_tz=False)}
        db.execute(insert(disabled_users), row)
        db.commit()


def enable(db: Session, user_id: int) -> None:
    """Let a user in again; again is harmless."""
    ready(db).execute(delete(disabled_users).where(disabled_users.c.user_id == user_id))
    db.commit()


def record_log_in(db: Session, user_id: int, when: datetime | None = None) -> None:
    """Note a log-in in the browser."""
    at = when or utcnow(with_tz=False)
    hers = browser_log_ins.c.user_id == user_id
    done: Any = ready(db).execute(update(browser_log_ins).where(hers).values(at=at))
    if not done.rowcount:
        db.execute(insert(browser_log_ins), {"user_id": user_id, "at": at})
    db.commit()


def count_from_now(db: Session, user_id: int) -> None:
    """Take this moment as the log-in of somebody of whom none is known; does not commit.

    Her browser may have been logged in before this table was there.
    """
    if _log_in(db, user_id) is None:
        row = {"user_id": user_id, "at": utcnow(with_tz=False)}
        db.execute(insert(browser_log_ins), row)


def logged_in_within(db: Session, user_id: int, seconds: int) -> bool:
    """Tell whether a user logged in by browser in the last `seconds`; 0 asks for none."""
    at = _log_in(db, user_id)
    return not seconds or (
        at is not None and utcnow(with_tz=False) - at <= timedelta(seconds=seconds)
    )


def _log_in(db: Session, user_id: int) -> datetime | None:
    hers = select(browser_log_ins.c.at).where(browser_log_ins.c.user_id == user_id)
    at: datetime | None = ready(db).execute(hers).scalar()
    return at
