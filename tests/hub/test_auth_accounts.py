"""The accounts API and the change of a password, on a real hub process."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.hub_process import HubProcess
from tests.support.session import Person
from workroom_hub.initial_password import load_initial_password, save_initial_password


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("accounts"), STAGE_SECONDS="0.1") as hub:
        yield hub


def error(answer: tuple[int, Any]) -> tuple[int, str]:
    status, body = answer
    assert set(body) == {"status", "message"}
    assert body["status"] == status
    return status, body["message"]


def test_an_account_is_made_once_and_logs_in(hub: HubProcess) -> None:
    status, made = hub.api("POST", "/workroom/users", {"name": "Ann@Example.com", "admin": True})
    assert status == 201
    assert made == {"name": "ann@example.com", "password": made["password"], "admin": True}
    person = Person(hub)
    answer = person.log_in("Ann@example.com", made["password"])
    assert answer.url == hub.url + "home"
    assert ">Admin<" in answer.text
    status, message = error(hub.api("POST", "/workroom/users", {"name": "ann@example.com"}))
    assert status == 409
    assert "workroom users reset ann@example.com" in message


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (None, "JSON object"),
        ([], "JSON object"),
        ({"name": "ann", "passwort": "a chosen one"}, "JSON object"),
        ({"name": "ann", "password": "chosen"}, "password: Use at least 10"),
        ({"name": 5}, "name: a text"),
        ({"name": "ann", "admin": "yes"}, "true or false"),
        ({"name": "a/b"}, "cannot be a user name"),
        ({"name": "a b"}, "cannot be a user name"),
        ({"name": ""}, "cannot be a user name"),
        ({"name": "a" * 201}, "cannot be a user name"),
        ({"name": "100%s\n"}, "'100%s"),
    ],
)
def test_a_bad_request_makes_nothing_and_says_why(
    hub: HubProcess, body: Any, complaint: str
) -> None:
    before = hub.api("GET", "/workroom/users")
    status, message = error(hub.api("POST", "/workroom/users", body))
    assert status == 400
    assert complaint in message
    assert hub.api("GET", "/workroom/users") == before


def test_only_the_scope_opens_the_api(hub: HubProcess) -> None:
    hub.add_user("curious")
    for method, path in [
        ("GET", "/workroom/users"),
        ("POST", "/workroom/users"),
        ("POST", "/workroom/users/curious/password"),
        ("DELETE", "/workroom/users/curious"),
    ]:
        assert hub.api(method, path, {}, token="not-a-token")[0] == 403


def test_a_reset_ends_every_session_and_the_old_password(hub: HubProcess) -> None:
    first = hub.add_user("bob")
    save_initial_password("bob", first, hub.home)
    person = Person(hub)
    person.log_in("bob", first)
    assert person.is_in()
    status, made = hub.api("POST", "/workroom/users/bob/password")
    assert status == 200
    assert made == {"name": "bob", "password": made["password"]}
    assert not person.is_in()
    assert load_initial_password(hub.home) is None
    assert person.log_in("bob", first).status_code == 403
    person.log_in("bob", made["password"])
    assert person.is_in()
    assert error(hub.api("POST", "/workroom/users/nobody/password"))[0] == 404


def test_a_user_made_in_the_admin_page_gets_in_after_a_reset(hub: HubProcess) -> None:
    assert hub.api("POST", "/users/carl")[0] == 201
    assert Person(hub).log_in("carl", "").status_code == 403
    _, made = hub.api("POST", "/workroom/users/carl/password")
    person = Person(hub)
    person.log_in("carl", made["password"])
    assert person.is_in()


def test_removing_stops_the_servers_and_forgets_the_password(hub: HubProcess) -> None:
    password = hub.add_user("dora")
    save_initial_password("dora", password, hub.home)
    person = Person(hub)
    person.log_in("dora", password)
    assert hub.api("POST", "/users/dora/server", {"profile": "small"})[0] in (201, 202)
    assert hub.api("POST", "/users/dora/servers/second", {"profile": "small"})[0] in (201, 202)
    deadline = time.monotonic() + 20
    while listed(hub)["dora"]["servers"] < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert listed(hub)["dora"]["servers"] == 2
    assert hub.api("DELETE", "/workroom/users/dora") == (204, None)
    assert "dora" not in listed(hub)
    assert not person.is_in()
    assert Person(hub).log_in("dora", password).status_code == 403
    assert load_initial_password(hub.home) is None
    assert error(hub.api("DELETE", "/workroom/users/dora"))[0] == 404
    assert hub.add_user("dora") != password  # the name is free again


def test_the_only_admin_stays(tmp_path: Path) -> None:
    with HubProcess(tmp_path) as hub:
        hub.api("POST", "/workroom/users", {"name": "ann", "admin": True})
        status, message = error(hub.api("DELETE", "/workroom/users/ann"))
        assert status == 409
        assert "users add NAME --admin" in message
        hub.api("POST", "/workroom/users", {"name": "ben", "admin": True})
        assert hub.api("DELETE", "/workroom/users/ann") == (204, None)
        assert hub.api("DELETE", "/workroom/users/ben")[0] == 409


def test_removing_cancels_a_start(tmp_path: Path) -> None:
    with HubProcess(tmp_path, STAGE_SECONDS="30") as hub:
        hub.add_user("eve")
        assert hub.api("POST", "/users/eve/server", {"profile": "small"})[0] == 202
        assert hub.api("DELETE", "/workroom/users/eve") == (204, None)
        assert listed(hub) == {}
        assert "Traceback" not in hub.log.read_text()


def listed(hub: HubProcess) -> dict[str, Any]:
    status, users = hub.api("GET", "/workroom/users")
    assert status == 200
    assert [user["name"] for user in users] == sorted(user["name"] for user in users)
    return {user["name"]: user for user in users}


def test_the_list_says_who_there_is(hub: HubProcess) -> None:
    hub.add_user("zed")
    zed = listed(hub)["zed"]
    assert set(zed) == {"name", "admin", "disabled", "created", "last_activity", "servers"}
    assert zed["admin"] is False
    assert zed["servers"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", zed["created"])


def test_people_change_their_own_password(hub: HubProcess) -> None:
    first = hub.add_user("fay")
    save_initial_password("fay", first, hub.home)
    here, elsewhere = Person(hub), Person(hub)
    for person in (here, elsewhere):
        person.log_in("fay", first)

    def change(old: str, new: str, again: str | None = None) -> requests.Response:
        fields = {"old_password": old, "new_password": new, "new_password_again": again or new}
        return here.post("change-password", **fields)

    assert "not your current password" in change("wrong", "a much better one").text
    assert "are not the same" in change(first, "a much better one", "another one here").text
    assert "at least 10" in change(first, "short").text
    assert elsewhere.is_in()
    assert "Your password is changed" in change(first, "a much better one").text
    assert here.is_in()
    assert not elsewhere.is_in()
    assert load_initial_password(hub.home) is None
    assert Person(hub).log_in("fay", first).status_code == 403
    assert Person(hub).log_in("fay", "a much better one").url == hub.url + "home"


def test_a_form_from_another_site_changes_nothing(hub: HubProcess) -> None:
    password = hub.add_user("gil")
    person = Person(hub)
    person.log_in("gil", password)
    fields = {"old_password": password, "new_password": "chosen by x", "new_password_again": ""}
    answer = person.session.post(hub.url + "change-password", data=fields, timeout=10)
    assert answer.status_code == 403
    assert Person(hub).log_in("gil", password).url == hub.url + "home"


def test_log_in_answers_are_sentences(hub: HubProcess) -> None:
    wrong = Person(hub).log_in("fay", "wrong")
    unknown = Person(hub).log_in("who" * 30, "wrong")
    for answer in (wrong, unknown):
        assert answer.status_code == 403
        assert "Wrong user name or password." in answer.text
    assert 'value="' + "who" * 30 + '"' in unknown.text  # given back as typed
    assert Person(hub).post("login").status_code == 403
    for _ in range(10):
        last = Person(hub).log_in("guessed", "x")
    last = Person(hub).log_in("guessed", "x")
    assert last.status_code == 429
    assert "Wait 5 minutes" in last.text


def test_no_password_reaches_the_log(hub: HubProcess) -> None:
    password = hub.add_user("hal")
    Person(hub).log_in("hal", password)
    Person(hub).log_in("hal", "a-wrong-one-typed-here")
    log = hub.log.read_text()
    assert "hal" in log
    assert password not in log
    assert "a-wrong-one-typed-here" not in log
