"""A metastore in memory, which can be down, lose what it had, and take its time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from workroom_data.catalogue import Altered, Pointer, Table
from workroom_data.errors import NotFound, Unavailable


class CatalogueInMemory:
    """A metastore in memory.

    Attributes:
        calls: Requests so far.
        down: It does not answer.
        down_for: Names of verbs that do not answer ("point").
        filters: Filters that were asked for. All partitions are given back, as a metastore may
            that knows no better.
        altered: Tables that somebody has changed the reading of, as (database, name).
        before_point: Called at the beginning of each `point`, to let others act just then.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.down = False
        self.down_for: set[str] = set()
        self.filters: list[str] = []
        self.altered: set[tuple[str, str]] = set()
        self.before_point: Callable[[Pointer], None] = lambda _: None
        self._lock = threading.Lock()
        self._tables: dict[tuple[str, str], Table] = {}
        self._pointers: dict[tuple[str, str], dict[tuple[str, ...], Pointer]] = {}

    def lose_all(self) -> None:
        """Forget everything, as a metastore does whose disk is gone."""
        self._tables.clear()
        self._pointers.clear()

    def databases(self) -> list[str]:
        with self._request("databases"):
            return sorted({database for database, _ in self._tables})

    def tables(self, database: str) -> list[str]:
        with self._request("tables"):
            found = sorted(name for there, name in self._tables if there == database)
            if not found:
                raise NotFound(f"There is no database {database!r}.")
            return found

    def table(self, database: str, name: str) -> Table | None:
        with self._request("table"):
            if (database, name) in self.altered:
                raise Altered(f"Somebody changed how {database}.{name} is read.")
            return self._tables.get((database, name))

    def create(self, table: Table, pointer: Pointer | None = None) -> bool:
        with self._request("create"):
            key = (table.database, table.name)
            if key in self._tables:
                return False
            self._tables[key] = table
            self._pointers[key] = {}
            if pointer is not None:
                self._set(key, pointer)
            return True

    def alter(self, table: Table) -> None:
        with self._request("alter"):
            self._tables[table.database, table.name] = table

    def restore(self, table: Table, pointer: Pointer | None = None) -> None:
        with self._request("restore"):
            self.altered.discard((table.database, table.name))
            self._tables[table.database, table.name] = table
            if pointer is not None:
                self._set((table.database, table.name), pointer)

    def pointers(
        self,
        table: Table,
        values: Sequence[Sequence[str]] | None = None,
        filter: str = "",
    ) -> list[Pointer]:
        with self._request("pointers"):
            self.filters += [filter] if filter else []
            there = self._pointers[table.database, table.name]
            wanted = sorted(there) if values is None else [tuple(one) for one in values]
            return [there[one] for one in wanted if one in there]

    def point(self, table: Table, pointer: Pointer, *, new: bool) -> bool:
        self.before_point(pointer)
        with self._request("point"):
            key = (table.database, table.name)
            if key not in self._tables:
                raise NotFound(f"There is no table {table.name!r}.")
            if new == (pointer.values in self._pointers[key]) and table.keys:
                return False
            self._set(key, pointer)
            return True

    def close(self) -> None:
        pass

    def _set(self, key: tuple[str, str], pointer: Pointer) -> None:
        self._pointers[key][pointer.values] = pointer
        if not self._tables[key].keys:
            self._tables[key] = replace(
                self._tables[key], location=pointer.location, columns=pointer.columns
            )

    @contextmanager
    def _request(self, verb: str) -> Iterator[None]:
        with self._lock:
            self.calls += 1
            if self.down or verb in self.down_for:
                raise Unavailable("The metastore does not answer.", "It is down on purpose.")
            yield
