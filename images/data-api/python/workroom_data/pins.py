"""Anchors as files: what is current in every partition of a table at one time, under a name.

`TABLE/_workroom/anchors/NAME/NNNNNNNN.json` is one version of an anchor; the newest counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from workroom_data.commits import LOG
from workroom_data.errors import Damaged, NotFound
from workroom_data.names import did_you_mean
from workroom_data.storage import Storage

_VERSION = re.compile(r"(\d{8})\.json")


@dataclass(frozen=True)
class Pinned:
    """What is pinned of one partition: its batch, and the number of the commit."""

    batch_id: str
    number: int


@dataclass(frozen=True)
class Anchor:
    """One version of an anchor.

    Attributes:
        name: Its name.
        version: 1, 2, 3 …; the newest counts.
        who, when, host: Who says to have given it, when (UTC, ISO 8601), and on which host: claims.
        note: Free text, or "".
        batches: What is pinned, by partition (`year=2016/month=3`; "" without keys).
    """

    name: str
    version: int
    who: str
    when: str
    host: str
    note: str
    batches: Mapping[str, Pinned]

    def to_json(self) -> bytes:
        """Return it as JSON, keys sorted, UTF-8."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, sort_keys=True).encode()

    def __str__(self) -> str:
        count = len(self.batches)
        return f"{self.name}, version {self.version}: {count} batch{'' if count == 1 else 'es'}"


def names(storage: Storage, root: str) -> list[str]:
    """Return the names of a table's anchors, sorted."""
    return storage.folders(f"{root}/{LOG}/anchors")


def versions(storage: Storage, root: str, name: str) -> list[int]:
    """Return the numbers of an anchor's versions, ascending; [] without the anchor."""
    found = (_VERSION.fullmatch(entry.name) for entry in storage.list(_folder(root, name)))
    return [int(match[1]) for match in found if match]


def path(root: str, name: str, version: int) -> str:
    """Return the file of a version."""
    return f"{_folder(root, name)}/{version:08d}.json"


def read(storage: Storage, root: str, name: str) -> Anchor:
    """Return the newest version of an anchor.

    Raises:
        NotFound: There is none of that name.
        Damaged: It cannot be read.
    """
    there = names(storage, root)
    numbers = versions(storage, root, name) if name in there else []
    if not numbers:
        raise NotFound(f"There is no anchor {name!r}.", did_you_mean(name, there, "anchors"))
    file = path(root, name, numbers[-1])
    try:
        given = json.loads(storage.read(file))
        batches = {
            str(partition): Pinned(str(one["batch_id"]), int(one["number"]))
            for partition, one in given["batches"].items()
        }
        said = {key: str(given.get(key, "")) for key in ("who", "when", "host", "note")}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{file} is not an anchor.", "Give the anchor anew.") from error
    return Anchor(name, numbers[-1], **said, batches=batches)


def _folder(root: str, name: str) -> str:
    return f"{root}/{LOG}/anchors/{name}"
