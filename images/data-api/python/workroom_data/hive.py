"""The Hive Metastore over Thrift, as a `Catalogue`.

Of a partitioned table each partition is a pointer. An unpartitioned table is its own pointer: its
location is the batch's folder, and `workroom.root` its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pymetastore.hive_metastore.ttypes import (
    AlreadyExistsException,
    Database,
    EnvironmentContext,
    InvalidObjectException,
    InvalidOperationException,
    MetaException,
    NoSuchObjectException,
)

from workroom_data import hive_objects as objects
from workroom_data.catalogue import Pointer, Table
from workroom_data.errors import Conflict, NotFound, PartitionError, SchemaError, Unavailable
from workroom_data.hive_wire import Wire
from workroom_data.settings import Settings

_ALTERATIONS = 5
"""Attempts at altering a table while its pointer moves."""

_OF_FILTERS = ("ilter", "partitioning key", "NumberFormat")
"""Words of the metastore's answer to a filter it cannot use; its class is that of any failure."""


class HiveCatalogue:
    """A Hive Metastore (2.3 or 3). Opens its connection with the first request; shared by threads.

    Args:
        settings: `metastore` is its address, `warehouse` where databases are made.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wire = Wire(settings.metastore)

    @property
    def calls(self) -> int:
        """Requests sent so far."""
        return self._wire.calls

    def __enter__(self) -> HiveCatalogue:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the next request opens one again."""
        self._wire.close()

    # ---- What there is --------------------------------------------------------------------

    def databases(self) -> list[str]:
        """Return the databases' names, sorted."""
        return sorted(self._wire.ask("list databases", lambda c: c.get_all_databases()))

    def tables(self, database: str) -> list[str]:
        """Return the names of the tables of a database, sorted.

        Raises:
            NotFound: There is no such database. (Asked for only when there are no tables.)
        """
        what = f"list the tables of {database}"
        found = self._wire.ask(what, lambda c: c.get_all_tables(database))
        if not found:
            try:
                self._wire.ask(what, lambda c: c.get_database(database))
            except NoSuchObjectException as error:
                raise _no_database(database) from error
        return sorted(found)

    def table(self, database: str, name: str) -> Table | None:
        """Return a table, or None. One request.

        Raises:
            SchemaError: It is not one of ours.
        """
        given = self._get(database, name)
        return None if given is None else objects.table_of(given)

    def pointers(
        self,
        table: Table,
        values: Sequence[Sequence[str]] | None = None,
        filter: str = "",
    ) -> list[Pointer]:
        """Return pointers, ordered by values, in one request.

        Args:
            table: The table.
            values: Values of the partitions wanted; None for all.
            filter: What the metastore chooses by instead (`year >= '2016' and month = 3`).

        Raises:
            NotFound: The table is gone.
            PartitionError: The metastore cannot use the filter.
        """
        place = (table.database, table.name)
        what = f"list the partitions of {'.'.join(place)}"
        if not table.keys:
            given = self._get(*place)
            if given is None:
                raise _gone(table)
            return objects.table_pointer_of(given)
        if values is not None and not values:
            return []
        try:
            if filter:
                found = self._filtered(what, table, filter)
            elif values is None:
                found = self._wire.ask(what, lambda c: c.get_partitions(*place, -1))
            else:
                names = [objects.partition_name(table, one) for one in values]
                found = self._wire.ask(what, lambda c: c.get_partitions_by_names(*place, names))
        except NoSuchObjectException as error:
            raise _gone(table) from error
        return sorted(map(objects.pointer_of, found), key=lambda pointer: pointer.values)

    # ---- What changes it ------------------------------------------------------------------

    def create(self, table: Table, pointer: Pointer | None = None) -> bool:
        """Make a table, and its database if that is missing.

        Args:
            table: The table.
            pointer: Of an unpartitioned table, what it points at from the beginning.

        Returns:
            False if it was there already: somebody else made it, or an attempt of ours whose
            answer was lost. Look at what it is then.

        Raises:
            SchemaError: Hive refuses a name or a type.
        """
        owned = replace(table, owner=table.owner or self._settings.who)
        wanted = objects.hive_table(owned, pointer)
        what = f"make table {table.database}.{table.name}"
        try:
            if table.keys:
                # One request more than hoping for the best, and one less where hope fails: its
                # store has a partition to add as well, and four requests are the limit.
                self._make_database(table.database)
            try:
                self._wire.ask(what, lambda c: c.create_table(wanted))
            except (InvalidObjectException, NoSuchObjectException):
                # 2.3 says the first for a missing database, later ones the second.
                self._make_database(table.database)
                self._wire.ask(what, lambda c: c.create_table(wanted))
        except AlreadyExistsException:
            return False
        except InvalidObjectException as error:
            raise SchemaError(
                f"The metastore refuses {table.database}.{table.name}, its columns "
                f"{_listed(table.columns)} or keys {_listed(table.keys)}.",
                "Use other names for the table or its columns.",
            ) from error
        return True

    def alter(self, table: Table) -> None:
        """Set columns and parameters of a table, and leave its pointer where it is.

        Args:
            table: The table as `table()` gave it, with other columns or parameters.

        Raises:
            NotFound: The table is gone.
            Conflict: Somebody else changed its columns meanwhile.
            SchemaError: Hive refuses the change.
        """
        for _ in range(_ALTERATIONS):
            if self._altered(table):
                return
            there = self._get(table.database, table.name)
            if there is None:
                raise _gone(table)
            now = objects.table_of(there)
            if objects.holds(now, table):
                return  # an attempt of ours whose answer was lost, or somebody with the same idea
            if table.keys or table.columns[: len(now.columns)] != now.columns:
                break
            table = objects.moved(table, now)  # the pointer moved, and nothing else
        raise Conflict(
            f"Somebody else changed the columns of {table.database}.{table.name} just now.",
            "Try again: the frame is then fitted to the columns it has now.",
        )

    def restore(self, table: Table, pointer: Pointer | None = None) -> None:
        """Make a table what it should be, whatever somebody has made of it.

        Args:
            table: The table.
            pointer: Of an unpartitioned table, what it points at from now on.

        Raises:
            NotFound: The table is gone.
            SchemaError: Hive refuses the change.
        """
        what = f"restore {table.database}.{table.name}"
        self._alter_table(what, table, objects.hive_table(table, pointer), {})

    def point(self, table: Table, pointer: Pointer, *, new: bool) -> bool:
        """Set a pointer in one request.

        Args:
            table: Its table.
            pointer: The pointer. An unpartitioned table takes its columns too.
            new: Add the partition. Means nothing for an unpartitioned table.

        Returns:
            False if, with `new`, the partition was there already (or an attempt of ours had
            added it, whose answer was lost), or without `new` was not.

        Raises:
            NotFound: The table is gone.
            PartitionError: A value is longer than a metastore keeps.
        """
        place = (table.database, table.name)
        what = f"point {'.'.join(place)} at {pointer.location}"
        if not table.keys:
            wanted = objects.hive_table(table, pointer)
            self._alter_table(what, table, wanted, {})
            return True
        partition = objects.hive_partition(table, pointer)
        try:
            if new:
                self._wire.ask(what, lambda c: c.add_partition(partition))
            else:
                self._wire.ask(
                    what,
                    lambda c: c.alter_partition_with_environment_context(
                        *place, partition, _context()
                    ),
                )
        except InvalidObjectException as error:
            raise _gone(table) from error
        except (AlreadyExistsException, InvalidOperationException, NoSuchObjectException) as error:
            # One answer for two things: the words tell a missing table from a missing partition.
            if "table or database" in (error.message or ""):
                raise _gone(table) from error
            return False
        return True

    # ---- Parts ----------------------------------------------------------------------------

    def _get(self, database: str, name: str) -> Any:
        """Return the metastore's own table, or None."""
        try:
            return self._wire.ask(
                f"read table {database}.{name}", lambda c: c.get_table(database, name)
            )
        except NoSuchObjectException:
            return None

    def _filtered(self, what: str, table: Table, filter: str) -> Any:
        place = (table.database, table.name)
        try:
            return self._wire.ask(what, lambda c: c.get_partitions_by_filter(*place, filter, -1))
        except Unavailable as error:
            said = error.__cause__.message if isinstance(error.__cause__, MetaException) else ""
            if not any(word in (said or "") for word in _OF_FILTERS):
                raise
            keys = ", ".join(f"{key.name} ({key.hive})" for key in table.keys)
            raise PartitionError(
                f"The metastore cannot use the filter {filter!r} on {'.'.join(place)}, whose keys "
                f"are {keys}.",
                "Compare keys with =, <, <=, >, >=, !=, between and like, joined by and, or, and "
                "parentheses; put strings and dates in quotes and numbers without.",
            ) from error.__cause__

    def _make_database(self, name: str) -> None:
        location = objects.uri(f"{self._settings.warehouse}/{name}")
        wanted = Database(name=name, description="", locationUri=location, parameters={})
        try:
            self._wire.ask(f"make database {name}", lambda c: c.create_database(wanted))
        except AlreadyExistsException:
            pass
        except InvalidObjectException as error:
            raise SchemaError(
                f"The metastore refuses the database name {name!r}.", "Use another."
            ) from error

    def _altered(self, table: Table) -> bool:
        """Alter a table if nobody changed it since it was read: the metastore compares and sets.

        What it compares is a count of column changes, or the pointer of an unpartitioned table,
        which every commit sets together with the columns.
        """
        wanted = objects.hive_table(table)
        expected: dict[str, str] = {}
        if table.keys:
            before = wanted.parameters[objects.SCHEMA]
            wanted.parameters[objects.SCHEMA] = str(int(before) + 1)
            expected = {objects.SCHEMA: before}
        elif objects.COMMIT in wanted.parameters:
            expected = {objects.COMMIT: wanted.parameters[objects.COMMIT]}
        try:
            self._alter_table(f"alter {table.database}.{table.name}", table, wanted, expected)
        except Unavailable as error:
            if "has been modified" in str(getattr(error.__cause__, "message", "")):
                return False
            raise
        return True

    def _alter_table(self, what: str, table: Table, wanted: Any, expected: dict[str, str]) -> None:
        context = _context()
        for key, value in expected.items():
            context.properties["expected_parameter_key"] = key
            context.properties["expected_parameter_value"] = value
        place = (table.database, table.name)
        try:
            self._wire.ask(
                what, lambda c: c.alter_table_with_environment_context(*place, wanted, context)
            )
        except InvalidOperationException as error:
            if "not found" in (error.message or ""):
                raise _gone(table) from error
            raise SchemaError(
                f"The metastore refuses to change the columns of {'.'.join(place)} to "
                f"{_listed(table.columns)}.",
                "Store to another table.",
            ) from error


def _context() -> Any:
    """Return what spares the metastore the look at the files."""
    return EnvironmentContext(properties={"DO_NOT_UPDATE_STATS": "true"})


def _listed(columns: Sequence[Any]) -> str:
    return ", ".join(f"{column.name!r} {column.hive}" for column in columns) or "(none)"


def _gone(table: Table) -> NotFound:
    return NotFound(
        f"The metastore has no table {table.database}.{table.name} any more.",
        "If somebody dropped it, `workroom-data rebuild` makes it anew from its logs.",
    )


def _no_database(name: str) -> NotFound:
    return NotFound(
        f"There is no database {name!r}.",
        "`workroom-data ls` lists them; the first store makes one.",
    )
