"""Homes that are folders of the state folder: made for the AWS emulator, removed by a purge.

A purge removes what `workroom` made, and nothing that somebody else put in its place: a file system
mounted there, a link, or the folder that the settings name for the homes of a cluster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workroom_hub.machine.stack import Stack

_MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class HomeFolders:
    """The folder `homes` of the state folder.

    Attributes:
        root: The folder.
        homes: Homes in it that a purge removes.
        kept: Why a purge leaves all of it alone; "" if it does not.
    """

    root: Path
    homes: tuple[Path, ...] = ()
    kept: str = ""

    @property
    def told(self) -> str:
        """How many there are, where, and the names of the first."""
        count, names = len(self.homes), ", ".join(path.name for path in self.homes[:3])
        more = ", …" if count > 3 else ""
        return f"{count} home{'' if count == 1 else 's'} in {self.root} ({names}{more})"


def look(stack: Stack) -> HomeFolders:
    """Return what a purge would do with the folder; nothing is changed."""
    root = stack.home / "homes"
    if root.is_symlink():
        return HomeFolders(root, kept="it is a link")
    if not root.is_dir():
        return HomeFolders(root)
    named = stack.settings.homes.root.resolve()
    if named.is_relative_to(root.resolve()):
        return HomeFolders(root, kept="homes.root in workroom.yaml names it")
    if any(mount.is_relative_to(root.resolve()) for mount in _mounts()):
        return HomeFolders(root, kept="a file system is mounted there")
    return HomeFolders(root, tuple(sorted(root.iterdir())))


def _mounts() -> list[Path]:
    """Return all mount points, bind mounts included, as proc(5) describes them."""
    lines = _MOUNTS.read_text(errors="surrogateescape").splitlines()
    return [Path(re.sub(r"\\([0-7]{3})", _character, line.split()[4])) for line in lines]


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))
