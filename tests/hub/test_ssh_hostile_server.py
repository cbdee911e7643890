"""A container that is somebody else, or whose owner means harm: her own sessions fail, at most."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import asyncssh
import pytest

from tests.fakes import hostile_sshd
from workroom_hub.ssh import way, wire

from .ssh_world import PlayedServer, SshWorld, line, server_state, ssh_world
from .test_ssh_floods import until


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(way, "_CONNECT_WITHIN", 0.5)
    monkeypatch.setattr(way, "_SSHD_COMES_WITHIN", 1.0)


async def an_impostor(world: SshWorld, key: Any, came: list[str]) -> asyncssh.SSHAcceptor:
    """Have something else answer at the address of ann's server."""
    impostor = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], server_factory=lambda: hostile_sshd.Listens(came)
    )
    state = world.hub.servers["ann", ""].state
    world.hub.servers["ann", ""].state = {**state, "ssh_port": impostor.get_port()}
    return impostor


@pytest.mark.parametrize("kind", ["another key", "another kind of key", "a key it has not"])
async def test_a_container_with_anothers_address_gets_nothing(tmp_path, caplog, kind):
    caplog.set_level(logging.ERROR)
    async with ssh_world(tmp_path) as world:
        pinned = asyncssh.generate_private_key("ssh-ed25519")
        key: Any = asyncssh.generate_private_key("ssh-ed25519")
        if kind == "another kind of key":
            key = asyncssh.generate_private_key("ecdsa-sha2-nistp256")
        if kind == "a key it has not":
            key = hostile_sshd.signs_with_another_key(pinned)
        world.hub.servers["ann", ""].state["ssh_host_key"] = line(pinned)
        came: list[str] = []
        impostor = await an_impostor(world, key, came)
        async with world.person() as ann:
            said = await ann.run("both")
            assert said.exit_status == 255
            assert "is not your server, so nothing was sent to it" in said.stderr
            with pytest.raises(asyncssh.ChannelOpenError, match="is not your server"):
                await ann.open_connection("localhost", 80)
        assert came == []
        impostor.close()
    alarms = [r for r in caplog.records if r.getMessage().startswith("ALARM ")]
    assert alarms
    assert "something else than the server of 'ann' answers at 127.0.0.1" in alarms[0].getMessage()


@pytest.mark.parametrize(
    "serve",
    [
        hostile_sshd.says_nothing,
        hostile_sshd.endless_banner,
        hostile_sshd.endless_line,
        hostile_sshd.rubbish,
    ],
)
async def test_a_server_whose_sshd_does_not_answer_properly(tmp_path, serve):
    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob") as bobs,
        hostile_sshd.raw(serve) as port,
    ):
        key = line(asyncssh.generate_private_key("ssh-ed25519"))
        world.hub.servers["bob", ""] = PlayedServer(state=server_state(port, key))
        async with world.person("bob", bobs) as bob:
            said = await asyncio.wait_for(bob.run("both"), 20)
            assert said.exit_status == 255
            assert "its ssh does not answer" in said.stderr


async def test_a_server_opens_no_channels_that_nobody_asked_for(tmp_path):
    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=hostile_sshd.opens_channels) as bobs,
        world.person("bob", bobs) as bob,
    ):
        assert (await asyncio.wait_for(bob.run("x"), 20)).stdout == "[]"


async def test_a_server_uses_an_agent_so_often_at_once(tmp_path):
    async def has_no_keys(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(100):
            writer.write(b"\0\0\0\5\x0c\0\0\0\0")

    agent = await asyncio.start_unix_server(has_no_keys, tmp_path / "agent")
    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=hostile_sshd.uses_the_agent_a_hundred_times) as bobs,
        world.person("bob", bobs, agent_path=str(tmp_path / "agent"), agent_forwarding=True) as bob,
    ):
        used = int((await asyncio.wait_for(bob.run("x"), 30)).stdout)
        assert 0 < used <= 16
    agent.close()


async def test_an_end_without_a_status_is_an_end(tmp_path):
    async with (
        ssh_world(tmp_path) as world,
        world.server_of("bob", says=hostile_sshd.ends_without_a_status) as bobs,
        world.person("bob", bobs) as bob,
    ):
        said = await asyncio.wait_for(bob.run("x"), 20)
        assert (said.stdout, said.exit_status) == ("done", None)


@pytest.mark.parametrize(
    "serve",
    [
        hostile_sshd.exchanges_keys_for_ever,
        hostile_sshd.breaks_the_protocol,
        hostile_sshd.hangs_up,
    ],
)
async def test_a_server_that_breaks_the_protocol_ends_its_own_sessions(
    tmp_path: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_KEYS_A_MINUTE", 5)
    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=serve) as bobs,
        world.person("bob", bobs) as bob,
    ):
        said = await asyncio.wait_for(bob.run("x"), 20)
        assert said.exit_status == 255
        assert "The connection to your server was lost" in said.stderr


async def test_little_is_held_for_a_server_that_does_not_read(tmp_path):
    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=hostile_sshd.reads_nothing, window=2**32 - 1) as bobs,
        world.person("bob", bobs) as bob,
    ):
        process = await bob.create_process("x", encoding=None)
        assert await process.stdout.readexactly(5) == b"ready"
        for _ in range(100):
            process.stdin.write(bytes(1_000_000))
        [visit] = [v for v in world.gateway.house.visits if v.user == "bob"]
        before = -1
        while visit.bytes != before:
            before = visit.bytes
            await asyncio.sleep(0.5)
        assert before < 30_000_000


async def test_what_a_server_sends_back_is_taken_for_no_order(tmp_path):
    """A flood of requests from a server waits for nothing and ends with its connection."""

    async def asks(process: Any) -> None:
        connection = process.channel.get_connection()
        for _ in range(5000):
            connection._send_global_request(b"tcpip-forward", want_reply=True)
            connection._send_global_request(b"hostkeys-00@openssh.com", b"\0\0\0\1x")
        process.stdout.write(b"asked")
        process.exit(0)

    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=asks) as bobs,
        world.person("bob", bobs) as bob,
    ):
        await asyncio.wait_for(bob.run("x"), 20)


async def test_a_server_that_never_answers_about_ports_holds_up_its_owner_alone(tmp_path):
    class Silent(asyncssh.SSHServer):
        def begin_auth(self, _username: str) -> bool:
            return False

        async def server_requested(self, _host: str, _port: int) -> bool:
            await asyncio.sleep(60)
            return False

    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", server_factory=Silent) as bobs,
    ):
        bob = await world.person("bob", bobs)

        async def ask() -> None:
            with suppress(asyncssh.ChannelListenError):
                await bob.forward_remote_port("", 0, "127.0.0.1", 9)

        asking = [asyncio.create_task(ask()) for _ in range(wire._WAITING_REQUESTS + 50)]
        await until(lambda: {v.user for v in world.gateway.house.visits} == {"ann"})
        await asyncio.wait_for(asyncio.gather(*asking), 20)
        bob.abort()


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA", "rubbish", "ssh-rsa " + "A" * 68])
async def test_a_server_whose_key_is_none_is_told_so(tmp_path, key):
    async with ssh_world(tmp_path) as world:
        world.hub.servers["ann", ""].state["ssh_host_key"] = key
        async with world.person() as ssh:
            done = await ssh.run("both")
            assert done.exit_status == 255
            assert "no ssh key that can be used" in done.stderr
            with pytest.raises(asyncssh.ChannelOpenError):
                await ssh.open_connection("localhost", 80)
            assert not ssh.is_closed()
