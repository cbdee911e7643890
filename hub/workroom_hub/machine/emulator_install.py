"""The environment the AWS emulator runs in: exactly what `requirements/emulator.txt` names."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from workroom_hub.errors import EmulatorError
from workroom_hub.machine import packages, programs

if TYPE_CHECKING:
    from workroom_hub.machine.console import Step

LOCK = Path(__file__).resolve().parents[3] / "requirements" / "emulator.txt"


def ensure(home: Path, step: Step) -> Path:
    """Return the Python that has the emulator, installing it first if need be.

    Raises:
        EmulatorError: The packages cannot be had.
    """
    if not LOCK.exists():
        raise EmulatorError(
            f"There is no {LOCK}, which names what the AWS emulator needs.",
            "Run it from a checkout of Workroom's repository.",
        )
    folder = _folder(home)
    if not (folder / "bin/python").exists():
        step.update("installing it in an environment of its own")
        _install(folder)
    return folder / "bin/python"


def version(home: Path) -> str | None:
    """Return the version of the installed emulator, if it is the one of the lock."""
    if not LOCK.exists():
        return None
    found = _folder(home).glob("lib/python3*/site-packages/ministack-*.dist-info")
    return next((path.name.removesuffix(".dist-info").split("-")[1] for path in found), None)


def _folder(home: Path) -> Path:
    locked = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    return home / "emulator" / f"venv-{locked}"


def _install(folder: Path) -> None:
    """Fill `folder`; it appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in (*folder.parent.glob("venv-*"), *folder.parent.glob("new-*")):
        shutil.rmtree(old, ignore_errors=True)
    failed = ""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as name:
        for way in (_with_uv, _with_pip):
            partial = Path(name) / way.__name__
            commands = way(partial)
            failed = _run_all(commands)
            if commands and not failed:
                partial.rename(folder)
                return
    raise EmulatorError(
        f"The packages of {LOCK.name} could not be installed.",
        "A mirror is set with PIP_INDEX_URL, certificates with PIP_CERT. If venv is missing:\n"
        f"{packages.command(['python3-venv'])}",
        details=failed,
    )


def _with_uv(folder: Path) -> list[list[str]]:
    """Return the commands that fill an environment with uv; none where there is no uv."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if not uv:
        return []
    install = [uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)]
    return [
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [*install, "--python", str(folder / "bin/python")],
    ]


def _with_pip(folder: Path) -> list[list[str]]:
    """Return the commands of pip, slower, which reads all of its own settings."""
    install = [str(folder / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [*install, "--quiet", "--require-hashes", "-r", str(LOCK)],
    ]


def _run_all(commands: list[list[str]]) -> str:
    """Run commands until one fails; return its last lines, or ""."""
    environment = {**os.environ, "UV_NO_PROGRESS": "1"}
    # uv reads no pip settings; the ones that matter are handed over.
    for ours, theirs in (("UV_DEFAULT_INDEX", "PIP_INDEX_URL"), ("SSL_CERT_FILE", "PIP_CERT")):
        if theirs in environment:
            environment.setdefault(ours, environment[theirs])
    for command in commands:
        try:
            programs.install(command, environment)
        except programs.InstallFailed as failed:
            return failed.output or f"{Path(command[0]).name} {failed}"
    return ""
