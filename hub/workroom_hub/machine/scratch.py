"""What a build needs for a while, and what is left of it when the build was killed.

Temporary folders and containers carry the id and start time of the process that made them; those
of processes that are gone are removed by the next build.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workroom_hub.machine import processes

BUILD_LABEL = "io.workroom.build"
"""Label of a build's own containers; its value is the `owner()`."""
_PREFIX = "workroom-"


def owner() -> str:
    """Return this process as `PID.START`, START being its start time in clock ticks."""
    return f"{os.getpid()}.{processes.start_ticks(os.getpid())}"


def is_left_over(made_by: str) -> bool:
    """Return whether the process that `owner()` once named is gone."""
    pid, _, started = made_by.partition(".")
    return not (pid.isdigit() and str(processes.start_ticks(int(pid))) == started)


@contextmanager
def folder(kind: str) -> Iterator[Path]:
    """Have a temporary folder for `kind` of work, such as "build"."""
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{kind}-{owner()}-") as name:
        yield Path(name)


def remove_folders() -> None:
    """Remove the temporary folders of this user's processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        made = re.fullmatch(rf"{_PREFIX}[a-z]+-(\d+\.\d+)-\w+", path.name)
        if not (made and is_left_over(made[1])):
            continue
        facts = path.lstat()
        if stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)
