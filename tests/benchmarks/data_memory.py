"""data-memory: peak memory of storing and loading, as multiples of the frame, limit 3.

Each step runs in a process of its own that has imported everything before; what its resident
memory rises by at the peak is divided by the frame's size (`memory_usage(deep=True)`). The frame's
own place counts. The worst of the four is reported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

LIMIT, ROWS = 3.0, 2_000_000
STEPS = ("store text", "load text", "store parquet", "load parquet")


def peak() -> int:
    """Return the most resident memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def reset_peak() -> None:
    """Let the count of the most resident memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def one_step(step: str, settings: str) -> None:
    """Do one step in this process; print what it took as a multiple of the frame."""
    from data_stage import mixed

    from workroom_data import load_dataframe, session, store_dataframe
    from workroom_data.settings import Settings

    session.connect(Settings(**json.loads(settings)))
    verb, kind = step.split()
    store_dataframe(mixed(1000), "bench", f"warm_{kind}_{os.getpid()}", format=kind)
    load_dataframe("bench", f"warm_{kind}_{os.getpid()}")
    reset_peak()
    before = peak()
    if verb == "store":
        frame = mixed(ROWS)
        reset_peak()  # making the frame is not storing it
        store_dataframe(frame, "bench", kind, format=kind)
    else:
        frame = load_dataframe("bench", kind)
    print((peak() - before) / int(frame.memory_usage(deep=True).sum()))


def main() -> None:
    from data_stage import stage
    from hubs import report

    with stage() as settings:
        found = {}
        for step in STEPS:
            done = subprocess.run(
                [sys.executable, __file__, step, json.dumps(asdict(settings))],
                capture_output=True,
                text=True,
                check=True,
            )
            found[step] = float(done.stdout.split()[-1])
            print(f"  {step}: {found[step]:.2f} times the frame", file=sys.stderr)
    report("data-memory", max(found.values()), "frames", LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_step(*sys.argv[1:])
    else:
        main()
