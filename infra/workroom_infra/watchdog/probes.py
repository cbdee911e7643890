"""Child processes that ask a mount how full it is, and may never come back.

Each probe is a fork of this small process, which calls statvfs and nothing else: unlike stat, it is
never answered from the kernel's cache, on NFS as on FUSE. A child that hangs cannot be ended by
anybody, so nobody here waits for one.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from workroom_infra.watchdog.mounts import Mount

_BEGUN = b"b"


@dataclass
class Probe:
    """A child that was sent to a mount."""

    mount: Mount
    pid: int
    started: int
    """When the process started, in the kernel's ticks: a pid alone may be somebody else's."""
    pipe: int | None
    """Where its answer comes from. None: the child of an earlier process of ours."""
    begun: bool = False
    text: bytes = b""


@dataclass(frozen=True)
class Said:
    """What became of a probe: it has begun, was answered with an error number, or was lost."""

    key: str
    what: str
    error: int = 0


class Probes:
    """All children that are out, one at most for each mount."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.out: dict[str, Probe] = {}
        self._ended: list[int] = []

    def start(self, mount: Mount) -> bool:
        """Send a child; False if there can be none now."""
        if mount.key in self.out or len(self.out) >= self._most:
            return False
        reader = writer = -1
        try:
            reader, writer = os.pipe()
            pid = fork()
        except OSError:
            for end in (reader, writer):
                if end >= 0:
                    os.close(end)
            return False
        if pid == 0:
            _ask(mount.point, writer)
        os.close(writer)
        os.set_blocking(reader, False)
        self.out[mount.key] = Probe(mount, pid, started(pid) or 0, reader)
        return True

    def adopt(self, saved: Iterable[Mapping[str, Any]]) -> list[Mount]:
        """Count children of an earlier process of ours that still hang; where they do."""
        for entry in saved:
            mount = Mount(str(entry["key"]), str(entry["point"]), str(entry["type"]))
            probe = Probe(mount, int(entry["pid"]), int(entry["started"]), None, begun=True)
            if started(probe.pid) == probe.started:
                self.out[mount.key] = probe
        return [probe.mount for probe in self.out.values()]

    def collect(self, seconds: float, others: Iterable[int] = ()) -> list[Said]:
        """Wait so long at most for answers or for other pipes; what became of probes."""
        pipes = {probe.pipe: probe for probe in self.out.values() if probe.pipe is not None}
        ready = wait([*pipes, *others], seconds)
        said = []
        for pipe in ready:
            if pipe in pipes:
                said += self._read(pipes[pipe])
        for probe in list(self.out.values()):
            if probe.pipe is None and started(probe.pid) != probe.started:
                del self.out[probe.mount.key]
                said.append(Said(probe.mount.key, "lost"))
        self._reap()
        return said

    def saved(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """What `adopt` needs of the children at some mounts."""
        out = [self.out[key] for key in keys if key in self.out]
        return [
            {**asdict(probe.mount), "pid": probe.pid, "started": probe.started} for probe in out
        ]

    def _read(self, probe: Probe) -> list[Said]:
        assert probe.pipe is not None
        key = probe.mount.key
        try:
            text = os.read(probe.pipe, 64)
        except BlockingIOError:
            return []
        said = []
        probe.text += text
        if not probe.begun and probe.text.startswith(_BEGUN):
            probe.begun = True
            said.append(Said(key, "begun"))
        if not text:
            os.close(probe.pipe)
            del self.out[key]
            self._ended.append(probe.pid)
            answer = probe.text[len(_BEGUN) :]
            if answer.endswith(b"\n"):
                said.append(Said(key, "answered", int(answer)))
            else:
                said.append(Said(key, "lost"))
        return said

    def _reap(self) -> None:
        self._ended = [pid for pid in self._ended if not reaped(pid)]


def fork() -> int:
    """Fork without what only the parent needs.

    Never `subprocess`, whose vfork keeps the parent in D state until the child's exec.
    """
    pid = os.fork()
    if pid == 0:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
    return pid


def wait(pipes: Iterable[int], seconds: float) -> list[int]:
    """Wait for pipes that can be read, or that ended."""
    poller = select.poll()
    for pipe in pipes:
        poller.register(pipe, select.POLLIN)
    return [pipe for pipe, _ in poller.poll(max(0.0, seconds) * 1000)]


def reaped(pid: int) -> bool:
    """Whether a child has ended, without waiting for it."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def started(pid: int) -> int | None:
    """When a process started, in ticks since boot; None if there is none, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            words = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if words[0] in "ZX" else int(words[19])


def keep_only(*kept: int) -> None:
    """Close all other files: a child that hangs must not hold anything of its parent's."""
    bounds = [-1, *sorted(kept), os.sysconf("SC_OPEN_MAX")]
    for low, high in zip(bounds, bounds[1:]):
        os.closerange(low + 1, high)


def _ask(point: str, writer: int) -> None:
    """In the child: ask, answer, end."""
    try:
        keep_only(writer)
        os.write(writer, _BEGUN)
        error = 0
        try:
            os.statvfs(point)
        except OSError as failure:
            error = failure.errno or 1
        with suppress(OSError):
            os.write(writer, b"%d\n" % error)
    finally:
        os._exit(0)
