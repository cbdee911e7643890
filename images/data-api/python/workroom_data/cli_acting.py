"""Commands that act: rollback, check, rebuild."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from workroom_data import cli_show as show
from workroom_data import cli_words as words
from workroom_data.cli_words import BatchId, Json, Note, Partition, TableWord, Where


def rollback(
    table: TableWord,
    partition: Partition = None,
    batch_id: BatchId = None,
    number: Annotated[
        int | None, typer.Option("--number", help="A commit of the history.", min=1)
    ] = None,
    note: Note = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Make an earlier batch current again: the one before, or the one you name.

    It is a new commit: nothing is lost, and you can go back from it the same way.

    Examples: `workroom-data rollback sales.orders year=2016`,
    `workroom-data rollback sales.orders year=2016 --number 3 --note "prices were wrong" --yes`.
    """
    from workroom_data import going_back, session

    now = session.current()
    way = going_back.way_back(
        now, *words.table(table), words.partition(partition), batch_id=batch_id, number=number
    )
    if not yes:
        _ask(way)
    # What was asked about is what is done: not if somebody has stored since.
    named = batch_id is not None or number is not None
    batch = going_back.go_back(now, way, note, only_from_here=not (yes and named))
    if json:
        show.as_json({name: value for name, value in vars(batch).items() if name != "columns"})
    else:
        show.line(f"Rolled back. {batch!r}", "green")


def _ask(way: Any) -> None:
    """Ask, or give up.

    Raises:
        typer.Exit: The answer is no, or nobody can be asked.
    """

    def said(commit: Any) -> str:
        return (
            f"commit {commit.number}, batch {commit.batch_id}: {commit.rows:,} rows of "
            f"{commit.who}, {commit.when[:19]} UTC"
        )

    where = f"{way.table.database}.{way.table.name} {way.partition}".rstrip()
    current = said(way.current) if way.current else f"commit {way.last}, which cannot be read"
    show.line(f"{where}\n  from {current}\n  to   {said(way.target)}", error=True)
    if not sys.stdin.isatty():
        show.line("Nothing was changed: nobody can be asked here. Add --yes.", "red", error=True)
        raise typer.Exit(2)
    if not typer.confirm("Go back?", err=True):
        show.line("Nothing was changed.", error=True)
        raise typer.Exit(1)


def check(
    where: Where = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Put right what the metastore is late with.")
    ] = False,
    json: Json = False,
) -> None:
    """Compare the metastore with the tables' logs, and the logs with the files.

    Exit code 1 if something is wrong and was not put right.

    Examples: `workroom-data check`, `workroom-data check sales.orders --fix`.
    """
    from workroom_data import repair

    found = repair.check(*words.place(where), fix=fix)
    if json:
        show.as_json([vars(finding) for finding in found])
    for finding in () if json else found:
        word, style = ("wrong", "red")
        if finding.harmless:
            word, style = ("fixed", "green") if finding.fixed else ("note", "yellow")
        show.line(f"{word + ':':<7}{finding}", style)
    wrong = sum(not finding.harmless for finding in found)
    if not json:
        fixed = sum(finding.fixed for finding in found)
        show.line(
            (f"{wrong} wrong." if wrong else "All is well.")
            + (f" {fixed} put right." if fixed else ""),
            "bold",
        )
    if wrong:
        raise typer.Exit(1)


def rebuild(
    where: Where = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a lost metastore anew from the tables' logs: tables, partitions, pointers.

    What has no log is left as it is. Can be done at any time, over and over.

    Examples: `workroom-data rebuild --dry-run`, `workroom-data rebuild sales`.
    """
    from workroom_data import repair

    lines = repair.rebuild(*words.place(where), dry_run=dry_run)
    if json:
        show.as_json(lines)
        return
    for line in lines:
        show.line(line)
    if lines:
        show.line(f"{len(lines)} {'to do' if dry_run else 'done'}.", "bold")
    else:
        show.line("The metastore says what the logs say.", "bold")
