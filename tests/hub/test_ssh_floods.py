"""Too much of everything at the gateway's door; whoever is in or comes properly notices nothing."""

from __future__ import annotations

import asyncio
import os
import resource
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, NameList, String, UInt32

from tests.fakes.hostile_ssh_client import (
    IGNORE,
    KEXINIT,
    UNIMPLEMENTED,
    hostile,
)
from workroom_hub.ssh import door, wire

from .ssh_world import SshWorld, ssh_world

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def stranger(world: SshWorld, address: str = "127.9.9.9") -> Streams:
    """Connect from an address that is nobody's."""
    return await asyncio.open_connection("127.0.0.1", world.port, local_addr=(address, 0))


def leave(streams: list[Streams]) -> None:
    for _, writer in streams:
        writer.transport.abort()


async def until(what: Callable[[], bool], within: float = 20) -> None:
    async with asyncio.timeout(within):
        while not what():
            await asyncio.sleep(0.02)


def kexinit(algorithms: str = "curve25519-sha256,kex-strict-c-v00@openssh.com") -> bytes:
    """Return a KEXINIT as a packet without encryption."""
    lists = (
        algorithms, "ssh-ed25519", "aes128-gcm@openssh.com", "aes128-gcm@openssh.com",
        "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", "",
    )  # fmt: skip
    names = b"".join(NameList([name.encode()]) for name in lists)
    return packet(bytes([KEXINIT]) + bytes(16) + names + Boolean(False) + UInt32(0))


def packet(payload: bytes) -> bytes:
    """Return a packet without encryption."""
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)


async def silent(world: SshWorld, address: str) -> Streams:
    return await stranger(world, address)


async def half_a_version(world: SshWorld, address: str) -> Streams:
    streams = await stranger(world, address)
    streams[1].write(b"SSH-2.0-Ope")
    return streams


async def amid_the_keys(world: SshWorld, address: str) -> Streams:
    streams = await stranger(world, address)
    streams[1].write(b"SSH-2.0-x\r\n" + kexinit())
    return streams


@pytest.mark.parametrize("kind", [silent, half_a_version, amid_the_keys])
async def test_connections_that_only_stand_there_keep_nobody_out(
    tmp_path: Any, kind: Callable[[SshWorld, str], Awaitable[Streams]]
) -> None:
    async with ssh_world(tmp_path, max_logging_in=12) as world, world.unharmed():
        standing = [await kind(world, f"127.7.{n}.1") for n in range(60)]
        await asyncio.sleep(0.1)
        assert world.gateway.door.waiting == 12
        async with world.person() as ann:
            assert (await ann.run("both")).stdout == "out"
        standing += [await kind(world, "127.8.1.1") for n in range(30)]
        async with world.person() as ann:
            assert (await ann.run("both")).stdout == "out"
        leave(standing)


async def test_who_has_come_far_is_not_sent_away_from_the_door(tmp_path):
    """A known key counts more than keys exchanged, and those more than a connection."""
    async with ssh_world(tmp_path, max_logging_in=12) as world:
        knows, other = await hostile(world.port), await hostile(world.port)
        knows.query("ann", world.key)
        await knows.hear(60)
        standing = [await stranger(world, f"127.7.{n}.1") for n in range(60)]
        await asyncio.sleep(0.1)
        other.query("ann", world.key)
        await other.hear(60)
        other.abort()
        clients = [await hostile(world.port, local_addr=(f"127.8.{n}.1", 0)) for n in range(20)]
        knows.sign("ann", world.key)
        await knows.hear(52)
        leave(standing)
        assert sum(client.gone.is_set() for client in clients) >= 8
        for client in clients:
            client.abort()


async def test_known_keys_that_nobody_signs_with_keep_nobody_out(tmp_path):
    """Public keys are no secret. Of those who only show one, an address with many makes room."""
    async with ssh_world(tmp_path, max_logging_in=12) as world:
        slow = await hostile(world.port, local_addr=("127.7.1.1", 0))
        slow.query("ann", world.key)
        await slow.hear(60)
        standing = []
        for number in range(11):
            client = await hostile(world.port, local_addr=(f"127.8.{number % 2}.1", 0))
            client.query("ann", world.key)
            await client.hear(60)
            standing.append(client)
        assert world.gateway.door.waiting == 12
        async with world.person() as ssh:
            assert (await ssh.run("both")).stdout == "out"
        assert [client.gone.is_set() for client in standing] == [True] + 10 * [False]
        slow.sign("ann", world.key)
        await slow.hear(52)
        for client in [slow, *standing]:
            client.abort()


async def test_one_address_has_its_share_of_the_door(tmp_path):
    async with ssh_world(tmp_path, max_logging_in=80) as world:
        standing = [await stranger(world) for _ in range(60)]
        await until(lambda: world.gateway.door.waiting == 20)
        leave(standing)
        await until(lambda: world.gateway.door.waiting == 0)


@pytest.mark.parametrize("kind", [silent, half_a_version, amid_the_keys])
async def test_a_log_in_that_does_not_end_is_ended(
    tmp_path: Any, kind: Callable[[SshWorld, str], Awaitable[Streams]]
) -> None:
    async with ssh_world(tmp_path) as world:
        world.gateway.door._options.login_timeout = 0.3
        reader, _ = await kind(world, "127.9.9.9")
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
        await until(lambda: world.gateway.door.waiting == 0)


async def test_a_byte_now_and_then_is_no_log_in(tmp_path):
    async with ssh_world(tmp_path) as world:
        world.gateway.door._options.login_timeout = 0.5
        reader, writer = await stranger(world)

        async def drip() -> None:
            for byte in b"SSH-2.0-" + b"x" * 10_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
        dripping.cancel()


async def knock(world: SshWorld, address: str) -> bytes:
    """Connect, read the first line, and leave."""
    try:
        reader, writer = await stranger(world, address)
    except OSError:
        return b""
    with suppress(ConnectionError, asyncio.TimeoutError):
        line = await asyncio.wait_for(reader.readline(), 10)
        writer.transport.abort()
        return line
    writer.transport.abort()
    return b""


async def test_thousands_of_attempts_from_one_address(tmp_path, caplog):
    """As fast as they come, which is faster than 10,000 a minute."""
    async with ssh_world(tmp_path, logins_per_minute=60) as world, world.unharmed():
        lines: list[bytes] = []
        for _ in range(40):
            lines += await asyncio.gather(*(knock(world, "127.9.9.9") for _ in range(50)))
        let_in = sum(line.startswith(b"SSH-2.0-Workroom") for line in lines)
        assert 60 <= let_in < 200
        assert sum(b"Too many connection attempts" in line for line in lines) > 1000
    assert len([r for r in caplog.records if "turned away" in r.getMessage()]) == 1


async def test_thousands_of_attempts_from_thousands_of_addresses(tmp_path):
    async with ssh_world(tmp_path, logins_per_minute=60, max_logging_in=50) as world:
        async with world.unharmed():
            for n in range(40):
                await asyncio.gather(*(knock(world, f"127.20.{n}.{m + 1}") for m in range(50)))
        assert len(world.gateway.house.attempts._buckets) > 1900
        await until(lambda: world.gateway.door.waiting == 0)


@pytest.mark.parametrize(
    "rubbish",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-" + b"x" * 100_000,
        b"SSH-2.0-" + b"x" * 1000 + b"\r\n",
        b"SSH-2.0-\xff\xfe\r\n",
        b"x" * 1_000_000,
        b"SSH-2.0-x\r\n" + b"\xff" * 100,
        b"SSH-2.0-x\r\n" + struct.pack(">IB", 2**20, 4) + bytes(100),
        b"SSH-2.0-x\r\n" + struct.pack(">IB", 12, 200) + bytes(100),
        b"SSH-2.0-x\r\n" + struct.pack(">IB", 1, 0) + bytes(100),
        b"SSH-2.0-x\r\n" + packet(b""),
        b"SSH-2.0-x\r\n" + packet(bytes([KEXINIT])),
        b"SSH-2.0-x\r\n" + packet(bytes([KEXINIT]) + bytes(16) + b"\xff\xff\xff\xff"),
        b"SSH-2.0-x\r\n" + kexinit("diffie-hellman-group1-sha1"),
        b"SSH-2.0-x\r\n" + kexinit() + packet(b"\x1e" + String(b"short")),
        b"SSH-2.0-x\r\n" + kexinit() + packet(b"\x1e" + String(bytes(32))),
        b"SSH-2.0-x\r\n" + packet(b"\x32" + String("ann")),
        b"SSH-2.0-x\r\n" + packet(b"\x5a" + String("session")),
    ],
)
async def test_rubbish_ends_the_connection_and_nothing_else(tmp_path, rubbish):
    async with ssh_world(tmp_path) as world, world.unharmed():
        reader, writer = await stranger(world)
        writer.write(rubbish)
        async with asyncio.timeout(10):
            with suppress(ConnectionError):
                while await reader.read(100_000):
                    pass
        await until(lambda: world.gateway.door.waiting == 0)


async def offered(world: SshWorld) -> tuple[list[bytes], asyncio.StreamReader, Any]:
    """Return what the gateway offers in its KEXINIT."""
    reader, writer = await stranger(world)
    await reader.readline()
    writer.write(b"SSH-2.0-x\r\n")
    size = int.from_bytes(await reader.readexactly(4), "big")
    rest = (await reader.readexactly(size))[18:]
    lists = []
    for _ in range(10):
        size = int.from_bytes(rest[:4], "big")
        lists.append(rest[4 : 4 + size])
        rest = rest[4 + size :]
    return lists, reader, writer


async def test_nothing_is_compressed_and_keys_are_exchanged_strictly(tmp_path):
    """No bomb can be unpacked, and what Terrapin needs ends the connection."""
    async with ssh_world(tmp_path) as world:
        lists, reader, writer = await offered(world)
        assert lists[6:8] == [b"none", b"none"]
        assert b"kex-strict-s-v00@openssh.com" in lists[0]
        for weak in (b"cbc", b"sha1", b"arcfour", b"md5"):
            assert weak not in b",".join(lists)
        writer.write(kexinit() + packet(bytes([IGNORE]) + String(b"")))
        assert b"Strict key exchange violation" in await asyncio.wait_for(reader.read(), 10)
        lists, reader, writer = await offered(world)
        writer.write(packet(bytes([IGNORE]) + String(b"")) + kexinit())
        assert b"KEXINIT was not the first packet" in await asyncio.wait_for(reader.read(), 10)


@pytest.mark.parametrize(
    "say",
    [
        lambda client: client.say(IGNORE, String(bytes(10))),
        lambda client: client.say(UNIMPLEMENTED, UInt32(0)),
        lambda client: client.say(4, Boolean(True), String("x"), String("")),
        lambda client: client.say(25, bytes(10)),
    ],
    ids=["ignore", "unimplemented", "debug", "made up"],
)
async def test_floods_of_messages_before_log_in_are_cut(tmp_path, say):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await hostile(world.port)
        for _ in range(20_000):
            say(client)
            if client.gone.is_set():
                break
        assert await client.ended() == "Too much was sent before the log-in."


async def test_keys_exchanged_again_and_again_before_log_in_are_cut(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await hostile(world.port)
        for _ in range(10):
            client._kex_complete or await until(lambda: client._kex_complete)
            client.begin_keys()
            await asyncio.sleep(0.05)
            if client.gone.is_set():
                break
        assert await client.ended() == "Too many key exchanges"


async def test_big_packets_before_log_in(tmp_path):
    async with ssh_world(tmp_path) as world, world.unharmed():
        client = await hostile(world.port)
        client.ask("ann", "publickey", bytes(250_000))
        client.ask("ann", "publickey", bytes(250_000))
        assert "Too much" in await client.ended()


async def test_the_gateway_without_file_descriptors(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("LOGNAME", "workroom")  # as the gateway's process has it
    """Connections wait; what is open goes on; the log says it, now and then."""
    monkeypatch.setattr(door, "_NO_FILE_PAUSE", 0.05)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with ssh_world(tmp_path) as world, world.unharmed():
        open_now = len(os.listdir("/proc/self/fd"))
        standing: list[Streams] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 15, limits[1]))
        try:
            with suppress(OSError):  # whoever of the two has none first
                while True:
                    standing.append(await stranger(world))
            await until(lambda: "could not be taken up" in caplog.text)
        finally:
            leave(standing)
            await asyncio.sleep(0.1)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_the_gateway_allows_itself_many_files(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, limits[1]), limits[1]))
    try:
        async with ssh_world(tmp_path):
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(65_536, limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


async def test_nothing_is_held_of_connections_that_are_gone(tmp_path):
    async with ssh_world(tmp_path) as world:
        for n in range(30):
            client = await hostile(world.port)
            client.query("ann", world.key)
            await client.hear(60)
            if n % 2:
                client.sign("ann", world.key)
                await client.hear(52)
            client.abort()
        async with world.person() as ann:
            await ann.run("both")
        house, gate = world.gateway.house, world.gateway.door
        await until(lambda: not house.visits and not gate._guests)
        assert (gate.waiting, house.places.taken, house.ways.channels.taken) == (0, 0, 0)


def test_the_bounds_leave_room_for_what_people_do() -> None:
    longest = len(asyncssh.generate_private_key("ssh-rsa", key_size=4096).public_data)
    assert 12 * 3 * (longest + 200) < wire._BEFORE_LOGIN / 2
