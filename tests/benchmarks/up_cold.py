"""up-cold: the first `make up` of a fresh clone, against the aim of six minutes.

Nothing is there beforehand: no environment, no package caches, no base image and so no cached
layer of the image. The engine itself is (installing it takes what the distribution's mirror
takes). Everything it makes has names of its own and is removed at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hubs import report

ROOT = Path(__file__).resolve().parents[2]
AIM = 360.0
BASE = "debian:bookworm"  # not the -slim one that other images here are built on
SETTINGS = f"""
instance: up-cold
web: {{port: 8460, proxy_api_port: 8461}}
local: {{hub_port: 8462}}
data: {{s3_port: 8463, metastore_port: 8464}}
ssh: {{port: 2460}}
build: {{tag: "workroom/notebook:up-cold", base_image: "{BASE}"}}
images: [{{name: notebook, ref: "workroom/notebook:up-cold", title: Data science}}]
"""


def main() -> None:
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True).returncode == 0:
        sys.exit(
            f"{BASE} is on this engine, so this would not be cold. Remove it: docker rmi {BASE}"
        )
    with tempfile.TemporaryDirectory(prefix="up-cold-") as name:
        folder = Path(name) / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        (folder / "workroom.yaml").write_text(SETTINGS)
        try:
            seconds = timed(folder, Path(name))
        finally:
            clean_up(folder)
    report("up-cold", seconds, "s", AIM)


def timed(folder: Path, scratch: Path) -> float:
    """Return the seconds `make up` takes in the clone."""
    begin = time.perf_counter()
    subprocess.run(
        ["make", "up"], cwd=folder, env=environment(scratch), stdout=sys.stderr, check=True
    )
    return time.perf_counter() - begin


def environment(scratch: Path) -> dict[str, str]:
    """Return an environment without our own variables, whose package caches are empty."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("WORKROOM_", "PYTHONPATH"))}
    caches = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "npm_config_cache")
    # BuildKit would keep what it built when the image is removed, and be warm the next time.
    return {**own, **{name: str(scratch / name) for name in caches}, "DOCKER_BUILDKIT": "0"}


def clean_up(folder: Path) -> None:
    """Remove everything the clone made."""
    if (folder / ".venv").exists():
        words = ["make", "down", "PURGE=1", "YES=1"]
        subprocess.run(words, cwd=folder, stdout=sys.stderr, check=False)
    subprocess.run(["docker", "rmi", "-f", BASE], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
