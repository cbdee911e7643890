"""The log of a partition: commits with numbers, each of which one writer wins.

The newest number is the truth; the metastore's pointer only follows it.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import takewhile

from workroom_data import partitions as parts
from workroom_data.catalogue import Column
from workroom_data.commits import LOG, Commit
from workroom_data.errors import Conflict, Damaged, DataError, NotFound
from workroom_data.storage import Exists, Storage

ATTEMPTS = 200
"""Numbers a writer tries to win before it gives up."""

LAST = 99_999_999
"""The last number: names have eight digits, so that their order is the numbers'."""

LANES = 16
"""Commits that are read at once."""

_NAME = re.compile(r"(\d{8})\.json")


class Log:
    """The log of one partition, or of an unpartitioned table.

    Files of other names in its folder are passed over.

    Args:
        storage: The warehouse's files.
        folder: The partition's folder, or the table's. The log is `_workroom` in it.
    """

    def __init__(self, storage: Storage, folder: str) -> None:
        self._storage = storage
        self._of = folder.rstrip("/")
        self.folder = f"{self._of}/{LOG}"
        # Names of tables hold no `=`, so the folders that do are the partition's.
        names = [*takewhile(lambda name: "=" in name, reversed(self._of.split("/")))]
        self._partition = "/".join(reversed(names))

    def numbers(self, after: int = 0) -> list[int]:
        """Return the numbers there are above `after`, ascending. One request for 1,000 of them."""
        entries = self._storage.list(self.folder, _name(after) if after > 0 else "")
        found = (_NAME.fullmatch(entry.name) for entry in entries)
        return [int(match[1]) for match in found if match]

    def newest(self, after: int = 0) -> Commit | None:
        """Return the newest commit above `after`, or None. Two requests.

        Raises:
            Damaged: The newest one is not a commit. Nothing older is taken for it.
        """
        numbers = self.numbers(after)
        return self.read(numbers[-1]) if numbers else None

    def read(self, number: int) -> Commit:
        """Return one commit.

        Raises:
            NotFound: There is none of that number.
            Damaged: It is not a commit, or another's.
        """
        path = self.path(number)
        commit = Commit.from_json(self._storage.read(path), path)
        if commit.number != number:
            raise Damaged(f"{path} says that it is commit {commit.number}.", _GO_ON)
        name = parts.name([Column(*key) for key in commit.keys], commit.values)
        if name != self._partition:
            said = f"partition {name}" if name else "a table without partitions"
            raise Damaged(f"{path} says that it is of {said}.", _GO_ON)
        # Anybody can write a commit: it must not lead readers to another place. And a warehouse
        # that was copied is read where it is.
        return replace(commit, location=f"{self._of}/{commit.batch_id}")

    def all(self) -> list[Commit]:
        """Return every commit that can be read, ascending."""
        return self.read_all()[0]

    def read_all(self) -> tuple[list[Commit], list[DataError]]:
        """Return every commit that can be read, ascending, and what is wrong with the others."""
        commits: list[Commit] = []
        broken: list[DataError] = []
        numbers = self.numbers()
        with ThreadPoolExecutor(min(LANES, len(numbers) or 1), "workroom-data-log") as pool:
            for commit in pool.map(self._read_or_error, numbers):
                if isinstance(commit, Commit):
                    commits.append(commit)
                else:
                    broken.append(commit)
        return commits, broken

    def append(self, build: Callable[[int, Commit | None], Commit], *, after: int = 0) -> Commit:
        """Add a commit under the next number.

        Args:
            build: Gets the number to be and the newest commit that can be read (None without
                one); returns the commit, or raises what speaks against it (Conflict,
                SchemaError). Called again, with what is newest then, whenever somebody else
                won the number.
            after: A number that the log is known to have passed; saves listing what is older.

        Returns:
            The commit, written. Whoever lists the log from now on sees it.

        Raises:
            Conflict: Others won every number tried, or the log is full.
        """
        for attempt in range(ATTEMPTS):
            last, newest = self._end(after)
            number = last + 1
            if number > LAST:
                raise Conflict(f"{self.folder} is full.", "Store to another table.")
            commit = replace(build(number, newest), number=number)
            try:
                self._storage.create(self.path(number), commit.to_json())
            except Exists:
                after = number
                # Drawn, so that fifty who lost together do not come back together.
                time.sleep(random.uniform(0, 0.01 * min(attempt + 1, 20)))  # noqa: S311
                continue
            return commit
        raise Conflict(
            f"Others committed to {self.folder} {ATTEMPTS} times while this one tried.",
            "Try again; fewer writers at once help.",
        )

    def path(self, number: int) -> str:
        """Return the file of a commit."""
        return f"{self.folder}/{_name(number)}"

    def _end(self, after: int) -> tuple[int, Commit | None]:
        """Return the newest number (0 in an empty log), and the newest commit that is whole.

        They differ after a damaged one, which must not stop every later store.
        """
        numbers = self.numbers(max(after - 1, 0))
        for number in reversed(numbers):
            commit = self._read_or_error(number)
            if isinstance(commit, Commit):
                return numbers[-1], commit
        if after > 1:
            return self._end(0)
        return (numbers[-1] if numbers else 0), None

    def _read_or_error(self, number: int) -> Commit | DataError:
        try:
            return self.read(number)
        except (Damaged, NotFound) as error:
            return error


_GO_ON = "Roll back to a batch that `history` shows, or store again; either makes a newer commit."


def _name(number: int) -> str:
    return f"{number:08d}.json"
