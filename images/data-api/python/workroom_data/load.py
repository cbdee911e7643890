"""Load a frame: ask the metastore twice, then read each partition's newest batch, in parallel.

The log of a partition is the truth; the metastore only says which partitions there are. Where its
pointer is behind, it is moved up on the way.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime
from threading import Semaphore
from typing import Any

import pyarrow as pa

from workroom_data import find, formats, session
from workroom_data import partitions as parts
from workroom_data.casting import conform, merge
from workroom_data.catalogue import Table
from workroom_data.commits import StoredColumn
from workroom_data.errors import DataWarning, NotFound
from workroom_data.find import Source, described
from workroom_data.frames import check_kind, from_arrow
from workroom_data.names import checked, did_you_mean
from workroom_data.progress import Tell, bar
from workroom_data.selections import select
from workroom_data.session import Session

LANES = 8
"""Partitions that are read at once."""

HEAVY = 16 << 20
"""Bytes of files from which on a partition is a heavy one: decoding a file takes many times its
size, a gigabyte for a full one."""

HEAVY_LANES = 2
"""Heavy partitions that are read at once: each is read and decoded on several threads anyway."""


def load_dataframe(
    src_db: str,
    src_table: str,
    partitions: Any = None,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    batch_id: str | None = None,
    as_of: datetime | str | None = None,
    anchor: str | None = None,
    as_: str = "pandas",
    progress: bool | None = None,
) -> Any:
    """Load a table, or some of its partitions, exactly as they were stored.

    Args:
        src_db, src_table: Where from.
        partitions: None for all; values in the order of the keys; or by key, with a list for
            several values and a tuple for a range (`{"year": ("2010", "2016")}`); or a list of
            partitions.
        columns: Only these, in this order; partition keys are columns too.
        where: Condition on the keys for the metastore to answer (`"year >= '2016'"`).
        batch_id: A batch of the history instead of what is current.
        as_of: What was current then: a datetime (UTC if it has no zone) or ISO 8601 text.
        anchor: What `anchor` pinned under this name.
        as_: "pandas", "arrow" or "polars".
        progress: False for no bar.

    Returns:
        pandas.DataFrame, pyarrow.Table or polars.DataFrame: rows in the order they were stored in,
        partitions in the order of their keys, which are columns after the others.

    Raises:
        NotFound: There is no such table, partition, column, batch or anchor.
        Damaged: A file is not what its commit says.
        Unavailable: A server does not answer.
    """
    check_kind(as_)
    now = session.current()
    table = known_table(now, src_db, src_table)
    chosen = select(table.keys, partitions, where)
    sources = find.sources(now, table, chosen, batch_id, as_of, anchor, progress)
    _remark(sources)
    earlier = batch_id is not None or as_of is not None or anchor is not None
    wanted = wanted_columns(table, sources, columns, whole=not earlier)
    return from_arrow(rows_of(now, table, sources, wanted, progress), wanted, as_)


def rows_of(
    now: Session,
    table: Table,
    sources: Sequence[Source],
    wanted: Sequence[StoredColumn],
    progress: bool | None,
) -> pa.Table:
    """Read what was found, in parallel, and put it together in its order."""
    what, size = f"Loading {table.database}.{table.name}", sum(source.size for source in sources)
    with (
        bar(progress, what, size, "bytes") as tell,
        ThreadPoolExecutor(LANES, "workroom-data-load") as pool,
    ):
        turns = Semaphore(HEAVY_LANES)

        def read(source: Source) -> pa.Table:
            with turns if source.size >= HEAVY else nullcontext():
                return _read(now, table, source, wanted, tell)

        reads = [pool.submit(read, source) for source in sources]
        try:
            return pa.concat_tables([_empty(wanted), *(read.result() for read in reads)])
        except BaseException:  # an error, or she pressed stop: what has not begun need not
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def known_table(now: Session, database: str, name: str) -> Table:
    """Return a table of the metastore.

    Raises:
        NotFound: It names those that are near.
    """
    database, name = checked("database", database), checked("table", name)
    table = now.catalogue.table(database, name)
    if table is not None:
        return table
    root = f"{now.settings.warehouse}/{database}/{name}"
    if now.storage.folders(root):
        # Dropped, lost with the metastore, or its first store was killed on the way.
        raise NotFound(
            f"The metastore knows of no table {name!r} in {database!r}, but there are files of one "
            f"in {root}.",
            "`workroom-data check` says what they are, and `check --fix` lists the table again.",
        )
    databases = now.catalogue.databases()
    if database not in databases:
        raise NotFound(
            f"There is no database {database!r}.", did_you_mean(database, databases, "databases")
        )
    raise NotFound(
        f"There is no table {name!r} in {database!r}.",
        did_you_mean(name, now.catalogue.tables(database), "tables in it"),
    )


# ---- Columns ------------------------------------------------------------------------------


def wanted_columns(
    table: Table, sources: Sequence[Source], chosen: Sequence[str] | None, *, whole: bool
) -> tuple[StoredColumn, ...]:
    """Return the columns of the result.

    Args:
        table: The table.
        sources: What is read.
        chosen: The names that the caller wants, or None for all.
        whole: With the columns that the table has and none of the batches.
    """
    oldest_first = sorted(sources, key=lambda source: source.when)
    columns = list(merge([source.columns for source in oldest_first]))
    if whole or not columns:
        known = {column.name.lower() for column in columns}
        columns += [described(column) for column in table.columns if column.name not in known]
    columns += [described(key) for key in table.keys]
    if chosen is None:
        return tuple(columns)
    if isinstance(chosen, str):
        chosen = [chosen]
    if not len(chosen):
        raise NotFound("columns names no column.", "Leave it out to load all.")
    named = {column.name.lower(): column for column in columns}
    for name in chosen:
        if not isinstance(name, str) or name.lower() not in named:
            raise NotFound(
                f"There is no column {name!r} in {table.database}.{table.name}.",
                did_you_mean(str(name), [column.name for column in columns], "columns"),
            )
    return tuple(named[name.lower()] for name in dict.fromkeys(chosen))


# ---- Rows ---------------------------------------------------------------------------------


def _read(
    now: Session, table: Table, source: Source, wanted: Sequence[StoredColumn], tell: Tell
) -> pa.Table:
    """Read one partition as part of the result: types, order and keys included."""
    names = {column.name.lower() for column in wanted}
    own = [column for column in source.columns if column.name.lower() in names]
    # A stranger's files do not say how many rows they have, but by being read.
    read = own if own or source.commit else source.columns[:1]
    arrays: list[Any] = []
    count = source.commit.rows if source.commit else 0
    if read:
        rows = formats.named(table.format).read(
            now.storage,
            source.location,
            source.files,
            source.columns,
            [column.name for column in read],
            tell,
        )
        arrays, count = rows.columns, rows.num_rows
        del rows
    keys = [key for key in table.keys if key.name in names]
    values = dict(zip((key.name for key in table.keys), source.values, strict=True))
    arrays = [
        *arrays,
        *(pa.repeat(parts.scalar(values[key.name], key), count) for key in keys),
        pa.nulls(count),  # so that the count of rows is known even without a column
    ]
    columns = [*read, *(described(key) for key in keys)]
    rows = pa.Table.from_arrays(arrays, names=[*(column.name for column in columns), ""])
    del arrays
    return conform(rows, columns, wanted)


def _empty(wanted: Sequence[StoredColumn]) -> pa.Table:
    """Return no rows: what a result without partitions has."""
    return conform(pa.table({"": pa.nulls(0)}), (), wanted)


def _remark(sources: Sequence[Source]) -> None:
    """Tell the caller what was found on the way, once."""
    remarks = [source.remark for source in sources if source.remark]
    for remark in remarks[:3]:
        warnings.warn(remark, DataWarning, stacklevel=3)
    if len(remarks) > 3:
        warnings.warn(f"The same of {len(remarks) - 3} more.", DataWarning, stacklevel=3)
