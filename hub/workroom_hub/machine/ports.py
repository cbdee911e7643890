"""Ports of this machine: is one free, and if not, who has it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path

from workroom_hub.errors import PortTaken


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
            owner = listener(port)
            what = (
                f"is taken by {owner}" if owner else f"cannot be used at {host}: {error.strerror}"
            )
            raise PortTaken(
                f"Port {port} ({purpose}) {what}.",
                f"Stop that process, or choose another port: {setting}",
            ) from error


def listener(port: int) -> str | None:
    """Return who listens on a TCP port, as "nginx (process 412)"; None if that cannot be seen."""
    inodes = _listening(port)
    if not inodes:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        if inodes & _open_files(entry):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
                name = (entry / "comm").read_text().strip()
                return f"{name} (process {entry.name}: {command[:80]})"
    return "a process of another user"


def _open_files(process: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with suppress(OSError):  # closed since
                found.add(os.readlink(descriptor))
    return found


def _listening(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes


def open_to_others() -> list[int]:
    """Return the TCP ports that processes of this machine listen on beyond loopback."""
    found = set()
    for table, loopback in (
        ("/proc/net/tcp", "0100007F"),
        ("/proc/net/tcp6", "0" * 24 + "01000000"),
    ):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].rpartition(":")
            if fields[3] == "0A" and address != loopback and not address.endswith("7F"):
                found.add(int(port, 16))
    return sorted(found)
