"""The processes `workroom up` leaves running, found again whatever happened in between.

Each is started in a session of its own with its output in a file of the state folder. Its
pid file holds the process id, the kernel's start time of that process (so that a reused id is
never taken for ours) and a fingerprint of what it was started with. A process whose pid file
was never written, because `up` was killed in that instant, is found by the marker in its
environment.

A process may be set aside: it ends by itself when its work is done, and another has its role by
then. It has a record of its own, `ROLE-PID.pid`, and is neither found nor stopped as `ROLE`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from workroom_hub.runtime import write_private

MARKER = "WORKROOM_PROCESS"
_LOG_LIMIT = 10 * 2**20


@dataclass(frozen=True)
class Process:
    """A running process of ours.

    Attributes:
        pid: Process id.
        started: Start time in clock ticks since boot, as in `/proc/PID/stat`.
        fingerprint: What it was started with, or "" if that is not known.
    """

    pid: int
    started: int
    fingerprint: str = ""

    @property
    def alive(self) -> bool:
        """True while this very process runs (a zombie does not)."""
        return start_ticks(self.pid) == self.started

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        since_boot = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, since_boot - self.started / os.sysconf("SC_CLK_TCK"))


def start_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    # Its first thread may have ended while others end yet: they hold its ports.
    ended = fields[0] in "ZX" and int(fields[17]) <= 1
    return None if ended else int(fields[19])


def memory(pid: int) -> int | None:
    """Return the bytes of memory of a process, mapped files left out; None if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return None
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return (int(sizes.get("VmRSS", 0)) - int(sizes.get("RssFile", 0))) * 1024


def session_of(pid: int) -> int | None:
    """Return the session of a process, which is the id of its first process; None if it is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def marker(home: Path, role: str) -> str:
    """Return the value of the environment variable that marks a process as `role` of `home`."""
    return f"{role}:{home}"


def find(home: Path, role: str) -> Process | None:
    """Return the running process `role` ("hub", "proxy") of this state folder, if any."""
    return next(iter(_current(home, role)), None)


def _current(home: Path, role: str) -> list[Process]:
    """Return the processes of a role, the one of the pid file first; those set aside are not."""
    others = {process.pid for process in aside(home, role)}
    recorded = _recorded(home / f"{role}.pid")
    found = [recorded] if recorded and recorded.pid not in others else []
    others |= {process.pid for process in found}
    return found + [p for p in _marked(marker(home, role)) if p.pid not in others]


def start(
    home: Path, role: str, command: Sequence[str], env: dict[str, str], fingerprint: str
) -> subprocess.Popen[bytes]:
    """Start a process that outlives us and record it.

    Its output goes to `ROLE.log` in the state folder; a log over 10 MiB is moved to
    `ROLE.log.1` first.

    Raises:
        OSError: The program cannot be run.
    """
    log = home / f"{role}.log"
    rotate(log)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    # A shell's background jobs ignore SIGINT, and so would everything started from here: the hub
    # could not stop its services with it.
    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    if ignored:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        child = subprocess.Popen(
            list(command),
            cwd=home,
            env={**env, MARKER: marker(home, role)},
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    record(home, role, child.pid, fingerprint)
    return child


def record(home: Path, role: str, pid: int, fingerprint: str) -> None:
    """Write the pid file of a running process."""
    ticks = start_ticks(pid)
    if ticks is not None:
        _write_record(home / f"{role}.pid", Process(pid, ticks, fingerprint))


def _write_record(path: Path, process: Process) -> None:
    write_private(path, f"{process.pid}\n{process.started}\n{process.fingerprint}\n")


def stop(home: Path, role: str, *, grace: float = 10.0) -> bool:
    """Stop every process `role` of this state folder: SIGTERM, then SIGKILL after `grace` seconds.

    Those set aside go on.

    Returns:
        True if one was running.
    """
    found = _current(home, role)
    for process in found:
        end(process, grace=grace)
    (home / f"{role}.pid").unlink(missing_ok=True)
    return bool(found)


def set_aside(home: Path, role: str, process: Process) -> None:
    """Record that a process ends by itself, so that another can have its role."""
    # First the new record: interrupted in between, it counts.
    _write_record(home / f"{role}-{process.pid}.pid", process)
    recorded = _recorded(home / f"{role}.pid")
    if recorded is None or recorded.pid == process.pid:
        (home / f"{role}.pid").unlink(missing_ok=True)


def aside(home: Path, role: str) -> list[Process]:
    """Return the processes that were set aside and still run, the oldest first."""
    found = [_recorded(path) for path in home.glob(f"{role}-*.pid")]
    return sorted(filter(None, found), key=lambda process: process.started)


def forget_ended(home: Path, role: str) -> None:
    """Remove the records of processes that were set aside and have ended."""
    for path in home.glob(f"{role}-*.pid"):
        if _recorded(path) is None:
            path.unlink(missing_ok=True)


def end(process: Process, *, grace: float = 10.0, first: int = signal.SIGTERM) -> None:
    """End one process: `first`, and SIGKILL if it still runs after `grace` seconds."""
    for number, patience in ((first, grace), (signal.SIGKILL, 5.0)):
        if not process.alive:
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
        deadline = time.monotonic() + patience
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.02)


def strays(home: Path) -> list[Process]:
    """Return what a hub that was killed left of its services (the idle culler).

    JupyterHub tells them their name in the environment, and they work in the hub's own folder.
    """
    return [
        Process(pid, ticks)
        for pid, ticks, variables in _own()
        if any(v.startswith(b"JUPYTERHUB_SERVICE_NAME=") for v in variables)
        and _link(f"/proc/{pid}/cwd") == str(home)
    ]


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log, or ""."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def rotate(log: Path, limit: int = _LOG_LIMIT) -> None:
    """Move a log of more than `limit` bytes to `NAME.1`."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > limit:
            shutil.move(log, log.with_name(f"{log.name}.1"))


def _recorded(path: Path) -> Process | None:
    try:
        pid, ticks, *rest = path.read_text().splitlines()
        process = Process(int(pid), int(ticks), rest[0] if rest else "")
    except (OSError, ValueError):
        return None
    return process if process.alive else None


def _marked(value: str) -> Iterator[Process]:
    exact = f"{MARKER}={value}".encode()
    for pid, ticks, variables in _own():
        if exact in variables:
            yield Process(pid, ticks)


def is_own(pid: int) -> bool:
    """Return whether a process is this user's and not in a container.

    Anybody may write anything into the environment of a process of theirs, and the processes of
    containers are in this machine's `/proc` too.
    """
    try:
        owner = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return False
    namespace = _link(f"/proc/{pid}/ns/pid")
    return owner == os.geteuid() and namespace != "" and namespace == _link("/proc/self/ns/pid")


def _own() -> Iterator[tuple[int, int, list[bytes]]]:
    """Yield process id, start time and environment of every other process of this user."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        ticks = start_ticks(pid)
        if ticks is None or not is_own(pid):
            continue
        try:
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if start_ticks(pid) == ticks:
            yield pid, ticks, variables


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
