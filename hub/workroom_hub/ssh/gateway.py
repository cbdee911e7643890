"""The gateway: everything put together, its status, and its end."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncssh

from workroom_hub import __version__
from workroom_hub.addresses import hub_api_url
from workroom_hub.configure_ecs import effective
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_hub.ssh import authority
from workroom_hub.ssh.door import Door, connection
from workroom_hub.ssh.forwarding import SSH_PORTS
from workroom_hub.ssh.hub_client import HubAway, HubClient, HubSaysNo
from workroom_hub.ssh.limits import Attempts, Places
from workroom_hub.ssh.visit import House, Visit
from workroom_hub.ssh.way import WINDOW, Ways
from workroom_hub.ssh.wire import SIGNATURES

log = logging.getLogger(__name__)
_LOOK_EVERY = 1.0
_REPORT_EVERY = 60.0
_ASK_AGAIN_EVERY = 60.0
_WORTH_REPORTING = 2**20
"""Bytes a minute that are somebody's work; keep-alives and an idle editor stay far below."""
_KEEPALIVE = 30.0
_KEEPALIVES_LOST = 4
_KEX = [
    "mlkem768x25519-sha256",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
]
_MACS = [
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
]
"""For ciphers without a MAC of their own, where the settings offer some."""


class Gateway:
    """The SSH gateway of one installation.

    Args:
        settings: The settings.
        runtime: What `workroom up` found out.
    """

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        settings = effective(settings, runtime)
        self._ssh = settings.ssh
        self._home = runtime.home
        pages = f"{settings.web.address}/hub"
        ssh_ports = SSH_PORTS | {self._ssh.port, self._ssh.public_port or self._ssh.port}
        self._hub = HubClient(hub_api_url(settings, runtime), runtime.secret("ssh-token"))
        ways = Ways(
            self._hub, authority.Authority.of(settings, runtime.home), f"{pages}/home", _KEEPALIVE
        )
        self._options = _options(settings, authority.host_keys(settings, runtime.home))
        self.house = House(
            ways,
            Attempts(self._ssh.logins_per_minute),
            Places(self._ssh.max_connections, self._ssh.max_connections_per_user),
            f"{pages}/account/ssh",
            ssh_ports,
            self._inner,
            set(),
        )
        self.door = Door(self._options, self.house, self._ssh.max_logging_in)
        self._status = Status(runtime.home)
        self._draining = asyncio.Event()
        self._ending = asyncio.Event()
        self._reported: dict[Visit, int] = {}

    def _inner(self, outer: Visit, host: str) -> asyncssh.SSHServerConnection:
        return connection(self._options, Visit(self.house, outer.address, outer=outer, host=host))

    async def run(self) -> None:
        """Serve until told to end; returns when the last connection is gone."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        loop.add_signal_handler(signal.SIGINT, self.end)
        self.door.open(self._ssh.host, self._ssh.port)
        log.info("listening on %s port %d", self._ssh.host, self._ssh.port)
        looks = [
            asyncio.create_task(self._forever(self._look, _LOOK_EVERY)),
            asyncio.create_task(self._forever(self._report, _REPORT_EVERY)),
            asyncio.create_task(self._forever(self.ask_again, _ASK_AGAIN_EVERY)),
        ]
        self._look()
        try:
            await self._draining.wait()
            self.door.close()
            self._look()
            log.info("listening no more; %d connections go on", len(self.house.visits))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._ssh.drain):
                    await self._empty_or_told()
            await self._send_away()
        finally:
            for look in looks:
                look.cancel()
            self._status.remove()
            await self._hub.close()
        log.info("ended")

    def drain(self) -> None:
        """Take up no more connections and end with the last one; asked again, end now."""
        if self._draining.is_set():
            self._ending.set()
        self._draining.set()

    def end(self) -> None:
        """End now, with a word to everybody."""
        self._ending.set()
        self._draining.set()

    async def _empty_or_told(self) -> None:
        # Whoever is logging in is waited for too; `login_timeout` ends that.
        while (self.house.visits or self.door.waiting) and not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), 0.25)

    async def _send_away(self) -> None:
        for visit in list(self.house.visits):
            visit.end("The ssh gateway was stopped. Try again later.")
        await asyncio.sleep(0.2 if self.house.visits else 0)

    # -- looks ---------------------------------------------------------------------

    async def _forever(self, look: object, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                result = look()  # type: ignore[operator]
                if asyncio.iscoroutine(result):
                    await result
            except Exception:
                log.exception("a look at the connections failed")

    def _look(self) -> None:
        """Write the status; close what has been silent for too long."""
        now, limit = time.monotonic(), self._ssh.idle_timeout
        if limit:
            for visit in list(self.house.visits):
                if now - visit.last_traffic > limit:
                    log.info("%r was silent for %d s", visit.user, limit)
                    visit.end("Nothing came through this connection for a long time.")
        self._status.write(
            "draining" if self._draining.is_set() else "listening",
            len(self.house.visits),
            self.house.places.holders,
        )

    async def _report(self) -> None:
        """Tell the hub whose server is used for carrying data; the server sees the rest itself."""
        busy = set()
        for visit in list(self.house.visits):
            through = visit.bytes - self._reported.get(visit, 0)
            self._reported[visit] = visit.bytes
            if through >= _WORTH_REPORTING and visit.way:
                busy.add((visit.way.user, visit.way.server))
        self._reported = {v: n for v, n in self._reported.items() if v in self.house.visits}
        for user, server in sorted(busy):
            try:
                await self._hub.active_now(user, server)
            except (HubAway, HubSaysNo) as error:
                log.warning("the hub was not told that %r is active: %s", user, error)

    async def ask_again(self) -> None:
        """End the connections of whoever would not be let in any more."""
        welcome: dict[tuple[str, str], bool] = {}
        for visit in list(self.house.visits):
            if visit.proof not in welcome:
                try:
                    welcome[visit.proof] = await self._hub.log_in(*visit.proof) is not None
                except (HubAway, HubSaysNo):
                    return  # nobody is sent away because the hub is
            if not welcome[visit.proof]:
                log.warning("%r may not be here any more", visit.user)
                visit.end("Your key was removed, or your account may not log in any more.")


class Status:
    """`ssh-PID.json` in the state folder: what `workroom status` says of this gateway.

    Args:
        home: State folder.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / f"ssh-{os.getpid()}.json"
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self._written = ""

    def write(self, state: str, connections: int, users: int) -> None:
        """Write it, if it changed."""
        facts = {
            "pid": os.getpid(),
            "state": state,
            "connections": connections,
            "users": users,
            "since": self._since,
        }
        text = json.dumps(facts) + "\n"
        if text != self._written:
            try:
                self._replace(text)
                self._written = text
            except OSError as error:
                log.warning("%s cannot be written: %s", self._path, error)

    def _replace(self, text: str) -> None:
        # Not waiting for the disk: nothing of it outlives this process, and everybody's keys would
        # wait as well, for a tenth of a second.
        partial = self._path.with_suffix(".new")
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
        partial.replace(self._path)

    def remove(self) -> None:
        """Take it away."""
        self._path.unlink(missing_ok=True)


def _options(
    settings: Settings, host_keys: list[asyncssh.SSHKey]
) -> asyncssh.SSHServerConnectionOptions:
    ssh = settings.ssh
    return asyncssh.SSHServerConnectionOptions(
        server_host_keys=host_keys,
        server_version=f"Workroom_{__version__}",
        kex_algs=_KEX,
        encryption_algs=list(ssh.ciphers),
        mac_algs=_MACS,
        signature_algs=list(SIGNATURES),
        compression_algs=None,
        gss_host=None,
        x509_trusted_certs=None,
        password_auth=False,
        host_based_auth=False,
        x11_forwarding=False,
        agent_forwarding=True,
        line_editor=False,
        encoding=None,
        window=WINDOW,
        login_timeout=ssh.login_timeout,
        keepalive_interval=_KEEPALIVE,
        keepalive_count_max=_KEEPALIVES_LOST,
        config=None,
    )
