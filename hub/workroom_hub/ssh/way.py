"""The way into one server: found at the hub, started if need be, and reached by ssh."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import asyncssh

from workroom_hub.ssh import wire
from workroom_hub.ssh.authority import Authority
from workroom_hub.ssh.hub_client import HubAway, HubClient, HubSaysNo, News, Server
from workroom_hub.ssh.limits import Channels

log = logging.getLogger(__name__)
alarm = logging.getLogger("workroom.alarm")

LOGIN = "workroom"
"""The one user of every container."""
_CONNECT_WITHIN = 15.0
_SSHD_COMES_WITHIN = 20.0
"""Seconds an sshd gets to listen after its server has answered."""
_PAUSE = 0.2
_STOPPING_LOOKS = 0.5
_LOOKS_READY_FOR = 1.5
"""JupyterHub calls a server whose start is cancelled ready, for the second until it is stopped."""
_CANCELLED = "The start of your server was cancelled."
_STOPPED = "Your server was stopped. Log in again to start it."
WINDOW = 2 * 2**20
"""Bytes a channel may have on their way, as OpenSSH has it; more would only wait here."""
_FAST = ["aes128-gcm@openssh.com"]

Tell = Callable[[str, str], None]
"""Takes a sentence, and the id of the stage it is about."""


class NoWay(Exception):
    """A server cannot be reached; the text is a sentence for the person."""


@dataclass
class Ways:
    """What every way needs.

    Attributes:
        hub: The hub's API.
        authority: Gives out certificates.
        page: Address of the page where servers are started, stopped and added.
        keepalive: Seconds between two signs of life on a silent connection.
        channels: Everybody's open channels.
    """

    hub: HubClient
    authority: Authority
    page: str
    keepalive: float = 30.0
    channels: Channels = field(default_factory=Channels)


@dataclass
class Way:
    """The way of one person's connection into one server; taken by the first who needs it.

    Attributes:
        user: Name of the user, as the hub writes it.
        server: Name of the server, "" for the default one.
    """

    ways: Ways
    user: str
    server: str
    _going: asyncio.Task[asyncssh.SSHClientConnection] | None = None
    _arrived: bool = False
    _listeners: set[Tell] = field(default_factory=set)
    _last_word: tuple[str, str] | None = None

    def set_out(self) -> None:
        """Connect ahead of the first channel, if the server runs."""
        self._going = asyncio.create_task(self._go(start=False))
        self._going.add_done_callback(_looked_at)

    async def reach(
        self, tell: Tell | None = None, *, again: bool = True
    ) -> asyncssh.SSHClientConnection:
        """Return the connection with the server's sshd; it is made, and the server started, once.

        Args:
            tell: Called with each sentence about a start, when there is one.
            again: Also start a server that has been reached and was stopped since.

        Raises:
            NoWay: With the reason.
        """
        if tell:
            self._listeners.add(tell)
            if self._last_word:
                tell(*self._last_word)
        start = again or not self._arrived
        try:
            while True:
                if self._going is None or self._spent():
                    self._going = asyncio.create_task(self._go(start=start))
                    self._going.add_done_callback(_looked_at)
                try:
                    return await asyncio.shield(self._going)
                except _NotRunning as error:  # of somebody who may not start it, perhaps
                    if not start:
                        raise NoWay(_STOPPED) from error
        finally:
            if tell:
                self._listeners.discard(tell)

    def _spent(self) -> bool:
        """Tell whether the way there has to be found again: it failed, or the server ended it."""
        going = self._going
        if going is None or not going.done():
            return False
        return going.cancelled() or bool(going.exception()) or going.result().is_closed()

    @property
    def name(self) -> str:
        """How people write this server before the `@`."""
        return f"{self.user}+{self.server}" if self.server else self.user

    def close(self) -> None:
        """Let go of the connection, or of the attempt; a start under way goes on."""
        if self._going is None:
            return
        if not self._going.done():
            self._going.cancel()
        elif not self._going.cancelled() and self._going.exception() is None:
            self._going.result().abort()

    async def _go(self, *, start: bool) -> asyncssh.SSHClientConnection:
        try:
            found = await self._find()
            began = False
            if not found.ready:
                if not start:
                    raise _NotRunning
                began = True
                found = await self._start(found)
            connection = await self._connect(found, began)
            self._arrived = True
            return connection
        except HubAway as error:
            raise NoWay(
                "Workroom's hub does not answer, so your server cannot be found. Connections that "
                "are open go on. Try again in a minute."
            ) from error
        except HubSaysNo as error:
            raise NoWay(f"{error} Your servers: {self.ways.page}") from error
        except (KeyError, ValueError) as error:
            # What a container said of itself at its start cannot be used.
            log.warning("the state of the server of %r cannot be used: %r", self.name, error)
            raise NoWay(
                f"Your server has no ssh key that can be used. Restart it at {self.ways.page}"
            ) from error

    async def _find(self) -> Server:
        found = await self.ways.hub.server(self.user, self.server)
        if not found.exists:
            names = await self.ways.hub.server_names(self.user)
            there = f"You have: {', '.join(names)}." if names else "You have no named server."
            raise NoWay(f"You have no server '{self.server}'. {there} Add one at {self.ways.page}")
        return found

    # -- starting ------------------------------------------------------------------

    async def _start(self, found: Server) -> Server:
        """Have the server run; a start that somebody else asked for is followed."""
        while found.pending == "stop":
            self._tell("Your server is stopping; it is started again when it has", "stopping")
            await asyncio.sleep(_STOPPING_LOOKS)
            found = await self._find()
        request = None
        if not found.ready and found.pending != "spawn":
            self._tell("Starting your server", "requested")
            # The hub answers after ten seconds or when it is done; the story begins before that.
            request = asyncio.create_task(self.ways.hub.start(self.user, self.server))
        try:
            return await self._follow(request)
        finally:
            if request:
                request.cancel()  # the waiting for the answer, not the start

    async def _follow(self, request: asyncio.Task[None] | None) -> Server:
        failed: News | None = None
        while True:
            asked = request is None or request.done()
            found = await self._find()
            if found.ready:
                return found
            if asked and request and (error := request.exception()):
                raise error
            if failed or (asked and found.pending != "spawn"):
                raise NoWay(self._why(found, failed))
            async for news in self.ways.hub.progress(self.user, self.server):
                if news.failed:
                    failed = news
                elif news.message and not news.done:
                    self._tell(news.message, news.stage)
            await asyncio.sleep(_PAUSE)

    def _why(self, found: Server, failed: News | None) -> str:
        last = found.state.get("last_failure")
        if isinstance(last, dict) and last.get("message"):
            return str(last["message"])
        if failed and failed.message:
            return _CANCELLED if failed.message == "Spawn cancelled" else failed.message
        return f"Your server did not start. Its page says why: {self.ways.page}"

    def _tell(self, message: str, stage: str) -> None:
        self._last_word = message, stage
        for listener in list(self._listeners):
            listener(message, stage)

    # -- connecting ----------------------------------------------------------------

    async def _connect(self, found: Server, began: bool) -> asyncssh.SSHClientConnection:
        if not _has_ssh(found):
            await asyncio.sleep(_LOOKS_READY_FOR)
            found = await self._find()
            if not found.ready:
                raise NoWay(_CANCELLED)
        state = found.state
        address, host_key = state.get("address"), state.get("ssh_host_key")
        if not _has_ssh(found):
            raise NoWay(
                "Your server was started without ssh: its image has none, or it has run since "
                f"before this gateway. Restart it at {self.ways.page}"
            )
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SSHD_COMES_WITHIN
        while True:
            try:
                return await self._shake_hands(
                    str(address), int(state["ssh_port"]), str(host_key), str(state["ssh_principal"])
                )
            except (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed) as error:
                # Another host key, none of its kind, or one it cannot sign with.
                alarm.error(
                    "ALARM something else than the server of %r answers at %s", self.name, address
                )
                raise NoWay(
                    "What answers at your server's address is not your server, so nothing was sent "
                    f"to it. Restart your server at {self.ways.page}, and tell your platform "
                    "engineer."
                ) from error
            except (OSError, asyncssh.Error, TimeoutError) as error:
                now = await self._find()
                if now.ready and now.state.get("address") != address:
                    return await self._connect(now, began)
                if not now.ready:
                    raise NoWay("Your server was stopped in this moment. Try again.") from error
                if loop.time() + _PAUSE > deadline or isinstance(error, asyncssh.PermissionDenied):
                    log.warning("%s does not let us in: %r", self.name, error)
                    raise NoWay(
                        "Your server runs, but its ssh does not answer. Restart it at "
                        f"{self.ways.page}; your platform engineer finds the reason with "
                        "`workroom logs ssh`."
                    ) from error
            await asyncio.sleep(_PAUSE)

    async def _shake_hands(
        self, address: str, port: int, host_key: str, principal: str
    ) -> asyncssh.SSHClientConnection:
        key, certificate = self.ways.authority.credentials(principal)
        return await wire.connect(
            address,
            port,
            self.user,
            self.ways.channels,
            username=LOGIN,
            client_keys=[(key, certificate)],
            known_hosts=([asyncssh.import_public_key(host_key)], [], []),
            server_host_key_algs=["ssh-ed25519"],
            kex_algs=["curve25519-sha256"],
            encryption_algs=_FAST,
            compression_algs=None,
            preferred_auth="publickey",
            agent_path=None,
            agent_forwarding=False,
            x509_trusted_certs=None,
            gss_host=None,
            connect_timeout=_CONNECT_WITHIN,
            login_timeout=_CONNECT_WITHIN,
            keepalive_interval=self.ways.keepalive,
            keepalive_count_max=4,
        )


class _NotRunning(Exception):
    """The server would have to be started, which nobody has asked for yet."""


def _has_ssh(found: Server) -> bool:
    return all(found.state.get(key) for key in ("address", "ssh_host_key", "ssh_principal"))


def _looked_at(task: asyncio.Task[asyncssh.SSHClientConnection]) -> None:
    """Take note of a failure that nobody waits for."""
    if not task.cancelled():
        task.exception()
