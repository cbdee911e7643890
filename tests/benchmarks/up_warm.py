"""up-warm: `make up` after `make down`, environment and image being there; median of 5.

The aim is ten seconds. `make up` while everything runs is timed too, and said on the way.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hubs import report

ROOT = Path(__file__).resolve().parents[2]
AIM, ROUNDS = 10.0, 5
SETTINGS = """
instance: up-warm
web: {port: 8470, proxy_api_port: 8471}
local: {hub_port: 8472}
data: {s3_port: 8473, metastore_port: 8474}
ssh: {port: 2470}
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="up-warm-") as name:
        (Path(name) / "workroom.yaml").write_text(SETTINGS)
        env = {
            **os.environ,
            "WORKROOM_HOME": f"{name}/state",
            "WORKROOM_CONFIG": f"{name}/workroom.yaml",
        }
        try:
            make("up", env)
            again = [make("up", env) for _ in range(ROUNDS)]
            print(f"while everything runs: {statistics.median(again):.2f} s", file=sys.stderr)
            seconds = []
            for _ in range(ROUNDS):
                make("down", env)
                seconds.append(make("up", env))
        finally:
            make("down", env)
    report("up-warm", statistics.median(seconds), "s", AIM)


def make(target: str, env: dict[str, str]) -> float:
    """Run `make TARGET`; return how long it took, in seconds."""
    begin = time.perf_counter()
    subprocess.run(["make", target], cwd=ROOT, env=env, stdout=sys.stderr, check=True)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
