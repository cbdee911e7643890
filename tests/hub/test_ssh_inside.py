"""What somebody who is logged in may reach, and how much she may take."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32

from tests.fakes.hostile_ssh_client import (
    CHANNEL_DATA,
    CHANNEL_OPEN,
    CHANNEL_REQUEST,
    GLOBAL_REQUEST,
    OPEN_CONFIRMATION,
    OPEN_FAILURE,
    WINDOW_ADJUST,
    HostileClient,
    logged_in,
)
from workroom_hub.ssh import gateway, wire

from .ssh_world import PlayedSshd, SshWorld, ssh_world
from .test_ssh_floods import until

ELSEWHERE = [
    "169.254.169.254",
    "fd00:ec2::254",
    "[fd00:ec2::254]",
    "10.0.0.1",
    "172.17.0.1",
    "192.168.0.1",
    "hub",
    "example.com",
    "localhost.example.com",
    "localhost.",
    "127.1",
    "0x7f000001",
    "2130706433",
    "017700000001",
    "[::ffff:127.0.0.1]",
    "::ffff:169.254.169.254",
    "0",
    "127.0.0.1.nip.io",
    "127.0.0.1 ",
    "127.0.0.1\0",
    "127.0.0.1\n10.0.0.1",
    "\u24dbocalhost",
    "\uff11\uff12\uff17.0.0.1",
    "localhost@10.0.0.1",
    "x" * 10_000,
]


async def test_only_ones_own_server_can_be_reached(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        for host in ELSEWHERE:
            with pytest.raises(asyncssh.ChannelOpenError) as error:
                await ann.open_connection(host, 80)
            assert "only your own server" in str(error.value), host
        assert PlayedSshd.asked_for == []


async def test_the_names_of_ones_own_loopback_are_asked_of_ones_own_server(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "", "*"):
            with suppress(asyncssh.ChannelOpenError):
                await ann.open_connection(host, 9)
        assert {host for host, _ in PlayedSshd.asked_for} <= {
            "localhost", "127.0.0.1", "127.9.9.9", "::1", "0.0.0.0"
        }  # fmt: skip
        assert len(PlayedSshd.asked_for) == 7


async def test_no_port_of_ssh_is_reached_bare(tmp_path):
    """Neither an sshd, nor the gateway itself, nor somebody's machine of that name."""
    async with ssh_world(tmp_path) as world, world.person() as ann:
        for host in ("localhost", "127.0.0.1", "workroom", "metadata", "ann"):
            for port in (22, 2222):
                reader, writer = await ann.open_connection(host, port)
                assert (await reader.readline()).startswith(b"SSH-2.0-Workroom_")
                writer.close()
        for host in ("10.0.0.1", "example.com", "169.254.169.254", "::ffff:10.0.0.1"):
            with pytest.raises(asyncssh.ChannelOpenError, match="only your own server"):
                await ann.open_connection(host, 22)
        assert PlayedSshd.asked_for == []


async def test_forwarding_back_listens_on_loopback_whatever_is_asked(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        for host in ("", "*", "0.0.0.0", "10.0.0.1", "::", "example.com", "localhost"):
            listener = await ann.forward_remote_port(host, 0, "127.0.0.1", 9)
            listener.close()
        assert {host for host, _ in PlayedSshd.asked_for} == {"localhost"}


async def test_a_port_that_is_taken_cannot_be_forwarded_and_all_else_goes_on(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        with pytest.raises(asyncssh.ChannelListenError):
            await ann.forward_remote_port("", port, "127.0.0.1", 9)
        with pytest.raises(asyncssh.ChannelListenError):
            await ann.forward_remote_path("/nowhere/socket", "/tmp/none")
        assert (await ann.run("both")).stdout == "out"
        taken.close()


async def test_a_connection_has_so_many_ports_forwarded_back(tmp_path, monkeypatch):
    monkeypatch.setattr("workroom_hub.ssh.visit.LISTENERS", 3)
    async with ssh_world(tmp_path) as world, world.person() as ann:
        for _ in range(3):
            await ann.forward_remote_port("", 0, "127.0.0.1", 9)
        with pytest.raises(asyncssh.ChannelListenError):
            await ann.forward_remote_port("", 0, "127.0.0.1", 9)
        assert (await ann.run("both")).stdout == "out"


# -- ssh -J ---------------------------------------------------------------------------


async def test_no_jump_to_anybody_else(tmp_path):
    """Not by name, and not with the other's own key either."""
    async with (
        ssh_world(tmp_path) as world,
        world.server_of("bob") as bobs,
        world.person() as ann,
    ):
        for user, key, host in (
            ("bob", world.key, "workroom"),
            ("bob", bobs, "workroom"),
            ("bob", bobs, "bob"),
            ("ann", bobs, "workroom"),
            ("bob+ann", bobs, "workroom"),
        ):
            with pytest.raises(asyncssh.PermissionDenied):
                async with world.jump(ann, host, user, client_keys=[key]):
                    pass
        async with world.jump(ann, "bob") as inner:
            said = await inner.run("both")
            assert "You have no server 'bob'" in said.stderr
        assert {v.user for v in world.gateway.house.visits} == {"ann"}


async def test_no_jump_out_of_a_jump(tmp_path):
    async with (
        ssh_world(tmp_path) as world,
        world.person() as ann,
        world.jump(ann) as inner,
    ):
        with pytest.raises(asyncssh.ChannelOpenError, match="already"):
            await inner.open_connection("workroom", 22)
        for host in ELSEWHERE[:6]:
            with pytest.raises(asyncssh.ChannelOpenError):
                await inner.open_connection(host, 80)
        assert PlayedSshd.asked_for == []


async def test_jumps_count_as_connections(tmp_path):
    async with ssh_world(tmp_path, max_connections_per_user=3) as world, world.person() as ann:
        async with world.jump(ann), world.jump(ann), world.jump(ann) as third:
            with pytest.raises(asyncssh.Error):
                await third.run("both")
        await until(lambda: world.gateway.house.places.taken == 1)


async def test_jumps_count_as_attempts(tmp_path):
    async with ssh_world(tmp_path, logins_per_minute=5) as world, world.person() as ann:
        for _ in range(5):
            reader, writer = await ann.open_connection("workroom", 22)
            await reader.readline()
            writer.close()
        with pytest.raises(asyncssh.ChannelOpenError, match="too many connection attempts"):
            await ann.open_connection("workroom", 22)
        assert (await ann.run("both")).stdout == "out"


async def test_traffic_of_a_jump_keeps_both_connections(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        [outer] = world.gateway.house.visits
        outer.last_traffic -= 1e6
        async with world.jump(ann) as inner:
            await inner.run("both")
        world.gateway._look()
        assert (await ann.run("both")).stdout == "out"


# -- too much -------------------------------------------------------------------------


async def test_ten_thousand_channels(tmp_path):
    """A connection has 64 sessions and 320 channels; the rest is refused with the reason."""
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        for number in range(10_000):
            client.open_session(number)
            if number % 500 == 0:
                await asyncio.sleep(0)
        kinds = []
        while len(kinds) < 10_000:
            kind, payload = await client.hear(OPEN_CONFIRMATION, OPEN_FAILURE)
            kinds.append(kind)
        assert kinds.count(OPEN_CONFIRMATION) == 64
        assert b"too many sessions open" in payload
        client.abort()
        async with world.person() as ann:
            assert (await ann.run("both")).stdout == "out"


async def test_channels_to_ports_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "_SESSIONS", 2)
    monkeypatch.setattr(wire, "_FORWARDED", 3)

    async def talk(_reader: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")

    service = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    async with ssh_world(tmp_path) as world, world.person() as ann:
        opened = [await ann.open_connection("localhost", port) for _ in range(5)]
        with pytest.raises(asyncssh.ChannelOpenError, match="too many channels"):
            await ann.open_connection("localhost", port)
        opened[0][1].close()
        await opened[0][1].wait_closed()
        await asyncio.sleep(0.05)
        await ann.open_connection("localhost", port)
    service.close()


async def test_all_of_ones_connections_together_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("workroom_hub.ssh.limits._CHANNELS_EACH", 10)
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:
        clients = [await logged_in(world.port, "ann", world.key) for _ in range(3)]
        for client in clients:
            for number in range(4):
                client.open_session(number)
        kinds = [
            (await client.hear(OPEN_CONFIRMATION, OPEN_FAILURE))[0]
            for client in clients
            for _ in range(4)
        ]
        assert kinds.count(OPEN_CONFIRMATION) == 10
        async with world.person("bob", bobs) as bob:
            assert (await bob.run("x")).stdout == "the server of bob"


async def test_the_more_channels_the_less_each_may_hold(tmp_path):
    async with ssh_world(tmp_path) as world:
        clients = [await logged_in(world.port, "ann", world.key) for _ in range(3)]
        windows = []
        for client in clients:
            for number in range(60):
                client.open_session(number)
                _, payload = await client.hear(OPEN_CONFIRMATION)
                windows.append(int.from_bytes(payload[8:12], "big"))
        assert windows[0] >= 2 * 2**20
        assert windows == sorted(windows, reverse=True)
        assert windows[-1] == 65_536


async def test_an_agent_is_forwarded_by_one_socket(tmp_path):
    """However many sessions ask for it at once."""
    async with ssh_world(tmp_path) as world:
        client = await logged_in(world.port, "ann", world.key)
        for number in range(40):
            client.open_session(number)
            await client.hear(OPEN_CONFIRMATION)
        before = len(os.listdir("/proc/self/fd"))
        for number in range(40):
            client.say(
                CHANNEL_REQUEST, UInt32(number), String("auth-agent-req@openssh.com"), Boolean(True)
            )
        for _ in range(40):
            await client.hear(99)
        assert len(os.listdir("/proc/self/fd")) <= before + 3


async def test_a_huge_environment_is_refused(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        client.open_session()
        await client.hear(OPEN_CONFIRMATION)

        def set_variable(name: str, value: bytes) -> None:
            client.say(
                CHANNEL_REQUEST, UInt32(0), String("env"), Boolean(True), String(name),
                String(value),
            )  # fmt: skip

        kinds = []
        for number in range(200):
            set_variable(f"V{number}", b"x")
            kinds.append((await client.hear(99, 100))[0])
        assert kinds == [99] * 128 + [100] * 72
        set_variable("V1", bytes(200_000))
        await client.hear(100)
        client.run("env")
        assert b"V127" in (await client.hear(CHANNEL_DATA))[1]


async def test_huge_and_wrong_requests_are_ones_own_trouble(tmp_path):
    requests = [
        ("pty-req", String("x" * 200_000), *[UInt32(2**32 - 1)] * 4, String(b"")),
        ("pty-req", String("xterm"), *[UInt32(80)] * 4, String(bytes([3]) * 7)),
        ("exec", String("x" * 200_000)),
        ("exec", String(b"\xff\xfe")),
        ("subsystem", String("x" * 200_000)),
        ("signal", String("x" * 1000)),
        ("window-change", *[UInt32(2**32 - 1)] * 4),
        ("break", UInt32(2**32 - 1)),
        ("x11-req", Boolean(False), String("MIT"), String("00"), UInt32(0)),
        ("shell", String("more than there should be")),
        ("exit-status", UInt32(1)),
        ("no-such-thing",),
    ]
    async with ssh_world(tmp_path) as world, world.unharmed():
        for name, *parts in requests:
            client = await logged_in(world.port, "ann", world.key)
            client.open_session()
            await client.hear(OPEN_CONFIRMATION)
            client.say(CHANNEL_REQUEST, UInt32(0), String(name), Boolean(True), *parts)
            await asyncio.sleep(0.02)
            client.abort()


async def sent(world: SshWorld, client: HostileClient) -> int:
    """Return how many bytes come from the server, until no more do."""
    visit = max(world.gateway.house.visits, key=lambda visit: visit.bytes)
    before = -1
    while visit.bytes != before:
        before = visit.bytes
        await asyncio.sleep(0.5)
    assert not client.gone.is_set()
    return visit.bytes


SIZE = 200_000_000


async def greedy(world: SshWorld) -> HostileClient:
    """Log in, ask for a lot of data, with a window that takes it all."""
    client = await logged_in(world.port, "ann", world.key)
    client.open_session(window=2**32 - 1)
    await client.hear(OPEN_CONFIRMATION)
    client.run(f"send {SIZE}")
    await client.hear(CHANNEL_DATA)
    return client


async def test_little_is_held_for_a_client_that_does_not_read(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await greedy(world)
        client.deaf()
        client.say(WINDOW_ADJUST, UInt32(0), UInt32(1))
        assert await sent(world, client) < SIZE / 4
        client.abort()


async def test_little_is_held_for_a_client_that_leaves_keys_unfinished(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await greedy(world)
        client.unfinished = True
        client.begin_keys()
        assert await sent(world, client) < SIZE / 4
        client.abort()


async def test_a_client_that_asks_and_does_not_read_is_not_listened_to(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "_UNSENT", 16_384)
    monkeypatch.setattr(wire, "_UNSENT_ANSWERS", 65_536)
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        for visit in world.gateway.house.visits:
            sock = visit._conn._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.deaf()
        held = 0
        for _ in range(60):
            for _ in range(1000):
                client.say(GLOBAL_REQUEST, String("keepalive@openssh.com"), Boolean(True))
            await asyncio.sleep(0.01)
            for visit in world.gateway.house.visits:
                held = max(held, visit._conn._transport.get_write_buffer_size())
        assert 65_536 < held < 1_000_000
        client.abort()


async def test_questions_amid_unfinished_keys_are_not_kept(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        client.unfinished = True
        client.begin_keys()
        client._kex_complete = True
        for _ in range(20_000):
            client.say(GLOBAL_REQUEST, String("keepalive@openssh.com"), Boolean(True))
        await client.ended()


async def test_keys_exchanged_without_end_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "_KEYS_A_MINUTE", 5)
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        for _ in range(20):
            if client.gone.is_set():
                break
            if client._kex_complete:
                client.begin_keys()
            await asyncio.sleep(0.02)
        assert await client.ended() == "Too many key exchanges"


async def test_a_client_that_vanished_is_let_go(tmp_path, monkeypatch):
    """No FIN comes from a laptop that sleeps; what it had is free after its signs of life fail."""
    monkeypatch.setattr(gateway, "_KEEPALIVE", 0.1)
    async with ssh_world(tmp_path) as world:
        async with world.unharmed():
            client = await logged_in(world.port, "ann", world.key)
            client.deaf()
            await until(lambda: len(world.gateway.house.visits) == 1)
        await until(lambda: not world.gateway.house.visits)
        client.abort()


async def test_a_data_flood_to_a_channel_that_is_not_there(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await logged_in(world.port, "ann", world.key)
        client.say(CHANNEL_DATA, UInt32(77), String(bytes(1000)))
        assert "Invalid channel number" in await client.ended()
        client = await logged_in(world.port, "ann", world.key)
        client.open_session()
        await client.hear(OPEN_CONFIRMATION)
        for _ in range(200):
            client.say(CHANNEL_DATA, UInt32(0), String(bytes(32_000)))
        assert "Window exceeded" in await client.ended()


@pytest.mark.parametrize("kind", ["x11", "tun@openssh.com", "forwarded-tcpip", "made up", "\x00"])
async def test_other_kinds_of_channels_are_refused(tmp_path, kind):
    async with ssh_world(tmp_path) as world:
        client = await logged_in(world.port, "ann", world.key)
        more = (UInt32(1), UInt32(0)) if kind.startswith("tun") else ()
        client.say(CHANNEL_OPEN, String(kind), UInt32(0), UInt32(9), UInt32(9), *more)
        await client.hear(OPEN_FAILURE)
        assert PlayedSshd.asked_for == []
