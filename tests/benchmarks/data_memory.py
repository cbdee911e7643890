"""data-memory: peak memory of storing and loading, as multiples of the frame, limit 3.

Each step runs in a process of its own that has imported everything before; what its resident
memory rises by at the peak is divided by the frame's size (`memory_usage(deep=True)`). The frame's
own place counts. The worst of all steps and kinds of frames is reported: those of narrow columns,
whose text is many times as large, are the hard ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

LIMIT = 3.0
STEPS = ("store text", "load text", "store parquet", "load parquet")
ROWS = {"mixed": 2_000_000, "category": 7_000_000, "bool": 5_500_000, "int8": 5_500_000}
"""Rows of each kind of frame, 200 MB and more of each: docs/data-api.md says what less may take."""
WIDE = {"category": 30, "bool": 40, "int8": 40}
"""Columns of the frames of one kind of columns."""


def made(frame: str, rows: int) -> pd.DataFrame:
    """Return a frame of a kind."""
    from data_stage import mixed

    if frame == "mixed":
        return mixed(rows)
    random = np.random.default_rng(1)
    words = [f"some long category {n}" for n in range(5)]

    def column() -> Any:
        if frame == "category":
            return pd.Categorical.from_codes(random.integers(0, 5, rows), words)
        numbers = random.integers(-128, 128, rows, dtype="int8")
        return numbers if frame == "int8" else numbers < 0

    return pd.DataFrame({f"c{n}": column() for n in range(WIDE[frame])})


def peak() -> int:
    """Return the most resident memory since the last reset, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def reset_peak() -> None:
    """Let the count of the most resident memory begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def one_step(step: str, kind: str, settings: str) -> None:
    """Do one step in this process; print what it took as a multiple of the frame."""
    from workroom_data import load_dataframe, session, store_dataframe
    from workroom_data.settings import Settings

    session.connect(Settings(**json.loads(settings)))
    verb, format = step.split()
    warm = f"warm_{kind}_{format}_{os.getpid()}"
    store_dataframe(made(kind, 1000), "bench", warm, format=format)
    load_dataframe("bench", warm)
    reset_peak()
    before = peak()
    if verb == "store":
        frame = made(kind, ROWS[kind])
        reset_peak()  # making the frame is not storing it
        store_dataframe(frame, "bench", f"{kind}_{format}", format=format)
    else:
        frame = load_dataframe("bench", f"{kind}_{format}")
    print((peak() - before) / int(frame.memory_usage(deep=True).sum()))


def main() -> None:
    from data_stage import stage
    from hubs import report

    with stage() as settings:
        found = {}
        for kind, step in product(ROWS, STEPS):
            done = subprocess.run(
                [sys.executable, __file__, step, kind, json.dumps(asdict(settings))],
                capture_output=True,
                text=True,
                check=True,
            )
            found[kind, step] = float(done.stdout.split()[-1])
            print(f"  {kind}: {step}: {found[kind, step]:.2f} times the frame", file=sys.stderr)
    report("data-memory", max(found.values()), "frames", LIMIT)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        one_step(*sys.argv[1:])
    else:
        main()
