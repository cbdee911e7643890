"""Moving the metastore's pointer to the newest commit of a log."""

from __future__ import annotations

from workroom_data.catalogue import Catalogue, Pointer, Table
from workroom_data.commits import Commit
from workroom_data.errors import Conflict
from workroom_data.fit import hive_column
from workroom_data.log import Log

__all__ = ["Log", "move_up", "pointer_to"]

ROUNDS = 1000
"""Newer commits met on the way, after which something else must be wrong."""


def pointer_to(commit: Commit, table: Table | None = None) -> Pointer:
    """Return the pointer that follows `commit`.

    Args:
        commit: The commit.
        table: The table. Without partitions it takes its columns from the pointer, and keeps
            those that came after the batch (a rollback's): they are NULL in it.
    """
    columns = tuple(hive_column(column) for column in commit.columns)
    if table is not None and not table.keys:
        shared = table.columns[: len(columns)]
        if [(c.name, c.hive) for c in shared] == [(c.name, c.hive) for c in columns]:
            columns += table.columns[len(columns) :]
    return Pointer(
        commit.values,
        commit.location,
        commit.number,
        commit.batch_id,
        columns,
        commit.rows,
        commit.size,
    )


def move_up(catalogue: Catalogue, table: Table, log: Log, commit: Commit, *, new: bool) -> bool:
    """Point the metastore at `commit`, or at what is newer by then.

    Of several who do this at once, each looks at the log after its own move. So whoever moves
    last has seen the newest commit, and the pointer never stays behind.

    Args:
        catalogue: The metastore.
        table: The table.
        log: The log of the partition (of the table, if it is unpartitioned).
        commit: The newest commit that the caller knows.
        new: The partition is not in the metastore yet, as far as the caller knows.

    Returns:
        Whether `commit` is still the newest. Otherwise somebody overtook it, and the pointer is
        at theirs.

    Raises:
        Unavailable: The metastore does not answer. The commit stands; the next one who looks
            moves the pointer.
    """
    target = commit
    for _ in range(ROUNDS):
        new = _set(catalogue, table, pointer_to(target, table), new=new)
        newer = log.newest(after=target.number)
        if newer is None:
            return target is commit
        target = newer
    raise Conflict(
        f"The pointer of {table.database}.{table.name} cannot keep up with {log.folder}.",
        "It is moved up by whoever reads the table next.",
    )


def _set(catalogue: Catalogue, table: Table, pointer: Pointer, *, new: bool) -> bool:
    """Set a pointer, whether its partition is there or not; return False: it is no longer new."""
    # Somebody else may add the partition just now, or (with other tools) drop it.
    for attempt_new in (new, not new, new):
        if catalogue.point(table, pointer, new=attempt_new):
            return False
    raise Conflict(
        f"A partition of {table.database}.{table.name} ({', '.join(pointer.values) or 'all of it'})"
        " is added and dropped by others, over and over.",
        "Try again when they have finished.",
    )
