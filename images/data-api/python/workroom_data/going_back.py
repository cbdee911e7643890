"""Going back in the history of a partition: a rollback is a commit like any other."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from workroom_data import __version__, session, walk
from workroom_data import partitions as parts
from workroom_data.batch import Batch
from workroom_data.catalogue import Table
from workroom_data.commits import Commit
from workroom_data.errors import (
    Conflict,
    Damaged,
    DataError,
    DataWarning,
    NotFound,
    SchemaError,
    checked_note,
)
from workroom_data.fit import hive_column
from workroom_data.load import known_table
from workroom_data.log import Log
from workroom_data.names import did_you_mean
from workroom_data.pointers import move_up
from workroom_data.session import Session
from workroom_data.storage import Storage
from workroom_data.walk import Folder, Place, Story


@dataclass(frozen=True)
class WayBack:
    """A rollback that has been thought through.

    Attributes:
        table: The table.
        log: Of the partition.
        partition: Its name in paths, or "".
        last: The newest number of the log.
        current: The newest commit, None if it cannot be read.
        target: The commit to go back to.
    """

    table: Table
    log: Log
    partition: str
    last: int
    current: Commit | None
    target: Commit


def rollback(
    db: str,
    table: str,
    partition: Any = None,
    *,
    batch_id: str | None = None,
    number: int | None = None,
    note: str = "",
) -> Batch:
    """Make an earlier batch current again, as a new commit: the history goes on, nothing is lost.

    Args:
        db, table: The table.
        partition: Which one, as in a store; None if the table has none.
        batch_id: The batch to go back to; it may be any of the history.
        number: The commit to go back to, instead.
        note: Text for the history.

    With neither, the batch that was current before this one is.

    Returns:
        Batch: What is current now.

    Raises:
        NotFound: There is no such table, partition, commit or batch.
        SchemaError: The batch does not fit the table any more.
        Damaged: Files of the batch are gone, or not as long as they were. Nothing has changed.
        Conflict: That batch is current already; or, with neither, somebody stored just now.
        Unavailable: A server does not answer. The message says what has become of it.
    """
    now, note = session.current(), checked_note(note)
    way = way_back(now, db, table, partition, batch_id=batch_id, number=number)
    return go_back(now, way, note, only_from_here=batch_id is None and number is None)


def way_back(
    now: Session,
    db: str,
    table: str,
    partition: Any,
    *,
    batch_id: str | None = None,
    number: int | None = None,
) -> WayBack:
    """Find the commit to go back to, and see that it can be gone back to."""
    if batch_id is not None and number is not None:
        raise DataError("batch_id and number are given.", "Give one of them.")
    there = known_table(now, db, table)
    values = parts.values(there.keys, partition)
    name = parts.name(there.keys, values)
    log = Log(now.storage, parts.folder(there.root, there.keys, values))
    story = walk.read(
        now.storage,
        [Folder(Place(there.database, there.name, there.root), name, ())],
        "Reading the history",
    )[0]
    if not story.last:
        listed = [parts.name(there.keys, p.values) for p in now.catalogue.pointers(there)]
        raise NotFound(
            f"There is no history of {story.folder}.", did_you_mean(name, listed, "partitions")
        )
    target = _target(story, batch_id, number)
    current = story.newest
    if current is not None and target.batch_id == current.batch_id:
        raise Conflict(
            f"Batch {target.batch_id} of {story.folder} is current already.",
            "`history` shows the others.",
        )
    _still_fits(there, target)
    _is_whole(now, target)
    return WayBack(there, log, name, story.last, current, target)


def go_back(now: Session, way: WayBack, note: str = "", *, only_from_here: bool) -> Batch:
    """Commit a rollback, and move the metastore's pointer.

    Args:
        now: The session.
        way: What to do.
        note: Text for the history.
        only_from_here: Not if somebody has committed since the way was found.
    """
    table = way.table

    def build(number: int, newest: Commit | None) -> Commit:
        nonlocal table
        if only_from_here and number != way.last + 1:
            raise Conflict(
                f"{newest.who if newest else 'Somebody'} made commit {number - 1} of "
                f"{table.database}.{table.name} {way.partition}".rstrip()
                + " just now.",
                "Look at the history, and say which batch you want.",
            )
        if newest is not None and not table.keys:
            table = _with_columns(table, newest)
        return replace(
            way.target,
            number=number,
            action="rollback",
            who=now.settings.who,
            when=datetime.now(UTC).isoformat(timespec="microseconds"),
            host=socket.gethostname(),
            library=f"workroom-data {__version__}",
            source=way.target.number,
            note=note,
        )

    commit = way.log.append(build, after=way.last)
    try:
        move_up(now.catalogue, table, way.log, commit, new=False)
    except DataError as error:  # it has happened: nothing may fail it any more
        warnings.warn(
            f"Rolled back to batch {commit.batch_id}, but the metastore could not be told "
            f"({error.message}) It will be by the next load or store of this partition, or by "
            "`workroom-data check --fix`; until then Spark reads the other batch.",
            DataWarning,
            stacklevel=3,
        )
    return Batch.of(commit, way.partition)


def _target(story: Story, batch_id: str | None, number: int | None) -> Commit:
    """Return the commit that is meant.

    Raises:
        NotFound: There is none.
        Damaged: It is one that cannot be read.
    """
    if number is not None:
        if number in story.damaged:
            raise Damaged(story.damaged[number], "Go back to another.")
        found = [commit for commit in story.commits if commit.number == number]
        what = f"commit {number}"
    elif batch_id is not None:
        found = [commit for commit in story.commits if commit.batch_id == batch_id]
        what = f"batch {batch_id!r}"
    else:
        current = story.newest.batch_id if story.newest else ""
        found = [commit for commit in story.commits if commit.batch_id != current]
        what = "earlier batch"
    if not found:
        names = (str(c.number) if number is not None else c.batch_id for c in story.commits[::-1])
        known = list(dict.fromkeys(names))  # a batch to which somebody went back is there twice
        raise NotFound(
            f"There is no {what} in the history of {story.folder}.",
            f"There {'is' if len(known) == 1 else 'are'}: {', '.join(known[:10])}"
            f"{' …' if len(known) > 10 else ''}.",
        )
    return found[-1]


def _still_fits(table: Table, target: Commit) -> None:
    """See that a batch can be read as the table is now; columns that came later are NULL in it.

    Raises:
        SchemaError: The table has been made anew since, with other columns, keys or format.
    """
    where = f"{table.database}.{table.name}"
    columns = [(column.name, column.hive) for column in table.columns]
    stored = [(c.name, c.hive) for c in map(hive_column, target.columns)]
    keys = tuple((key.name, key.hive) for key in table.keys)
    wrong = ""
    if target.format != table.format:
        wrong = f"of format {target.format}, the table is {table.format}"
    elif target.keys != keys:
        wrong = f"by the keys {_pairs(target.keys)}, the table's are {_pairs(keys)}"
    elif stored != columns[: len(stored)]:
        wrong = f"of the columns {_pairs(stored)}, the table has {_pairs(columns)}"
    if wrong:
        raise SchemaError(
            f"Batch {target.batch_id} of {where} does not fit the table any more: it is {wrong}.",
            "The table was made anew since. Load the batch by its ID, and store what you need.",
        )


def _pairs(columns: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} {hive}" for name, hive in columns) or "(none)"


def _is_whole(now: Session, target: Commit) -> None:
    wrong = missing(now.storage, target)
    if wrong:
        raise Damaged(f"Batch {target.batch_id} is not whole: {wrong}.", "Go back to another.")


def missing(storage: Storage, commit: Commit) -> str:
    """Say what is wrong with the files of a batch, by their names and sizes; "" if nothing."""
    sizes = {entry.name: entry.size for entry in storage.list(commit.location)}
    for file in commit.files:
        if file.name not in sizes:
            return f"{commit.location}/{file.name} is not there"
        if sizes[file.name] != file.size:
            return f"{commit.location}/{file.name} has {sizes[file.name]} bytes, not {file.size}"
    return ""


def _with_columns(table: Table, commit: Commit) -> Table:
    """Return the table with columns that a commit has after the table's own."""
    columns = tuple(map(hive_column, commit.columns))
    if columns[: len(table.columns)] == table.columns:
        return replace(table, columns=columns)
    return table
