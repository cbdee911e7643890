"""ssh-throughput: scp of 1 GB through the gateway, against scp to the container's sshd directly.

The line is of the slower direction; both are said on the way. Targets: at least 0.45 of the
direct speed up, 0.7 down.
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

SIZE = 10**9
ROUNDS = 3


def copy(there: Stage, way: str, direction: str) -> float:
    """Copy the file one way; return MB a second."""
    here, far = str(there.folder / "data"), f"{way}:data"
    source, target = (here, far) if direction == "up" else (far, str(there.folder / "back"))
    began = time.monotonic()
    subprocess.run(there.scp(source, target), check=True, stdin=subprocess.DEVNULL)
    return SIZE / 1e6 / (time.monotonic() - began)


def main() -> None:
    speeds: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), 8463) as there:
        with (there.folder / "data").open("wb") as data, open("/dev/urandom", "rb") as source:
            for _ in range(SIZE // 10**6):
                data.write(source.read(10**6))
        for number in range(ROUNDS):
            for direction in ("up", "down"):
                for way in ("gateway", "direct") if number % 2 else ("direct", "gateway"):
                    speed = copy(there, way, direction)
                    speeds.setdefault((direction, way), []).append(speed)
                    print(f"{direction} {way} {speed:.0f} MB/s", file=sys.stderr)
    results = {}
    for direction in ("up", "down"):
        ours, direct = (statistics.median(speeds[direction, way]) for way in ("gateway", "direct"))
        results[direction] = ours / direct, ours, direct
        print(f"{direction}: {ours:.0f} of {direct:.0f} MB/s, {ours / direct:.2f}", file=sys.stderr)
    _, ours, direct = min(results.values())
    report("ssh-throughput", ours, "MB/s", direct)


if __name__ == "__main__":
    main()
