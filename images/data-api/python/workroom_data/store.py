"""Store a frame: files first, then the commit, then the metastore's pointer.

Whoever dies between two of these steps leaves readers on the batch that was current, whole. Nothing
is written before everything that can be known to fail has been looked at.
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from workroom_data import __version__, formats, session
from workroom_data.batch import Batch
from workroom_data.catalogue import Column, Table
from workroom_data.commits import Commit, File, new_batch_id
from workroom_data.errors import (
    Conflict,
    Damaged,
    DataWarning,
    NotFound,
    SchemaError,
    Unavailable,
    checked_note,
)
from workroom_data.fit import fit_newest
from workroom_data.log import Log
from workroom_data.names import checked
from workroom_data.plan import Plan, planned
from workroom_data.pointers import move_up, pointer_to
from workroom_data.progress import bar
from workroom_data.session import Session


def store_dataframe(
    df: Any,
    dest_db: str,
    dest_table: str,
    partitions: Any = None,
    *,
    partition_keys: Sequence[str] | Mapping[str, str] | None = None,
    format: str | None = None,
    expect: str | None = None,
    note: str = "",
    index: bool = False,
    progress: bool | None = None,
) -> Batch:
    """Store a frame as the new batch of a partition, or of a table without partitions.

    Args:
        df: pandas or polars DataFrame, or Arrow Table.
        dest_db, dest_table: Where; both are made if they are missing.
        partitions: `{"year": "2016"}`, or the values in the order of the keys, or None.
        partition_keys: Keys of a table that is new, if `partitions` does not name them; a mapping
            gives their Hive types (`{"year": "int"}`).
        format: "text" (default) or "parquet", when the table is made.
        expect: ID of the batch that must be current, or "" if there must be none.
        note: Text for the history.
        index: Store the index as columns; it is dropped otherwise.
        progress: False for no bar.

    Returns:
        Batch: What is current now.

    Raises:
        FrameError: A value cannot be stored exactly. Like the next two, before anything is written.
        SchemaError: The frame does not fit the table.
        PartitionError: The partition is unusable.
        Conflict: Another batch than `expect` is current; the files of this one are kept.
        Unavailable: A server does not answer. Nothing of this store is visible.
    """
    now, note = session.current(), checked_note(note)
    place = (checked("database", dest_db), checked("table", dest_table))
    plan = planned(now, place, df, partitions, partition_keys, format, index)
    log = Log(now.storage, plan.folder)
    if expect is not None:
        _as_expected(plan, log.newest(), expect)
    batch_id = new_batch_id()
    location = f"{plan.folder}/{batch_id}"
    with _nothing_visible(location):
        files = _written(now, plan, location, progress)
        plan = _table_ready(now, plan)
        draft = _draft(now, plan, batch_id, location, files, note)
        commit = log.append(_builder(plan, draft, expect))
    _point(now, plan, log, commit)
    return Batch.of(commit, plan.partition, new_table=plan.new and commit.number == 1)


def _written(now: Session, plan: Plan, location: str, progress: bool | None) -> tuple[File, ...]:
    """Write the files of the batch."""
    data, columns = plan.fitted.data, plan.fitted.columns
    what = f"Storing {plan.table.database}.{plan.table.name} {plan.partition}".rstrip()
    with bar(progress, what, data.num_rows, "rows") as tell:
        return formats.named(plan.table.format).write(now.storage, location, data, columns, tell)


# ---- The commit ---------------------------------------------------------------------------


def _as_expected(plan: Plan, newest: Commit | None, expect: str, batch_id: str = "") -> None:
    """Raise Conflict unless the batch that the caller expects is the newest."""
    current = newest.batch_id if newest else ""
    if current == expect:
        return
    where = f"{plan.table.database}.{plan.table.name} {plan.partition}".rstrip()
    said = f"{current} of {newest.who}, {newest.when}" if newest else "none"
    kept = f"The files of this store are kept as batch {batch_id}, uncommitted." if batch_id else ""
    raise Conflict(
        f"The current batch of {where} is {said}; expected was {expect or 'none'}.",
        f"Load it, look at what changed, and store again. {kept}".strip(),
        batch_id,
    )


def _table_ready(now: Session, plan: Plan) -> Plan:
    """Make a partitioned table, or add the new columns. An unpartitioned one follows its commit.

    Raises:
        SchemaError, PartitionError: Somebody else has made the table meanwhile, another one.
        Conflict: Somebody else has added other columns meanwhile.
    """
    if not plan.table.keys:
        return plan
    if plan.new and not now.catalogue.create(plan.table):
        return _others_table(now, plan)
    if plan.fitted.added:
        table = replace(plan.table, columns=(*plan.table.columns, *plan.fitted.added))
        now.catalogue.alter(table)
        return replace(plan, table=table)
    return plan


def _others_table(now: Session, plan: Plan) -> Plan:
    """Somebody else was quicker to make the table: see that what is written fits theirs."""
    ours = plan.table
    theirs = now.catalogue.table(ours.database, ours.name)
    where = f"{ours.database}.{ours.name}"
    if theirs is None or (theirs.format, theirs.keys) != (ours.format, ours.keys):
        raise SchemaError(
            f"Somebody else made {where} just now, "
            + (_described(theirs) if theirs else "and dropped it again")
            + f"; this store was about to make it {_described(ours)}.",
            "Store again, to fit it, or use another name.",
        )
    if theirs.columns[: len(ours.columns)] != ours.columns:
        raise SchemaError(
            f"Somebody else made {where} just now, with the columns {_listed(theirs.columns)}; "
            f"the frame has {_listed(ours.columns)}.",
            "Store again: the frame is then fitted to that table.",
        )
    return replace(plan, table=theirs, new=False)


def _draft(
    now: Session,
    plan: Plan,
    batch_id: str,
    location: str,
    files: tuple[File, ...],
    note: str,
) -> Commit:
    """Return the commit, but for its number and its time."""
    table = plan.table
    return Commit(
        number=0,
        batch_id=batch_id,
        action="store",
        who=now.settings.who,
        when="",
        host=socket.gethostname(),
        database=table.database,
        table=table.name,
        keys=tuple((key.name, key.hive) for key in table.keys),
        values=plan.values,
        format=table.format,
        location=location,
        columns=plan.fitted.columns,
        files=files,
        rows=plan.fitted.data.num_rows,
        size=sum(file.size for file in files),
        library=f"workroom-data {__version__}",
        note=note,
    )


def _builder(
    plan: Plan, draft: Commit, expect: str | None
) -> Callable[[int, Commit | None], Commit]:
    """Return what makes the commit, each time a number is tried, in view of what is newest then."""

    def build(number: int, newest: Commit | None) -> Commit:
        if expect is not None:
            _as_expected(plan, newest, expect, draft.batch_id)
        if newest is not None:
            fit_newest(draft.columns, draft.format, newest)
        when = datetime.now(UTC).isoformat(timespec="microseconds")
        return replace(draft, number=number, when=when)

    return build


@contextmanager
def _nothing_visible(location: str) -> Iterator[None]:
    """Say of a failure before the commit what has become of the store: nothing, for readers."""
    try:
        yield
    except Unavailable as error:
        raise Unavailable(
            error.message,
            f"{error.fix} This store is not visible to anybody, unless the commit itself was on "
            f"its way (then `history` shows it); files may be left in {location}.".strip(),
        ) from error


# ---- The pointer --------------------------------------------------------------------------


def _point(now: Session, plan: Plan, log: Log, commit: Commit) -> None:
    """Move the metastore's pointer. The store has happened: nothing may fail it any more."""
    try:
        if plan.new and not plan.table.keys and _made_unpartitioned(now, plan, log, commit):
            return
        new = commit.number == 1 and bool(plan.table.keys)
        move_up(now.catalogue, plan.table, log, commit, new=new)
    except NotFound as error:
        warnings.warn(
            f"Stored as batch {commit.batch_id}, but nobody finds it: {error}",
            DataWarning,
            stacklevel=3,
        )
    except (Unavailable, Conflict, Damaged) as error:
        warnings.warn(
            f"Stored as batch {commit.batch_id}, but the metastore could not be told "
            f"({error.message}) It will be by the next load or store of this partition, or by "
            "`workroom-data check --fix`; until then Spark reads the earlier batch.",
            DataWarning,
            stacklevel=3,
        )
    except KeyboardInterrupt as error:
        error.add_note(f"The store has happened all the same: batch {commit.batch_id}.")
        raise


def _made_unpartitioned(now: Session, plan: Plan, log: Log, commit: Commit) -> bool:
    """Make a table that points at `commit`; False if its pointer is still to be moved."""
    if not now.catalogue.create(plan.table, pointer_to(commit)):
        _others_table(now, plan)
        return False
    return log.newest(after=commit.number) is None


def _described(table: Table) -> str:
    keys = ", ".join(key.name for key in table.keys)
    return f"of format {table.format}, {f'partitioned by {keys}' if keys else 'not partitioned'}"


def _listed(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name!r} {column.hive}" for column in columns)
