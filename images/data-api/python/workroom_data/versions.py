"""The history of tables: every commit, as a frame.

The logs are read, not the metastore: history is whole also where the metastore is behind, or lost.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from workroom_data import partitions as parts
from workroom_data import session, walk
from workroom_data.catalogue import Column, Table
from workroom_data.errors import DataError, NotFound, SchemaError, Unavailable
from workroom_data.names import checked, did_you_mean
from workroom_data.selections import Selection, select
from workroom_data.session import Session
from workroom_data.walk import Folder, Place, Story

_COLUMNS = {
    "number": "int64",
    "batch_id": "object",
    "action": "object",
    "who": "object",
    "when": "datetime64[us, UTC]",
    "host": "object",
    "rows": "Int64",
    "size": "Int64",
    "source": "Int64",
    "note": "object",
    "library": "object",
    "current": "bool",
    "partition": "object",
}


_NOTHING: dict[str, Any] = {
    **dict.fromkeys(("batch_id", "who", "host", "library"), ""),
    **dict.fromkeys(("when", "rows", "size"), None),
    "action": "damaged",
    "source": 0,
    "current": False,
}
"""What is said of a commit that cannot be read."""


def history(db: str, table: str, partition: Any = None) -> pd.DataFrame:
    """Return the commits of a table, or of some of its partitions, newest first.

    Args:
        db, table: The table. It need not be in the metastore.
        partition: As `partitions` of a load; None for all.

    Returns:
        One row for each commit: number, batch_id, action ("store", "rollback", or "damaged" of a
        commit that cannot be read, the reason in `note`), who, when (UTC), host, rows, size
        (bytes), source (of a rollback the number it went back to, else 0), note, library, current,
        partition. Within a partition by number; `when` is the writer's claim.

    Raises:
        NotFound: There is no such table, or no log of a partition that is named.
        Unavailable: The S3 server does not answer.
    """
    now = session.current()
    stories = stories_of(now, db, table, partition)
    return _frame(stories, ())


def audit(db: str | None = None, table: str | None = None) -> pd.DataFrame:
    """Return every commit of every table, of a database, or of one table, newest first.

    Returns:
        As `history`, with the columns database and table first.

    Raises:
        Unavailable: The S3 server does not answer.
    """
    now = session.current()
    found = walk.folders(now.storage, chosen_places(now, db, table))
    return _frame(walk.read(now.storage, found, "Reading the history"), ("database", "table"))


def chosen_places(now: Session, db: str | None, table: str | None) -> list[Place]:
    """Return the tables' folders that are meant.

    Raises:
        DataError: A table without its database.
        NotFound: There is nothing of that name.
    """
    if db is None:
        if table is not None:
            raise DataError(f"Table {table!r} of which database?", "Name the database too.")
        return walk.places(now.storage, now.settings.warehouse)
    database = checked("database", db)
    found = walk.places(now.storage, now.settings.warehouse, database)
    if not found:
        there = now.storage.folders(now.settings.warehouse)
        raise NotFound(
            f"There is no database {db!r} in {now.settings.warehouse}.",
            did_you_mean(database, there, "databases"),
        )
    if table is None:
        return found
    name = checked("table", table)
    one = [place for place in found if place.table == name]
    if not one:
        raise NotFound(
            f"There is no table {table!r} in {db!r}.",
            did_you_mean(name, [place.table for place in found], "tables in it"),
        )
    return one


def stories_of(now: Session, db: str, table: str, partition: Any) -> list[Story]:
    """Return the logs of a table: of the partitions that are meant, or all that are not empty.

    Raises:
        NotFound: There is no such table, or no log of a partition that is named.
    """
    place, keys = _placed(now, db, table)
    chosen = select(keys, partition, None)
    if chosen.values is None:
        found = [story for story in _all(now, place) if story.last]
        kept = [story for story in found if partition is None or _meant(story, chosen)]
        if not kept:
            raise NotFound(f"{place} has no history where you look.", _there(place, found))
        return kept
    asked = [Folder(place, parts.name(keys, values), ()) for values in chosen.values]
    kept = walk.read(now.storage, asked, f"Reading {place}")
    for story in kept:
        if not story.last:
            raise NotFound(
                f"There is no history of {story.folder}.",
                _there(place, _all(now, place), story.folder.partition),
            )
    return kept


def _placed(now: Session, db: str, table: str) -> tuple[Place, tuple[Column, ...]]:
    """Return where a table is and its partition keys, from its logs if the metastore is no help."""
    known = _catalogued(now, checked("database", db), checked("table", table))
    if known is not None:
        return Place(known.database, known.name, known.root), known.keys
    (place,) = chosen_places(now, db, table)
    newest = [story.commits[-1] for story in _all(now, place) if story.commits]
    keys = max(newest, key=lambda commit: commit.when).keys if newest else ()
    return place, tuple(Column(*key) for key in keys)


def _catalogued(now: Session, database: str, table: str) -> Table | None:
    """Return the table as the metastore has it; None if it does not, or not as it should."""
    try:
        return now.catalogue.table(database, table)
    except (Unavailable, SchemaError):
        return None


def _meant(story: Story, chosen: Selection) -> bool:
    """Say whether a log is of a partition that was asked for."""
    if story.commits:
        values = story.commits[-1].values
    else:
        words = story.folder.partition.split("/")
        values = tuple(parts.unescape(word.partition("=")[2]) for word in words)
    # The table may have had other keys, before somebody made it anew.
    return len(values) == len(chosen.keys) and chosen.keeps(values)


def _there(place: Place, found: Iterable[Story], wrong: str = "") -> str:
    names = [story.folder.partition or str(place) for story in found if story.last]
    return did_you_mean(wrong, names, "logs in its folder")


def _all(now: Session, place: Place) -> list[Story]:
    found = walk.folders(now.storage, [place])
    return walk.read(now.storage, found, f"Reading {place}")


def _frame(stories: Iterable[Story], first: tuple[str, ...]) -> pd.DataFrame:
    """Return commits as a frame; those of one log in their order, all of them by time."""
    lines = heapq.merge(*map(_lines, stories), key=lambda line: line["order"], reverse=True)
    columns = [*first, *_COLUMNS]
    frame = pd.DataFrame(list(lines), columns=columns)
    frame["when"] = pd.to_datetime(frame["when"], utc=True, format="ISO8601", errors="coerce")
    return frame.astype(_COLUMNS)


def _lines(story: Story) -> list[dict[str, Any]]:
    """Return the commits of a log as rows, newest first."""
    known = {commit.number: commit for commit in story.commits}
    lines: list[dict[str, Any]] = []
    at = {"database": story.folder.place.database, "table": story.folder.place.table}
    at["partition"] = story.folder.partition
    order = ""
    for number in sorted({*known, *story.damaged}):
        if number in known:
            order = _utc(known[number].when)
            current = known[number] is story.newest
            line = vars(known[number]) | {"when": order, "current": current}
        else:
            line = _NOTHING | {"number": number, "note": story.damaged[number]}
        # One that cannot be read stands right after the one before it.
        lines.append(line | at | {"order": order})
    return lines[::-1]


def _utc(when: str) -> str:
    given = datetime.fromisoformat(when)
    given = given if given.tzinfo else given.replace(tzinfo=UTC)
    return given.astimezone(UTC).isoformat(timespec="microseconds")
