"""The real OpenSSH client, with certificates as the SSH gateway signs them."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from containers import Notebook, bridge_address
from hub_double import HubDouble

PRINCIPAL = "workroom-0123abcd"
TOKEN = "5e" * 32


def run(*words: object, check: bool = True, **more: object) -> subprocess.CompletedProcess[str]:
    """Run a program of this machine, its outputs together."""
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": 60}
    done = subprocess.run(
        [str(word) for word in words],
        text=True,
        check=False,
        **{**defaults, **more},  # type: ignore[arg-type]
    )
    assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}"
    return done


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Authority:
    """A CA and the keys it signs, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.key = self.plain("ca")

    def plain(self, name: str) -> Path:
        """Make a key without a certificate."""
        file = self.folder / name
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
        return file

    def signed(
        self, name: str, principal: str = PRINCIPAL, valid: str = "-1m:+20m", *options: str
    ) -> Path:
        """Make a key with a certificate."""
        file = self.plain(name)
        words = ["-I", name, "-n", principal, "-V", valid, *options]
        run("ssh-keygen", "-q", "-s", self.key, *words, file.with_suffix(".pub"))
        return file

    @property
    def public(self) -> str:
        """Public key line, as the hub hands it out."""
        return self.key.with_suffix(".pub").read_text().strip()

    def hub(self, **more: str) -> HubDouble:
        """A hub double whose server takes this authority's certificates."""
        double = HubDouble(bridge_address())
        environment = {
            **double.environment(),
            "WORKROOM_SSH_USER_CA": self.public,
            "WORKROOM_SSH_PRINCIPAL": PRINCIPAL,
            "WORKROOM_USAGE_TOKEN": TOKEN,
            **more,
        }
        double.start_answers = [(200, {"env": environment})]
        return double


class Client:
    """OpenSSH's programs, going to one container with one key.

    Args:
        server: Its host key must be the one it told the hub.
        key: Private key; its certificate beside it is used.
        options: More options of ssh.
    """

    def __init__(self, server: Notebook, key: Path, *options: str) -> None:
        assert server.hub
        self.address = server.address
        told = server.hub.start_requests[-1]["ssh_host_key"]
        known = key.parent / f"known-{server.id[:12]}"
        known.write_text(f"[{server.address}]:2222 {told}\n")
        self.options = [
            *options, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes",
            "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={known}", "-o", "LogLevel=ERROR",
            "-o", "Port=2222", "-F", "none", "-i", str(key),
        ]  # fmt: skip
        self.host = f"workroom@{server.address}"

    @property
    def words(self) -> list[str]:
        """The ssh command up to and with the host."""
        return ["ssh", *self.options, self.host]

    def __call__(
        self, command: str = "true", *, check: bool = True, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return run(*self.words, command, check=check, **{"stdin": subprocess.DEVNULL, **more})

    def says(self, command: str) -> str:
        """What a command prints."""
        return str(self(command).stdout).strip()

    def open(self, *words: str, tty: bool = False) -> subprocess.Popen[str]:
        """Start a session and leave it open; `tty` gives it a terminal there."""
        flags = ["-tt"] if tty else []
        return subprocess.Popen(
            ["ssh", *flags, *self.options, self.host, *words],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
