"""The interface of a metastore: what tables there are, and where each partition points.

`hive.py` is the Hive Metastore over Thrift. Another one (Glue) implements the same verbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workroom_data.errors import SchemaError


class Altered(SchemaError):
    """A table of ours, and somebody has changed how its files are read."""


@dataclass(frozen=True)
class Column:
    """One column as Hive knows it: its lower-case name and its type ("decimal(38,10)")."""

    name: str
    hive: str
    comment: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the metastore.

    Attributes:
        database, name: Names, lower case.
        columns: Columns in order, without partition keys.
        keys: Partition keys in order; empty for an unpartitioned table.
        format: "text" or "parquet".
        location: The table's folder; of an unpartitioned table the batch it points at.
        root: The table's folder, always; batches and logs are below it.
        parameters: Properties of the table. Ours begin with "workroom.".
        owner: Who made it, or "".
    """

    database: str
    name: str
    columns: tuple[Column, ...]
    keys: tuple[Column, ...]
    format: str
    location: str
    root: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    owner: str = ""


@dataclass(frozen=True)
class Pointer:
    """What the metastore says of one partition (or of an unpartitioned table).

    Attributes:
        values: Values of the partition keys in order, as text; empty if unpartitioned.
        location: The batch's folder.
        number: Number of the commit it was set for (parameter `workroom.commit`); 0 if a
            stranger made it (Spark's own INSERT, say).
        batch_id: The batch (parameter `workroom.batch_id`), or "".
        columns: The partition's own columns in order.
        rows, size: Totals of the batch (size in bytes), which engines plan by; None if unknown.
    """

    values: tuple[str, ...]
    location: str
    number: int
    batch_id: str
    columns: tuple[Column, ...]
    rows: int | None = None
    size: int | None = None


class Catalogue(Protocol):
    """A metastore. All verbs raise `Unavailable` when it does not answer, after a few attempts.

    Attributes:
        calls: Requests sent so far, for the benchmark `metastore-calls`.
    """

    @property
    def calls(self) -> int:
        """Requests sent so far."""

    def databases(self) -> list[str]:
        """Return the databases' names, sorted."""

    def tables(self, database: str) -> list[str]:
        """Return the names of the tables of a database, sorted; NotFound without the database."""

    def table(self, database: str, name: str) -> Table | None:
        """Return a table, or None. One request. A table that is not ours is a SchemaError; one
        of ours that is not read as ours are is Altered."""

    def create(self, table: Table, pointer: Pointer | None = None) -> bool:
        """Make a table, and its database if that is missing; False if somebody else had made it.

        `pointer` is for an unpartitioned table: its location and parameters are set at once.
        """

    def alter(self, table: Table) -> None:
        """Set columns and parameters of a table (not its pointer)."""

    def restore(self, table: Table, pointer: Pointer | None = None) -> None:
        """Make a table that was Altered what it should be; `pointer` as for `create`."""

    def pointers(
        self,
        table: Table,
        values: Sequence[Sequence[str]] | None = None,
        filter: str = "",
    ) -> list[Pointer]:
        """Return pointers in one request (ordered by values): those of `values`, those a
        metastore filter chooses (`year >= '2016'`), or all. Missing ones are left out. Of an
        unpartitioned table the one it has, or none."""

    def point(self, table: Table, pointer: Pointer, *, new: bool) -> bool:
        """Set a pointer in one request; `new` adds the partition. False if, with `new`, it was
        there already, or without `new` was not."""

    def close(self) -> None:
        """Close the connection."""
