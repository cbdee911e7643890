"""ssh-connect: `ssh … true` through the gateway to a running server, against its sshd directly.

Both ways in turn, with the same client, key and container. Target: 60 ms more at the median.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hubs import report
from ssh_stage import Stage, stage

ROUNDS = 40


def once(there: Stage, way: str) -> float:
    """Return the milliseconds of one connection."""
    began = time.monotonic()
    subprocess.run(there.ssh(way, "true"), check=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - began) * 1000


def main() -> None:
    times: dict[str, list[float]] = {"gateway": [], "direct": []}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), 8460) as there:
        for way in times:
            once(there, way)
        for number in range(ROUNDS):
            for way in times if number % 2 else reversed(times):
                times[way].append(once(there, way))
    gateway, direct = (statistics.median(times[way]) for way in ("gateway", "direct"))
    print(
        f"gateway {gateway:.0f} ms, direct {direct:.0f} ms: {gateway - direct:.0f} ms more",
        file=sys.stderr,
    )
    report("ssh-connect", gateway, "ms", direct)


if __name__ == "__main__":
    main()
