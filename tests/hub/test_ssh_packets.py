"""Data goes through the gateway whole, quickly, and without heaping up there."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter

import asyncssh
import pytest

from workroom_hub.ssh import packets

from .ssh_world import ssh_world

BIG = 20_000_000


@pytest.fixture
def ways(monkeypatch):
    """Count the packets of data that took the quick way, and those that took the long one."""
    taken = Counter()
    carry = packets._Joined.carry

    def counted(self, length):
        quick = carry(self, length)
        taken["quick" if quick else "long"] += 1
        return quick

    monkeypatch.setattr(packets._Joined, "carry", counted)
    return taken


async def through(ssh, data, command="cat", chunks=None):
    """Send data through a command, and give back what comes."""
    process = await ssh.create_process(command, encoding=None)

    async def send():
        pick, at = random.Random(7), 0  # noqa: S311
        while at < len(data):
            size = pick.choice(chunks or [1, 17, 32768, 100_000])
            process.stdin.write(data[at : at + size])
            await process.stdin.drain()
            at += size
        process.stdin.write_eof()

    sending = asyncio.create_task(send())
    found = await whole(process.stdout)
    await sending
    await process.wait()
    assert process.exit_status == 0
    return found


async def whole(stream):
    """Return all that comes; a stall is a failure, and nothing to wait for."""
    found = bytearray()
    async with asyncio.timeout(30):
        while piece := await stream.read(1 << 20):
            found += piece
    return bytes(found)


def same(one, other):
    return hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


async def test_much_goes_both_ways_whole_and_the_quick_way(tmp_path, ways):
    data = os.urandom(BIG)
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        assert same(await through(ssh, data), data)
        assert world.gateway.house.visits.copy().pop().bytes == 2 * BIG
    assert ways["quick"] > 4 * ways["long"], ways


async def test_two_sessions_at_once_do_not_mix(tmp_path, ways):
    one, other = os.urandom(BIG // 4), os.urandom(BIG // 4)
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        found = await asyncio.gather(through(ssh, one), through(ssh, other))
    assert same(found[0], one)
    assert same(found[1], other)


async def test_new_keys_in_the_middle(tmp_path, ways):
    data = os.urandom(BIG // 2)
    async with ssh_world(tmp_path) as world, world.person(rekey_bytes=500_000) as ssh:
        assert same(await through(ssh, data), data)
    assert ways["quick"]


async def test_the_gateway_asks_for_new_keys_itself(tmp_path, ways):
    data = os.urandom(BIG // 2)
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        await ssh.run("both")
        [visit] = world.gateway.house.visits
        legs = [visit._conn, visit.way._going.result()]
        first = [leg._send_encryption for leg in legs]
        for leg in legs:
            leg._rekey_bytes = 500_000
        assert same(await through(ssh, data), data)
        assert not set(first) & {leg._send_encryption for leg in legs}
    assert ways["quick"]


async def test_another_cipher_takes_the_long_way(tmp_path, ways):
    data = os.urandom(BIG // 4)
    ciphers = ["chacha20-poly1305@openssh.com"]
    async with ssh_world(tmp_path, ciphers=ciphers) as world, world.person() as ssh:
        assert same(await through(ssh, data), data)
    assert not ways


async def test_forwarded_connections_take_the_quick_way(tmp_path, ways):
    data = os.urandom(BIG // 4)

    async def echo(reader, writer):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()

    async def round_trip(reader, writer):
        async def send():
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        found = await reader.read()
        await sending
        return found

    service = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        # The half that is done is closed, and the other one goes on.
        assert same(await round_trip(*await ssh.open_connection("localhost", port)), data)
        there = ways["quick"]
        assert there > 100
        listener = await ssh.forward_remote_port("", 0, "127.0.0.1", port)
        found = await round_trip(*await asyncio.open_connection("127.0.0.1", listener.get_port()))
        assert same(found, data)
        assert ways["quick"] > 1.5 * there
    service.close()


async def test_a_reader_that_stops_holds_nothing_up_but_itself(tmp_path, ways):
    async with ssh_world(tmp_path) as world, world.person() as ssh, world.person() as other:
        stopped = await ssh.create_process("send 60000000", encoding=None)
        stopped.stdout.channel.pause_reading()
        await asyncio.sleep(0.5)
        data = os.urandom(BIG // 4)
        assert same(await through(ssh, data), data)
        assert same(await through(other, data), data)
        held = sum(waiting(visit) for visit in world.gateway.house.visits)
        stopped.stdout.channel.resume_reading()
        assert held < 3 * 2**20
        assert len(await whole(stopped.stdout)) == 60_000_000


async def test_a_peer_that_reads_nothing_though_its_window_is_wide(tmp_path, ways):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        session = await ssh.create_process("send 60000000", encoding=None, window=2**31)
        ssh._transport.pause_reading()
        await asyncio.sleep(1)
        [visit] = world.gateway.house.visits
        held = waiting(visit)
        ssh._transport.resume_reading()
        assert held < 4 * 2**20
        assert len(await whole(session.stdout)) == 60_000_000


class Keeps:
    """A transport whose peer reads nothing, and which keeps what it gets as Python 3.12's does."""

    def __init__(self, transport):
        self.transport, self.kept = transport, []

    def __getattr__(self, name):
        return getattr(self.transport, name)

    def write(self, data):
        self.kept.append(data)

    def get_write_buffer_size(self):
        return sum(map(len, self.kept))


async def test_small_packets_that_wait_hold_no_large_ones(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        await ssh.run("both")
        [visit] = world.gateway.house.visits
        near = visit._conn
        near._transport = keeps = Keeps(near._transport)
        for number in range(100):
            near.send_debug(f"{number}")
            await asyncio.sleep(0.001)
        near._transport = keeps.transport
        near.abort()
    assert len(keeps.kept) >= 100
    whole = {id(each.obj): len(each.obj) for each in keeps.kept if type(each) is memoryview}
    rest = sum(len(each) for each in keeps.kept if type(each) is bytes)
    assert sum(whole.values()) + rest < 2**20


def waiting(visit):
    """Return the bytes that the gateway holds for a connection, on both of its legs."""
    legs = [visit._conn, visit.way._going.result()]
    return sum(
        leg._transport.get_write_buffer_size()
        + len(leg._inpbuf)
        + sum(
            chan._send_buf_len + sum(len(data) for data, _ in chan._recv_buf)
            for chan in leg._channels.values()
        )
        for leg in legs
    )


async def test_a_packet_that_was_tampered_with_ends_the_connection(tmp_path, ways):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        process = await ssh.create_process("cat", encoding=None)
        process.stdin.write(b"good")
        assert await process.stdout.read(4) == b"good"
        assert ways["quick"] >= 1
        send = ssh._transport.write
        ssh._transport.write = lambda data: send(data[:-20] + b"\0\0\0\0" + data[-16:])
        process.stdin.write(b"x" * 1000)
        with pytest.raises(asyncssh.Error):
            await asyncio.wait_for(process.stdout.readexactly(1000), 5)
        assert ssh.is_closed()


@pytest.mark.parametrize("window", [2**17, 2**21, 2**24, 2**31 - 1])
async def test_windows_of_any_size_and_one_way_traffic_do_not_stall(tmp_path, ways, window):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        for eof_first in (False, True):
            sends = await ssh.create_process("send 9000000", encoding=None, window=window)
            if eof_first:
                sends.stdin.write_eof()
            assert len(await whole(sends.stdout)) == 9_000_000
        complains = await ssh.create_process("complain 9000000", encoding=None, window=window)
        assert len(await whole(complains.stderr)) == 9_000_000
