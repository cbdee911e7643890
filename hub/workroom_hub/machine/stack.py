"""One installation on this machine: its settings, its state folder, its addresses."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import workroom_hub
from workroom_hub import config_file
from workroom_hub.errors import MachineError
from workroom_hub.machine.console import Reporter
from workroom_hub.runtime import (
    SECRETS,
    Runtime,
    read_installation,
    read_secret,
    state_folder,
    uses_emulator,
    write_private,
)
from workroom_hub.settings import Settings

# The emulator takes any; without some, boto3 would look for an instance's role.
EMULATOR_KEYS = {
    "AWS_ACCESS_KEY_ID": "emulator",
    "AWS_SECRET_ACCESS_KEY": "emulator",
    "AWS_EC2_METADATA_DISABLED": "true",
}


PORTS_FILE = "ports.json"
"""File of the state folder with the ports that `up` was given by environment variables."""
_PORTS = tuple(name for name in config_file.OVERRIDES if name.endswith("_PORT"))


@dataclass(frozen=True)
class Stack:
    """What every command starts from.

    Attributes:
        settings: The settings.
        config: The file they came from, or None for the defaults.
        home: State folder (absolute).
        report: Where progress is shown.
    """

    settings: Settings
    config: Path | None
    home: Path
    report: Reporter

    @classmethod
    def load(cls, config: Path | None = None, *, quiet: bool = False, anew: bool = False) -> Stack:
        """Read the settings; nothing is made or started.

        Args:
            config: The file; None for the usual one.
            quiet: Say nothing but warnings.
            anew: Ports of variables that `up` was given earlier do not count.

        Raises:
            ConfigError: The settings are not usable.
        """
        home = state_folder()
        given = {name: value for name, value in os.environ.items() if value}
        return cls(
            config_file.load(config, given if anew else {**_remembered_ports(home), **given}),
            config_file.config_path(config),
            home,
            Reporter(quiet=quiet),
        )

    @property
    def url(self) -> str:
        """The address people type."""
        return self.settings.web.address + "/"

    @property
    def environment(self) -> dict[str, str]:
        """Environment of the processes we start: this one's, and where settings and state are."""
        env = {**os.environ, "WORKROOM_HOME": str(self.home)}
        env.pop("WORKROOM_CONFIG", None)
        if self.config:
            env["WORKROOM_CONFIG"] = str(self.config)
        # What a caller set for its own tests or its own hub is not ours.
        for name in [n for n in env if n.startswith(("JUPYTERHUB_", "CONFIGPROXY_"))]:
            del env[name]
        if self.emulated:
            # No key of a real account is sent to an emulator.
            for name in [n for n in env if n.startswith("AWS_")]:
                del env[name]
            env |= EMULATOR_KEYS
            for name in ("NO_PROXY", "no_proxy"):
                env[name] = ",".join(filter(None, [env.get(name, ""), "127.0.0.1"]))
        return env

    @property
    def emulated(self) -> bool:
        """Whether servers run on the AWS emulator, whatever the settings say."""
        return uses_emulator(self.home)

    @property
    def spawner(self) -> str:
        """Where servers run: "local", or "ecs", which the emulator is too."""
        return "ecs" if self.emulated else self.settings.spawner

    def gateway(self) -> str:
        """Return this machine's address on the users' network, as `up` found it; "" before that."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            return Runtime.load(self.home).gateway
        return ""

    def instances(self) -> tuple[str, ...]:
        """Return the instance of the settings, and the one that is up if that is another."""
        names = [self.settings.instance]
        with suppress(OSError, ValueError, TypeError, KeyError):
            names.append(Runtime.load(self.home).network.removesuffix("-users"))
        return tuple(dict.fromkeys(filter(None, names)))

    def prepare_home(self) -> None:
        """Make the state folder's secrets and the installation's id; within `locked`.

        Raises:
            MachineError: It cannot be written.
        """
        with self._writing():
            for name in SECRETS:
                read_secret(self.home, name)
            read_installation(self.home)

    def remember_ports(self) -> None:
        """Keep the ports that were given by variables, so that later commands need not be."""
        ports = {name: os.environ[name] for name in _PORTS if os.environ.get(name)}
        if ports:
            write_private(self.home / PORTS_FILE, json.dumps(ports) + "\n")
        else:
            self.forget_ports()

    def forget_ports(self) -> None:
        """What comes next is as the settings say."""
        (self.home / PORTS_FILE).unlink(missing_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise MachineError(
                f"The state folder '{self.home}' cannot be written: {error.strerror}.",
                "Free some room, or set WORKROOM_HOME to a folder that this user can write.",
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let only one command work on this state folder at a time; it is made (mode 0700) first.

        Raises:
            MachineError: The folder cannot be written.
        """
        with self._writing():
            file = self._lock()
        with file:
            yield

    def _lock(self) -> IO[str]:
        while True:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.home.chmod(0o700)
            file = (self.home / "up.lock").open("a+")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                other = file.read().strip() or "unknown"
                self.report.line(f"Another workroom command works here (process {other}); waiting.")
                fcntl.flock(file, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                # The one before us may have removed the file with everything else.
                if os.path.samestat(os.fstat(file.fileno()), (self.home / "up.lock").stat()):
                    file.seek(0)
                    file.truncate()
                    file.write(str(os.getpid()))
                    file.flush()
                    return file
            file.close()


def _remembered_ports(home: Path) -> dict[str, str]:
    try:
        found = json.loads((home / PORTS_FILE).read_text())
        return {name: str(found[name]) for name in _PORTS if name in found}
    except (OSError, ValueError, TypeError):
        return {}


def fingerprint(*parts: str) -> str:
    """Return a hash of what a process was started with."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()[:32]


def source_fingerprint() -> str:
    """Return a hash of our own packages' files, so that new code is run and not just stored."""
    import workroom_spawner

    digest = hashlib.sha256(workroom_hub.__file__.encode())
    for package in (workroom_hub, workroom_spawner):
        root = Path(package.__file__ or "").parent
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(root)}".encode() + path.read_bytes())
    return digest.hexdigest()[:32]
