"""Packages of the distribution: installed as root on Debian and Ubuntu, else named."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workroom_hub.errors import MachineError

if TYPE_CHECKING:
    from workroom_hub.machine.console import Step


def command(names: Sequence[str]) -> str:
    """Return the command that installs Debian packages, or their names elsewhere."""
    words = " ".join(names)
    if shutil.which("apt-get"):
        return f"sudo apt-get update && sudo apt-get install -y --no-install-recommends {words}"
    return f"install these with your distribution's package manager: {words}"


def install(names: Sequence[str], what: str, step: Step) -> None:
    """Install Debian packages.

    Args:
        names: Package names.
        what: What they are for, as in "the Docker engine".
        step: Where progress is shown.

    Raises:
        MachineError: Not root, not Debian or Ubuntu, or apt-get failed.
    """
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MachineError(f"This machine has no {what.removeprefix('the ')}.", command(names))
    step.update(f"installing {what} ({', '.join(names)}) with apt-get")
    _apt("update", "-q")
    wanted = [*names, *_companions(names)]
    code, output = _apt("install", "-q", "-y", "--no-install-recommends", *wanted)
    if code:
        raise MachineError(
            f"apt-get could not install {', '.join(wanted)}.",
            f"Run it yourself to see why: {command(wanted)}",
            details="\n".join(output.splitlines()[-15:]),
        )


def _companions(names: Sequence[str]) -> list[str]:
    """Return packages that newer releases split off: there Docker's command is one of its own."""
    if "docker.io" not in names or shutil.which("docker"):
        return []
    known = subprocess.run(["apt-cache", "show", "docker-cli"], capture_output=True, check=False)
    return ["docker-cli"] if known.returncode == 0 else []


def _apt(*words: str) -> tuple[int, str]:
    """Run apt-get; return its exit code and output."""
    # A file, not a pipe: a service the package starts would hold the pipe open for ever.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(
            ["apt-get", *words],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read()
