"""What the logs and the metastore say of each table, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from workroom_data import walk
from workroom_data.catalogue import Altered, Column, Pointer, Table
from workroom_data.commits import Commit
from workroom_data.errors import NotFound, SchemaError
from workroom_data.fit import hive_column
from workroom_data.names import checked
from workroom_data.session import Session
from workroom_data.versions import chosen_places
from workroom_data.walk import Place, Story


@dataclass(frozen=True)
class Listed:
    """A table as the metastore has it.

    Attributes:
        table: The table; None if it is not there, or not as one of ours should be.
        pointers: Its pointers, by values of the keys.
        refused: Why it cannot be used, or "".
        altered: It is ours, and is read otherwise than it should be.
    """

    table: Table | None = None
    pointers: Mapping[tuple[str, ...], Pointer] | None = None
    refused: str = ""
    altered: bool = False


@dataclass(frozen=True)
class Known:
    """All that is known of one table.

    Attributes:
        place: Its folder.
        listed: What the metastore says.
        all_stories: What the logs say, of every folder that has a log or batches.
    """

    place: Place
    listed: Listed
    all_stories: tuple[Story, ...]

    @cached_property
    def latest(self) -> Commit | None:
        """The commit that was made last, by what commits claim: what the table is like."""
        ends = [story.commits[-1] for story in self.all_stories if story.commits]
        return max(ends, key=lambda commit: commit.when, default=None)

    @cached_property
    def stories(self) -> tuple[Story, ...]:
        """Logs with commits, of partitions that the table can have."""
        return tuple(s for s in self.all_stories if s.commits and self._is_of(s.commits[-1]))

    @property
    def mixed(self) -> tuple[Story, ...]:
        """Logs of other keys or another format: of a table that was there under this name."""
        return tuple(s for s in self.all_stories if s.commits and not self._is_of(s.commits[-1]))

    @cached_property
    def wanted(self) -> Table | None:
        """The table as the logs say it is; the metastore's, completed, if that has it."""
        there, latest = self.listed.table, self.latest
        if there is not None or latest is None:
            return there
        first = min(
            (commit for story in self.stories for commit in story.commits),
            key=lambda commit: commit.when,
        )
        return Table(
            self.place.database,
            self.place.table,
            self.columns(tuple(map(hive_column, latest.columns))),
            tuple(Column(*key) for key in latest.keys),
            latest.format,
            self.place.root,
            self.place.root,
            owner=first.who,
        )

    def columns(self, known: tuple[Column, ...]) -> tuple[Column, ...]:
        """Return columns with those that any commit has after them."""
        for story in self.stories:
            for commit in story.commits:
                if len(commit.columns) > len(known):
                    longer = tuple(map(hive_column, commit.columns))
                    known = longer if same(longer[: len(known)], known) else known
        return known

    def pointer(self, story: Story) -> Pointer | None:
        """Return what the metastore says of the partition of a log."""
        return (self.listed.pointers or {}).get(story.commits[-1].values)

    def _is_of(self, commit: Commit) -> bool:
        there = self.listed.table
        if there is not None:
            keys = tuple((key.name, key.hive) for key in there.keys)
            return (keys, there.format) == (commit.keys, commit.format)
        latest = self.latest
        return latest is not None and (latest.keys, latest.format) == (commit.keys, commit.format)


def same(some: Iterable[Column], others: Iterable[Column]) -> bool:
    """Say whether columns have the same names and types."""
    return [(c.name, c.hive) for c in some] == [(c.name, c.hive) for c in others]


def survey(now: Session, db: str | None, table: str | None) -> list[Known]:
    """Look at the metastore, then at the logs: what is committed meanwhile is no disagreement.

    Raises:
        NotFound: There is nothing of that name in either.
        Unavailable: A server does not answer.
    """
    database = None if db is None else checked("database", db)
    name = None if table is None else checked("table", table)
    listed = _listed(now, database, name)
    try:
        places = {(p.database, p.table): p for p in chosen_places(now, db, table)}
    except NotFound:
        if not listed:
            raise
        places = {}
    for at, one in listed.items():
        if one.table is not None:
            places[at] = Place(*at, one.table.root)
    folders = walk.folders(now.storage, places.values())
    stories = walk.read(now.storage, folders, "Reading the logs")
    found: dict[Place, list[Story]] = {place: [] for _, place in sorted(places.items())}
    for story in stories:
        found[story.folder.place].append(story)
    return [
        Known(place, listed.get((place.database, place.table), Listed()), tuple(logs))
        for place, logs in found.items()
    ]


def _listed(now: Session, database: str | None, table: str | None) -> dict[tuple[str, str], Listed]:
    """Return the metastore's tables of these names, each with its pointers."""
    if database is None:
        databases = now.catalogue.databases()
        tables = walk.each(lambda one: _tables(now, one), databases)
        names = [(db, one) for db, them in zip(databases, tables, strict=True) for one in them]
    elif table is None:
        names = [(database, one) for one in _tables(now, database)]
    else:
        names = [(database, table)]
    found = walk.each(lambda at: look(now, *at), names)
    return {
        at: one
        for at, one in zip(names, found, strict=True)
        if one.table is not None or one.refused
    }


def _tables(now: Session, database: str) -> list[str]:
    try:
        return now.catalogue.tables(database)
    except NotFound:
        return []


def look(now: Session, database: str, table: str) -> Listed:
    """Return a table as the metastore has it now. Two requests."""
    try:
        there = now.catalogue.table(database, table)
        if there is None:
            return Listed()
        pointers = now.catalogue.pointers(there)
    except SchemaError as error:
        return Listed(refused=error.message, altered=isinstance(error, Altered))
    except NotFound:  # dropped just now
        return Listed()
    return Listed(there, {pointer.values: pointer for pointer in pointers})
