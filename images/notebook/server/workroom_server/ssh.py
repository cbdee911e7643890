"""Runs sshd in the container: for the SSH gateway's certificates, with notebooks' environment.

The hub hands out whose certificates count and for which principal. Without that there is no sshd.
The listener is started again when it dies; sessions are processes of their own and stay.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from . import host_key

if TYPE_CHECKING:
    import subprocess

PRIVATE = Path("/var/lib/workroom/ssh")
SSHD = ("/usr/sbin/sshd", "-D", "-e", "-f", "/etc/ssh/workroom_sshd_config")
# sshd hands its configuration to each connection's process in a message of at most 256 KiB.
LARGEST_ENVIRONMENT = 100_000
STEADY_AFTER = 60.0

# What belongs to one process or one session, and would be wrong in another.
_OF_ONE_PROCESS = frozenset(
    {"_", "SHLVL", "PWD", "OLDPWD", "TERM", "TERMCAP", "LINES", "COLUMNS", "MAIL"}
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def say(sentence: str) -> None:
    """Write a line into the container's log."""
    print(f"workroom-start: {sentence}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Orders:
    """What the hub said about ssh and the live figures.

    Attributes:
        user_ca: Public key whose certificates are let in; "" for no sshd.
        principal: The one principal that is let in.
        usage_token: What the hub shows when it asks for this server's figures; "" for nobody.
    """

    user_ca: str = ""
    principal: str = ""
    usage_token: str = field(default="", repr=False)


def take_orders(environment: MutableMapping[str, str]) -> Orders:
    """Take what concerns ssh and the figures out of `environment`: kernels must not see it."""
    return Orders(
        user_ca=environment.pop("WORKROOM_SSH_USER_CA", "").strip(),
        principal=environment.pop("WORKROOM_SSH_PRINCIPAL", "").strip(),
        usage_token=environment.pop("WORKROOM_USAGE_TOKEN", "").strip(),
    )


def prepare_host_key(environment: Mapping[str, str], private: Path = PRIVATE) -> str | None:
    """Put the host key in place; its public line, or None if there can be none.

    A server without ssh is better than no server, so this never raises.
    """
    home = Path(environment.get("HOME") or "/home/workroom")
    try:
        return host_key.prepare(home, private, say)
    except Exception as error:
        say(f"there is no ssh in this server, for want of a host key: {error}")
        return None


def start(
    orders: Orders, environment: Mapping[str, str], private: Path = PRIVATE
) -> Listener | None:
    """Start sshd and keep it running until this process ends.

    Args:
        orders: From `take_orders`.
        environment: What notebooks have; sessions get the same.
        private: Folder of the files that the configuration of sshd names.

    Returns:
        None if the hub did not ask for it or it cannot be had; the log says why.
    """
    if not orders.user_ca or not (private / host_key.NAME).exists():
        return None
    if not _PRINCIPAL.match(orders.principal):
        say("there is no ssh in this server: the hub named no principal that sshd would take")
        return None
    try:
        write_files(orders, environment, private)
    except OSError as error:
        say(f"there is no ssh in this server: {error}")
        return None
    return Listener(environment.get("PATH", os.defpath))


def write_files(orders: Orders, environment: Mapping[str, str], private: Path) -> None:
    """Write the files that `workroom_sshd_config` names.

    Raises:
        OSError: The folder cannot be written.
    """
    line, left_out = set_env(session_environment(environment))
    if left_out:
        say(f"ssh sessions do without these variables, which sshd cannot carry: {left_out}")
    for name, text in {
        "user_ca.pub": orders.user_ca,
        "principals": orders.principal,
        "environment.conf": line,
    }.items():
        file = private / name
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text + "\n")


def session_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what ssh sessions get of a notebook's environment.

    Their PATH begins with the person's own programs, as it does in every log-in shell
    (`/etc/profile.d/workroom.sh`): `ssh host command` reads no profile.
    """
    own = f"{environment.get('HOME', '')}/.local/bin"
    path = [part for part in environment.get("PATH", os.defpath).split(":") if part != own]
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _OF_ONE_PROCESS and not name.startswith("SSH_")
    }
    return {**kept, "PATH": ":".join([own, *path])}


def set_env(environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the one SetEnv line of sshd's configuration, and the names it leaves out.

    One line, because sshd heeds only the first. Small values come first, so that one that is
    too large takes nothing else with it.
    """
    words, left_out, size = [], [], 0
    for name, value in sorted(environment.items(), key=lambda item: (len(item[1]), item[0])):
        text = f"{name}={value}"
        size += len(text.encode(errors="surrogateescape"))
        if not _NAME.match(name) or "\n" in value or size > LARGEST_ENVIRONMENT:
            left_out.append(name)
            size -= len(text.encode(errors="surrogateescape"))
            continue
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        words.append(f'"{quoted}"')
    return " ".join(["SetEnv", *words]), ", ".join(sorted(left_out))


class Listener(threading.Thread):
    """The listening sshd, started again whenever it ends.

    Args:
        path: Where its own programs are looked for. It has no other variable: sessions get
            theirs from its configuration.
        command: What to run.
        pause: Seconds before the first try after an end; doubled each time up to a minute, and
            back to this once it has run for a minute.
    """

    def __init__(self, path: str, command: tuple[str, ...] = SSHD, pause: float = 0.5) -> None:
        super().__init__(name="sshd", daemon=True)
        self.path, self.command, self.shortest = path, command, pause
        self.process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        atexit.register(self.stop)
        self.start()

    def run(self) -> None:
        pause = self.shortest
        while not self._stopping.is_set():
            began = time.monotonic()
            ended = self._once()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > STEADY_AFTER:
                pause = self.shortest
            say(f"sshd {ended}; it is started again in {pause:g} s. Open sessions stay")
            self._stopping.wait(pause)
            pause = min(pause * 2, STEADY_AFTER)

    def _once(self) -> str:
        """Run it until it ends; how it did."""
        import subprocess

        try:
            self.process = subprocess.Popen(
                self.command,
                env={"PATH": self.path, "LANG": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            return f"could not be started ({error.strerror})"
        if self._stopping.is_set():  # by stop(), before there was a process to end
            self.process.terminate()
        code = self.process.wait()
        return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"

    def stop(self) -> None:
        """End the listener; open sessions end with the container."""
        self._stopping.set()
        if self.process and self.process.poll() is None:
            self.process.terminate()
