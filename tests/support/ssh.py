"""Somebody's own computer: the real OpenSSH client, a key, and an account in an installation."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from docker.models.containers import Container

from tests.e2e.installation import LABEL, Installation, wait_for

Done = subprocess.CompletedProcess[bytes]


class Laptop:
    """A computer with an ssh configuration as people have it, and nothing of this machine's.

    Args:
        folder: Where its files are.
        installation: Whose gateway it calls `gw`.
        user: Whose it is.
    """

    def __init__(self, folder: Path, installation: Installation, user: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.installation = installation
        self.user = user
        self.port = int(installation.settings["ssh"]["port"])
        self.key_id = 0
        self.key = folder / "id"
        given = {"username": user, "password": installation.passwords[user]}
        answer = requests.post(
            f"{installation.hub_url}/users/{user}/tokens", json={"auth": given}, timeout=60
        )
        self.token = str(answer.json()["token"])
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{user}@laptop"]
        subprocess.run([*words, "-f", str(self.key)], check=True)
        self.config = folder / "config"
        self.configure()

    def configure(self, known: str = "") -> None:
        """Write `config` and `known_hosts`, with the host keys the gateway is said to have."""
        runtime = json.loads((self.installation.home / "runtime.json").read_text())
        names = f"[localhost]:{self.port},workroom,two"
        keys = [known] if known else runtime["ssh_host_keys"]
        (self.folder / "known_hosts").write_text("".join(f"{names} {key}\n" for key in keys))
        # A file, because `ssh -J` hands on to the ssh it starts nothing else.
        self.config.write_text(
            f"Host gw\n  HostName localhost\n  Port {self.port}\n  User {self.user}\n"
            f"Host *\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n  ConnectTimeout 20\n"
        )

    # -- the account ---------------------------------------------------------------

    def register(self) -> Laptop:
        """Add the key to the account, as its owner."""
        line = self.key.with_suffix(".pub").read_text()
        path = f"workroom/users/{self.user}/ssh-keys"
        answer = self.installation.hub("POST", path, {"key": line}, token=self.token)
        assert answer.status_code == 201, answer.text
        self.key_id = int(answer.json()["id"])
        return self

    def remove_key(self) -> None:
        """Take the key away from the account, as its owner."""
        path = f"workroom/users/{self.user}/ssh-keys/{self.key_id}"
        answer = self.installation.hub("DELETE", path, token=self.token)
        assert answer.status_code == 204, answer.text

    # -- commands ------------------------------------------------------------------

    def words(self, tool: str, *more: str) -> list[str]:
        """Return a command of OpenSSH with this computer's configuration."""
        return [tool, "-F", str(self.config), *more]

    def run(
        self,
        words: Sequence[str],
        stdin: bytes | None = None,
        code: int | None = 0,
        seconds: float = 60,
        **variables: str,
    ) -> Done:
        """Run a command; its exit code must be `code`, unless that is None."""
        done = subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
            timeout=seconds,
            cwd=self.folder,
            env={**self.environment, **variables},
        )
        assert code is None or done.returncode == code, (words, done)
        return done

    def ssh(self, *words: str, **more: Any) -> Done:
        """Run `ssh` with these words."""
        return self.run(self.words("ssh", *words), **more)

    def says(self, *words: str, **more: Any) -> str:
        """Run a command in the server; return what it printed, and have it print no errors."""
        done = self.ssh("gw", *words, **more)
        assert done.stderr == b"", done
        return str(done.stdout.decode().strip())

    def refused(self, *words: str, **more: Any) -> str:
        """Run `ssh`, which must fail as ssh does; return its error output."""
        done = self.ssh(*words, code=255, **more)
        assert done.stdout == b"", done
        return str(done.stderr.decode())

    @property
    def environment(self) -> dict[str, str]:
        """Environment of commands here; no agent of this machine's."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "GIT_", "LC_"))}
        return {**kept, "GIT_SSH_COMMAND": f"ssh -F {self.config}", "HOME": str(self.folder)}

    @contextmanager
    def background(self, *words: str, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Have `ssh` running meanwhile."""
        process = subprocess.Popen(
            self.words("ssh", *words),
            stdin=more.get("stdin", subprocess.PIPE),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=self.environment,
            cwd=self.folder,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextmanager
    def terminal(self, *words: str, columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
        """Have `ssh` running in a terminal."""
        terminal = Terminal(self.words("ssh", *words), self.environment, columns, rows)
        try:
            yield terminal
        finally:
            terminal.close()

    @contextmanager
    def agent(self) -> Iterator[str]:
        """Have an ssh-agent with this key; yields its socket."""
        path = self.folder / "agent"
        words = ["ssh-agent", "-D", "-a", str(path)]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
            try:
                wait_for(path.exists, "an agent")
                add = ["ssh-add", "-q", str(self.key)]
                subprocess.run(add, env={**os.environ, "SSH_AUTH_SOCK": str(path)}, check=True)
                yield str(path)
            finally:
                process.terminate()


class Terminal:
    """A real terminal with a command in it.

    Args:
        words: The command.
        environment: Its environment.
        columns: Width.
        rows: Height.
    """

    def __init__(
        self, words: Sequence[str], environment: dict[str, str], columns: int, rows: int
    ) -> None:
        self._ours, theirs = os.openpty()
        self.resize(columns, rows)
        self._process = subprocess.Popen(
            ["setsid", "--ctty", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.text = ""
        self._seen = 0
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return  # all of its other ends are closed
            if not data:
                return
            self.text += data.decode(errors="replace")

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def expect(self, pattern: str, seconds: float = 30) -> str:
        """Wait until something is shown that was not when this was last asked; return it."""
        deadline = time.monotonic() + seconds
        while True:
            found = re.compile(pattern, re.DOTALL).search(self.text, self._seen)
            if found:
                self._seen = found.end()
                return found[0]
            ended = self._process.poll() is not None and not self._reading.is_alive()
            assert not ended, f"ended without {pattern!r}: {self.text!r}"
            assert time.monotonic() < deadline, f"no {pattern!r} in {self.text[self._seen :]!r}"
            time.sleep(0.02)

    def ask(self, command: str, seconds: float = 30) -> str:
        """Type a command into a shell; return what it prints."""
        mark = os.urandom(4).hex()
        self.type(f"echo; echo {mark[:4]}''{mark[4:]}; {command}; echo {mark[:4]}''{mark[4:]}\r")
        self.expect(f"{mark}\r\n", seconds)
        return self.expect(f".*?(?={mark})", seconds).strip()

    def ended(self, seconds: float = 30) -> int:
        """Wait for the end; return the exit code."""
        code = self._process.wait(seconds)
        self._reading.join(5)
        return code

    def close(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)
        self._reading.join(5)
        os.close(self._ours)


def container_of(installation: Installation, user: str, server: str = "") -> Container:
    """Return the one container of a server, whichever spawner made it."""
    task = installation.server(user, server)["state"].get("task_arn")
    if task is None:
        return installation.container(user, server)
    labels = {"label": f"com.amazonaws.ecs.task-arn={task}"}
    [container] = installation.engine.containers.list(all=True, ignore_removed=True, filters=labels)
    return container


def with_server(installation: Installation, user: str, server: str = "") -> None:
    """Have a server running; one that does is left alone."""
    if not installation.server(user, server).get("ready"):
        path = installation.server_path(user, server)
        installation.hub("POST", path, {"profile": "small", "image": "notebook"})
        wait_for(lambda: installation.server(user, server).get("ready"), f"server of {user}", 60)


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answered(port: int, text: bytes = b"ping\n", seconds: float = 20) -> bytes:
    """Return what a port here answers to a line, once it listens."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
                connection.sendall(text)
                connection.shutdown(socket.SHUT_WR)
                pieces = []
                while data := connection.recv(65536):
                    pieces.append(data)
                return b"".join(pieces)
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nothing listens on {port}"
            time.sleep(0.05)


__all__ = ["LABEL", "Laptop", "Terminal", "answered", "container_of", "free_port", "with_server"]
