"""One row for every server that ran: who, with what, from when to when, and why it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, insert
from sqlalchemy.orm import Session

metadata = MetaData()

# `group` holds all groups of the user at that time, sorted, comma-separated. Times are UTC.
usage = Table(
    "usage",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user", String(255), nullable=False, index=True),
    Column("server", String(255), nullable=False),
    Column("group", String(1023), nullable=False),
    Column("profile", String(64), nullable=False),
    Column("image", String(255), nullable=False),
    Column("start", DateTime, nullable=False, index=True),
    Column("stop", DateTime, nullable=False),
    Column("reason", String(255), nullable=False),
)


def record(
    db: Session,
    *,
    user: str,
    server: str,
    groups: list[str],
    profile: str,
    image: str,
    start: datetime,
    stop: datetime,
    reason: str,
) -> None:
    """Add one row; the table is made by the first one.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The database refused it; the session is rolled back.
    """
    row: dict[str, Any] = {
        "user": user,
        "server": server,
        "group": ",".join(sorted(groups))[:1023],
        "profile": profile,
        "image": image,
        "start": start,
        "stop": stop,
        "reason": reason[:255],
    }
    try:
        metadata.create_all(db.connection(), checkfirst=True)
        db.execute(insert(usage), row)
        db.commit()
    except Exception:
        db.rollback()
        raise
