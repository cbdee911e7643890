"""One commit, and the log of a partition.

`PARTITION/_workroom/NNNNNNNN.json` holds one commit. It is written with If-None-Match, so that
every number has one winner, and never again. The newest number is the truth.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from workroom_data.errors import Damaged

LOG = "_workroom"
"""Folder of the log, in a partition's folder (in the table's own if it is unpartitioned)."""

BATCH_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}", re.ASCII)
"""What `new_batch_id` makes: also the name of the batch's folder, so nothing else will do."""

_MOST = (1 << 63) - 1
"""The largest count: what a frame of the history can hold."""


@dataclass(frozen=True)
class File:
    """One file of a batch: name in it, rows, size in bytes, and "sha256:…" of its bytes."""

    name: str
    rows: int
    size: int
    checksum: str


@dataclass(frozen=True)
class StoredColumn:
    """One column of a batch.

    Attributes:
        name: As the frame had it (upper case, spaces).
        hive: Hive type of the file.
        arrow: Arrow type as `types.arrow_name` writes it ("timestamp[us, tz=Europe/Berlin]").
        pandas: pandas dtype to give back ("Int64", "category"), or "" if Arrow's own does.
    """

    name: str
    hive: str
    arrow: str
    pandas: str = ""


@dataclass(frozen=True)
class Commit:
    """One commit.

    Attributes:
        number: 1, 2, 3 …; decides what is newer. 0 until it is written.
        batch_id: The batch it makes current (of a rollback, an earlier one's).
        action: "store" or "rollback".
        who, when, host: Who says to have written it, when (UTC, ISO 8601 to the microsecond),
            and on which host. Claims of the writer, not proofs.
        database, table: Names.
        keys: Partition keys, as (name, Hive type).
        values: Values of the keys; empty if unpartitioned.
        format: "text" or "parquet".
        location: The batch's folder: that of its ID beside the log. In the file it is for people:
            `Log.read` goes by where the log is, not by what a commit says.
        columns: Columns in order.
        files: Files in row order; at least one, also of an empty frame.
        rows, size: Totals; the size in bytes.
        library: "workroom-data 0.1.0".
        source: Of a rollback the number of the commit it goes back to, else 0.
        note: Free text of the writer, or "".
    """

    number: int
    batch_id: str
    action: str
    who: str
    when: str
    host: str
    database: str
    table: str
    keys: tuple[tuple[str, str], ...]
    values: tuple[str, ...]
    format: str
    location: str
    columns: tuple[StoredColumn, ...]
    files: tuple[File, ...]
    rows: int
    size: int
    library: str
    source: int = 0
    note: str = ""

    def to_json(self) -> bytes:
        """Return the commit as JSON, keys sorted, UTF-8.

        Raises:
            ValueError: It is not one that could be read again.
        """
        _sound(self)
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes, path: str) -> Commit:
        """Read a commit; keys that a later version added are passed over.

        Raises:
            Damaged: It is not one.
        """
        try:
            given: dict[str, Any] = json.loads(content)
            known = {name: given[name] for name in cls.__dataclass_fields__ if name in given}
            known["keys"] = tuple((str(k), str(t)) for k, t in known["keys"])
            known["values"] = tuple(known["values"])
            known["columns"] = tuple(StoredColumn(**c) for c in known["columns"])
            known["files"] = tuple(File(**f) for f in known["files"])
            return _sound(cls(**known))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Damaged(
                f"{path} is not a commit ({type(error).__name__}).",
                "Look at it; earlier commits of the same log still hold.",
            ) from error


def is_time(given: object) -> bool:
    """Say whether it is a point in time as commits write it: ISO 8601, also in UTC a time."""
    try:
        datetime.fromisoformat(given).astimezone(UTC)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _sound(commit: Commit) -> Commit:
    """Return a commit whose parts are of the types they should be: anybody can write JSON.

    Raises:
        ValueError: One is not.
    """
    texts = (name for name, kind in Commit.__annotations__.items() if kind == "str")
    counts = [commit.number, commit.rows, commit.size, commit.source]
    counts += [count for file in commit.files for count in (file.rows, file.size)]
    words = [getattr(commit, name) for name in texts]
    words += [word for file in commit.files for word in (file.name, file.checksum)]
    words += [word for column in commit.columns for word in vars(column).values()]
    sound = (
        all(isinstance(word, str) for word in words)
        and all(type(count) is int and 0 <= count <= _MOST for count in counts)
        and all(isinstance(value, str) for value in commit.values)
        and len({column.name.lower() for column in commit.columns}) == len(commit.columns)
        and BATCH_ID.fullmatch(commit.batch_id) is not None
        and all(_is_ours(file) for file in commit.files)
        and len(commit.keys) == len(commit.values)
        and is_time(commit.when)
    )
    if not sound:
        raise ValueError("a part is of another type than it should be")
    return commit


def _is_ours(file: File) -> bool:
    """Say whether a commit can name a file so: in the batch's own folder, and with a checksum."""
    return "/" not in file.name and file.name not in ("", ".", "..") and bool(file.checksum)


def new_batch_id(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> str:
    """Return a batch ID: UTC to the second and eight random hex digits.

    The time is for people. Races and clocks that go back are why the digits are there, and why
    commit numbers, not batch IDs, decide what is newer.
    """
    return f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
