"""Does the metastore say what the logs say? `check` finds what differs, `rebuild` makes it so.

The logs are the truth. Nothing here writes a file: what is repaired is the metastore.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace

from workroom_data import partitions as parts
from workroom_data import session, walk
from workroom_data.catalogue import Pointer
from workroom_data.errors import DataWarning, SchemaError
from workroom_data.going_back import missing
from workroom_data.mending import ALL, SAFE, Done, mend, wrong
from workroom_data.progress import bar
from workroom_data.session import Session
from workroom_data.survey import Known, look, survey
from workroom_data.walk import Folder, Story


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be, or worth knowing.

    Attributes:
        kind: What, in a word:
            "unlisted": the metastore does not know of a table or a partition;
            "behind": it has an earlier batch, or fewer columns; "elsewhere": it has another place;
            "ahead": it follows a commit that is not there; "stranger": another program's files;
            "altered": somebody changed how the table's files are read;
            "damaged": a commit cannot be read; "gap": one is not there;
            "files": a file of the current batch is not there, or not as long as it was;
            "mixed", "orphans": folders that nothing reads, worth knowing and harmless.
        database, table, partition: Where; partition is "" for all of a table.
        text: What it is, a sentence.
        fix: What to do about it, a sentence.
        fixed: It has been put right.
    """

    kind: str
    database: str
    table: str
    partition: str
    text: str
    fix: str = ""
    fixed: bool = False

    @property
    def harmless(self) -> bool:
        """Nothing needs to be done."""
        return self.fixed or self.kind in ("mixed", "orphans")

    def __str__(self) -> str:
        where = f"{self.database}.{self.table} {self.partition}".rstrip()
        return f"{where}: {self.text} {'Put right.' if self.fixed else self.fix}".rstrip()


def check(db: str | None = None, table: str | None = None, fix: bool = False) -> list[Finding]:
    """Look for what is not as it should be: pointers behind their logs, damaged logs, lost files.

    Of files the names and sizes are compared; a load compares what is in them.

    Args:
        db, table: Only these; all tables if left out.
        fix: Put right what can be put right without a doubt: what the metastore does not know of
            or has an earlier state of. Files and logs are not touched.

    Returns:
        What was found, by table and partition; [] if all is well.

    Raises:
        NotFound: There is nothing of that name.
        Unavailable: A server does not answer.
    """
    now = session.current()
    found: list[Finding] = []
    for known in survey(now, db, table):
        findings = [*_of_table(known), *_of_pointers(now, known), *_of_logs(known)]
        findings += _of_files(now, known)
        if fix:
            findings = _marked(findings, _mended(now, known, SAFE, dry_run=False))
        found += findings
    return found


def rebuild(db: str | None = None, table: str | None = None, dry_run: bool = False) -> list[str]:
    """Make a lost metastore anew from the logs: databases, tables, partitions, pointers.

    What the metastore has is completed: the logs are believed, also against pointers that somebody
    else has set. What has no log (a table or partition of Spark's own) is left as it is. May be
    done while others store, and over and over.

    Args:
        db, table: Only these; all tables if left out.
        dry_run: Change nothing.

    Returns:
        What was done, or would be, a line for each table and partition; [] if nothing.

    Raises:
        NotFound: There is nothing of that name.
        Unavailable: A server does not answer. Do it again.
    """
    now = session.current()
    lines: list[str] = []
    for known in survey(now, db, table):
        for finding in _of_table(known):
            if finding.kind == "stranger":
                warnings.warn(str(finding), DataWarning, stacklevel=2)
        done = _mended(now, known, ALL, dry_run=dry_run)
        lines += [f"{known.place} {one.partition}".rstrip() + f": {one.text}" for one in done]
    return lines


def _mended(now: Session, known: Known, kinds: frozenset[str], *, dry_run: bool) -> list[Done]:
    """Mend one table; what the metastore refuses is said, and does not stop the others."""
    try:
        return mend(now, known, kinds, dry_run=dry_run)
    except SchemaError as error:
        warnings.warn(f"{known.place}: {error}", DataWarning, stacklevel=3)
        return []


def _marked(findings: list[Finding], done: list[Done]) -> list[Finding]:
    put_right = {(one.kind, one.partition) for one in done}
    return [replace(f, fixed=(f.kind, f.partition) in put_right) for f in findings]


# ---- What is looked for -------------------------------------------------------------------


def _finding(at: Known | Folder, kind: str, text: str, fix: str = "") -> Finding:
    partition = at.partition if isinstance(at, Folder) else ""
    return Finding(kind, at.place.database, at.place.table, partition, text, fix)


def _of_table(known: Known) -> Iterator[Finding]:
    listed, wanted = known.listed, known.wanted
    if not known.stories or wanted is None:
        return
    if listed.altered:
        yield _finding(known, "altered", listed.refused, _FIX)
    elif listed.refused:
        yield _finding(
            known,
            "stranger",
            f"{listed.refused} It has the name of a table whose logs are in {known.place.root}.",
            "Drop or rename it with Spark, then `workroom-data rebuild`.",
        )
    elif listed.table is None:
        text = f"The metastore does not know of the table, which has {_count(known)}."
        yield _finding(known, "unlisted", text, _FIX)
    elif len(known.columns(wanted.columns)) > len(wanted.columns):
        more = known.columns(wanted.columns)[len(wanted.columns) :]
        names = ", ".join(f"{column.name!r}" for column in more)
        yield _finding(known, "behind", f"The metastore lacks its newer columns {names}.", _FIX)
    for story in known.mixed:
        yield _finding(
            story.folder,
            "mixed",
            f"Its log is of a table that was there before, by "
            f"{', '.join(key for key, _ in story.commits[-1].keys) or 'no keys'}, "
            f"as {story.commits[-1].format}.",
            "Nothing reads it now.",
        )


def _of_pointers(now: Session, known: Known) -> Iterator[Finding]:
    if known.listed.table is None:
        return
    odd = [(story, kind) for story in known.stories if (kind := wrong(known, story))]
    if any(kind in SAFE for _, kind in odd):
        # A store that was between its commit and its pointer has moved it by now.
        known = replace(known, listed=look(now, known.place.database, known.place.table))
        odd = [(story, kind) for story, _ in odd if (kind := _still(known, story))]
    for story, kind in odd:
        pointer, commit = known.pointer(story), story.commits[-1]
        text, fix = _POINTERS[kind]
        number = pointer.number if pointer else 0
        location = pointer.location if pointer else ""
        yield _finding(
            story.folder, kind, text.format(number=number, at=location, newest=commit.number), fix
        )
    logged = {story.commits[-1].values for story in known.stories}
    for values, one in (known.listed.pointers or {}).items():
        if values not in logged and not _damaged_at(known, values):
            yield _without_log(known, one)


def _still(known: Known, story: Story) -> str:
    """What is wrong with a pointer that was looked at again, after the log was."""
    pointer = known.pointer(story)
    overtaken = pointer is not None and pointer.number > story.last
    return "" if known.listed.table is None or overtaken else wrong(known, story)


def _without_log(known: Known, pointer: Pointer) -> Finding:
    assert known.listed.table is not None
    folder = Folder(known.place, parts.name(known.listed.table.keys, pointer.values), ())
    if pointer.number:
        text = f"The metastore follows commit {pointer.number}; there is no log."
        return _finding(folder, "ahead", text, _RESTORE)
    text = f"Another program wrote it, to {pointer.location}: it has no history."
    return _finding(folder, "stranger", text, "Load it and store it, which gives it one.")


def _damaged_at(known: Known, values: tuple[str, ...]) -> bool:
    """Say whether a partition has a log none of whose commits can be read: another finding."""
    assert known.listed.table is not None
    name = parts.name(known.listed.table.keys, values)
    return any(s.damaged and s.folder.partition == name for s in known.all_stories)


def _of_logs(known: Known) -> Iterator[Finding]:
    for story in known.all_stories:
        for number, what in story.damaged.items():
            newest = number == story.last
            text = f"{'The newest commit' if newest else 'A commit'} cannot be read: {what}"
            yield _finding(
                story.folder, "damaged", text, f"{_RESTORE} {_GO_ON}" if newest else _RESTORE
            )
        there = {*story.damaged, *(commit.number for commit in story.commits)}
        gaps = [number for number in range(1, story.last) if number not in there]
        if gaps:
            shown = ", ".join(map(str, gaps[:10])) + (" …" if len(gaps) > 10 else "")
            text = f"{len(gaps)} of its {story.last} commits are not there: {shown}."
            yield _finding(story.folder, "gap", text, _RESTORE)
    orphans = [
        f"{story.folder.path}/{batch}"
        for story in known.all_stories
        for batch in set(story.folder.batches) - {commit.batch_id for commit in story.commits}
    ]
    if orphans:
        text = (
            f"{len(orphans)} batch folder{'' if len(orphans) == 1 else 's'} that no commit names, "
            f"such as {min(orphans)}."
        )
        fix = "Left by stores that were broken off, lost, or are at work now; nothing reads them."
        yield _finding(known, "orphans", text, fix)


def _of_files(now: Session, known: Known) -> list[Finding]:
    """Look at the files of each batch that is current."""
    current = [(story.folder, story.newest) for story in known.stories if story.newest]
    with bar(None, f"Checking {known.place}", len(current), "partitions") as tell:

        def one(index: int) -> str:
            tell(1)
            return missing(now.storage, current[index][1])

        found = walk.each(one, range(len(current)))
    return [
        _finding(folder, "files", f"{text}.", f"{_RESTORE} {_GO_ON}")
        for (folder, _), text in zip(current, found, strict=True)
        if text
    ]


def _count(known: Known) -> str:
    count = sum(len(story.commits) for story in known.stories)
    return f"{count} commit{'' if count == 1 else 's'}"


_FIX = "`workroom-data check --fix` puts it right."
_RESTORE = (
    "Whoever runs the S3 server may bring files back (`workroom restore-data` on one machine)."
)
_GO_ON = "Or roll back, or store again."

_POINTERS = {
    "unlisted": ("The metastore does not know of it; its log is at commit {newest}.", _FIX),
    "behind": ("The metastore is at commit {number}, its log at {newest}.", _FIX),
    "elsewhere": ("The metastore points at {at}, which is not where commit {newest} is.", _FIX),
    "ahead": (
        "The metastore follows commit {number}; the log ends at {newest}.",
        f"{_RESTORE} `workroom-data rebuild` goes back to what there is.",
    ),
    "stranger": (
        "Another program made the metastore point at {at}; commit {newest} is not read.",
        "Store anew, or `workroom-data rebuild` to go back to the commit.",
    ),
}
