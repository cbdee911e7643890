"""Our tables beside JupyterHub's, in its database; what belongs to a user goes with her."""

from __future__ import annotations

from jupyterhub import orm
from sqlalchemy import (
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Unicode,
    UniqueConstraint,
)
from sqlalchemy.orm import Session

metadata = MetaData()


def _user(*, alone: bool) -> Column[int]:
    """Return the column that names the user; `alone`: there is one row for each."""
    owner = ForeignKey(orm.User.__table__.c.id, ondelete="CASCADE")
    return Column("user_id", Integer, owner, primary_key=alone, autoincrement=False, nullable=False)


# Times are UTC. Two people may have the same key: a log-in is by user name and key.
ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("id", Integer, primary_key=True),
    _user(alone=False),
    Column("name", Unicode(60), nullable=False),
    Column("type", String(16), nullable=False),
    Column("bits", Integer, nullable=False),
    Column("line", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("added", DateTime, nullable=False),
    Column("last_used", DateTime),
    Column("last_address", String(45)),
    UniqueConstraint("user_id", "fingerprint"),
    # An old page must never remove another key than the one it shows.
    sqlite_autoincrement=True,
)

browser_log_ins = Table(
    "browser_log_ins", metadata, _user(alone=True), Column("at", DateTime, nullable=False)
)

disabled_users = Table(
    "disabled_users", metadata, _user(alone=True), Column("since", DateTime, nullable=False)
)


def ready(db: Session) -> Session:
    """Return the session, with the tables made if this is the first time it is asked for."""
    if not db.info.get("workroom_account"):
        metadata.create_all(db.connection(), checkfirst=True)
        db.commit()
        db.info["workroom_account"] = True
    return db
