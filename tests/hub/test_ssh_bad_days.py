"""Servers that stop, a hub that dies, a gateway that ends, and no room."""

from __future__ import annotations

import asyncio
import logging
import re
import subprocess
import sys
from typing import Any

import asyncssh
import pytest
from aiohttp import web

from tests.fakes import hostile_sshd
from tests.fakes.hostile_ssh_client import PK_OK, USERAUTH_SUCCESS, hostile, logged_in
from workroom_hub.ssh import hub_client, visit
from workroom_hub.ssh.limits import Attempts, Channels, Places, neighbourhood
from workroom_hub.ssh.sparing import Sparing

from .ssh_world import PlayedSshd, SshWorld, line, ssh_world
from .test_ssh_floods import until

LOST = "The connection to your server was lost: it was stopped or ended."


# -- the server ---------------------------------------------------------------------------


async def waits(process: Any) -> None:
    process.stdout.write(b"up")
    await process.stdin.read()


async def test_a_server_that_is_stopped_while_connected(tmp_path):
    """Its sessions say so; the connection lives, and reaches the server when it runs again."""
    inside: list[Any] = []

    class Sshd(PlayedSshd):
        def connection_made(self, conn: Any) -> None:
            inside.append(conn)

    async with (
        ssh_world(tmp_path) as world,
        world.unharmed(),
        world.server_of("bob", says=waits, server_factory=Sshd) as bobs,
        world.person("bob", bobs) as bob,
    ):
        for _ in range(2):
            process = await bob.create_process("x")
            assert await process.stdout.read(2) == "up"
            inside[-1].abort()
            done = await asyncio.wait_for(process.wait(), 10)
            assert done.exit_status == 255
            assert LOST in done.stderr
        process = await bob.create_process("x")
        assert await process.stdout.read(2) == "up"
        assert len(inside) == 3


async def test_a_forwarded_port_does_not_bring_back_a_server_that_was_stopped(tmp_path):
    """A page that asks again and again would keep it for ever; a session is a person's wish."""
    async with ssh_world(tmp_path) as world:
        anns, asked = world.hub.servers["ann", ""], []
        anns.ready = False

        async def starts(_user: str, name: str) -> None:
            asked.append(name)
            anns.ready = True

        world.hub.starts = starts
        async with world.person() as ann:
            reaches = ("localhost", world.sshd.get_port())
            _, writer = await ann.open_connection(*reaches)
            assert len(asked) == 1, "the first time it is started for a forwarded port as well"
            writer.close()
            [visit] = world.gateway.house.visits
            anns.ready = False
            visit.way._going.result().abort()
            for _ in range(2):
                with pytest.raises(asyncssh.ChannelOpenError, match="was stopped"):
                    await ann.open_connection(*reaches)
            assert len(asked) == 1
            assert (await ann.run("both")).stdout == "out"
            assert len(asked) == 2
            _, writer = await ann.open_connection(*reaches)
            writer.close()


async def test_a_container_that_is_killed_without_a_word(tmp_path, monkeypatch):
    """No FIN comes from it either; the signs of life that fail end its sessions."""
    monkeypatch.setattr("workroom_hub.ssh.gateway._KEEPALIVE", 0.1)

    async with (
        ssh_world(tmp_path) as world,
        world.server_of("bob", says=hostile_sshd.reads_nothing) as bobs,
        world.person("bob", bobs) as bob,
    ):
        said = await asyncio.wait_for(bob.run("x"), 20)
        assert said.exit_status == 255
        assert LOST in said.stderr


async def test_a_server_whose_size_is_not_on_offer_any_more(tmp_path):
    """ssh cannot choose another size: the page can."""
    async with ssh_world(tmp_path) as world:
        world.hub.servers["ann", ""].ready = False
        gone = "The profile 'medium' is not on offer. Choose from: small, large."

        async def starts(_user: str, _name: str) -> web.Response:
            return web.json_response({"status": 400, "message": gone}, status=400)

        world.hub.starts = starts
        async with world.person() as ann:
            said = await ann.run("true")
            assert said.exit_status == 255
            where = rf"{re.escape(gone)} Your servers: http\S+/hub/home$"
            assert re.search(where, said.stderr.strip())


# -- the hub ------------------------------------------------------------------------------


async def test_sessions_live_on_without_the_hub(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        cat = await ann.create_process("cat", encoding=None)
        await world.hub.dies()
        cat.stdin.write(b"alive")
        assert await cat.stdout.readexactly(5) == b"alive"
        assert (await ann.run("both")).stdout == "out"
        await world.hub.comes()
        cat.stdin.write(b"alive")
        assert await cat.stdout.readexactly(5) == b"alive"


async def test_a_log_in_waits_for_a_hub_that_is_restarted(tmp_path):
    async with ssh_world(tmp_path) as world:
        await world.hub.dies()
        client = await hostile(world.port)
        client.sign("ann", world.key)
        await asyncio.sleep(0.6)
        assert client.heard.empty()
        await world.hub.comes()
        await client.hear(USERAUTH_SUCCESS)


def garbage(text: str, status: int = 200) -> Any:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


async def never(_request: web.Request) -> None:
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    "answers",
    [
        garbage("Internal server error", 500),
        garbage("<html>", 502),
        garbage("<html>"),
        garbage(""),
        garbage("[1, 2]"),
        garbage('{"name": "ann"}'),
        garbage('{"name": "ann", "key_id": "x"}'),
        garbage('{"name": ["ann"], "key_id": null}'),
        garbage('{"message": "Forbidden"}', 403),
        garbage('{"message": "Not found"}', 404),
        never,
    ],
)
async def test_a_hub_that_answers_nonsense_lets_nobody_in(tmp_path, monkeypatch, answers):
    monkeypatch.setattr(hub_client, "_ASK_AGAIN_FOR", 0.2)
    monkeypatch.setattr(visit, "_HUB_ANSWERS_WITHIN", 0.5)
    monkeypatch.setattr(visit, "_ANSWER_AFTER", 0.0)
    async with ssh_world(tmp_path) as world, world.unharmed():
        world.hub.instead = answers
        client = await hostile(world.port)
        client.sign("ann", world.key)
        farewell = asyncio.create_task(client.ended())
        refused = asyncio.create_task(client.hear(51))
        await asyncio.wait([farewell, refused], return_when="FIRST_COMPLETED")
        if farewell.done():
            assert farewell.result() == "Workroom's hub does not answer. Try again in a minute."
            refused.cancel()
        else:  # an empty answer names nobody
            farewell.cancel()
        client.abort()
        assert {v.user for v in world.gateway.house.visits} == {"ann"}
        assert len(world.gateway.house.visits) == 1
        world.hub.instead = None


@pytest.mark.parametrize(
    "text",
    ["<html>", "[]", '{"servers": []}', '{"servers": {"": {}}}', '{"servers": {"": "x"}}', "{}"],
)
async def test_a_hub_that_answers_nonsense_about_a_server(tmp_path, monkeypatch, text):
    monkeypatch.setattr(hub_client, "_ASK_AGAIN_FOR", 0.2)
    async with ssh_world(tmp_path) as world:

        async def answer(request: web.Request) -> web.Response | None:
            return web.Response(text=text) if "users/" in request.path else None

        world.hub.instead = answer
        async with world.person() as ann:
            said = await asyncio.wait_for(ann.run("both"), 10)
            assert said.exit_status == 255
            assert said.stderr.startswith("workroom: ")
            with pytest.raises(asyncssh.ChannelOpenError):
                await ann.open_connection("localhost", 9)
            world.hub.instead = None
            assert (await ann.run("both")).stdout == "out"


async def test_a_failed_way_is_tried_again(tmp_path, monkeypatch):
    """By the next session of the same connection, when the hub is back."""
    monkeypatch.setattr(hub_client, "_ASK_AGAIN_FOR", 0.1)
    async with ssh_world(tmp_path) as world:

        async def gone(request: web.Request) -> web.Response | None:
            return web.Response(status=502) if "users/" in request.path else None

        world.hub.instead = gone
        async with world.person() as ann:
            assert "hub does not answer" in (await ann.run("both")).stderr
            world.hub.instead = None
            assert (await ann.run("both")).stdout == "out"


# -- the gateway's end ----------------------------------------------------------------------


async def test_a_gateway_that_is_told_to_end_keeps_what_it_has(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ann:
        cat = await ann.create_process("cat", encoding=None)
        world.gateway.drain()
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            async with world.person():
                pass
        assert (await ann.run("both")).stdout == "out"
        cat.stdin.write(b"alive")
        assert await cat.stdout.readexactly(5) == b"alive"


async def test_a_gateway_that_is_told_twice_says_so_and_ends(tmp_path):
    async with ssh_world(tmp_path) as world:
        client = await logged_in(world.port, "ann", world.key)
        world.gateway.drain()
        await asyncio.sleep(0.1)
        assert not client.gone.is_set()
        world.gateway.drain()
        assert "The ssh gateway was stopped. Try again later." in await client.ended()


async def test_a_gateway_ends_its_draining_after_a_time(tmp_path):
    async with ssh_world(tmp_path, drain=1) as world:
        client = await logged_in(world.port, "ann", world.key)
        world.gateway.drain()
        assert "The ssh gateway was stopped" in await client.ended()


# -- no room --------------------------------------------------------------------------------


async def farewell(world: SshWorld, user: str, key: asyncssh.SSHKey) -> str:
    client = await hostile(world.port)
    client.sign(user, key)
    return await client.ended()


async def test_a_user_has_so_many_connections(tmp_path):
    async with (
        ssh_world(tmp_path, max_connections_per_user=2) as world,
        world.server_of("bob") as bobs,
        world.person(),
        world.person() as second,
    ):
        assert "You have too many ssh connections open" in await farewell(world, "ann", world.key)
        async with world.person("bob", bobs) as bob:
            assert (await bob.run("x")).stdout == "the server of bob"
        second.abort()
        await until(lambda: world.gateway.house.places.taken == 1)
        async with world.person() as again:
            assert (await again.run("both")).stdout == "out"


async def test_the_gateway_has_so_many_connections(tmp_path):
    async with (
        ssh_world(tmp_path, max_connections=2) as world,
        world.server_of("bob") as bobs,
        world.person() as ann,
        world.person("bob", bobs),
    ):
        assert "The gateway is full. Try again later." in await farewell(world, "ann", world.key)
        assert (await ann.run("both")).stdout == "out"


async def test_a_connection_that_is_silent_for_too_long_is_closed(tmp_path):
    async with ssh_world(tmp_path, idle_timeout=60) as world:
        client = await logged_in(world.port, "ann", world.key)
        async with world.person() as busy:
            cat = await busy.create_process("cat", encoding=None)
            for each in world.gateway.house.visits:
                each.last_traffic -= 61
            cat.stdin.write(b"x")
            await cat.stdout.readexactly(1)
            world.gateway._look()
            assert "Nothing came through this connection" in await client.ended()
            assert (await busy.run("both")).stdout == "out"


async def test_a_user_who_is_disabled_between_query_and_signature_waits_no_longer(tmp_path):
    """What the hub said at the query holds for this log-in, which has half a minute."""
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        client.query("ann", world.key)
        await client.hear(PK_OK)
        world.hub.disabled.add("ann")
        client.sign("ann", world.key)
        await client.hear(USERAUTH_SUCCESS)
        client = await hostile(world.port)
        client.sign("ann", world.key)
        await client.hear(51)


# -- counting -------------------------------------------------------------------------------


def test_attempts_come_back_with_time_and_are_forgotten() -> None:
    now = 0.0
    attempts = Attempts(60, lambda: now)
    assert sum(attempts.take("10.0.0.1") for _ in range(100)) == 60
    assert attempts.take("10.0.0.2")
    now += 10
    assert sum(attempts.take("10.0.0.1") for _ in range(100)) == 10
    attempts.give_back("10.0.0.1")
    assert attempts.take("10.0.0.1")
    for number in range(50_000):
        attempts.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(attempts._buckets) <= 20_000


def test_an_ipv6_network_is_one_address() -> None:
    assert neighbourhood("2001:db8::1") == neighbourhood("2001:db8::ffff:1%eth0")
    assert neighbourhood("2001:db8::1") != neighbourhood("2001:db8:0:1::1")
    assert neighbourhood("::ffff:10.0.0.1") == "10.0.0.1"


def test_places_are_counted_by_holder_and_in_all() -> None:
    places = Places(3, 2)
    assert [places.take(h) for h in ("a", "a", "a", "b", "c")] == ["", "", "each", "", "all"]
    places.leave("a")
    assert (places.take("c"), places.taken, places.holders) == ("", 3, 3)


def test_the_channels_of_one_user_hold_little_together() -> None:
    channels, windows = Channels(), []
    while window := channels.take("ann"):
        windows.append(window)
    assert windows[:4] == [4 * 2**20] * 4
    assert len(windows) == 2048
    assert sum(windows) <= 205 * 2**20
    assert channels.take("bob") == 4 * 2**20
    for _ in windows:
        channels.leave("ann")
    assert channels.taken == 1


# -- the log --------------------------------------------------------------------------------


class Kept(logging.Handler):
    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addFilter(Sparing(clock))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def test_a_flood_leaves_sixty_lines_a_minute_and_their_number() -> None:
    now = 0.0
    kept, log = Kept(lambda: now), logging.getLogger("flooded")
    log.addHandler(kept)
    for number in range(1000):
        log.warning("refused %r", f"user{number}")
    log.warning("another line")
    assert len(kept.lines) == 61
    assert kept.lines[0] == "refused 'user0'"
    assert kept.lines[59].endswith("(more lines like this one are left out for a minute)")
    now += 61
    for number in range(3):
        log.warning("late %d%s", number, "x" * 5000 * (number == 2))
    assert "late 0" in kept.lines
    assert len(kept.lines[-1]) < 1100
    log.removeHandler(kept)


def test_what_was_left_out_is_counted() -> None:
    now = 0.0
    kept, log = Kept(lambda: now), logging.getLogger("flooded")
    log.addHandler(kept)
    for _ in range(2):
        for number in range(100):
            log.warning("refused %d", number)
        now += 61
    assert kept.lines[60] == "refused 0 (and 40 lines like this one that were left out)"
    log.removeHandler(kept)


def test_the_gateways_process_logs_sparingly() -> None:
    code = (
        "import logging; from workroom_hub.ssh import __main__ as main\n"
        "main.sparing.set_up()\n"
        "for n in range(500): logging.getLogger('workroom_hub.ssh.refused').warning('no %d', n)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 60


async def test_who_is_no_longer_let_in_is_sent_away(tmp_path):
    async with ssh_world(tmp_path) as world:
        second = asyncssh.generate_private_key("ssh-ed25519")
        world.hub.keys["ann"].add(line(second))
        async with world.person() as one, world.person(key=second) as other:
            assert (await one.run("both")).stdout == "out"
            await world.gateway.ask_again()
            world.hub.keys["ann"].remove(line(second))
            world.hub.away = True
            asking = asyncio.create_task(world.gateway.ask_again())
            await asyncio.sleep(0.3)
            assert not asking.done()
            assert not other.is_closed()  # nobody is sent away because the hub is
            world.hub.away = False
            await asking
            await asyncio.wait_for(other.wait_closed(), 5)
            assert (await one.run("both")).stdout == "out"
            world.hub.disabled.add("ann")
            await world.gateway.ask_again()
            await asyncio.wait_for(one.wait_closed(), 5)


async def test_keys_are_exchanged_with_post_quantum_cryptography_where_the_client_can(tmp_path):
    async with ssh_world(tmp_path) as world:
        async with world.person(kex_algs=["mlkem768x25519-sha256"]) as ssh:
            assert (await ssh.run("both")).stdout == "out"
        async with world.person(kex_algs=["curve25519-sha256"]) as ssh:
            assert (await ssh.run("both")).stdout == "out"
