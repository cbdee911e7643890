"""One person's connection: who it is, and what she may ask for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

import asyncssh

from workroom_hub.ssh.forwarding import Forwarding, Pipe, is_name, is_own, refusal
from workroom_hub.ssh.hub_client import HubAway, HubClient, Login
from workroom_hub.ssh.limits import Attempts, Channels, Places
from workroom_hub.ssh.session import Session
from workroom_hub.ssh.way import WINDOW, Way, Ways
from workroom_hub.ssh.wire import LISTENERS, Near

log = logging.getLogger(__name__)
refused_log = logging.getLogger("workroom_hub.ssh.refused")
_ANSWER_AFTER = 0.35
"""Seconds until a key is refused, whatever the reason: longer than the hub needs to look it up."""
_MOST_KEYS = 12
"""Keys one connection may try; agents hold a handful."""
_KEYS_FREE = 6
"""Keys refused on one connection before each more counts as an attempt of its address."""
_HUB_ANSWERS_WITHIN = 22.0
"""Seconds until somebody who logs in is told that the hub does not answer."""
_JUMPS = 1
DEFAULT_HOST = "workroom"
"""What people call their server after `ssh -J`, when it has no name."""

_TcpAnswer = Pipe | tuple[asyncssh.SSHTCPChannel[bytes], Awaitable[asyncssh.SSHTCPSession[bytes]]]
_UnixAnswer = tuple[asyncssh.SSHUNIXChannel[bytes], Awaitable[asyncssh.SSHUNIXSession[bytes]]]


@dataclass
class House:
    """What all visits share.

    Attributes:
        ways: Into servers.
        attempts: Connection attempts by address.
        places: Connections that are logged in, by user.
        page: Address of the page where keys are registered.
        ssh_ports: Ports that mean ssh: also the gateway's own, which people's configuration names.
        inner: Makes the connection that ends inside another one (`ssh -J`), to a server of this
            name.
        visits: All visits, from log-in to their end.
    """

    ways: Ways
    attempts: Attempts
    places: Places
    page: str
    ssh_ports: frozenset[int]
    inner: Callable[[Visit, str], asyncssh.SSHServerConnection]
    visits: set[Visit]

    @property
    def hub(self) -> HubClient:
        """The hub's API."""
        return self.ways.hub


class Visit(asyncssh.SSHServer):
    """One connection, from its first byte to its end.

    Args:
        house: What all visits share.
        address: IP address of the person's machine.
        seated: Called once when she is logged in or gone: she is no longer at the door.
        outer: The visit through which this one came, with `ssh -J`.
        host: The server meant where the user's name does not say one; "" for the default one.
    """

    def __init__(
        self,
        house: House,
        address: str,
        seated: Callable[[], None] = lambda: None,
        outer: Visit | None = None,
        host: str = "",
    ) -> None:
        self._house = house
        self.address = address
        self._seated = seated
        self._outer = outer
        self._host = host
        self._conn: Near | None = None
        self._answers: dict[tuple[str, str], tuple[Login, str] | None] = {}
        self._asked = 0
        self._attempts = 1
        self._login: Login | None = None
        self._username = ""
        self._told = False
        self._holder = ""
        self._background: set[asyncio.Task[None]] = set()
        self.way: Way | None = None
        self.proof = "", ""
        self.bytes = 0
        self.last_traffic = time.monotonic()

    @property
    def depth(self) -> int:
        """How many connections this one came through."""
        return self._outer.depth + 1 if self._outer else 0

    @property
    def channels(self) -> Channels:
        """Everybody's open channels."""
        return self._house.ways.channels

    @property
    def recognised(self) -> bool:
        """Whether it has shown a key that the hub knows, if not yet that it has it."""
        return any(self._answers.values())

    @property
    def user(self) -> str:
        """Whose it is, once logged in."""
        return self._login.name if self._login else ""

    # -- who is it -----------------------------------------------------------------

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Take note of the connection."""
        self._conn = cast("Near", conn)

    def public_key_auth_supported(self) -> bool:
        """Keys are the way in."""
        return True

    def kbdint_auth_supported(self) -> bool:
        """Nothing is asked; it is how a client shows a sentence after its last key, once."""
        return not self._told

    def get_kbdint_challenge(
        self, _username: str, _lang: str, _submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        """Say the one thing that everybody hears who is not let in."""
        self._told = True
        return "", f"Not recognised. Register your key at {self._house.page}", "en", []

    def validate_kbdint_response(self, _username: str, _responses: Sequence[str]) -> bool:
        """Let nobody in this way."""
        return False

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Ask the hub whether this key opens this user's servers.

        Every refusal takes the same time. The client asks twice, before and after it proves that
        it has the key; the hub is asked once. Both times it is noted whose key it is, and
        `auth_completed` follows in the same breath as the proof, so what is noted is what was
        proven.
        """
        began = asyncio.get_running_loop().time()
        self._login, self.way = None, None
        line = " ".join(key.export_public_key("openssh").decode().split()[:2])
        known = (username, line)
        if known not in self._answers:
            if self._asked >= _MOST_KEYS:
                self._refuse(username, key, "too many keys")
                self._disconnect("Too many keys were tried. Name yours: ssh -i FILE")
                return False
            self._asked += 1
            try:
                async with asyncio.timeout(_HUB_ANSWERS_WITHIN):
                    self._answers[known] = await self._ask(username, line)
            except (HubAway, TimeoutError):
                self._disconnect("Workroom's hub does not answer. Try again in a minute.")
                return False
            if self._asked > _KEYS_FREE and not self._answers[known]:
                self._attempts += self._house.attempts.take(self.address)
        found = self._answers[known]
        if found is None:
            pause = began + _ANSWER_AFTER - asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, pause))
            self._refuse(username, key, "not known")
            return False
        self._login, server = found
        self._username = username
        self.proof = self._login.name, line
        self.way = Way(self._house.ways, self._login.name, server)
        return True

    async def _ask(self, username: str, line: str) -> tuple[Login, str] | None:
        """Return whose key it is and the server meant: `NAME`, or `NAME+SERVER`.

        A user's name may hold a `+` itself, so the whole is tried first.
        """
        login = await self._house.hub.log_in(username, line)
        name, plus, server = username.rpartition("+")
        if not plus:
            found = (login, self._host) if login else None
        else:
            # Asked in every case, so that the answer takes as long in every case.
            other = await self._house.hub.log_in(name, line)
            found = (login, self._host) if login else (other, server) if other else None
        if found and self._outer and found[0].name != self._outer.user:
            return None  # from one's own server into somebody else's
        return found

    def _refuse(self, username: str, key: asyncssh.SSHKey, why: str) -> None:
        print_ = key.get_fingerprint()
        refused_log.warning("refused %r from %s: %s (%s)", username, self.address, why, print_)

    def auth_completed(self) -> None:
        """Let her in, if there is room."""
        self._seated()
        login, way = self._login, self.way
        if login is None or way is None or self._conn is None:
            return
        if self._conn.get_extra_info("username") != self._username:
            # Two log-ins crossed; asyncssh does not let them, and nobody should depend on it.
            self._disconnect("Log in again.")
            return
        for _ in range(self._attempts):
            self._house.attempts.give_back(self.address)
        full = self._house.places.take(login.name)
        if full:
            log.warning("no room for %r: the limit for %s is reached", login.name, full)
            self._disconnect(
                "The gateway is full. Try again later."
                if full == "all"
                else "You have too many ssh connections open. Close some, then try again."
            )
            return
        self._holder = self._conn.user = login.name
        self._house.visits.add(self)
        log.info("%r is in, from %s, for the server of %r", login.name, self.address, way.name)
        way.set_out()
        self._in_background(self._house.hub.logged_in(login.key_id, self.address))

    def _in_background(self, what: object) -> None:
        async def run() -> None:
            try:
                await what  # type: ignore[misc]
            except Exception:
                log.exception("the hub was not told of a log-in")

        task = asyncio.create_task(run())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything that was hers."""
        self._seated()
        if self._holder:
            self._house.places.leave(self._holder)
            self._holder = ""
        if self in self._house.visits:
            self._house.visits.discard(self)
            log.info("%r is gone (%s)", self.user, exc or "closed")
        if self.way:
            self.way.close()

    def _disconnect(self, reason: str) -> None:
        if self._conn:
            self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, reason)

    def leave_door(self) -> None:
        """Give the place at the door to somebody else; the connection is ended."""
        self._seated()

    def end(self, reason: str) -> None:
        """End the connection with a sentence that the client prints."""
        self._disconnect(reason)

    # -- what may be asked for -----------------------------------------------------

    def count(self, size: int) -> None:
        """Take note of traffic."""
        self.bytes += size
        self.last_traffic = time.monotonic()
        if self._outer:
            self._outer.last_traffic = self.last_traffic

    def session_requested(
        self,
    ) -> tuple[asyncssh.SSHServerChannel[bytes], asyncssh.SSHServerSession[bytes]]:
        """Give her a session in her server."""
        way, conn = self._inside()
        channel = conn.create_server_channel(encoding=None, window=WINDOW)
        return channel, Session(way, self.count)

    def connection_requested(
        self, dest_host: str, dest_port: int, orig_host: str, orig_port: int
    ) -> _TcpAnswer:
        """Forward to a port of her server, or end an inner ssh connection here."""
        way, conn = self._inside()
        if dest_port in self._house.ssh_ports and (is_own(dest_host) or is_name(dest_host)):
            if self.depth >= _JUMPS:
                raise refusal("workroom: you are in your own server's gateway already")
            if not self._house.attempts.take(self.address):
                raise refusal("workroom: too many connection attempts; wait a minute")
            default = is_own(dest_host) or dest_host in (DEFAULT_HOST, self.user)
            # It takes what the channel brings as a transport would, which is how asyncssh's own
            # tunnels are made.
            return cast("Pipe", self._house.inner(self, "" if default else dest_host))
        if not is_own(dest_host):
            log.info("%r may not forward to %r:%d", self.user, dest_host[:100], dest_port)
            raise refusal(
                "workroom: only your own server can be reached: use localhost as the host"
            )
        channel = conn.create_tcp_channel(window=WINDOW)
        pipe = Forwarding(way, self.count).to_port(dest_host, dest_port, orig_host, orig_port)
        return channel, pipe

    def unix_connection_requested(self, dest_path: str) -> _UnixAnswer:
        """Forward to a Unix socket of her server."""
        way, conn = self._inside()
        channel = conn.create_unix_channel(window=WINDOW)
        return channel, Forwarding(way, self.count).to_socket(dest_path)

    async def server_requested(
        self, listen_host: str, listen_port: int
    ) -> asyncssh.SSHListener | bool:
        """Listen on a port of her server for her."""
        way, conn = self._inside()
        if conn.listeners >= LISTENERS:
            return False
        return await Forwarding(way, self.count).from_port(conn, listen_host, listen_port)

    async def unix_server_requested(self, listen_path: str) -> asyncssh.SSHListener | bool:
        """Listen on a Unix socket of her server for her."""
        way, conn = self._inside()
        if conn.listeners >= LISTENERS:
            return False
        return await Forwarding(way, self.count).from_socket(conn, listen_path)

    def _inside(self) -> tuple[Way, Near]:
        if self.way is None or self._conn is None or self not in self._house.visits:
            raise refusal("workroom: not logged in")
        return self.way, self._conn


__all__ = ["DEFAULT_HOST", "House", "Visit"]
