"""What there is: databases, tables, partitions, columns, and the first rows."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from workroom_data import find, session, walk
from workroom_data import partitions as parts
from workroom_data.catalogue import Pointer, Table
from workroom_data.commits import Commit
from workroom_data.errors import Damaged, DataWarning, NotFound, SchemaError
from workroom_data.find import Source
from workroom_data.load import known_table, rows_of, wanted_columns
from workroom_data.log import Log
from workroom_data.names import checked, did_you_mean
from workroom_data.selections import select
from workroom_data.session import Session


def databases() -> list[dict[str, Any]]:
    """Return the databases: database, tables (their number)."""
    catalogue = session.current().catalogue
    names = catalogue.databases()
    counts = walk.each(lambda name: len(_tables(name)), names)
    return [{"database": n, "tables": count} for n, count in zip(names, counts, strict=True)]


def tables(database: str) -> list[dict[str, Any]]:
    """Return the tables of a database: table, format, keys, columns, partitions, rows, size.

    Of tables that are not ours the name alone.

    Raises:
        NotFound: There is no such database.
    """
    name = checked("database", database)
    there = session.current().catalogue.databases()
    if name not in there:
        raise NotFound(
            f"There is no database {database!r}.", did_you_mean(name, there, "databases")
        )
    return walk.each(lambda table: _in_short(name, table), _tables(name))


def partitions(database: str, table: str) -> list[dict[str, Any]]:
    """Return the partitions of a table, in the order of their keys: partition, commit, batch_id,
    rows, size; one without a name if the table has no keys.

    Raises:
        NotFound: There is no such table.
    """
    now = session.current()
    there = known_table(now, database, table)
    pointers = {pointer.values: pointer for pointer in now.catalogue.pointers(there)}
    ordered = parts.ordered(there.keys, pointers)
    return [
        {
            "partition": parts.name(there.keys, values),
            "commit": pointers[values].number,
            "batch_id": pointers[values].batch_id,
            "rows": pointers[values].rows,
            "size": pointers[values].size,
        }
        for values in ordered
    ]


def describe(database: str, table: str) -> dict[str, Any]:
    """Return what a table is: its facts, its keys, and its columns as they were stored.

    Raises:
        NotFound: There is no such table.
    """
    now = session.current()
    there = known_table(now, database, table)
    pointers = now.catalogue.pointers(there)
    newest = _newest(now, there, pointers)
    stored = {c.name.lower(): c for c in newest.columns} if newest else {}
    return {
        "table": f"{there.database}.{there.name}",
        "format": there.format,
        "folder": there.root,
        "made_by": there.owner,
        **_totals(pointers),
        "last_commit": newest.when if newest else None,
        "last_commit_by": newest.who if newest else None,
        "keys": [{"name": key.name, "hive": key.hive} for key in there.keys],
        "columns": [
            {
                "name": stored[column.name].name if column.name in stored else column.name,
                "hive": column.hive,
                "arrow": stored[column.name].arrow if column.name in stored else None,
                "pandas": stored[column.name].pandas if column.name in stored else None,
            }
            for column in there.columns
        ],
    }


def head(
    database: str, table: str, partition: Any, rows: int, columns: list[str] | None, **state: Any
) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the first rows, and the names of their columns; no more files are read than needed.

    Args:
        database, table: The table.
        partition: As for a load.
        rows: How many at most.
        columns: Only these.
        state: batch_id, as_of or anchor.

    Raises:
        NotFound, Damaged, Unavailable: As for a load.
    """
    now = session.current()
    there = known_table(now, database, table)
    sources = find.sources(now, there, select(there.keys, partition, None), **state)
    earlier = any(value is not None for value in state.values())
    wanted = wanted_columns(there, sources, columns, whole=not earlier)
    first = _first(sources, rows)
    for source in first:
        if source.remark:
            warnings.warn(source.remark, DataWarning, stacklevel=2)
    found = rows_of(now, there, first, wanted, progress=None).slice(0, rows)
    return [column.name for column in wanted], found.to_pylist()


def _first(sources: list[Source], rows: int) -> list[Source]:
    """Return as much of the sources as has so many rows."""
    taken: list[Source] = []
    for source in sources:
        if rows <= 0:
            break
        if source.commit is None:  # nobody knows how many rows its files have
            taken.append(source)
            continue
        files = []
        for file in source.files:
            if rows > 0:
                files.append(file)
                rows -= file.rows
        commit = replace(source.commit, rows=sum(file.rows for file in files))
        taken.append(replace(source, files=tuple(files), commit=commit))
    return taken


def _tables(database: str) -> list[str]:
    try:
        return session.current().catalogue.tables(database)
    except NotFound:
        return []


def _in_short(database: str, name: str) -> dict[str, Any]:
    empty = dict.fromkeys(("keys", "columns", "partitions", "rows", "size"))
    catalogue = session.current().catalogue
    try:
        table = catalogue.table(database, name)
        pointers = catalogue.pointers(table) if table else []
    except (SchemaError, NotFound):
        table = None
    if table is None:
        return {"table": name, "format": None, **empty}
    return {
        "table": name,
        "format": table.format,
        "keys": [key.name for key in table.keys],
        "columns": len(table.columns),
        **_totals(pointers),
    }


def _totals(pointers: list[Pointer]) -> dict[str, Any]:
    """Return the sums of a table; None where another program left no count."""
    rows, sizes = [p.rows for p in pointers], [p.size for p in pointers]
    return {
        "partitions": len(pointers),
        "rows": None if None in rows else sum(one or 0 for one in rows),
        "size": None if None in sizes else sum(one or 0 for one in sizes),
    }


def _newest(now: Session, table: Table, pointers: list[Pointer]) -> Commit | None:
    """Return the newest commit of the partition that was stored last, by batch IDs."""
    ours = [pointer for pointer in pointers if pointer.number]
    if not ours:
        return None
    last = max(ours, key=lambda pointer: pointer.batch_id)
    try:
        return Log(now.storage, parts.folder(table.root, table.keys, last.values)).newest()
    except Damaged:
        return None
