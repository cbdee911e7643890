"""The base image: the engine's, else its registry's, else made from Debian's packages.

The official image of Debian is made of the same packages in the same way, so one that is made
here differs only in its date.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import IO, cast

from workroom_hub.errors import ImageError, MachineError
from workroom_hub.machine import packages, scratch
from workroom_hub.machine.console import Step

PULL_SILENCE = 25.0
# What the official slim image leaves out too.
LEFT_OUT = (
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
)
CLEAN = 'cd "$1" && rm -rf var/lib/apt/lists/* var/cache/apt/* var/log/* var/cache/debconf/*-old'


def ensure_base(
    ref: str, *, progress: Callable[[str], None], output: IO[str], fresh: bool = False
) -> None:
    """Have the base image in the engine.

    Args:
        ref: Its reference, such as `debian:bookworm-slim`.
        progress: Told each step as it begins.
        output: Gets the output of what is run.
        fresh: Pull it or make it anew even if it is there; one that can be neither stays.

    Raises:
        ImageError: It is not there, cannot be pulled, and is not one that can be made.
    """
    words = ["docker", "image", "inspect", ref]
    present = subprocess.run(words, capture_output=True, check=False).returncode == 0
    if present and not fresh:
        return
    progress(f"base image {ref}: asking its registry")
    reason = _pull(ref, output)
    if reason is None:
        return
    suite = _debian_suite(ref)
    if suite is None and present:
        progress(f"base image {ref}: kept as it is ({reason})")
        return
    if suite is None:
        raise ImageError(
            f"The base image '{ref}' cannot be pulled: {reason}",
            "Correct 'build.base_image' in workroom.yaml, or log in to its registry: docker login",
        )
    progress(f"base image {ref}: making it from Debian's packages")
    _install_mmdebstrap(ref, reason, progress)
    _make(ref, suite, output)


def _pull(ref: str, output: IO[str]) -> str | None:
    """Pull an image; return None if that worked, else the reason.

    A pull that says nothing for a while is given up: some networks drop what they do not allow.
    """
    process = subprocess.Popen(
        ["docker", "pull", ref], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    last = ""
    watch = _Watch(process, PULL_SILENCE)
    try:
        for line in process.stdout:
            watch.heard()
            output.write(line)
            last = line.strip() or last
    except BaseException:
        process.terminate()
        raise
    finally:
        watch.stop()
    if process.wait() == 0:
        return None
    return f"its registry did not answer within {PULL_SILENCE:.0f} s" if watch.ended else last


class _Watch:
    """Ends a process that has said nothing for some seconds."""

    def __init__(self, process: subprocess.Popen[str], silence: float) -> None:
        self.process, self.silence, self.ended = process, silence, False
        self._timer = self._started()

    def _started(self) -> threading.Timer:
        timer = threading.Timer(self.silence, self._end)
        timer.daemon = True
        timer.start()
        return timer

    def heard(self) -> None:
        self._timer.cancel()
        self._timer = self._started()

    def stop(self) -> None:
        self._timer.cancel()

    def _end(self) -> None:
        self.ended = True
        self.process.terminate()


def _debian_suite(ref: str) -> str | None:
    """Return the Debian release an image reference stands for, or None if it is another image."""
    match = re.fullmatch(r"(?:docker\.io/)?(?:library/)?debian:(bookworm)(?:-slim)?", ref)
    return match[1] if match else None


def _install_mmdebstrap(ref: str, reason: str, progress: Callable[[str], None]) -> None:
    if shutil.which("mmdebstrap"):
        return
    step = cast("Step", SimpleNamespace(update=progress))
    names = ["mmdebstrap", "debian-archive-keyring"]
    try:
        packages.install(names, "the tool that makes base images", step)
    except MachineError as error:
        raise ImageError(
            f"The base image '{ref}' cannot be pulled ({reason}), and this machine lacks "
            "mmdebstrap, which makes it.",
            f"{packages.command(names)}\nor give the engine that image: docker load",
            details=error.details,
        ) from error


def _make(ref: str, suite: str, output: IO[str]) -> None:
    """Make the base image; it gets its name in the last step only."""
    with scratch.folder("base") as folder:
        archive = folder / "base.tar"
        words = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates"]
        words += [f"--dpkgopt={line}" for line in LEFT_OUT]
        words += ['--aptopt=Acquire::Languages "none"', f"--customize-hook={CLEAN}"]
        for command in (
            [*words, suite, str(archive)],
            ["docker", "import", "--change", 'CMD ["bash"]', str(archive), ref],
        ):
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
            )
            output.write(done.stdout)
            if done.returncode:
                raise ImageError(
                    f"The base image '{ref}' could not be made: {command[0]} failed.",
                    "Check that this machine reaches Debian's packages (apt-get update), "
                    "then try again: workroom build",
                    details="\n".join(done.stdout.splitlines()[-20:]),
                )
