"""plan-speed: `workroom plan` for a day of 10,000 people, from the command line to its picture.

Every policy of the defaults, the search for the least headroom, the quotas and the picture: what a
person waits for. The baseline is the target: at most 10 s.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hubs import report

PEOPLE = 10_000
TARGET = 10.0
RUNS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = [_once(Path(folder)) for _ in range(RUNS)]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = (used.ru_utime + used.ru_stime) / RUNS
    walls = ", ".join(f"{each:.2f} s" for each in seconds)
    _say(f"runs: {walls}; processor {processor:.2f} s each; load {os.getloadavg()[0]:.1f}")
    report("plan-speed", sorted(seconds)[RUNS // 2], "s", TARGET)


def _once(folder: Path) -> float:
    """Run the command in an empty folder; return how long it took."""
    picture = folder / "day.svg"
    picture.unlink(missing_ok=True)
    words = ["plan", "--users", str(PEOPLE), "--json", "--picture", str(picture)]
    own = {name: value for name, value in os.environ.items() if not name.startswith("WORKROOM_")}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "workroom_hub.cli", *words],
        cwd=folder,
        env={**own, "WORKROOM_HOME": str(folder / "state")},
        stdout=subprocess.PIPE,
        check=True,
    )
    took = time.monotonic() - begun
    found = json.loads(done.stdout)
    # Fast and wrong would be no use.
    assert found["people"] == PEOPLE, found["people"]
    assert found["starts"] > PEOPLE, found["starts"]
    assert found["recommended"]["keeps_target"], found["recommended"]
    assert picture.stat().st_size > 10_000
    policies = {each["name"]: each["wait"]["p95"] for each in found["policies"]}
    _say(f"{found['starts']} starts, p95 by policy: {policies}")
    return took


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
