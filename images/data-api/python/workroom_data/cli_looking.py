"""Commands that look: ls, describe, head, history, anchors."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workroom_data import cli_show as show
from workroom_data import cli_words as words
from workroom_data.batch import readable
from workroom_data.cli_words import BatchId, Json, Partition, TableWord, Where

MOST = 1_000_000_000
"""Rows that anybody can mean to see on a terminal."""


def ls(where: Where = None, json: Json = False) -> None:
    """List databases, the tables of a database, or the partitions of a table.

    Examples: `workroom-data ls`, `workroom-data ls sales`, `workroom-data ls sales.orders`.
    """
    from workroom_data import cli_listing as listing

    database, table = words.place(where)
    if database is None:
        rows, columns = listing.databases(), ["database", "tables"]
    elif table is None:
        rows = listing.tables(database)
        columns = ["table", "format", "keys", "columns", "partitions", "rows", "size"]
    else:
        rows = listing.partitions(database, table)
        columns = ["partition", "rows", "size", "commit", "batch_id"]
    if json:
        show.as_json(rows)
    elif rows:
        shown = [row | _readable(row) for row in rows]
        show.table(shown, columns, styles={columns[0]: "cyan", "batch_id": "dim"})
    else:
        show.line("Nothing is stored there yet.")


def describe(table: TableWord, json: Json = False) -> None:
    """Show what a table is: its columns and types, its keys, its format, how much is in it."""
    from workroom_data import cli_listing as listing

    facts = listing.describe(*words.table(table))
    if json:
        show.as_json(facts)
        return
    keys = ", ".join(f"{key['name']} ({key['hive']})" for key in facts["keys"]) or "none"
    lines = {
        "Table": facts["table"],
        "Partition keys": keys,
        "Format": facts["format"],
        "Partitions": str(facts["partitions"]) if facts["keys"] else "none",
        "Rows": f"{facts['rows']:,}" if facts["rows"] is not None else "unknown",
        "Size": readable(facts["size"]) if facts["size"] is not None else "unknown",
        "Last commit": f"{(facts['last_commit'] or 'none')[:19]} {facts['last_commit_by'] or ''}",
        "Folder": facts["folder"],
    }
    for name, value in lines.items():
        show.line(f"{name + ':':<16}{value}")
    show.line()
    columns = [c | {"pandas": c["pandas"] or ""} for c in facts["columns"]]
    columns = [c | {"arrow": c["arrow"] or ""} for c in columns]
    show.table(columns, ["name", "hive", "arrow", "pandas"], styles={"name": "cyan"})


def head(
    table: TableWord,
    partition: Partition = None,
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=MOST, help="How many rows.")] = 10,
    column: Annotated[
        list[str] | None, typer.Option("--column", "-c", help="Only this; may be given again.")
    ] = None,
    batch_id: BatchId = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="A time, UTC: 2026-03-01T12:00.")
    ] = None,
    anchor: Annotated[str | None, typer.Option("--anchor", help="Name of an anchor.")] = None,
    json: Json = False,
) -> None:
    """Show the first rows, of now or of an earlier state.

    Examples: `workroom-data head sales.orders`, `workroom-data head sales.orders 2016 -n 3`,
    `workroom-data head sales.orders --as-of 2026-03-01`.
    """
    from workroom_data import cli_listing as listing

    names, found = listing.head(
        *words.table(table),
        words.partition(partition),
        rows,
        column,
        batch_id=batch_id,
        as_of=as_of,
        anchor=anchor,
    )
    if json:
        show.as_json(found)
    else:
        show.table(found, names)


def history(
    where: Where = None,
    partition: Partition = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=MOST, help="How many commits.")
    ] = 50,
    json: Json = False,
) -> None:
    """Show commits, newest first: of some partitions, of a table, a database, or everything.

    Examples: `workroom-data history sales.orders year=2016`, `workroom-data history`.
    """
    from workroom_data import versions

    database, table = words.place(where)
    if database is not None and table is not None:
        frame = versions.history(database, table, words.partition(partition))
    else:
        frame = versions.audit(database)
    found = show.records(frame.head(limit))
    if json:
        show.as_json(found)
        return
    for row in found:
        row["when (UTC)"] = show.seconds(row["when"])
        row["table"] = f"{row['database']}.{row['table']}" if "table" in row else ""
        row["commit"] = f"{row['number']}{' *' if row['current'] else ''}"
        row["size"] = _size(row["size"])
        row["rows"] = "" if row["rows"] is None else row["rows"]
        if row["action"] == "rollback":
            row["action"] = f"rollback to {row['source']}"
        row["style"] = "green" if row["current"] else "red" if row["action"] == "damaged" else ""
    columns = ["commit", "when (UTC)", "who", "action", "rows", "size", "batch_id", "note"]
    several = [name for name in ("partition", "table") if len({row[name] for row in found}) > 1]
    for name in several:
        columns.insert(0, name)
    show.table(found, columns)
    if len(frame) > limit:
        show.line(f"{len(frame) - limit} older ones: --limit {len(frame)}", "dim", error=True)


def anchors(table: TableWord, json: Json = False) -> None:
    """List the anchors of a table: names under which jobs read what was current then."""
    from workroom_data import anchoring

    found = show.records(anchoring.anchors(*words.table(table)))
    if json:
        show.as_json(found)
        return
    for row in found:
        row["when (UTC)"] = show.seconds(row["when"])
    if not found:
        show.line("None yet: workroom_data.anchor(DB, TABLE, NAME) gives one.")
        return
    show.table(
        found,
        ["name", "version", "when (UTC)", "who", "partitions", "note"],
        styles={"name": "cyan"},
    )


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown instead of some values of a list."""
    shown = {"size": _size(row.get("size")), "keys": ", ".join(row.get("keys") or ())}
    blank = {name: "" for name, value in row.items() if value is None}
    if row.get("format", "") is None:
        blank["format"] = "(not ours)"
    if row.get("partition") == "":
        shown["partition"] = "(all)"
    return shown | blank


def _size(size: int | None) -> str:
    return "" if size is None else readable(size)
