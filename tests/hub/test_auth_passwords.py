"""Password log-in: who gets in, how failures look from outside, what is remembered of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import bcrypt
import pytest
from jupyterhub import orm
from tornado.web import HTTPError

from workroom_hub import passwords
from workroom_hub.initial_password import generate_password
from workroom_hub.passwords import LocalAuthenticator, PasswordRefused

RIGHT = "correct horse battery"


@pytest.fixture
def db() -> Iterator[Any]:
    session = orm.new_session_factory("sqlite://")()
    yield session
    session.close()


@pytest.fixture
def authenticator(db: Any, monkeypatch: pytest.MonkeyPatch) -> LocalAuthenticator:
    # The cheapest cost bcrypt has, so that these tests take no time.
    cheap = bcrypt.gensalt
    monkeypatch.setattr(passwords.bcrypt, "gensalt", lambda: cheap(4))
    return LocalAuthenticator(_deprecated_db_session=db)


async def log_in(authenticator: LocalAuthenticator, name: str, password: str) -> str | None:
    """Log in the way the hub does, with every check it makes."""
    found = await authenticator.get_authenticated_user(
        None, {"username": name, "password": password}
    )
    return found and found["name"]


async def make(authenticator: LocalAuthenticator, name: str, password: str) -> None:
    """Make a user of the hub, if there is none, and give it a password."""
    if orm.User.find(authenticator.db, name) is None:
        authenticator.db.add(orm.User(name=name))
        authenticator.db.commit()
    await authenticator.set_password(name, password)


@pytest.fixture(autouse=True)
def allow_as_configured(authenticator: LocalAuthenticator) -> None:
    authenticator.allow_all = True


@pytest.mark.parametrize(
    "name", ["ann", "ann@example.com", "o'brien", "zoë", "名前", "a" * 200, '"><b>&', "a%20b", "-x"]
)
async def test_any_sensible_name_can_have_an_account(
    authenticator: LocalAuthenticator, name: str
) -> None:
    assert authenticator.validate_username(name)
    await make(authenticator, name, RIGHT)
    assert await log_in(authenticator, name, RIGHT) == name
    assert await log_in(authenticator, name, RIGHT + "x") is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "a b", "a,b", "a" * 201, "a\nb", "a\u200bb"]
)
def test_other_names_are_refused(authenticator: LocalAuthenticator, name: str) -> None:
    assert not authenticator.validate_username(name)


async def test_spellings_of_one_name_are_one_account(authenticator: LocalAuthenticator) -> None:
    await make(authenticator, "zoë", RIGHT)
    assert await log_in(authenticator, "ZOE\u0308", RIGHT) == "zoë"


async def test_an_unknown_name_costs_as_much_as_a_wrong_password(
    authenticator: LocalAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = []
    check = bcrypt.checkpw

    def counting(password: bytes, digest: bytes) -> bool:
        costs.append(digest[:7])  # `$2b$NN$`: algorithm and cost
        return check(password, digest)

    monkeypatch.setattr(passwords.bcrypt, "checkpw", counting)
    await make(authenticator, "ann", RIGHT)
    for name, password in [
        ("ann", "wrong"),
        ("nobody", RIGHT),
        ("a" * 500, "x"),
        ("ann", "x" * 99),
    ]:
        assert await log_in(authenticator, name, password) is None
    assert len(costs) == 4
    assert len(set(costs)) == 1


async def test_bcrypt_leaves_the_event_loop_alone(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(password: bytes, digest: bytes) -> bool:
        time.sleep(0.3)
        return False

    authenticator = LocalAuthenticator(_deprecated_db_session=db)
    monkeypatch.setattr(passwords.bcrypt, "checkpw", slow)
    longest, before = 0.0, time.monotonic()
    attempt = asyncio.ensure_future(log_in(authenticator, "ann", "x"))
    while not attempt.done():
        await asyncio.sleep(0.01)
        longest, before = max(longest, time.monotonic() - before), time.monotonic()
    assert longest < 0.25


async def test_more_log_ins_than_can_be_checked_are_sent_away(
    authenticator: LocalAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords.bcrypt, "checkpw", lambda *_: bool(time.sleep(0.01)))
    crowd = [log_in(authenticator, f"user{n}", "x") for n in range(100)]
    answers = await asyncio.gather(*crowd, return_exceptions=True)
    sent_away = [a for a in answers if isinstance(a, HTTPError) and a.status_code == 503]
    assert len(sent_away) == 100 - passwords.MAX_WAITING
    assert answers.count(None) == passwords.MAX_WAITING


async def test_a_password_bcrypt_would_cut_is_refused_and_never_matches(
    authenticator: LocalAuthenticator,
) -> None:
    longest = "é" * 36  # 72 bytes
    await make(authenticator, "ann", longest)
    assert await log_in(authenticator, "ann", longest) == "ann"
    assert await log_in(authenticator, "ann", longest + "x") is None
    with pytest.raises(PasswordRefused, match="72 bytes"):
        await make(authenticator, "ann", longest + "x")


@pytest.mark.parametrize(
    ("password", "why"),
    [("short", "at least 10"), ("ann@example.com", "easy to guess"), ("1234567890", "easy")],
)
async def test_weak_new_passwords_are_refused(
    authenticator: LocalAuthenticator, password: str, why: str
) -> None:
    with pytest.raises(PasswordRefused, match=why):
        await make(authenticator, "ann@example.com", password)
    assert authenticator.get_user("ann@example.com") is None


async def test_a_password_with_odd_bytes_is_compared_whole(
    authenticator: LocalAuthenticator,
) -> None:
    await make(authenticator, "ann", "before\0after the nul")
    assert await log_in(authenticator, "ann", "before\0another thing") is None
    assert await log_in(authenticator, "ann", "before\0after the nul") == "ann"


@pytest.mark.parametrize("name", ["ann", "nobody"])
async def test_guessing_has_to_wait_whether_the_name_exists_or_not(
    authenticator: LocalAuthenticator, name: str
) -> None:
    await make(authenticator, "ann", RIGHT)
    for _ in range(authenticator.allowed_failed_logins):
        assert await log_in(authenticator, name, "wrong") is None
    with pytest.raises(HTTPError) as refused:
        await log_in(authenticator, name, RIGHT)
    assert refused.value.status_code == 429
    assert "Wait 5 minutes" in str(refused.value)


async def test_a_burst_of_guesses_gets_no_more_than_the_limit(
    authenticator: LocalAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = []
    monkeypatch.setattr(
        passwords.bcrypt, "checkpw", lambda *_: bool(checked.append(1) or time.sleep(0.01))
    )
    guesses = [log_in(authenticator, "ann", f"guess{n}") for n in range(50)]
    await asyncio.gather(*guesses, return_exceptions=True)
    assert len(checked) == authenticator.allowed_failed_logins


async def test_waiting_is_over_after_the_time_even_days_later(
    authenticator: LocalAuthenticator,
) -> None:
    await make(authenticator, "ann", RIGHT)
    for _ in range(authenticator.allowed_failed_logins):
        await log_in(authenticator, "ann", "wrong")
    # A day and a second: `timedelta.seconds`, which native looks at, is 1 then.
    authenticator.login_attempts["ann"]["time"] -= timedelta(days=1, seconds=1)
    assert await log_in(authenticator, "ann", RIGHT) == "ann"
    assert "ann" not in authenticator.login_attempts


async def test_a_left_over_password_opens_nothing(authenticator: LocalAuthenticator) -> None:
    await make(authenticator, "ann", RIGHT)
    orm.User.find(authenticator.db, "ann").name = "anna"  # renamed with JupyterHub's own API
    authenticator.db.commit()
    assert await log_in(authenticator, "ann", RIGHT) is None
    assert await log_in(authenticator, "anna", RIGHT) is None


async def test_a_new_password_ends_the_waiting(authenticator: LocalAuthenticator) -> None:
    for _ in range(authenticator.allowed_failed_logins):
        await log_in(authenticator, "ann", "wrong")
    await make(authenticator, "ann", RIGHT)
    assert await log_in(authenticator, "ann", RIGHT) == "ann"


def test_failures_for_made_up_names_do_not_fill_the_memory(
    authenticator: LocalAuthenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_COUNTED_NAMES", 100)
    for number in range(300):
        authenticator.add_login_attempt(f"user{number}")
    assert len(authenticator.login_attempts) == 100
    assert "user299" in authenticator.login_attempts


@pytest.mark.parametrize("data", [None, {}, {"username": 5, "password": None}, "text"])
async def test_half_a_form_logs_nobody_in(authenticator: LocalAuthenticator, data: Any) -> None:
    assert await authenticator.authenticate(None, data) is None


def test_only_log_in_and_the_change_of_a_password_have_pages(
    authenticator: LocalAuthenticator,
) -> None:
    assert [path for path, _ in authenticator.get_handlers(None)] == ["/login", "/change-password"]
    assert not authenticator.enable_signup


def test_generated_passwords_are_readable_and_never_the_same() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    for password in made:
        assert len(password) == 19
        assert not set(password) & set("0o1li")
