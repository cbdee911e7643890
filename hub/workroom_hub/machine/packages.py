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
    for words in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *names]):
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
            if done.returncode and words[0] == "install":
                output.seek(0)
                raise MachineError(
                    f"apt-get could not install {', '.join(names)}.",
                    f"Run it yourself to see why: {command(names)}",
                    details="\n".join(output.read().splitlines()[-15:]),
                )
