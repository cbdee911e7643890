"""Runs benchmarks: every script of this folder, or the ones named.

    python tests/benchmarks/run.py                        all of them, one JSON line each
    python tests/benchmarks/run.py spawn-local            one; its line comes last

A benchmark is a script that prints `{"name", "value", "unit", "baseline", "ratio"}` as its last
line; what it says on the way goes to standard error. Its name is its file's, with hyphens.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
KEYS = ["name", "value", "unit", "baseline", "ratio"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Run benchmarks.")
    parser.add_argument("names", nargs="*", help=f"of: {', '.join(benchmarks())}")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in benchmarks()]
    if unknown:
        print(f"There is no benchmark '{unknown[0]}'. Choose from: {', '.join(benchmarks())}.")
        return 2
    lines = [run(name) for name in asked.names or benchmarks()]
    # Last, so that nothing a benchmark says on the way comes after them.
    print("\n".join(line for line in lines if line), flush=True)
    return 0 if all(lines) else 1


def benchmarks() -> dict[str, Path]:
    """Return the scripts of this folder by name; modules they share are not among them."""
    scripts = [path for path in sorted(FOLDER.glob("*.py")) if path != Path(__file__).resolve()]
    return {
        path.stem.replace("_", "-"): path
        for path in scripts
        if 'if __name__ == "__main__":' in path.read_text()
    }


def run(name: str) -> str | None:
    """Run one benchmark; return its JSON line, or None if it failed."""
    print(f"=== {name}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, str(benchmarks()[name])],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    last = (done.stdout.strip().splitlines() or [""])[-1]
    print("\n".join(done.stdout.strip().splitlines()[:-1]), file=sys.stderr, flush=True)
    try:
        complete = list(json.loads(last)) == KEYS
    except ValueError:
        complete = False
    if done.returncode or not complete:
        print(f"{name} failed (exit code {done.returncode}): {last}", file=sys.stderr, flush=True)
        return None
    return last


if __name__ == "__main__":
    sys.exit(main())
