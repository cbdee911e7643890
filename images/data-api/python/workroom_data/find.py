"""Which batch of each partition a load reads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from workroom_data import partitions as parts
from workroom_data import pins
from workroom_data.catalogue import Column, Pointer, Table
from workroom_data.commits import Commit, File, StoredColumn
from workroom_data.errors import Damaged, DataError, NotFound
from workroom_data.log import Log
from workroom_data.names import did_you_mean
from workroom_data.pointers import move_up
from workroom_data.progress import bar
from workroom_data.selections import Selection
from workroom_data.session import Session
from workroom_data.typenames import arrow_name
from workroom_data.types import UTC_COMMENT, arrow_type

LANES = 16
"""Logs that are looked at at once: each look is two small requests."""


@dataclass(frozen=True)
class Source:
    """What is read of one partition.

    Attributes:
        values: Values of the keys, as text.
        location: The folder of the batch.
        commit: What the log says of it; None if it was written without one (Spark's INSERT).
        columns: Columns of the files.
        files: Files in row order.
        remark: What the caller should hear, or "".
    """

    values: tuple[str, ...]
    location: str
    commit: Commit | None
    columns: tuple[StoredColumn, ...]
    files: tuple[File, ...]
    remark: str = ""

    @classmethod
    def of(cls, commit: Commit, remark: str = "") -> Source:
        """Return what a commit says."""
        return cls(commit.values, commit.location, commit, commit.columns, commit.files, remark)

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(file.size for file in self.files)

    @property
    def when(self) -> str:
        """When it was committed, as the commit says; a stranger's is older than any."""
        return self.commit.when if self.commit else ""


Chooser = Callable[[str, Pointer | None], Source | None]
"""Says what is read of a partition: gets its folder and what the metastore says of it."""


def sources(
    now: Session,
    table: Table,
    selection: Selection,
    batch_id: str | None = None,
    as_of: datetime | str | None = None,
    anchor: str | None = None,
    progress: bool | None = False,
) -> list[Source]:
    """Return what is read of each partition, in the order of their keys.

    Raises:
        NotFound: A partition that was asked for by name is not there, or nothing is of that batch,
            time or anchor.
        DataError: `as_of` is no time, or more than one of the three is given.
    """
    choose, what = _chooser(now, table, batch_id, as_of, anchor)
    there = _where_to_look(now, table, selection, anchor)
    ordered = parts.ordered(table.keys, there)
    with (
        bar(progress, f"Finding {table.database}.{table.name}", len(there), "partitions") as tell,
        ThreadPoolExecutor(LANES, "workroom-data-find") as pool,
    ):

        def one(values: tuple[str, ...]) -> Source | None:
            source = choose(parts.folder(table.root, table.keys, values), there[values])
            tell(1)
            return source

        looked = list(pool.map(one, ordered))
    found = [source for source in looked if source is not None]
    missing = [values for values, source in zip(ordered, looked, strict=True) if source is None]
    if batch_id is None:
        if selection.values is not None and missing:
            raise _no_partition(now, table, parts.name(table.keys, missing[0]), what)
        if unmet := selection.unmet(source.values for source in found):
            raise _no_partition(now, table, unmet, what)
    if what and not found:
        raise NotFound(f"{table.database}.{table.name} has nothing {what} where you look.", _LOOK)
    if not table.keys and not found:
        raise NotFound(f"{table.database}.{table.name} has no batch.", "Store one.")
    return found


def _where_to_look(
    now: Session, table: Table, selection: Selection, anchor: str | None
) -> dict[tuple[str, ...], Pointer | None]:
    """Return the partitions that are looked at, and what the metastore says of each."""
    there: dict[tuple[str, ...], Pointer | None]
    if anchor is None:
        pointers = now.catalogue.pointers(table, selection.values, selection.filter)
        there = {pointer.values: pointer for pointer in pointers if selection.keeps(pointer.values)}
    else:  # an anchor has its own list, which whatever becomes of the metastore does not shorten
        names = pins.read(now.storage, table.root, anchor).batches
        listed = (parts.values_in(table.keys, name) for name in names)
        there = {values: None for values in listed if selection.keeps(values)}
    if not table.keys:
        return {(): there.get(())}
    # One that was asked for by name may have a log that the metastore has not heard of.
    return there | {values: None for values in selection.values or () if values not in there}


def described(column: Column) -> StoredColumn:
    """Return a column of the metastore as if it had been stored with its plain Arrow type."""
    arrow = "timestamp[us, tz=UTC]"
    if column.comment != UTC_COMMENT:
        arrow = arrow_name(arrow_type(column.hive))
    return StoredColumn(column.name, column.hive, arrow)


# ---- Choosers -----------------------------------------------------------------------------


def _chooser(
    now: Session,
    table: Table,
    batch_id: str | None,
    as_of: datetime | str | None,
    anchor: str | None,
) -> tuple[Chooser, str]:
    """Return how batches are chosen, and that in words; "" for what is current."""
    given = {"batch_id": batch_id, "as_of": as_of, "anchor": anchor}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise DataError(f"{' and '.join(named)} are given.", "Give one of them.")
    if batch_id is not None:
        return _of_batch(now, batch_id), f"of batch {batch_id!r}"
    if as_of is not None:
        moment = instant(as_of)
        return _at(now, moment), f"from {moment:%Y-%m-%d %H:%M:%S} UTC or before"
    if anchor is not None:
        return _pinned(now, table, anchor), f"in anchor {anchor!r}"
    return lambda folder, pointer: _current(now, table, folder, pointer), ""


def _current(now: Session, table: Table, folder: str, pointer: Pointer | None) -> Source | None:
    """Return what is current, moving the metastore's pointer up if it is behind.

    Raises:
        Damaged: The pointer follows a commit which is gone.
    """
    log = Log(now.storage, folder)
    number = pointer.number if pointer else 0
    commit = log.newest(after=max(number - 1, 0))
    if commit is None:
        return _without_commit(now, table, folder, pointer) if pointer else None
    if pointer and number == 0 and pointer.location not in (folder, commit.location):
        return _without_commit(now, table, folder, pointer)
    remark = ""
    if commit.number > number:
        remark = _moved_up(now, table, log, commit, new=pointer is None)
    return Source.of(commit, remark)


def _without_commit(now: Session, table: Table, folder: str, pointer: Pointer) -> Source:
    where = f"{table.database}.{table.name} {parts.name(table.keys, pointer.values)}".rstrip()
    if pointer.number:
        raise Damaged(
            f"The metastore follows commit {pointer.number} of {where}, which is not in {folder}.",
            "Tell whoever runs the S3 server: files of the history are gone.",
        )
    if now.settings.warehouse.startswith("s3://") and not pointer.location.startswith("s3://"):
        raise Damaged(  # anybody can say so to the metastore, and it would be the reader's own disk
            f"The metastore says that {where} is at {pointer.location}, outside the S3 server.",
            "`workroom-data rebuild` sets it back, if it has a history.",
        )
    remark = (
        f"{where} was written by another program than workroom_data, to {pointer.location}: it is "
        "read as it is, without checksums and history. The next store gives it both."
    )
    # Hadoop's programs hide names that begin so: `_SUCCESS`, `_temporary`, `.part.crc`.
    files = tuple(
        File(entry.name, 0, entry.size, "")
        for entry in now.storage.list(pointer.location)
        if not entry.name.startswith(("_", ".")) and entry.size
    )
    columns = tuple(described(column) for column in pointer.columns or table.columns)
    return Source(pointer.values, pointer.location, None, columns, files, remark)


def _moved_up(now: Session, table: Table, log: Log, commit: Commit, *, new: bool) -> str:
    """Best effort: the rows are there whether the metastore knows of them or not."""
    try:
        move_up(now.catalogue, table, log, commit, new=new)
    except DataError as error:
        return (
            f"The metastore still points at an earlier batch of {table.database}.{table.name} "
            f"({error.message}) The newest is read; the next look moves the pointer."
        )
    return ""


def _of_batch(now: Session, batch_id: str) -> Chooser:
    def choose(folder: str, _: Pointer | None) -> Source | None:
        log, broken = Log(now.storage, folder), None
        for number in reversed(log.numbers()):
            try:
                commit = log.read(number)
            except Damaged as error:  # of which another batch is none the worse
                broken = error
                continue
            if commit.batch_id == batch_id:
                return Source.of(commit)
        if broken:
            raise broken
        return None

    return choose


def _at(now: Session, moment: datetime) -> Chooser:
    """Choose what was current at a time, by the order of commits and the times they claim."""

    def choose(folder: str, _: Pointer | None) -> Source | None:
        log = Log(now.storage, folder)
        for number in reversed(log.numbers()):
            commit = log.read(number)
            if instant(commit.when) <= moment:
                return Source.of(commit)
        return None

    return choose


def _pinned(now: Session, table: Table, name: str) -> Chooser:
    batches = pins.read(now.storage, table.root, name).batches

    def choose(folder: str, _: Pointer | None) -> Source | None:
        pinned = batches.get(folder.removeprefix(table.root).strip("/"))
        if pinned is None:
            return None
        commit = Log(now.storage, folder).read(pinned.number)
        if commit.batch_id != pinned.batch_id:
            raise Damaged(
                f"Anchor {name!r} pins batch {pinned.batch_id} as commit {pinned.number} of "
                f"{folder}, which is batch {commit.batch_id}.",
                f"Load what you need with batch_id={pinned.batch_id!r}, or give the anchor anew.",
            )
        return Source.of(commit)

    return choose


def instant(as_of: datetime | str) -> datetime:
    """Return a point in time with its zone; UTC if it names none.

    Raises:
        DataError: It is not a time.
    """
    try:
        given = datetime.fromisoformat(as_of) if isinstance(as_of, str) else as_of
        return (given if given.tzinfo else given.replace(tzinfo=UTC)).astimezone(UTC)
    except (AttributeError, ValueError, OverflowError, TypeError) as error:
        raise DataError(
            f"as_of is {as_of!r}, which is no point in time.",
            "Give a datetime, or text such as '2026-03-01T12:00:00+01:00'.",
        ) from error


# ---- What is not there --------------------------------------------------------------------


def _no_partition(now: Session, table: Table, wrong: str, what: str) -> NotFound:
    """Return the error, which names the partitions that are near. Asks the metastore once more."""
    where = f"{table.database}.{table.name}"
    if what:
        return NotFound(f"Partition {wrong} of {where} has nothing {what}.", _LOOK)
    there = [parts.name(table.keys, p.values) for p in now.catalogue.pointers(table)]
    return NotFound(
        f"There is no partition {wrong} in {where}.", did_you_mean(wrong, there, "partitions")
    )


_LOOK = "`history(...)` and `anchors(...)` list what there is."
