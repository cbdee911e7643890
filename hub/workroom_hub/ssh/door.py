"""Takes connections up, and turns away what is too much before it costs anything."""

from __future__ import annotations

import asyncio
import copy
import logging
import resource
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import asyncssh

from workroom_hub.ssh.limits import Places, neighbourhood
from workroom_hub.ssh.visit import House, Visit
from workroom_hub.ssh.wire import Near

log = logging.getLogger(__name__)
_BACKLOG = 1024
_TURNED_AWAY = b"Too many connection attempts. Wait a minute, then try again.\r\n"
"""A line before the protocol begins, which OpenSSH prints with -v."""
_SHARE = 4
"""One address may have at most this part of the places at the door."""
_NEWS_EVERY = 60.0
_FILES = 65_536
_NO_FILE_PAUSE = 0.5
_RECOGNISED = 3


@dataclass(eq=False)
class _Guest:
    """A connection that has not logged in yet."""

    who: str
    visit: Visit
    conn: Near

    @property
    def progress(self) -> int:
        """How far it has come; who has shown a key that the hub knows has come furthest."""
        return _RECOGNISED if self.visit.recognised else self.conn.progress


class Door:
    """Listening sockets, and the connections that have not logged in yet.

    When all places are taken, the one that has come least far in its log-in makes room for the
    next, the longest there first. So connections that only stand there keep nobody out. Where all
    have shown a key that the hub knows, it is one of the address that has the most places.

    Args:
        options: asyncssh's options of a connection.
        house: What visits share.
        at_the_door: Connections that may be logging in at once.
    """

    def __init__(
        self, options: asyncssh.SSHServerConnectionOptions, house: House, at_the_door: int
    ) -> None:
        self._options = options
        self._house = house
        self._waiting = Places(at_the_door, max(10, at_the_door // _SHARE))
        self._guests: dict[_Guest, None] = {}
        self._sockets: list[socket.socket] = []
        self._listening: list[asyncio.Task[None]] = []
        self._turned_away = 0
        self._said = 0.0

    @property
    def waiting(self) -> int:
        """Connections that are logging in."""
        return self._waiting.taken

    def open(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address is taken or not ours.
        """
        _allow_many_files()
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            listening = socket.socket(family, kind, protocol)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
            listening.setblocking(False)
            self._sockets.append(listening)
            self._listening.append(asyncio.create_task(self._take_up(listening)))

    def close(self) -> None:
        """Listen no more; connections go on."""
        for task in self._listening:
            task.cancel()
        for listening in self._sockets:
            listening.close()
        self._sockets = []

    async def _take_up(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, peer = await loop.sock_accept(listening)
            except OSError as error:
                # Out of file descriptors, most likely: what is open goes on.
                log.error("a connection could not be taken up: %s", error)
                await asyncio.sleep(_NO_FILE_PAUSE)
                continue
            try:
                await self._admit(sock, peer)
            except Exception:
                log.exception("a connection could not be begun")
                sock.close()

    async def _admit(self, sock: socket.socket, peer: Sequence[object]) -> None:
        address = str(peer[0])
        who = neighbourhood(address)
        if not self._house.attempts.take(address) or not self._room_for(who):
            self._turn_away(sock, address)
            return
        guest: _Guest | None = None

        def seated() -> None:
            if guest in self._guests:
                del self._guests[guest]
                self._waiting.leave(who)

        visit = Visit(self._house, address, seated)
        conn = connection(self._options, visit)
        guest = _Guest(who, visit, conn)
        self._guests[guest] = None
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: conn, sock)
        except BaseException:
            seated()
            raise

    def _room_for(self, who: str) -> bool:
        """Take a place for a guest, somebody else's if need be."""
        while full := self._waiting.take(who):
            least = min(
                (g for g in self._guests if full == "all" or g.who == who),
                key=lambda guest: guest.progress,
                default=None,
            )
            if least is not None and least.progress == _RECOGNISED and full == "all":
                # Public keys are no secret: who only shows one must not keep everybody out.
                least = max(self._guests, key=lambda guest: self._waiting.of(guest.who))
            elif least is None or least.progress == _RECOGNISED:
                return False
            least.visit.leave_door()
            least.conn.abort()
        return True

    def _turn_away(self, sock: socket.socket, address: str) -> None:
        self._turned_away += 1
        with suppress(OSError):  # it is gone already
            sock.send(_TURNED_AWAY)
        sock.close()
        now = time.monotonic()
        if now - self._said >= _NEWS_EVERY:
            log.warning(
                "turned away since the last such line: %d, the last from %s, because of "
                "ssh.logins_per_minute or ssh.max_logging_in", self._turned_away, address,
            )  # fmt: skip
            self._said, self._turned_away = now, 0


def connection(options: asyncssh.SSHServerConnectionOptions, visit: Visit) -> Near:
    """Return a connection that belongs to `visit`."""
    own = copy.copy(options)
    own.protocol_factory = lambda: visit
    return Near(own, visit.channels)


def _allow_many_files() -> None:
    """Raise the soft limit of open files: every connection is two, and one that fails is news."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
