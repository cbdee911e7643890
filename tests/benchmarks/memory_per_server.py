"""Benchmark `memory-per-server`: what one running server costs the hub's process, in KiB.

Resident memory of a hub with 2,000 running servers, less that of the same hub without any, shared
out. In the same run against JupyterHub as released with its SimpleLocalProcessSpawner, on a copy of
the same database. Both hubs have just adopted their servers, and first give back to the system what
they needed only for that; the figures without this are told on the way.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ecs_hubs
import running_servers as servers
from ecs_hubs import say

PORT = 8460
COUNT = 2000
_SETTLE = 300.0


def main() -> None:
    """Measure both and report."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with (
        tempfile.TemporaryDirectory(prefix="workroom-bench-") as empty,
        tempfile.TemporaryDirectory(prefix="workroom-bench-") as full,
        ecs_hubs.fake_cloud() as cloud,
    ):
        ours, token = _ours(cloud, count, Path(empty), Path(full))
        without = _theirs(Path(empty), token, None)
        theirs = _each(
            "SimpleLocalProcessSpawner", without, _theirs(Path(full), token, count), count
        )
    ecs_hubs.report("memory-per-server", ours, "KiB", theirs)


def _ours(cloud: ecs_hubs.Cloud, count: int, empty: Path, full: Path) -> tuple[float, str]:
    """Return the KiB and the hub's token; leave copies of its database."""
    users = servers.names(count)
    with ecs_hubs.ours(cloud, PORT) as hub:
        hub.stop()
        servers.copy_of(hub.folder / "hub.sqlite", empty)
        hub.start()
        time.sleep(5)
        without = _memory(hub)
        hub.stop()
        ecs = servers.ecs_settings(cloud, PORT)
        running = dict(zip(users, servers.tasks(cloud, ecs, users), strict=True))
        servers.write(hub.folder / "hub.sqlite", running, cloud.web_port)
        ecs_hubs.prepare(cloud, users, PORT)
        servers.copy_of(hub.folder / "hub.sqlite", full)
        hub.start()
        # What the watcher learns of each task is part of it, and so is what the hub does at first.
        done = ("servers that ran before the hub answer", "ahead of the next starts:")
        _until(lambda: all(line in hub.log for line in done), "all servers are known")
        each = _each("ours", without, _memory(hub), count)
    return each, hub.token


def _theirs(folder: Path, token: str, count: int | None) -> tuple[int, int]:
    with servers.do_nothing(folder, token, "Local") as hub:
        if count:
            _until(lambda: f"Initialized {count} spawners" in hub.log, "all servers are known")
        time.sleep(5)
        return _memory(hub)


def _memory(hub: ecs_hubs.Hub) -> tuple[int, int]:
    """Return a hub's resident bytes, as they are and after it gave back what is free."""
    assert hub.process is not None
    before = hub.memory()
    hub.process.send_signal(signal.SIGUSR2)
    time.sleep(3)
    return before, hub.memory()


def _each(whose: str, without: tuple[int, int], filled: tuple[int, int], count: int) -> float:
    untrimmed, trimmed = ((b - a) / count / 1024 for a, b in zip(without, filled, strict=True))
    say(
        f"{whose}: {without[1] >> 20} MiB without servers, {filled[1] >> 20} MiB with {count}: "
        f"{trimmed:.1f} KiB each; {untrimmed:.1f} KiB before free memory was given back"
    )
    return trimmed


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _SETTLE
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {_SETTLE:.0f} s: {what}")
        time.sleep(1)


if __name__ == "__main__":
    main()
