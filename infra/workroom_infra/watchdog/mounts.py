"""Which mounts there are, from the kernel's table; nothing here looks at a mount itself."""

from __future__ import annotations

import re
from dataclasses import dataclass

TABLE = "/proc/self/mountinfo"


@dataclass(frozen=True)
class Mount:
    """One file system that is mounted somewhere.

    `key` stays the same while it is mounted, and is another one if it is mounted anew.
    """

    key: str
    point: str
    type: str


def parse(table: str) -> list[Mount]:
    """Read a mountinfo table, described in the manual page proc(5)."""
    mounts = []
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        own, more = before.split(), after.split()
        if len(own) < 6 or not more:
            continue
        number, device, point = own[0], own[2], _plain(own[4])
        mounts.append(Mount(f"{number}:{device}", point, more[0]))
    return mounts


def chosen(mounts: list[Mount], types: tuple[str, ...], under: tuple[str, ...]) -> list[Mount]:
    """Those of the given types and folders; of a file system mounted several times, the first."""
    devices: dict[str, Mount] = {}
    for mount in mounts:
        device = mount.key.partition(":")[2]
        if mount.type in types and is_under(mount.point, under):
            devices.setdefault(device, mount)
    return list(devices.values())


def holder(mounts: list[Mount], path: str) -> Mount | None:
    """The mount that holds a path, judged by names alone."""
    holders = [mount for mount in mounts if is_under(path, (mount.point,))]
    # The longest name; of those the last, which hides the ones before.
    return max(reversed(holders), key=lambda mount: len(mount.point), default=None)


def is_under(path: str, folders: tuple[str, ...]) -> bool:
    """Whether a path is one of the folders or in one of them."""
    return any(path == f or path.startswith(f.rstrip("/") + "/") for f in folders)


def read() -> list[Mount]:
    """The mounts of this process's mount namespace, which is the machine's."""
    with open(TABLE, encoding="utf-8", errors="surrogateescape") as file:
        return parse(file.read())


def _plain(name: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), name)
