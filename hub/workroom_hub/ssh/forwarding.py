"""Forwarded ports and sockets, relayed between a person's ssh and her server's sshd."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh

from workroom_hub.ssh.packets import Count, join, took_long_way
from workroom_hub.ssh.way import WINDOW, NoWay, Way

log = logging.getLogger(__name__)
HERE = "localhost"
SSH_PORTS = frozenset({22, 2222})
"""Ports that mean ssh, which is ended in the gateway: nobody gets a bare line to an sshd."""


def is_own(host: str) -> bool:
    """Tell whether a host name means the server itself, seen from within."""
    if host in ("", "*", HERE):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_name(host: str) -> bool:
    """Tell whether a host of `ssh -J` may be how somebody calls a server of hers.

    An address or a name with a domain means some other machine, and there is no way to one.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host and ":" not in host
    return False


def refusal(reason: str) -> asyncssh.ChannelOpenError:
    """Return the error that tells a client why a channel is not opened."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, reason)


class Pipe(asyncssh.SSHTCPSession[bytes], asyncssh.SSHUNIXSession[bytes]):
    """One end of a forwarded connection; two of them are joined.

    Args:
        count: Called with every piece of data.
    """

    def __init__(self, count: Count, other: Pipe | None = None) -> None:
        self._count = count
        self._chan: Any = None
        self._other = other
        self._lost = False
        if other:
            other._other = self

    def connection_made(self, chan: Any) -> None:
        """Take note of the channel."""
        self._chan = chan

    def session_started(self) -> None:
        """Begin; the other end has been opened before this one."""
        far = self._far()
        if self._chan and far:
            join(self._chan, far, self._count)

    def data_received(self, data: bytes, _datatype: int | None) -> None:
        """Pass it on."""
        self._count(len(data))
        if chan := self._far():
            chan.write(data)
            took_long_way(self._chan)

    def eof_received(self) -> bool:
        """Pass on that no more comes from this side."""
        if chan := self._far():
            chan.write_eof()
        return True

    def pause_writing(self) -> None:
        """Have the other side wait."""
        if self._other and self._other._chan and not self._other._lost:
            self._other._chan.pause_reading()

    def resume_writing(self) -> None:
        """Have the other side go on."""
        if self._other and self._other._chan and not self._other._lost:
            self._other._chan.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Close the other end."""
        self._lost = True
        if self._other and self._other._chan and not self._other._lost:
            self._other._chan.close()

    def _far(self) -> Any:
        other = self._other
        if other is None or other._lost or other._chan is None or other._chan.is_closing():
            return None
        return other._chan


class Forwarding:
    """What one connection may forward: to its own server, and from there.

    A server that was stopped while connected is not started for it: a page that asks a forwarded
    port again and again is no person.

    Args:
        way: Into the server.
        count: Called with every piece of data.
    """

    def __init__(self, way: Way, count: Count) -> None:
        self._way = way
        self._count = count

    async def to_port(self, host: str, port: int, orig_host: str, orig_port: int) -> Pipe:
        """Connect to a port of the server (`ssh -L`, `-D`, VS Code)."""
        return await self._joined(
            lambda upstream, far: upstream.create_connection(
                far, HERE if host in ("", "*") else host, port, orig_host, orig_port, window=WINDOW
            )
        )

    async def to_socket(self, path: str) -> Pipe:
        """Connect to a Unix socket of the server."""
        return await self._joined(
            lambda upstream, far: upstream.create_unix_connection(far, path, window=WINDOW)
        )

    async def from_port(
        self, near: asyncssh.SSHServerConnection, host: str, port: int
    ) -> asyncssh.SSHListener | bool:
        """Listen on a port of the server (`ssh -R`); on loopback, whatever was asked for."""

        async def arrived(orig_host: str, orig_port: int) -> Pipe:
            far = Pipe(self._count)
            await near.create_connection(
                lambda: Pipe(self._count, far), host, listener.get_port(), orig_host, orig_port,
                window=WINDOW,
            )  # fmt: skip
            return far

        upstream = await self._reached()
        if upstream is None:
            return False
        try:
            listener = await upstream.create_server(arrived, HERE, port, window=WINDOW)
        except asyncssh.ChannelListenError:
            return False  # taken: ssh says so, and everything else goes on
        return listener

    async def from_socket(
        self, near: asyncssh.SSHServerConnection, path: str
    ) -> asyncssh.SSHListener | bool:
        """Listen on a Unix socket of the server (`ssh -R`)."""

        async def arrived() -> Pipe:
            far = Pipe(self._count)
            await near.create_unix_connection(lambda: Pipe(self._count, far), path, window=WINDOW)
            return far

        upstream = await self._reached()
        if upstream is None:
            return False
        try:
            return await upstream.create_unix_server(arrived, path, window=WINDOW)
        except asyncssh.ChannelListenError:
            return False

    async def _joined(
        self,
        open_far: Callable[
            [asyncssh.SSHClientConnection, Callable[[], Pipe]], Awaitable[tuple[Any, Any]]
        ],
    ) -> Pipe:
        """Return the near end of a pipe whose far end is open.

        Raises:
            asyncssh.ChannelOpenError: It cannot be opened, and why.
        """
        near = Pipe(self._count)
        try:
            upstream = await self._way.reach(again=False)
            await open_far(upstream, lambda: Pipe(self._count, near))
        except NoWay as error:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, f"workroom: {error}"
            ) from error
        except asyncssh.ChannelOpenError:
            raise
        except (asyncssh.Error, OSError) as error:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_CONNECT_FAILED, "workroom: your server closed the connection"
            ) from error
        return near

    async def _reached(self) -> asyncssh.SSHClientConnection | None:
        try:
            return await self._way.reach(again=False)
        except NoWay as error:
            log.info("nothing forwarded from the server of %r: %s", self._way.name, error)
            return None
