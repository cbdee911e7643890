"""What this container uses now: processors, memory, room in the home."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from . import activity

# A rate over less than this is noise; over more than the other it is no longer "now".
SHORTEST = 2.0
LONGEST = 20.0
CGROUP = activity.CGROUP


class CpuGauge:
    """Cores used over the last seconds, measured only when somebody looks.

    Callers share the samples, and the activity monitor's look every few seconds keeps a recent
    one ready. So the answer covers the 2 to about 15 seconds before it.

    Args:
        read: CPU seconds the container has used so far, or None.
        clock: Seconds on a clock that never jumps.
    """

    def __init__(
        self,
        read: Callable[[], float | None] = activity.cpu_seconds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._clock = read, clock
        self._samples: deque[tuple[float, float]] = deque()

    def look(self) -> float | None:
        """Take a sample; cores used since one of some seconds ago, None while there is none."""
        now, used = self._clock(), self._read()
        if used is None:
            return None
        samples = self._samples
        while len(samples) > 1 and (now - samples[1][0] >= LONGEST):
            samples.popleft()
        old_enough = [sample for sample in samples if now - sample[0] >= SHORTEST]
        base = old_enough[-1] if old_enough else samples[0] if samples else None
        if base is None or now - samples[-1][0] >= SHORTEST / 2:
            samples.append((now, used))
        if base is None or now - base[0] < SHORTEST / 10:
            return None
        return max(0.0, (used - base[1]) / (now - base[0]))


def memory_used(cgroup: Path = CGROUP) -> int | None:
    """Bytes in use without the file cache, as `docker stats` counts them (v1 and v2)."""
    for current, folder, cache in (
        ("memory.current", cgroup, "inactive_file"),
        ("memory.usage_in_bytes", cgroup / "memory", "total_inactive_file"),
    ):
        try:
            used = int((folder / current).read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        cached = next((int(line.split()[1]) for line in lines if line.split()[0] == cache), 0)
        return used - cached if cached < used else used
    return None


class RoomGauge:
    """Size and free room of the home's file system, asked in a thread of its own.

    A home on a dead file server hangs whoever asks; then the last known figures are given.

    Args:
        home: The folder.
        within: Seconds to wait for it.
        read: Asks the file system.
    """

    def __init__(
        self,
        home: Path,
        within: float = 0.3,
        read: Callable[[Path], os.statvfs_result] = os.statvfs,
    ) -> None:
        self.home, self.within, self._read = home, within, read
        self._known: dict[str, int] | None = None
        self._answered: asyncio.Event | None = None

    async def look(self) -> dict[str, int] | None:
        """Return `free` and `size` in bytes; None if they were never told."""
        if self._answered is None or self._answered.is_set():
            self._answered = asyncio.Event()
            arguments = (asyncio.get_running_loop(), self._answered)
            # A daemon, so that one that hangs does not keep the server from ending.
            threading.Thread(target=self._ask, args=arguments, name="room", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._answered.wait(), self.within)
        return self._known

    def _ask(self, loop: asyncio.AbstractEventLoop, answered: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            found = self._read(self.home)
            unit = found.f_frsize
            self._known = {"free": found.f_bavail * unit, "size": found.f_blocks * unit}
        with contextlib.suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(answered.set)
