"""How much a home holds, counted now and then by a process of its own at the lowest priority.

Not by a thread of the server: one that waits for the processor with Python's lock in its hand
makes everybody wait, and one that waits for a dead file server never ends. As a program:
`python home_size.py FOLDER` prints the bytes, or nothing when the folder holds too much to count.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

FIRST_AFTER = 60.0
EVERY = 1800.0
MOST = 1_000_000
BATCH = 100
# A twentieth of a second after each hundred: at most 2,000 entries a second.
PAUSE = 0.05


def count(
    folder: str, most: int = MOST, pause: Callable[[], None] = lambda: time.sleep(PAUSE)
) -> int | None:
    """Return the bytes on disk below `folder`; None if it holds more than `most` entries.

    A file with several names counts once, other file systems are not entered, links are not
    followed, and what cannot be read is left out.

    Raises:
        OSError: The folder itself cannot be read.
    """
    top = os.stat(folder)
    total, entries = top.st_blocks * 512, 0
    seen: set[int] = set()
    folders = [folder]
    while folders:
        here = folders.pop()
        try:
            listing = os.scandir(here)
        except OSError:
            if here == folder:
                raise
            continue
        with listing:
            for entry in listing:
                entries += 1
                if entries > most:
                    return None
                if entries % BATCH == 0:
                    pause()
                try:
                    found = entry.stat(follow_symlinks=False)
                except OSError:
                    continue
                if found.st_dev != top.st_dev or found.st_ino in seen:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif found.st_nlink > 1:
                    seen.add(found.st_ino)
                total += found.st_blocks * 512
    return total


@dataclass(frozen=True)
class Counted:
    """What the last count found.

    Attributes:
        used: Bytes; None before the first count and when there is too much to count.
        at: When it ended; None before the first.
    """

    used: int | None = None
    at: datetime | None = None


class HomeSize(threading.Thread):
    """Counts the home a minute after the start and every half an hour.

    Args:
        home: The folder.
        failed: Told why a count failed.
    """

    def __init__(self, home: Path, failed: Callable[[str], None]) -> None:
        super().__init__(name="home-size", daemon=True)
        self.home, self.failed = home, failed
        self.known = Counted()
        self.first = float(os.environ.get("WORKROOM_HOME_COUNT_AFTER", FIRST_AFTER))

    def run(self) -> None:
        time.sleep(self.first)
        while True:
            self._count()
            time.sleep(EVERY)

    def _count(self) -> None:
        import subprocess

        words = ["nice", "-n", "19", "ionice", "-c", "3", "-t"]
        words += [sys.executable, "-I", "-S", __file__, str(self.home)]
        try:
            done = subprocess.run(
                words,
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                env={"PATH": os.defpath},
            )
        except OSError as error:
            self.failed(str(error))
            return
        if done.returncode:
            self.failed(done.stderr.strip().rpartition("\n")[2])
            return
        said = done.stdout.strip()
        self.known = Counted(int(said) if said else None, datetime.now(UTC))


if __name__ == "__main__":
    found = count(sys.argv[1])
    print("" if found is None else found)
