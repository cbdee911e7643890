"""This machine's S3 server as `workroom up` runs it, on loopback and a state folder of its own."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from workroom_hub.data_environment import USERS, s3_url
from workroom_hub.machine import data_s3, processes
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.settings import Settings

GATEWAY = "127.0.0.1"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server((GATEWAY, 0)) as probe:
        return int(probe.getsockname()[1])


class S3Server:
    """A server to start, stop and kill; as a context it is up inside and gone after.

    Attributes:
        stack: The installation it belongs to.
        rights: The folder with the keys that its parts have in common.
    """

    def __init__(self, home: Path, settings: dict[str, Any] | None = None, **data: Any) -> None:
        given = {"data": {"s3_port": free_port(), **data}, **(settings or {})}
        self.stack = Stack(Settings.model_validate(given), None, home, Reporter(quiet=True))
        self.rights = home / data_s3.FOLDER / "s3-rights"
        self.child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> S3Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Its address."""
        return s3_url(self.stack.settings, GATEWAY)

    @property
    def inner(self) -> dict[str, int]:
        """Ports of its parts."""
        found: dict[str, int] = json.loads(
            (self.stack.home / data_s3.FOLDER / "s3-ports.json").read_text()
        )
        return found

    def start(self) -> bool:
        """Start it as `up` does; return whether it had to be."""
        child = data_s3.begin(self.stack, GATEWAY)
        self.child = child or self.child
        data_s3.wait(self.stack, GATEWAY, child)
        return child is not None

    def kill(self) -> None:
        """End it with SIGKILL."""
        running = processes.find(self.stack.home, data_s3.ROLE)
        if running and self.child and running.pid == self.child.pid:
            with suppress(ProcessLookupError):
                self.child.kill()
            self.child.wait()

    def client(self, identity: str = USERS) -> Any:
        """Return a boto3 client with an identity's key."""
        return data_s3.client(self.stack, GATEWAY, identity)

    def shell(self, master: str, command: str, folder: Path) -> str:
        """Return what the server's own shell says, run in a folder that may hold the keys."""
        try:
            done = subprocess.run(
                [data_s3.program(), f"-config_dir={folder}", "shell", f"-master={master}"],
                cwd=folder,
                input=f"{command}\n",
                capture_output=True,
                text=True,
                check=False,
                timeout=8,
            )
        except subprocess.TimeoutExpired:
            return ""
        return done.stdout
