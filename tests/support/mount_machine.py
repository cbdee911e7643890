"""A machine of the cluster with one FUSE mount and the real watchdog process on it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fakes.machine_metadata import MachineMetadata
from tests.fakes.moto_account import CLUSTER, CREDENTIALS, REGION, MotoAccount

FUSE = Path(__file__).parents[1] / "fakes" / "fuse_mount.py"
SHORT = {"PROBE_EVERY": "0.5", "HANG_AFTER": "3", "SETTLE": "0.5", "LOOK_EVERY": "1"}


def dies_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def until(condition: Callable[[], Any], seconds: float, what: str) -> float:
    """Wait for a condition; how long it took."""
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - begun


class FuseMount:
    """A mount that does as it is told. Its mount namespace is entered with `command`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._server = subprocess.Popen(
            [sys.executable, str(FUSE), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.pid = self._server.pid
        assert self._server.stdout
        if self._server.stdout.readline() != "mounted\n":
            raise RuntimeError(self._server.communicate()[1])

    def turn(self, words: str) -> None:
        """`ok`, `slow SECONDS` or `hang`."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{words}\n")
        assert self._server.stdout.readline() == "done\n"

    def command(self, *words: str) -> list[str]:
        """These words, run where the mount is seen."""
        return ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", "--", *words]

    def unmount(self) -> None:
        """Take it away as `umount -l` does."""
        subprocess.run(self.command("umount", "-l", str(self.folder)), check=True)

    def close(self) -> None:
        """Abort what hangs, and end."""
        self._server.kill()
        self._server.communicate()


class States(threading.Thread):
    """Samples the threads of a process every few milliseconds.

    `bad` has the kernel's stack of each that was in D state, or in the file system of the test.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.counts = pid, Counter[str]()
        self.bad: list[str] = []
        self._stop_it = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._stop_it.wait(0.005):
            for task in Path(f"/proc/{self.pid}/task").glob("*"):
                try:
                    state = (task / "stat").read_text().rpartition(")")[2].split()[0]
                    self.counts[state] += 1
                    stack = (task / "stack").read_text()
                    if state == "D" or "fuse_" in stack:
                        self.bad.append(f"{state}\n{stack}")
                except OSError:
                    continue

    def stop(self) -> None:
        self._stop_it.set()
        self.join()


class MountMachine:
    """A context manager: account, metadata, mount; `start` runs the watchdog."""

    def __init__(self, folder: Path, machines: int = 1, **settings: str) -> None:
        self.folder = folder
        self.settings = {**SHORT, **settings}
        self.account = MotoAccount(machines)
        self.watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> MountMachine:
        self.account.__enter__()
        account = self.account
        self.metadata = MachineMetadata(
            account.instances[0], REGION, CLUSTER, account.arns[0]
        ).__enter__()
        self.mount = FuseMount(self.folder / "mount")
        # In memory, as /run is on a machine: files on disk make their writer wait in D state.
        self._memory = tempfile.TemporaryDirectory(prefix="workroom-watchdog-", dir="/dev/shm")
        self.run = Path(self._memory.name)
        return self

    def __exit__(self, *_: object) -> None:
        self.mount.close()
        if self.watchdog:
            self.watchdog.kill()
            self.watchdog.wait()
        self._memory.cleanup()
        self.metadata.__exit__()
        self.account.__exit__()

    def start(self) -> None:
        """Run the watchdog until it probes and knows who it is."""
        chosen = {
            "TYPES": "fuse",
            "UNDER": str(self.folder),
            "STATE_FOLDER": str(self.run),
            "AGENT": self.metadata.url,
            "IMDS": self.metadata.url,
            **self.settings,
        }
        variables = {f"WORKROOM_WATCHDOG_{name}": value for name, value in chosen.items()}
        with (self.run / "log").open("ab") as log:
            self.watchdog = subprocess.Popen(
                self.mount.command(sys.executable, "-m", "workroom_infra.watchdog"),
                env={
                    **os.environ,
                    **CREDENTIALS,
                    "AWS_ENDPOINT_URL": self.account.url,
                    **variables,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent,
            )
        known = "phase", "unknown"
        until(lambda: self.state().get(known[0], known[1]) != known[1], 20, f"a look{self.log}")

    def stop(self) -> float:
        """SIGTERM; how long it took to end."""
        assert self.watchdog
        begun = time.monotonic()
        self.watchdog.terminate()
        self.watchdog.wait(timeout=5)
        return time.monotonic() - begun

    def state(self) -> dict[str, Any]:
        """What the watchdog publishes."""
        try:
            return dict(json.loads((self.run / "state.json").read_text()))
        except FileNotFoundError:
            return {}

    def until_phase(self, phase: str, seconds: float) -> float:
        """Wait until it says that it is in a phase; how long it took."""
        return until(lambda: self.state()["phase"] == phase, seconds, f"{phase}\n{self.log}")

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.run / "log").read_text()

    def probes(self) -> list[int]:
        """Its children that hang on the mount, by the kernel's own word."""
        space, found = os.readlink(f"/proc/{self.mount.pid}/ns/mnt"), []
        for stack in Path("/proc").glob("[0-9]*/stack"):
            try:
                words = (stack.parent / "cmdline").read_bytes()
                ours = os.readlink(stack.parent / "ns" / "mnt") == space
                ours = ours and b"workroom_infra.watchdog" in words
                if ours and "fuse_" in stack.read_text():
                    found.append(int(stack.parent.name))
            except OSError:
                continue
        return found
