"""ssh-sessions: the gateway's memory for each of 200 idle sessions; 50 busy ones beside each other.

The peer of the memory is OpenSSH: what the container's sshd holds for each of the same sessions
(its two processes' private memory). A busy session fetches 40 MB; the slowest and the fastest are
said on the way, and none may starve.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hubs import report
from ssh_stage import Stage, stage

IDLE = 200
BUSY = 50
BYTES = 40_000_000


def resident(pid: int) -> float:
    """Return the KiB of memory that only this process holds."""
    kept = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_"):
            kept += int(line.split()[1])
    return kept


def sshd(there: Stage) -> float:
    """Return the KiB that the container's sshd and its sessions hold."""
    listed = subprocess.run(
        ["docker", "top", there.container, "-eo", "pid,comm"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    pids = [int(line.split()[0]) for line in listed.splitlines() if "sshd" in line]
    return sum(resident(pid) for pid in pids)


def idle(there: Stage) -> tuple[float, float]:
    """Return KiB for each idle session: the gateway's, and sshd's."""
    pid = there.gateway_pid()
    subprocess.run(there.ssh("gateway", "true"), check=True, stdin=subprocess.DEVNULL)
    time.sleep(1)
    before = resident(pid), sshd(there)
    sessions = []
    for number in range(IDLE):
        sessions.append(
            subprocess.Popen(
                there.ssh("gateway", "cat"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
        )
        if number % 10 == 9:
            time.sleep(0.7)
    time.sleep(10)
    after = resident(pid), sshd(there)
    for session in sessions:
        session.stdin.close()  # type: ignore[union-attr]
    if any(session.wait(60) for session in sessions):
        raise RuntimeError("a session failed")
    return (after[0] - before[0]) / IDLE, (after[1] - before[1]) / IDLE


def busy(there: Stage) -> tuple[float, float]:
    """Return the seconds the first and the last of the busy sessions took; they begin together."""
    command = there.ssh("gateway", f"echo ready; read go; head -c {BYTES} /dev/zero")
    sessions: list[subprocess.Popen[bytes]] = []
    while len(sessions) < BUSY:
        # The door lets one address have a quarter of its places at a time, 25 here.
        some = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for _ in range(min(10, BUSY - len(sessions)))
        ]
        for session in some:
            if session.stdout.readline() != b"ready\n":  # type: ignore[union-attr]
                raise RuntimeError("a busy session did not begin")
        sessions += some
    began = time.monotonic()
    for session in sessions:
        session.stdin.write(b"go\n")  # type: ignore[union-attr]
        session.stdin.close()  # type: ignore[union-attr]
    with ThreadPoolExecutor(BUSY) as pool:
        ended = sorted(pool.map(lambda session: _fetched(session, began), sessions))
    return ended[0], ended[-1]


def _fetched(session: subprocess.Popen[bytes], began: float) -> float:
    """Read all of it; return the seconds since they began."""
    size = 0
    while piece := session.stdout.read(2**20):  # type: ignore[union-attr]
        size += len(piece)
    if session.wait(60) or size != BYTES:
        raise RuntimeError("a busy session failed")
    return time.monotonic() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, stage(Path(folder), 8466) as there:
        ours, peer = idle(there)
        print(f"idle: {ours:.0f} KiB in the gateway, {peer:.0f} in sshd", file=sys.stderr)
        first, last = busy(there)
        print(
            f"busy: {BUSY} x {BYTES / 1e6:.0f} MB, ended after {first:.1f} to {last:.1f} s",
            file=sys.stderr,
        )
    report("ssh-sessions", ours, "KiB", peer)


if __name__ == "__main__":
    main()
