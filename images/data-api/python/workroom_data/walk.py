"""Every log of a warehouse, found by its folders and read whole: what is true without a metastore.

History, audit, check and rebuild go by these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from workroom_data import partitions as parts
from workroom_data.catalogue import Column
from workroom_data.commits import BATCH_ID, LOG, Commit
from workroom_data.errors import Damaged, NotFound
from workroom_data.log import Log
from workroom_data.progress import bar
from workroom_data.storage import Storage

LANES = 16
"""Requests to the S3 server at once."""

DEEPEST = 32
"""Levels of partition folders that are looked into."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Place:
    """A table's folder."""

    database: str
    table: str
    root: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"


@dataclass(frozen=True)
class Folder:
    """A folder that has a log, or batches: a partition's, or the table's if it has no partitions.

    Attributes:
        place: The table.
        partition: `year=2016/month=3`, or "" for the table's own folder.
        batches: Names of the batch folders in it, sorted.
    """

    place: Place
    partition: str
    batches: tuple[str, ...]

    @property
    def path(self) -> str:
        """The folder itself."""
        return f"{self.place.root}/{self.partition}".rstrip("/")

    def __str__(self) -> str:
        return f"{self.place} {self.partition}".rstrip()


@dataclass(frozen=True)
class Story:
    """The log of one folder, read whole.

    Attributes:
        folder: Where.
        commits: Those that can be read, ascending.
        damaged: What is wrong with the others, by number.
        last: The highest number there is; 0 of an empty log.
    """

    folder: Folder
    commits: tuple[Commit, ...]
    damaged: dict[int, str]
    last: int

    @property
    def newest(self) -> Commit | None:
        """What is current; None if the newest commit cannot be read, or there is none."""
        if self.commits and self.commits[-1].number == self.last:
            return self.commits[-1]
        return None


def places(storage: Storage, warehouse: str, database: str | None = None) -> list[Place]:
    """Return the folders of tables in a warehouse, or in one database of it, sorted."""
    databases = storage.folders(warehouse) if database is None else [database]
    found = each(lambda name: storage.folders(f"{warehouse}/{name}"), databases)
    return [
        Place(name, table, f"{warehouse}/{name}/{table}")
        for name, tables in zip(databases, found, strict=True)
        for table in tables
        if not name.startswith("_") and not table.startswith(("_", "."))
    ]


def folders(storage: Storage, of: Iterable[Place]) -> list[Folder]:
    """Return the folders of tables that have a log or batches in them, level by level."""
    found: list[Folder] = []
    level = [(place, "") for place in of]
    for _ in range(DEEPEST):
        if not level:
            break
        inside = each(lambda at: storage.folders(f"{at[0].root}/{at[1]}".rstrip("/")), level)
        below: list[tuple[Place, str]] = []
        for (place, partition), names in zip(level, inside, strict=True):
            batches = tuple(name for name in names if BATCH_ID.fullmatch(name))
            if batches or LOG in names:
                found.append(Folder(place, partition, batches))
            below += [(place, f"{partition}/{n}".lstrip("/")) for n in names if _is_key(n)]
        level = below
    return found


def read(storage: Storage, of: Sequence[Folder], what: str) -> list[Story]:
    """Read the logs of folders, in parallel; one that cannot be read does not stop the others.

    Args:
        storage: The warehouse's files.
        of: The folders.
        what: What is being done, for the bar.

    Raises:
        Unavailable: The server does not answer.
    """
    logs = [Log(storage, folder.path) for folder in of]
    numbers = each(lambda log: log.numbers(), logs)
    wanted = [(i, number) for i, found in enumerate(numbers) for number in found]
    with bar(None, what, len(wanted), "commits") as tell:

        def one(at: tuple[int, int]) -> Commit | str:
            tell(1)
            return _read(of[at[0]], logs[at[0]], at[1])

        read = each(one, wanted)
    commits: list[list[Commit]] = [[] for _ in of]
    damaged: list[dict[int, str]] = [{} for _ in of]
    for (i, number), result in zip(wanted, read, strict=True):
        if isinstance(result, Commit):
            commits[i].append(result)
        else:
            damaged[i][number] = result
    return [
        Story(folder, tuple(commits[i]), damaged[i], max(numbers[i], default=0))
        for i, folder in enumerate(of)
    ]


def _read(folder: Folder, log: Log, number: int) -> Commit | str:
    """Return a commit, or what is wrong with it."""
    try:
        commit = log.read(number)
    except (Damaged, NotFound) as error:
        return error.message
    says = Place(commit.database, commit.table, folder.place.root)
    name = parts.name([Column(*key) for key in commit.keys], commit.values)
    if (says, name) != (folder.place, folder.partition):
        return f"{log.path(number)} is a commit of {says} {name}".rstrip() + "."
    return commit


def _is_key(name: str) -> bool:
    return "=" in name and not name.startswith(("_", "."))


def each(act: Callable[[A], B], of: Sequence[A]) -> list[B]:
    """Do something for each, in parallel, and return the results in order."""
    if len(of) < 2:
        return [act(one) for one in of]
    with ThreadPoolExecutor(min(LANES, len(of)), "workroom-data-walk") as pool:
        return list(pool.map(act, of))
