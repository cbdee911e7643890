"""What may answer at the address of a container instead of its sshd, or after code in it took it.

Each function serves one connection or one command, and is named for what it does to the gateway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncssh

Process = asyncssh.SSHServerProcess[bytes]


async def says_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Take the connection and never answer."""
    await reader.read()


async def endless_banner(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send lines before the version for ever."""
    with suppress(ConnectionError):
        while True:
            writer.write(b"x" * 8000 + b"\n")
            await writer.drain()


async def endless_line(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one line for ever."""
    with suppress(ConnectionError):
        while True:
            writer.write(b"x" * 8000)
            await writer.drain()


async def rubbish(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a version, and then what is no packet."""
    writer.write(b"SSH-2.0-OpenSSH_9.9\r\n" + b"\xff" * 4096)
    await writer.drain()


@asynccontextmanager
async def raw(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Listen with one of the above; yields the port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Listens(asyncssh.SSHServer):
    """Lets everybody in, and keeps who came."""

    def __init__(self, came: list[str]) -> None:
        self._came = came

    def begin_auth(self, username: str) -> bool:
        """Note the name, and want no key."""
        self._came.append(username)
        return False


def signs_with_another_key(claimed: asyncssh.SSHKey) -> asyncssh.SSHKeyPair:
    """Return a host key that claims to be another one, without having it."""
    [pair] = asyncssh.load_keypairs([asyncssh.generate_private_key("ssh-ed25519")])
    pair.public_data = claimed.public_data
    return pair


async def opens_channels(process: Process) -> None:
    """Open channels that nobody asked for; says which were let in."""
    connection = process.channel.get_connection()
    let_in = []
    for name, opening in (
        ("port", lambda: connection.create_connection(asyncssh.SSHTCPSession, "", 80, "x", 1)),
        ("socket", lambda: connection.create_unix_connection(asyncssh.SSHUNIXSession, "/x")),
        ("agent", lambda: connection.create_agent_channel().open(asyncssh.SSHUNIXSession)),
        ("x11", lambda: connection.create_x11_connection(asyncssh.SSHTCPSession, "x", 1)),
        ("session", lambda: connection.create_tcp_channel()._open(b"session")),
        ("direct", lambda: connection.create_tcp_channel()._open(b"direct-tcpip")),
        ("tun", lambda: connection.create_tcp_channel()._open(b"tun@openssh.com", bytes(8))),
    ):
        with suppress(asyncssh.ChannelOpenError):
            await asyncio.wait_for(opening(), 5)
            let_in.append(name)
    process.stdout.write(repr(let_in).encode())
    process.exit(0)


async def uses_the_agent_a_hundred_times(process: Process) -> None:
    """Open a hundred channels to the agent; says how many were let in."""
    connection = process.channel.get_connection()

    async def use() -> bool:
        try:
            channel = connection.create_agent_channel()
            await channel.open(asyncssh.SSHUNIXSession)
            await asyncio.sleep(0.3)
            return not channel.is_closing()
        except asyncssh.ChannelOpenError:
            return False

    used = await asyncio.gather(*(use() for _ in range(100)))
    process.stdout.write(str(sum(used)).encode())
    process.exit(0)


async def ends_without_a_status(process: Process) -> None:
    """Close the channel as if nothing more were to say."""
    process.stdout.write(b"done")
    process.channel.close()


async def exchanges_keys_for_ever(process: Process) -> None:
    """Begin one key exchange after another."""
    connection: Any = process.channel.get_connection()
    while not connection.is_closed():
        if connection._kex_complete:
            connection._send_kexinit()
            connection._kexinit_sent = True
        await asyncio.sleep(0.01)


async def reads_nothing(process: Process) -> None:
    """Read nothing from the line any more, not even what the windows allow."""
    connection: Any = process.channel.get_connection()
    process.stdout.write(b"ready")
    connection._transport.pause_reading()
    await asyncio.sleep(60)


async def breaks_the_protocol(process: Process) -> None:
    """Send messages that make no sense."""
    connection: Any = process.channel.get_connection()
    channel: Any = process.channel
    channel.send_packet(95, (99).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"x")
    connection.send_packet(94, (12345).to_bytes(4, "big") + (1).to_bytes(4, "big") + b"x")


async def hangs_up(process: Process) -> None:
    """Cut the line in the middle of the output."""
    process.stdout.write(b"half")
    await asyncio.sleep(0.05)
    process.channel.get_connection().abort()
