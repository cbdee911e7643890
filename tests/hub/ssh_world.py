"""A gateway between a real ssh client library, a hub that is played, and an sshd that is played.

No Docker: what only a real sshd and a real hub can show is in tests/e2e/test_ssh*.py.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import asyncssh
from aiohttp import web

from workroom_hub.runtime import Runtime, read_secret
from workroom_hub.settings import Settings
from workroom_hub.ssh import authority
from workroom_hub.ssh.gateway import Gateway


@dataclass
class PlayedServer:
    """One server of the hub that is played."""

    ready: bool = True
    pending: str | None = None
    state: dict[str, Any] = field(default_factory=dict)


@dataclass
class PlayedHub:
    """Answers as the hub's API does.

    Attributes:
        keys: Who has which keys.
        servers: Servers by user and name.
        starts: What a POST that starts a server does: an async function, or a status and sentence.
        instead: Answers instead: an async function that gets the request.
        disabled: Users who are not let in, whatever their keys.
    """

    token: str
    keys: dict[str, set[str]] = field(default_factory=dict)
    servers: dict[tuple[str, str], PlayedServer] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    active: list[tuple[str, str]] = field(default_factory=list)
    used: list[dict[str, Any]] = field(default_factory=list)
    starts: Any = None
    events: list[dict[str, Any]] = field(default_factory=list)
    away: bool = False
    instead: Any = None
    disabled: set[str] = field(default_factory=set)
    _port: int = 0
    _runner: Any = None

    async def comes(self) -> int:
        """Listen; returns the port, which stays the same."""
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", self.answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self._port

    async def dies(self) -> None:
        """Listen no more, and hang up on everybody."""
        await self._runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        if self.away:
            raise web.HTTPBadGateway
        path = request.path.removeprefix("/hub/api/")
        self.asked.append((request.method, path))
        if self.instead and (answer := await self.instead(request)):
            return answer
        if request.headers.get("Authorization") != f"token {self.token}":
            raise web.HTTPForbidden
        if path == "workroom/ssh/log-in":
            body = await request.json()
            known = body["key"] in self.keys.get(body["user"], ())
            known = known and body["user"] not in self.disabled
            found = {"name": body["user"], "key_id": 7} if known else {"name": None}
            return web.json_response(found)
        if path == "workroom/ssh/logged-in":
            self.used.append(await request.json())
            return web.Response(status=204)
        _, user, *rest = path.split("/")
        if not rest:
            return self._model(user)
        if rest == ["activity"]:
            body = await request.json()
            self.active += [(user, name) for name in body["servers"]]
            return web.json_response({})
        name = rest[1] if rest[0] == "servers" else ""
        if rest[-1] == "progress":
            return await self._progress(request)
        return await self._start(user, name)

    def _model(self, user: str) -> web.Response:
        servers = {
            name: {"name": name, "ready": s.ready, "pending": s.pending, "state": s.state}
            for (owner, name), s in self.servers.items()
            if owner == user
        }
        return web.json_response({"name": user, "servers": servers})

    async def _start(self, user: str, name: str) -> web.Response:
        if self.starts is None:
            self.servers[user, name].ready = True
            return web.Response(status=201)
        result = await self.starts(user, name)
        return result or web.Response(status=202)

    async def _progress(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for event in self.events:
            await answer.write(f"data: {json.dumps(event)}\n\n".encode())
            await asyncio.sleep(0.01)
        return answer


class PlayedSshd(asyncssh.SSHServer):
    """Lets in what sshd in a container lets in: a certificate of our authority, our principal."""

    ca = ""
    asked_for: ClassVar[list[tuple[str, int]]] = []
    """Hosts and ports, to connect to or to listen on."""

    def begin_auth(self, username: str) -> bool:
        """Only the one user exists."""
        return True

    def public_key_auth_supported(self) -> bool:
        """Certificates only."""
        return True

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Trust one authority. asyncssh compares principals with the user's name."""
        return key.export_public_key().decode().split()[1] == self.ca.split()[1]

    def connection_requested(self, dest_host: str, dest_port: int, *_: Any) -> bool:
        """Forward as asked."""
        self.asked_for.append((dest_host, dest_port))
        return True

    def server_requested(self, listen_host: str, listen_port: int) -> bool:
        """Listen as asked."""
        self.asked_for.append((listen_host, listen_port))
        return True


async def _run(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Understand a few commands."""
    command = process.command or "shell"
    if command == "cat":
        while data := await process.stdin.read(65536):
            process.stdout.write(data)
        process.exit(0)
    elif command.startswith("exit "):
        process.exit(int(command.split()[1]))
    elif command == "env":
        process.stdout.write(repr(sorted(process.env.items())).encode())
        process.exit(0)
    elif command == "both":
        process.stdout.write(b"out")
        process.stderr.write(b"err")
        process.exit(0)
    elif command.startswith("send "):
        left = int(command.split()[1])
        while left:
            piece = b"x" * min(left, 65536)
            process.stdout.write(piece)
            await process.stdout.drain()
            left -= len(piece)
        process.exit(0)
    elif command.startswith("complain "):
        left = int(command.split()[1])
        while left:
            process.stderr.write(b"e" * min(left, 65536))
            await process.stderr.drain()
            left -= min(left, 65536)
        process.exit(0)
    elif command == "kill":
        process.exit_with_signal("TERM")
    elif command == "wait":
        try:
            await process.stdin.read()
        except asyncssh.SignalReceived as received:
            process.stdout.write(f"signal {received.signal}".encode())
        except asyncssh.TerminalSizeChanged as changed:
            process.stdout.write(f"size {changed.width}x{changed.height}".encode())
        process.exit(0)
    else:
        size = process.term_size
        process.stdout.write(f"{command} {process.term_type} {size[0]}x{size[1]}".encode())
        process.exit(0)


@dataclass
class SshWorld:
    """Everything, running."""

    gateway: Gateway
    hub: PlayedHub
    port: int
    sshd: asyncssh.SSHAcceptor
    runtime: Runtime
    key: asyncssh.SSHKey
    host_keys: list[str]

    @asynccontextmanager
    async def server_of(
        self, user: str, key: asyncssh.SSHKey | None = None, says: Any = None, **more: Any
    ) -> AsyncIterator[asyncssh.SSHKey]:
        """Give a user a server of her own, whose every command says whose it is."""

        async def whose(process: asyncssh.SSHServerProcess[bytes]) -> None:
            process.stdout.write(f"the server of {user}".encode())
            process.exit(0)

        key = key or asyncssh.generate_private_key("ssh-ed25519")
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        options = {
            "server_factory": PlayedSshd,
            "server_host_keys": [host_key],
            "process_factory": says or whose,
            "encoding": None,
            **more,
        }
        sshd = await asyncssh.listen("127.0.0.1", 0, **options)
        self.hub.keys.setdefault(user, set()).add(line(key))
        self.hub.servers[user, ""] = PlayedServer(
            state=server_state(sshd.get_port(), line(host_key))
        )
        try:
            yield key
        finally:
            sshd.close()

    @asynccontextmanager
    async def unharmed(self) -> AsyncIterator[None]:
        """Ann has a session before it comes, which goes on; and she gets in afterwards."""
        async with self.person() as before:
            cat = await before.create_process("cat", encoding=None)
            yield
            cat.stdin.write(b"still here")
            assert await asyncio.wait_for(cat.stdout.readexactly(10), 20) == b"still here"
            async with self.person() as after:
                assert (await asyncio.wait_for(after.run("both"), 20)).stdout == "out"

    def jump(self, outer: Any, host: str = "workroom", user: str = "ann", **more: Any) -> Any:
        """Return a connection of a person through another one (an async context manager)."""
        return self.person(user, **{"host": host, "port": 22, "tunnel": outer, **more})

    def person(self, user: str = "ann", key: asyncssh.SSHKey | None = None, **more: Any) -> Any:
        """Return a connection of a person (an async context manager)."""
        options: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": self.port,
            "username": user,
            "client_keys": [key or self.key],
            "known_hosts": ([asyncssh.import_public_key(k) for k in self.host_keys], [], []),
            "config": None,
            "agent_path": None,
            "preferred_auth": "publickey,keyboard-interactive",
        }
        return asyncssh.connect(**{**options, **more})


@asynccontextmanager
async def ssh_world(tmp_path: Path, **ssh: Any) -> AsyncIterator[SshWorld]:
    """Run a gateway with a user ann, her key and her server."""
    home = tmp_path / "state"
    home.mkdir()
    hub = PlayedHub(read_secret(home, "ssh-token"))
    hub_port = await hub.comes()
    settings = Settings.model_validate(
        {
            "local": {"hub_port": hub_port},
            "ssh": {"logins_per_minute": 1000, "port": free_port(), **ssh},
        }
    )
    runtime = Runtime(home, "127.0.0.1", "users", 2, 2**32, {})
    PlayedSshd.asked_for.clear()
    PlayedSshd.ca = authority.user_ca_public(settings, home)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    sshd = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=PlayedSshd,
        server_host_keys=[host_key],
        process_factory=_run,
        encoding=None,
        agent_forwarding=True,
    )
    key = asyncssh.generate_private_key("ssh-ed25519")
    hub.keys["ann"] = {line(key)}
    hub.servers["ann", ""] = PlayedServer(state=server_state(sshd.get_port(), line(host_key)))
    gateway = Gateway(settings, runtime)
    running = asyncio.create_task(gateway.run())
    await asyncio.sleep(0.05)
    if running.done():
        running.result()
    keys = list(authority.host_keys_public(settings, home))
    try:
        yield SshWorld(gateway, hub, settings.ssh.port, sshd, runtime, key, keys)
        if running.done():
            running.result()
    finally:
        gateway.end()
        await asyncio.wait_for(running, 10)
        sshd.close()
        await hub.dies()


def server_state(port: int, host_key: str) -> dict[str, Any]:
    """Return what a spawner says of a server."""
    return {
        "address": "127.0.0.1",
        "ssh_port": port,
        "ssh_host_key": host_key,
        # asyncssh has no file of principals: it wants the name that logs in.
        "ssh_principal": "workroom",
    }


def line(key: asyncssh.SSHKey) -> str:
    """Return a public key as one line without comment."""
    return " ".join(key.export_public_key().decode().split()[:2])


def free_port() -> int:
    """Return a port that nothing listens on now, and that no outgoing connection is given."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(12_000, 32_000)))  # noqa: S311
            return int(probe.getsockname()[1])
