"""Anchors: give one, list them. `load_dataframe(..., anchor=NAME)` reads what one pins."""

from __future__ import annotations

import re
import socket
import warnings
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from workroom_data import find, pins, session
from workroom_data import partitions as parts
from workroom_data.errors import (
    Conflict,
    Damaged,
    DataError,
    DataWarning,
    NotFound,
    checked_note,
)
from workroom_data.load import known_table
from workroom_data.pins import Anchor, Pinned
from workroom_data.selections import select
from workroom_data.session import Session
from workroom_data.storage import Exists

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ATTEMPTS = 100
"""Numbers of a version that are tried, while others give the same anchor."""


def anchor(db: str, table: str, name: str, note: str = "") -> Anchor:
    """Pin what is current in every partition of a table under a name.

    Giving an anchor anew makes a new version of it; what it pinned before is kept.

    Args:
        db, table: The table.
        name: ASCII letters, digits, `.`, `_` and `-`.
        note: Text for those who read the list.

    Raises:
        DataError: The name is unusable.
        NotFound: There is no such table, or nothing in it that can be pinned.
        Damaged: The newest commit of a partition cannot be read.
        Unavailable: A server does not answer. The anchor is as it was.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DataError(
            f"{name!r} cannot be the name of an anchor.",
            "Use ASCII letters, digits, '.', '_' and '-', 100 at most, a letter or digit first.",
        )
    now, note = session.current(), checked_note(note)
    there = known_table(now, db, table)
    sources = find.sources(now, there, select(there.keys, None, None), progress=None)
    batches = {
        parts.name(there.keys, source.values): Pinned(source.commit.batch_id, source.commit.number)
        for source in sources
        if source.commit is not None
    }
    if not batches:
        raise NotFound(f"{there.database}.{there.name} has no batch to pin.", "Store one.")
    if len(batches) < len(sources):
        warnings.warn(
            f"{len(sources) - len(batches)} of the partitions of {there.database}.{there.name} "
            "were written by another program: they have no batches and are not in the anchor.",
            DataWarning,
            stacklevel=2,
        )
    return _given(now, there.root, name, note, batches)


def _given(now: Session, root: str, name: str, note: str, batches: dict[str, Pinned]) -> Anchor:
    """Write the next version of an anchor."""
    who, host = now.settings.who, socket.gethostname()
    for _ in range(ATTEMPTS):
        version = max(pins.versions(now.storage, root, name), default=0) + 1
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        made = Anchor(name, version, who, when, host, note, batches)
        try:
            now.storage.create(pins.path(root, name, version), made.to_json())
        except Exists:
            continue
        return made
    raise Conflict(f"Others give the anchor {name!r} over and over.", "Try again.")


def anchors(db: str, table: str) -> pd.DataFrame:
    """Return the anchors of a table, the newest version of each.

    Returns:
        Columns name, version, when (UTC), who, host, note, partitions (how many it pins); one row
        for each anchor, by name.

    Raises:
        NotFound: There is no such table.
        Unavailable: A server does not answer.
    """
    now = session.current()
    there = known_table(now, db, table)
    rows: list[dict[str, Any]] = []
    for name in pins.names(now.storage, there.root):
        try:
            one = pins.read(now.storage, there.root, name)
        except Damaged as error:
            warnings.warn(str(error), DataWarning, stacklevel=2)
            continue
        rows.append(vars(one) | {"partitions": len(one.batches)})
    columns = ["name", "version", "when", "who", "host", "note", "partitions"]
    frame = pd.DataFrame(rows, columns=columns)
    # What anybody may have written is no time, in the worst case.
    when = pd.to_datetime(frame["when"], utc=True, format="ISO8601", errors="coerce")
    frame["when"] = when.astype("datetime64[us, UTC]")
    return frame.astype({"version": "int64", "partitions": "int64"})
