"""Ports of this machine: is one free, and if not, who has it."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from workroom_hub.errors import PortTaken
from workroom_hub.machine.processes import Process, session_of


def require_free(host: str, port: int, purpose: str, setting: str) -> None:
    """Do nothing if the port can be listened on.

    Args:
        host: Address to listen on; "" or "0.0.0.0" for all.
        port: The port.
        purpose: What for, as in "the web page".
        setting: How to choose another, as in "WORKROOM_PORT=8010 make up".

    Raises:
        PortTaken: Something else listens there, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except PermissionError as error:
            raise PortTaken(
                f"This user may not listen on port {port} ({purpose}).",
                f"Ports below 1024 need root. Choose another: {setting}",
            ) from error
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise PortTaken(
                    f"Port {port} ({purpose}) cannot be used at {host}: that is no address of this "
                    "machine.",
                    "Correct the address: 127.0.0.1 is this machine alone, 0.0.0.0 is everybody.",
                ) from error
            owner = listener(port) if error.errno == errno.EADDRINUSE else None
            what = (
                f"is taken by {owner}" if owner else f"cannot be used at {host}: {error.strerror}"
            )
            raise PortTaken(
                f"Port {port} ({purpose}) {what}.",
                f"Stop that process, or choose another port: {setting}",
            ) from error


def is_own(host: str) -> bool:
    """Return whether an IPv4 address is one of this machine's now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


def listener(port: int, host: str | None = None) -> str | None:
    """Return who listens on a TCP port, as "nginx (process 412)"; None if nobody does.

    Args:
        port: The port.
        host: Only who gets the connections to this IPv4 address; None means any address.
    """
    inodes = _listening(port, host)
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        if inodes & _open_files(entry):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                # Not `comm`, which names a thread: Node's is called MainThread.
                name = Path(command.split(" ")[0]).name
                return f"{name} (process {entry.name}: {command[:80]})"
    return "a process of another user"


def listens(process: Process, host: str, port: int) -> bool:
    """Return whether it is this process, or a child in its session, that answers at an address.

    False too where this user may not see whose the socket is, so that nothing is entrusted to
    a stranger.

    Args:
        process: The process, first of its session.
        host: IPv4 address of this machine.
        port: The port.
    """
    inodes = _listening(port, host)
    if not inodes or not process.alive:
        return False
    if inodes & _open_files(Path(f"/proc/{process.pid}")):
        return True
    return any(
        inodes & _open_files(entry)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and session_of(int(entry.name)) == process.pid
    )


def of(process: Process) -> set[int]:
    """Return the TCP ports that a process itself listens on."""
    open_files = _open_files(Path(f"/proc/{process.pid}")) if process.alive else set()
    return {port for _, port, inode in _listeners() if f"socket:[{inode}]" in open_files}


def _open_files(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                found.add(os.readlink(descriptor))
    return found


def _listening(port: int, host: str | None = None) -> set[str]:
    """Return the sockets that listen on a port, or those of them a connection to `host` gets to.

    The kernel prefers a socket bound to the very address over one bound to all.
    """
    exact: set[str] = set()
    every: set[str] = set()
    wanted = host and socket.inet_aton(host)[::-1].hex().upper()
    for address, number, inode in _listeners():
        if number != port:
            continue
        if wanted is None or address in (wanted, f"0000000000000000FFFF0000{wanted}"):
            exact.add(f"socket:[{inode}]")
        elif not address.strip("0"):
            every.add(f"socket:[{inode}]")
    return exact or every


def open_to_others() -> list[int]:
    """Return the TCP ports that processes of this machine listen on beyond loopback."""
    # 127.0.0.0/8, also as an IPv6 address, and ::1; as the kernel writes them.
    loopback = "0" * 24 + "01000000"
    return sorted(
        {
            port
            for address, port, _ in _listeners()
            if address != loopback and not address.endswith("7F")
        }
    )


def _listeners() -> Iterator[tuple[str, int, str]]:
    """Yield address (as the kernel writes it), port and inode of every listening TCP socket."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A":
                yield address, int(port, 16), fields[9]
