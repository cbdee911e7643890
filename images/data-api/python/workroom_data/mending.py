"""Make the metastore say what the logs say: tables, columns, pointers."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

from workroom_data import walk
from workroom_data.catalogue import Table
from workroom_data.errors import Damaged
from workroom_data.going_back import missing
from workroom_data.log import Log
from workroom_data.pointers import move_up, pointer_to
from workroom_data.progress import bar
from workroom_data.session import Session
from workroom_data.survey import Known
from workroom_data.walk import Story

SAFE = frozenset({"unlisted", "behind", "elsewhere"})
"""What is put right whenever somebody asks: nobody can have meant it."""

ALL = SAFE | {"ahead", "stranger"}
"""What is put right where the logs alone are believed."""


@dataclass(frozen=True)
class Done:
    """One thing that was put right.

    Attributes:
        kind: What was wrong; "unlisted" of a partition "" is a table that was not there.
        partition: Which partition, or "" of the table itself.
        text: What has been done (or would be), for people.
    """

    kind: str
    partition: str
    text: str


def wrong(known: Known, story: Story) -> str:
    """Say what is wrong with the pointer of a partition, in a word; "" if nothing is."""
    pointer, commit = known.pointer(story), story.commits[-1]
    if pointer is None:
        return "unlisted"
    if not pointer.number and pointer.location not in (story.folder.path, commit.location):
        return "stranger"
    if pointer.number > story.last:
        return "ahead"
    if pointer.number < commit.number:
        return "behind"
    if pointer.number == commit.number and (pointer.location, pointer.batch_id) != (
        commit.location,
        commit.batch_id,
    ):
        return "elsewhere"
    return ""


def mend(now: Session, known: Known, kinds: frozenset[str], *, dry_run: bool = False) -> list[Done]:
    """Make the metastore say what the logs of one table say.

    What is in the metastore and has no log is left alone. May be done over and over, and while
    others store.

    Args:
        now: The session.
        known: The table.
        kinds: What is wrong with pointers that are to be set.
        dry_run: Change nothing; only say what would be done.

    Returns:
        What was done.

    Raises:
        Unavailable: A server does not answer. What was done until then stays done.
        SchemaError: The metastore refuses the table.
    """
    table = known.wanted
    if table is None or not known.stories or (known.listed.refused and not known.listed.altered):
        return []
    done, table = _table(now, known, table, dry_run)
    todo = [(story, wrong(known, story)) for story in known.stories]
    todo = [(story, kind) for story, kind in todo if kind in kinds]
    if done and not table.keys and done[0].kind in ("unlisted", "altered"):
        todo = []  # a table without partitions points at its batch from the beginning
    with bar(None, f"Repairing {known.place}", len(todo), "partitions") as tell:

        def one(at: tuple[Story, str]) -> Done | None:
            tell(1)
            return _pointed(now, table, *at, dry_run)

        done += [result for result in walk.each(one, todo) if result is not None]
    return done


def _table(now: Session, known: Known, table: Table, dry_run: bool) -> tuple[list[Done], Table]:
    """Make or complete the table itself; return what was done, and the table as it is then."""
    pointer = None if table.keys else pointer_to(known.stories[0].commits[-1], table)
    if known.listed.altered:
        if not dry_run:
            now.catalogue.restore(table, pointer)
            _overtaken(now, known, table)
        return [Done("altered", "", "read as it should be again")], table
    if known.listed.table is None:
        if not dry_run:
            now.catalogue.create(table, pointer)
            _overtaken(now, known, table)
        what = f"new table of {len(table.columns)} columns" + (
            f", by {', '.join(key.name for key in table.keys)}" if table.keys else ""
        )
        return [Done("unlisted", "", what)], table
    columns = known.columns(table.columns)
    if columns == table.columns:
        return [], table
    table = replace(table, columns=columns)
    if not dry_run:
        now.catalogue.alter(table)
    added = ", ".join(f"{c.name} {c.hive}" for c in columns[len(known.listed.table.columns) :])
    return [Done("behind", "", f"new columns {added}")], table


def _overtaken(now: Session, known: Known, table: Table) -> None:
    """Somebody may have committed while a table without partitions was made."""
    if not table.keys:
        story = known.stories[0]
        log = Log(now.storage, story.folder.path)
        newer = log.newest(after=story.last)
        if newer is not None:
            move_up(now.catalogue, table, log, newer, new=False)


def _pointed(now: Session, table: Table, story: Story, kind: str, dry_run: bool) -> Done | None:
    """Set one pointer; None if it was left alone."""
    commit = story.commits[-1]
    # A stranger's rows may be all there is: Spark's INSERT OVERWRITE deletes the batch it replaces.
    if kind == "stranger" and missing(now.storage, commit):
        return None
    if not dry_run:
        log = Log(now.storage, story.folder.path)
        with suppress(Damaged):  # by a newer commit, once the pointer has been set: `check` tells
            move_up(now.catalogue, table, log, commit, new=kind == "unlisted")
    verb = {"unlisted": "listed", "ahead": "set back", "stranger": "taken back"}.get(kind, "moved")
    text = f"{verb}, at commit {commit.number}, batch {commit.batch_id}"
    return Done(kind, story.folder.partition, text)
