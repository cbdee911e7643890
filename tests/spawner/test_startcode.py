import asyncio
import logging

import pytest

from workroom_spawner.startcode import ALARMS, NotYet, Refused, StartCodes, derived_code

HERE = "10.0.0.7"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def at_home() -> str:
    return HERE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def codes(clock: Clock) -> StartCodes:
    return StartCodes(clock)


async def refused(codes: StartCodes, code: str, peer: str, reason: str) -> None:
    before = ALARMS.labels(reason=reason)._value.get()
    with pytest.raises(Refused) as caught:
        await codes.redeem(code, peer)
    assert caught.value.reason == reason
    assert ALARMS.labels(reason=reason)._value.get() == before + 1


async def test_first_use_gets_the_environment_and_says_running(codes: StartCodes) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    assert await codes.redeem(code, HERE, "ssh-ed25519 AAAA") == {"TOKEN": "t"}
    assert ticket.redeemed.result() == "ssh-ed25519 AAAA"
    assert ticket.environment == {}


async def test_second_use_is_refused_even_from_the_right_address(codes: StartCodes) -> None:
    code, _ = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    await codes.redeem(code, HERE)
    await refused(codes, code, HERE, "used")


async def test_other_address_is_refused_and_the_owner_can_still_start(codes: StartCodes) -> None:
    code, _ = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    await refused(codes, code, "10.0.0.8", "address")
    assert await codes.redeem(code, HERE) == {"TOKEN": "t"}


async def test_after_the_timeout_it_is_dead(codes: StartCodes, clock: Clock) -> None:
    code, _ = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    clock.now += 60
    await refused(codes, code, HERE, "expired")


async def refused_quietly(
    codes: StartCodes, code: str, peer: str, log: pytest.LogCaptureFixture
) -> None:
    before = ALARMS.labels(reason="expired")._value.get()
    log.clear()
    with log.at_level(logging.INFO), pytest.raises(Refused) as caught:
        await codes.redeem(code, peer)
    assert caught.value.reason == "expired"
    assert ALARMS.labels(reason="expired")._value.get() == before
    [line] = log.records
    assert line.levelno == logging.INFO
    assert "ALARM" not in line.getMessage()
    assert peer in line.getMessage()
    assert code not in line.getMessage()


async def test_the_container_of_a_start_given_up_comes_too_late_without_an_alarm(
    codes: StartCodes, caplog: pytest.LogCaptureFixture
) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    codes.revoke(ticket, HERE)
    codes.revoke(ticket, "10.0.0.9")  # where the server's next container is
    assert ticket.environment == {}
    await refused_quietly(codes, code, HERE, caplog)
    await refused_quietly(codes, code, HERE, caplog)
    for elsewhere in ("10.0.0.8", "10.0.0.9"):
        await refused(codes, code, elsewhere, "expired")


async def test_where_it_is_may_never_have_been_known(
    codes: StartCodes, caplog: pytest.LogCaptureFixture
) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    codes.revoke(ticket, "")
    await refused_quietly(codes, code, HERE, caplog)


async def test_a_code_that_ended_otherwise_is_an_alarm_from_everywhere(
    codes: StartCodes, clock: Clock
) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    codes.revoke(ticket)
    assert ticket.environment == {}
    codes.revoke(ticket, HERE)
    await refused(codes, code, HERE, "expired")
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    clock.now += 60
    codes.revoke(ticket, HERE)
    await refused(codes, code, HERE, "expired")


async def test_a_used_code_of_a_stopped_server_is_an_alarm_from_its_own_address(
    codes: StartCodes,
) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    await codes.redeem(code, HERE)
    codes.revoke(ticket, HERE)
    await refused(codes, code, HERE, "used")


async def test_guess_is_refused(codes: StartCodes) -> None:
    await refused(codes, "guess", HERE, "unknown")


async def test_a_flood_of_guesses_is_counted_but_does_not_fill_the_log(
    codes: StartCodes, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(500):
        await refused(codes, "guess", HERE, "unknown")
    assert len(caplog.records) == 20
    assert "counted only" in caplog.records[-1].message
    clock.now += 61
    await refused(codes, "guess", HERE, "unknown")
    assert len(caplog.records) == 21


async def test_two_at_once_have_one_winner(codes: StartCodes) -> None:
    asked = asyncio.Event()

    async def slow() -> str:
        await asked.wait()
        return HERE

    code, _ = codes.issue("ada", 60, slow, {"TOKEN": "t"})
    racers = [asyncio.create_task(codes.redeem(code, HERE)) for _ in range(5)]
    await asyncio.sleep(0)
    asked.set()
    results = await asyncio.gather(*racers, return_exceptions=True)
    assert [r for r in results if r == {"TOKEN": "t"}] == [{"TOKEN": "t"}]
    assert [r.reason for r in results if isinstance(r, Refused)] == ["used"] * 4


async def test_neither_code_nor_token_is_logged_or_shown(
    codes: StartCodes, caplog: pytest.LogCaptureFixture
) -> None:
    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "the-token"})
    with caplog.at_level(logging.DEBUG):
        await refused(codes, code, "10.0.0.8", "address")
    assert "ALARM" in caplog.text
    assert "ada" in caplog.text
    for text in (caplog.text, repr(ticket), repr(codes.__dict__)):
        assert code not in text
        assert "the-token" not in text


async def test_old_codes_are_forgotten(codes: StartCodes, clock: Clock) -> None:
    old, _ = codes.issue("ada", 60, at_home, {})
    clock.now += 60 + 3601
    codes.issue("bob", 60, at_home, {})
    await refused(codes, old, HERE, "unknown")
    assert len(codes._tickets) == 1


async def test_while_nobody_knows_the_address_it_waits_and_stays_good(codes: StartCodes) -> None:
    known: list[str] = []

    async def address() -> str | None:
        return known[0] if known else None

    code, _ = codes.issue("ada", 60, address, {"TOKEN": "t"})
    with pytest.raises(NotYet):
        await codes.redeem(code, HERE)
    known.append(HERE)
    assert await codes.redeem(code, HERE) == {"TOKEN": "t"}


async def test_a_derived_code_is_the_same_again_and_of_one_start_and_one_hub_only() -> None:
    assert derived_code(b"k" * 32, "start-1") == derived_code(b"k" * 32, "start-1")
    others = {derived_code(b"k" * 32, "start-2"), derived_code(b"j" * 32, "start-1")}
    assert derived_code(b"k" * 32, "start-1") not in others
    assert len(derived_code(b"k" * 32, "start-1")) == 43


async def test_an_expected_code_waits_for_its_start_to_be_resumed(
    codes: StartCodes, clock: Clock
) -> None:
    code = derived_code(b"k" * 32, "start-1")
    codes.expect(code, 60)
    with pytest.raises(NotYet):
        await codes.redeem(code, HERE)
    codes.issue("ada", 60, at_home, {"TOKEN": "t"}, code)
    assert await codes.redeem(code, HERE) == {"TOKEN": "t"}
    codes.expect("nobody came", 60)
    clock.now += 61
    await refused(codes, "nobody came", HERE, "unknown")


async def test_what_fails_before_handing_out_leaves_the_code_good(codes: StartCodes) -> None:
    saved: list[str | None] = []

    async def save(host_key: str | None) -> None:
        saved.append(host_key)
        if len(saved) == 1:
            raise OSError("disk full")

    code, ticket = codes.issue("ada", 60, at_home, {"TOKEN": "t"})
    ticket.before = save
    with pytest.raises(OSError, match="disk full"):
        await codes.redeem(code, HERE, "key")
    assert await codes.redeem(code, HERE, "key") == {"TOKEN": "t"}
    assert saved == ["key", "key"]


async def test_given_up_while_the_address_was_asked_for(
    codes: StartCodes, caplog: pytest.LogCaptureFixture
) -> None:
    async def address() -> str:
        codes.revoke(ticket, HERE)
        return HERE

    code, ticket = codes.issue("ada", 60, address, {"TOKEN": "t"})
    await refused_quietly(codes, code, HERE, caplog)


async def test_a_life_can_be_cut_short_but_not_begun_again(codes: StartCodes, clock: Clock) -> None:
    code, ticket = codes.issue("ada", 1800, at_home, {"TOKEN": "t"})
    codes.limit(ticket, 60)
    clock.now += 61
    codes.limit(ticket, 60)
    await refused(codes, code, HERE, "expired")
