"""The programs of this machine's registry: Debian's `docker-registry` and nginx."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workroom_hub.machine import packages

if TYPE_CHECKING:
    from workroom_hub.machine.console import Step

PACKAGES = {"docker-registry": "docker-registry", "nginx": "nginx-light"}
"""Program → the Debian package that has it."""
_SERVICES = {"docker-registry": "docker-registry", "nginx-light": "nginx"}
_POLICY = Path("/usr/sbin/policy-rc.d")


def find(program: str) -> str | None:
    """Return where a program is; those of administrators are not on everybody's path."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def ensure(step: Step) -> dict[str, str]:
    """Return where each program is, installing what is missing.

    Raises:
        MachineError: One cannot be installed here; names the command.
    """
    missing = [package for program, package in PACKAGES.items() if not find(program)]
    if missing:
        with _services_stay_off(missing):
            packages.install(missing, "the image registry", step)
    return {program: find(program) or program for program in PACKAGES}


@contextmanager
def _services_stay_off(installed: Sequence[str]) -> Iterator[None]:
    """Keep what is being installed from starting by itself, now and after a restart.

    Debian starts the services of new packages, on ports 80 and 5000 of every address. Source: the
    Debian policy manual, maintainer scripts and `invoke-rc.d`.
    """
    ours = False
    if os.geteuid() == 0 and not _POLICY.exists():
        _POLICY.write_text("#!/bin/sh\nexit 101\n")
        _POLICY.chmod(0o755)
        ours = True
    try:
        yield
    finally:
        if ours:
            _POLICY.unlink(missing_ok=True)
        for package in installed:
            service = _SERVICES[package]
            for words in (["systemctl", "disable", service], ["update-rc.d", service, "disable"]):
                if shutil.which(words[0]):
                    subprocess.run(words, capture_output=True, check=False, timeout=30)
