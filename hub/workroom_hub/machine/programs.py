"""Programs of others beside the hub: fetched by a command, then waited for until they answer."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from workroom_hub.errors import (
    DataServerError,
    EmulatorError,
    ProxyError,
    RegistryError,
    SshError,
)
from workroom_hub.machine import processes

_NAMES = {
    "emulator": ("AWS emulator", EmulatorError),
    "proxy": ("web proxy", ProxyError),
    "registry": ("image registry's front", RegistryError),
    "local-registry": ("registry of our images", RegistryError),
    "s3": ("object store", DataServerError),
    "ssh": ("SSH gateway", SshError),
}
"""What people call the program of a role, and the error that is about it."""
_INSTALL_WITHIN = 300  # seconds
_LINES = 15  # of what an installer said last


class InstallFailed(Exception):
    """An installer did not do it; the text is what follows its name.

    Attributes:
        output: What it said last, or "".
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


def install(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> None:
    """Run a command that installs something, for five minutes at most.

    Raises:
        InstallFailed: It did not run, or not to its end.
    """
    try:
        done = subprocess.run(
            [*_bound_to_us(), *command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_INSTALL_WITHIN,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallFailed(f"did not run ({type(error).__name__})") from error
    if done.returncode:
        output = (done.stdout + done.stderr).strip()
        last = "\n".join(output.splitlines()[-_LINES:])
        raise InstallFailed(f"ended with exit code {done.returncode}", last)


def _bound_to_us() -> list[str]:
    """Return the words that have the kernel end a command with us, where they can be had.

    It would go on filling a folder that `down` removes.
    """
    return ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []


def wait(
    home: Path,
    role: str,
    child: subprocess.Popen[bytes],
    answers: Callable[[], bool],
    within: float,
) -> None:
    """Return when a program that was just started answers; one that does not is stopped.

    Args:
        within: Seconds it may take.

    Raises:
        WorkroomError: It ended, or did not answer in time; one of `_NAMES`.
    """
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if answers():
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    processes.stop(home, role)
    log = home / f"{role}.log"
    name, problem = _NAMES[role]
    raise problem(
        f"The {name} was started and does not answer.",
        f"Read {log}.",
        details=processes.tail(log),
    )
