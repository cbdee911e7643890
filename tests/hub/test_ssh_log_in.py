"""Who is let in, and that nobody else learns anything."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncssh
import pytest
from asyncssh.packet import Boolean, String, UInt32

from tests.fakes.hostile_ssh_client import (
    CHANNEL_OPEN,
    GLOBAL_REQUEST,
    INFO_REQUEST,
    INFO_RESPONSE,
    PK_OK,
    USERAUTH_FAILURE,
    USERAUTH_SUCCESS,
    hostile,
    logged_in,
)
from workroom_hub.ssh import visit

from .ssh_world import SshWorld, line, ssh_world


def new_key(kind: str = "ssh-ed25519", **more: Any) -> asyncssh.SSHKey:
    return asyncssh.generate_private_key(kind, **more)


class Reader(asyncssh.SSHClient):
    """Keeps what keyboard-interactive tells it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def kbdint_auth_requested(self) -> str:
        return ""

    def kbdint_challenge_received(
        self, _name: str, instructions: str, _lang: str, _prompts: Any
    ) -> list[str]:
        self.told.append(instructions)
        return []


async def refused(world: SshWorld, user: str, key: asyncssh.SSHKey) -> tuple[str, list[str]]:
    """Try to log in; returns the error and the sentences that were shown."""
    reader = Reader()
    with pytest.raises(asyncssh.PermissionDenied) as error:
        async with world.person(user, key, client_factory=lambda: reader):
            pass
    return str(error.value).replace(user or "USER", "USER"), reader.told


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visit, "_ANSWER_AFTER", 0.0)


async def test_everybody_who_is_not_let_in_hears_one_answer(tmp_path, quick):
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:
        world.hub.keys["carl"] = set()
        async with world.server_of("dora") as doras:
            world.hub.disabled = {"dora"}
            answers = [
                await refused(world, user, key)
                for user, key in (
                    ("ann", new_key()),  # a wrong key
                    ("carl", new_key()),  # no key registered
                    ("bob", world.key),  # another user's name
                    ("nobody", new_key()),  # no such user
                    ("dora", doras),  # disabled
                    ("ann+other", new_key()),
                    ("bob+other", world.key),
                    ("nobody+other", new_key()),
                )
            ]
    assert all(answer == answers[0] for answer in answers), answers
    [sentence] = answers[0][1]
    assert sentence.startswith("Not recognised. Register your key at http")
    assert sentence.endswith("/hub/account/ssh")
    assert bobs


async def test_everybody_who_is_not_let_in_waits_the_same(tmp_path, monkeypatch):
    """By the clock that the gateway waits by, and by what the hub is asked."""
    async with ssh_world(tmp_path) as world, world.server_of("dora") as doras:
        world.hub.keys["carl"], world.hub.disabled = set(), {"dora"}
        seen = []
        for seconds, user, key in (
            (0.0, "ann", new_key()),
            (0.1, "carl", new_key()),
            (0.2, "nobody", new_key()),
            (0.15, "dora", doras),
        ):

            async def answer_slowly(_request: Any, seconds: float = seconds) -> None:
                await asyncio.sleep(seconds)

            world.hub.instead = answer_slowly
            client = await hostile(world.port)
            asked = len(world.hub.asked)
            began = asyncio.get_running_loop().time()
            client.query(user, key)
            await client.hear(USERAUTH_FAILURE)
            took = asyncio.get_running_loop().time() - began
            seen.append((took >= 0.34, len(world.hub.asked) - asked))
            client.abort()
    assert seen == [(True, 1)] * 4


async def test_a_named_server_asks_as_much_for_every_name(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        counts = []
        for user in ("ann+x", "nobody+x", "+", "+x", "ann+"):
            asked = len(world.hub.asked)
            await refused(world, user, new_key())
            counts.append(len(world.hub.asked) - asked)
    assert counts == [2] * 5


async def test_a_query_without_a_signature_lets_nobody_in(tmp_path, quick):
    """Who has her public key may learn that it is registered, as from any ssh; nothing more."""
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        client.query("ann", new_key())
        await client.hear(USERAUTH_FAILURE)
        client.query("ann", world.key)
        await client.hear(PK_OK)
        client.open_session()
        assert "before authentication" in await client.ended()
        assert not world.gateway.house.visits


async def test_a_signature_by_another_key_is_refused(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        client, own = await hostile(world.port), new_key()
        client.query("ann", world.key)
        await client.hear(PK_OK)
        client.sign("ann", world.key, by=own)
        await client.hear(USERAUTH_FAILURE)
        client.sign("ann", own, by=world.key)
        await client.hear(USERAUTH_FAILURE)
        assert not world.gateway.house.visits


async def test_a_signature_for_another_name_is_refused(tmp_path, quick):
    """Bob's key signs for bob; the request says ann, whose key is not bob's, or has ann's key."""
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:
        client = await hostile(world.port)
        client.sign("ann", bobs, as_user="bob")
        await client.hear(USERAUTH_FAILURE)
        client.sign("ann", world.key, by=bobs, as_user="bob")
        await client.hear(USERAUTH_FAILURE)
        client.sign("ann", world.key, as_user="bob")
        await client.hear(USERAUTH_FAILURE)
        assert not world.gateway.house.visits


async def test_a_signature_over_sha_1_is_refused(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        rsa = new_key("ssh-rsa", key_size=2048)
        world.hub.keys["ann"].add(line(rsa))
        client = await hostile(world.port)
        client.sign("ann", rsa, algorithm=b"ssh-rsa")
        await client.hear(USERAUTH_FAILURE)
        client.sign("ann", rsa, algorithm=b"\xff")
        await client.hear(USERAUTH_FAILURE)
        client.sign("ann", rsa, algorithm=b"rsa-sha2-256")
        await client.hear(USERAUTH_SUCCESS)


async def whose_server(client: Any) -> bytes:
    """Return what a command on this connection says."""
    client.open_session()
    await client.hear(91)
    client.run("whose")
    return (await client.hear(94))[1]


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.1], ids=["at once", "soon", "later"])
@pytest.mark.parametrize("slow", [0.0, 0.05])
async def test_two_log_ins_that_cross_never_give_the_others_server(tmp_path, quick, apart, slow):
    """The victim's key queried, then bob logged in; and the other way round."""
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:

        async def answer_slowly(request: Any) -> None:
            body = await request.json() if request.can_read_body else {}
            if body.get("user") == "ann":
                await asyncio.sleep(slow)

        world.hub.instead = answer_slowly
        client = await hostile(world.port)
        client.query("ann", world.key)
        await asyncio.sleep(apart)
        client.sign("bob", bobs)
        await client.hear(USERAUTH_SUCCESS)
        client._auth_complete = True
        assert b"the server of bob" in await whose_server(client)
        assert [v.user for v in world.gateway.house.visits] == ["bob"]
        client.abort()

        client = await hostile(world.port)
        client.sign("bob", bobs)
        await asyncio.sleep(apart)
        client.query("ann", world.key)
        kind, _ = await client.hear(USERAUTH_SUCCESS, PK_OK)
        client._auth_complete = True
        if kind == USERAUTH_SUCCESS:  # it was there before the query
            assert b"the server of bob" in await whose_server(client)
        else:
            client.open_session()
            assert "before authentication" in await client.ended()
        await asyncio.sleep(0.05)
        assert all(v.user == "bob" for v in world.gateway.house.visits)


async def test_log_ins_that_cross_many_times(tmp_path, quick):
    """Queries for the victim around one's own log-in, all in one packet."""
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:
        for before, after in ((1, 1), (3, 0), (0, 3), (2, 2)):
            client = await hostile(world.port)
            for _ in range(before):
                client.query("ann", world.key)
            client.sign("bob", bobs)
            for _ in range(after):
                client.query("ann", world.key)
            if not after:
                await client.hear(USERAUTH_SUCCESS)
            else:
                await client.hear(PK_OK)
                client.sign("bob", bobs)
                await client.hear(USERAUTH_SUCCESS)
            client._auth_complete = True
            assert b"the server of bob" in await whose_server(client)
            assert {v.user for v in world.gateway.house.visits} == {"bob"}
            client.abort()
            await asyncio.sleep(0.05)


async def test_a_query_that_was_given_up_can_be_asked_again(tmp_path, quick):
    async with ssh_world(tmp_path) as world:

        async def answer_slowly(_request: Any) -> None:
            await asyncio.sleep(0.05)

        world.hub.instead = answer_slowly
        client = await hostile(world.port)
        client.query("ann", world.key)
        client.query("ann", world.key)
        await client.hear(PK_OK)
        client.sign("ann", world.key)
        await client.hear(USERAUTH_SUCCESS)


async def test_a_second_log_in_after_the_first_changes_nothing(tmp_path, quick):
    async with ssh_world(tmp_path) as world, world.server_of("bob") as bobs:
        client = await logged_in(world.port, "bob", bobs)
        client.sign("ann", world.key)
        assert b"the server of bob" in await whose_server(client)
        client.sign("ann", world.key)
        assert "Unexpected userauth request" in await client.ended()


@pytest.mark.parametrize(
    ("method", "rest"),
    [
        ("none", ()),
        ("password", (Boolean(False), String("secret"))),
        ("password", (Boolean(True), String("secret"), String("other"))),
        ("hostbased", (String("ssh-ed25519"), String("k"), String("h"), String("u"), String("s"))),
        ("gssapi-with-mic", (UInt32(1), String(b"\x06\x09*\x86H\x86\xf7\x12\x01\x02\x02"))),
        ("gssapi-keyex", (String("mic"),)),
        ("made-up", ()),
        (b"\xff\xfe", ()),
    ],
)
async def test_other_ways_to_log_in_are_refused(tmp_path, quick, method, rest):
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        client.ask("ann", method, *rest)
        _, said = await client.hear(USERAUTH_FAILURE)
        assert b"password" not in said
        assert b"hostbased" not in said
        assert b"gssapi" not in said
        assert not world.hub.asked


async def test_an_answer_to_the_sentence_lets_nobody_in(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        client.query("ann", world.key)
        await client.hear(PK_OK)
        client.ask("ann", "keyboard-interactive", String(""), String(""))
        await client.hear(INFO_REQUEST)
        client.say(INFO_RESPONSE, UInt32(2), String("yes"), String("x" * 100_000))
        await client.hear(USERAUTH_FAILURE)
        client.ask("ann", "keyboard-interactive", String(""), String(""))
        await client.hear(USERAUTH_FAILURE)


@pytest.mark.parametrize("kind", ["own", "gateways", "expired", "x509", "truncated"])
async def test_certificates_of_clients_are_refused(tmp_path, quick, kind):
    """Only containers believe certificates, and the gateway's authority signs for nobody else."""
    async with ssh_world(tmp_path) as world:
        ca = new_key()
        if kind == "gateways":
            ca = world.gateway.house.ways.authority._ca
        if kind == "x509":
            algorithm = b"x509v3-ssh-rsa"
            data = String(algorithm) + UInt32(1) + String(b"\x30\x82" * 300) + UInt32(0)
        else:
            key = new_key() if kind == "own" else world.key
            until = 1000 if kind == "expired" else 2**40
            certificate: Any = ca.generate_user_certificate(
                key, "ann", principals=["ann"], valid_after=0, valid_before=until
            )
            algorithm, data = certificate.algorithm, certificate.public_data
        if kind == "truncated":
            data = data[: len(data) // 2]
        client = await hostile(world.port)
        parts = (Boolean(True), String(algorithm), String(data))
        client.ask("ann", "publickey", *parts, String(b"signature"))
        await client.hear(USERAUTH_FAILURE)
        assert not world.hub.asked
        if kind == "own":
            with pytest.raises(asyncssh.PermissionDenied):
                async with world.person(client_keys=[(key, certificate)]):
                    pass


@pytest.mark.parametrize(
    "user",
    [b"ann\0", b"ann\n", b"a" * 10_000, b"\xff\xfe", "ann\u202e".encode(), b"\x7f", b"ann\x1b[2J"],
    ids=["NUL", "newline", "10,000 characters", "not UTF-8", "right to left", "DEL", "escape"],
)
async def test_a_name_that_no_user_can_have_ends_the_connection(tmp_path, quick, user):
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        client.query(user, world.key)
        assert await client.ended()
        assert not world.hub.asked
        async with world.person() as ann:
            assert (await ann.run("both")).stdout == "out"


@pytest.mark.parametrize(
    "user",
    ["", "+", "++", "../../ann", "ann/server", "ann?x=1", "<b>", "ann " * 200, "\u0430nn", "%00"],
)
async def test_a_strange_name_is_a_name_that_is_not_known(tmp_path, quick, user):
    async with ssh_world(tmp_path) as world:
        _, told = await refused(world, user, world.key)
        assert len(told) == 1
        assert {path for _, path in world.hub.asked} == {"workroom/ssh/log-in"}


async def test_nothing_is_done_before_log_in(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        attempts = [
            lambda c: c.open_session(),
            lambda c: c.say(
                CHANNEL_OPEN, String("direct-tcpip"), UInt32(0), UInt32(99), UInt32(99),
                String("127.0.0.1"), UInt32(80), String("x"), UInt32(1),
            ),
            lambda c: c.run("id"),
            lambda c: c.say(
                GLOBAL_REQUEST, String("tcpip-forward"), Boolean(True), String(""), UInt32(0)
            ),
            lambda c: c.say(GLOBAL_REQUEST, String("keepalive@openssh.com"), Boolean(True)),
            lambda c: c.say(99, UInt32(0)),
            lambda c: c.say(USERAUTH_SUCCESS),
        ]  # fmt: skip
        for attempt in attempts:
            client = await hostile(world.port)
            attempt(client)
            assert await client.ended()
        assert not world.hub.asked
        assert not world.gateway.house.visits


async def test_a_dozen_keys_and_no_more(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        for _ in range(visit._MOST_KEYS):
            client.query("ann", new_key())
            await client.hear(USERAUTH_FAILURE)
        client.query("ann", new_key())
        assert "Too many keys" in await client.ended()
        assert len(world.hub.asked) == visit._MOST_KEYS


async def test_keys_offered_without_waiting_ask_the_hub_no_more(tmp_path, quick):
    async with ssh_world(tmp_path) as world:

        async def answer_slowly(_request: Any) -> None:
            await asyncio.sleep(0.02)

        world.hub.instead = answer_slowly
        client = await hostile(world.port)
        for _ in range(100):
            client.query("ann", new_key())
        assert "Too many" in await client.ended()
        assert len(world.hub.asked) <= visit._MOST_KEYS


async def test_attempts_without_end_are_ended(tmp_path, quick):
    async with ssh_world(tmp_path) as world:
        client = await hostile(world.port)
        for _ in range(100):
            client.ask("ann", "none")
        assert "Too many attempts" in await client.ended()


async def test_a_refused_key_beyond_a_handful_counts_as_an_attempt(tmp_path, quick):
    async with ssh_world(tmp_path, logins_per_minute=10) as world:
        client = await hostile(world.port)
        for _ in range(visit._MOST_KEYS):
            client.query("ann", new_key())
            await client.hear(USERAUTH_FAILURE)
        client.abort()
        for _ in range(3):  # one connection and six keys of ten are gone
            (await hostile(world.port)).abort()
        with pytest.raises((asyncssh.Error, OSError)):
            await hostile(world.port)


async def test_attempts_that_end_in_a_log_in_cost_nothing(tmp_path, quick):
    async with ssh_world(tmp_path, logins_per_minute=10) as world:
        keys = [*(new_key() for _ in range(9)), world.key]
        for _ in range(6):
            async with world.person(client_keys=keys):
                pass


async def test_the_log_has_neither_key_nor_what_a_terminal_obeys(tmp_path, quick, caplog):
    caplog.set_level(logging.DEBUG, "workroom_hub")
    async with ssh_world(tmp_path) as world:
        await refused(world, "ann<b>", world.key)
        await refused(world, "zoe", world.key)
        async with world.person() as ann:
            await ann.run("both")
            with pytest.raises(asyncssh.ChannelOpenError):
                await ann.open_connection("evil\x1b[2J\nALARM forged" + "x" * 5000, 80)
        token, public = world.hub.token, line(world.key).split()[1]
    assert "refused 'ann<b>' from 127.0.0.1" in caplog.text
    assert "SHA256:" in caplog.text
    assert token not in caplog.text
    assert public not in caplog.text
    assert "\x1b" not in caplog.text
    assert "\nALARM" not in caplog.text
    assert "x" * 200 not in caplog.text
