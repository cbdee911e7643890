"""Keys and disabled accounts on a real hub process: who may, who is let in, what is told."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from typing import Any

import asyncssh
import pytest
import requests

from tests.support.hub_process import CLI_TOKEN, HubProcess
from tests.support.session import Person

GATEWAY = f"{CLI_TOKEN}-ssh"
NOBODY = (200, {"name": None})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("keys"), STAGE_SECONDS="0.1") as hub:
        yield hub


def new_key(comment: str = "ann@laptop") -> str:
    key = asyncssh.generate_private_key("ssh-ed25519", comment=comment)
    return key.export_public_key().decode().strip()


def enter(hub: HubProcess, name: str, admin: bool = False) -> Person:
    person = Person(hub)
    assert person.log_in(name, hub.add_user(name, admin)).url == hub.url + "home"
    return person


def add(person: Person, user: str, key: str | None = None, **more: str) -> Any:
    answer = person.api(
        "POST", f"/workroom/users/{user}/ssh-keys", {"key": key or new_key()} | more
    )
    assert answer.status_code == 201, answer.text
    return answer.json()


def log_in(hub: HubProcess, user: str, key: str) -> tuple[int, Any]:
    answer: tuple[int, Any] = hub.api(
        "POST", "/workroom/ssh/log-in", {"user": user, "key": key}, token=GATEWAY
    )
    return answer


def token(person: Person, name: str, *scopes: str) -> str:
    asked = {"scopes": list(scopes)} if scopes else {}
    return str(person.api("POST", f"/users/{name}/tokens", asked).json()["token"])


def test_a_key_is_added_used_renamed_and_removed(hub: HubProcess) -> None:
    ann, key = enter(hub, "ann"), new_key()
    keys = "/workroom/users/ann/ssh-keys"
    assert log_in(hub, "ann", key) == NOBODY
    made = add(ann, "ann", f"{key} and more")
    assert (made["name"], made["type"], made["last_used"]) == (
        "ann@laptop and more",
        "ED25519",
        None,
    )
    assert made["key"] == " ".join(key.split()[:2])
    assert log_in(hub, "Ann", key) == (200, {"name": "ann", "key_id": made["id"]})
    used = {"key_id": made["id"], "address": "2001:DB8::1"}
    assert hub.api("POST", "/workroom/ssh/logged-in", used, token=GATEWAY) == (204, None)
    [listed] = ann.api("GET", keys).json()
    assert listed["last_address"] == "2001:db8::1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", listed["last_used"])
    assert ann.api("PATCH", f"{keys}/{made['id']}", {"name": "desk"}).json()["name"] == "desk"
    again = ann.api("POST", keys, {"key": key})
    assert (again.status_code, "'desk'" in again.json()["message"]) == (409, True)
    assert ann.api("DELETE", f"{keys}/{made['id']}").status_code == 204
    assert ann.api("DELETE", f"{keys}/{made['id']}").status_code == 404
    assert ann.api("PATCH", f"{keys}/{made['id']}", {"name": "x"}).status_code == 404
    assert log_in(hub, "ann", key) == NOBODY


def test_one_persons_key_opens_nothing_of_anothers(hub: HubProcess) -> None:
    bea, cid = enter(hub, "bea"), enter(hub, "cid")
    shared, hers = new_key(), new_key()
    first, second = add(bea, "bea", shared), add(cid, "cid", shared)
    add(bea, "bea", hers)
    assert log_in(hub, "bea", shared)[1] == {"name": "bea", "key_id": first["id"]}
    assert log_in(hub, "cid", shared)[1] == {"name": "cid", "key_id": second["id"]}
    assert log_in(hub, "cid", hers) == NOBODY
    for name in ("nobody", "", "a/b", "bea\0", "\ud800", "bea ", "x" * 100_000, "<b>", "..", "%00"):
        assert log_in(hub, name, shared) == NOBODY, name


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (None, 400),
        ([], 400),
        ({"user": "ann"}, 400),
        ({"user": "ann", "key": 5}, 400),
        ({"user": None, "key": ""}, 400),
        ({"user": "ann", "key": "", "more": 1}, 400),
        ({"user": "ann", "key": "x" * 200_000}, 413),
        ({"user": "ann", "key": "garbage"}, 200),
        ({"user": "ann", "key": ""}, 200),
        ({"user": "ann", "key": "\ud800\0"}, 200),
    ],
)
def test_the_gateways_question_in_bad_shape(hub: HubProcess, body: Any, status: int) -> None:
    answer = hub.api("POST", "/workroom/ssh/log-in", body, token=GATEWAY)
    assert answer[0] == status
    assert status != 200 or answer == NOBODY


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key_id": 1, "address": "here"},
        {"key_id": "1", "address": "203.0.113.9"},
        {"key_id": True, "address": "203.0.113.9"},
        {"key_id": 2**70, "address": "203.0.113.9"},
        {"key_id": 0, "address": "203.0.113.9"},
    ],
)
def test_a_use_in_bad_shape(hub: HubProcess, body: Any) -> None:
    assert hub.api("POST", "/workroom/ssh/logged-in", body, token=GATEWAY)[0] == 400


def test_only_the_gateway_may_ask_whose_a_key_is(hub: HubProcess) -> None:
    boss, dan = enter(hub, "boss", admin=True), enter(hub, "dan")
    asked = {"user": "dan", "key": add(dan, "dan")["key"]}
    paths = {"log-in": asked, "logged-in": {"key_id": 1, "address": "203.0.113.9"}}
    for path, body in paths.items():
        for given in ("none", CLI_TOKEN, token(dan, "dan"), token(boss, "boss")):
            assert hub.api("POST", f"/workroom/ssh/{path}", body, token=given)[0] == 403
        assert boss.api("POST", f"/workroom/ssh/{path}", body).status_code == 403
    # And the gateway may ask that only.
    assert hub.api("GET", "/workroom/users/dan/ssh-keys", token=GATEWAY)[0] == 403


def test_whose_keys_somebody_may_see_and_change(hub: HubProcess) -> None:
    eve, fay = enter(hub, "eve"), enter(hub, "fay")
    made = add(fay, "fay")
    keys = "/workroom/users/fay/ssh-keys"
    one = f"{keys}/{made['id']}"
    servers_own = token(fay, "fay", "users:activity!user=fay", "access:servers!user=fay")
    for method, path, body in [
        ("GET", keys, None),
        ("POST", keys, {"key": new_key()}),
        ("PATCH", one, {"name": "stolen"}),
        ("DELETE", one, None),
    ]:
        assert eve.api(method, path, body).status_code == 404, method
        for given, status in [
            ("none", 403),
            (CLI_TOKEN, 403),
            (servers_own, 403),
            (token(eve, "eve"), 404),
        ]:
            assert hub.api(method, path, body, token=given)[0] == status, (method, given)
        # Another site has the cookies, and no more.
        other = fay.session.request(method, f"{hub.url}api{path}", json=body, timeout=10)
        assert method == "GET" or other.status_code == 403, method
    # Another user's number is not enough: it must be her key.
    hers = f"/workroom/users/eve/ssh-keys/{made['id']}"
    assert eve.api("DELETE", hers).status_code == 404
    assert eve.api("PATCH", hers, {"name": "x"}).status_code == 404
    assert [row["name"] for row in fay.api("GET", keys).json()] == [made["name"]]
    assert hub.api("GET", keys, token=token(fay, "fay"))[0] == 200
    boss = enter(hub, "chief", admin=True)
    assert boss.api("GET", keys).status_code == 200
    assert boss.api("GET", "/workroom/users/nobody/ssh-keys").status_code == 404


def test_a_form_of_another_site_adds_nothing(hub: HubProcess) -> None:
    gil = enter(hub, "gil")
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        body = f'{{"key": "{new_key()}"}}'
        for path in ("api/workroom/users/gil/ssh-keys", "account/ssh"):
            sent = gil.session.post(
                hub.url + path, data=body, headers={"Content-Type": kind}, timeout=10
            )
            assert sent.status_code in (400, 403), (kind, path)
    page = gil.session.post(hub.url + "account/ssh", data={"key": new_key()}, timeout=10)
    assert page.status_code == 403
    assert gil.api("GET", "/workroom/users/gil/ssh-keys").json() == []


def test_bad_requests_of_people_get_a_sentence(hub: HubProcess) -> None:
    hal = enter(hub, "hal")
    keys = "/workroom/users/hal/ssh-keys"
    made = add(hal, "hal", name="%s <b>")
    for body, sentence in [
        ({}, "key: a text"),
        ({"key": 5}, "key: a text"),
        ({"key": new_key(), "name": 5}, "name: a text"),
        ({"key": new_key(), "name": "x" * 61}, "at most 60"),
        ({"key": new_key(), "options": "no-pty"}, "Send a JSON object"),
        ({"key": "ssh-dss AAAA"}, "DSA"),
    ]:
        answer = hal.api("POST", keys, body)
        assert answer.status_code == 400
        assert sentence in answer.json()["message"]
    assert hal.api("PATCH", f"{keys}/{made['id']}", {"name": " "}).status_code == 400
    [row] = hal.api("GET", keys).json()
    assert row["name"] == "%s <b>"


def test_a_private_key_is_neither_kept_nor_logged_nor_shown_again(hub: HubProcess) -> None:
    jan = enter(hub, "jan")
    secret = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    marked = secret.splitlines()[2]
    answer = jan.api("POST", "/workroom/users/jan/ssh-keys", {"key": secret})
    assert answer.status_code == 400
    assert "never leave your machine" in answer.json()["message"]
    page = jan.post("account/ssh", key=secret)
    assert "never leave your machine" in html.unescape(page.text)
    raw = f'{{"key": "{secret}'  # no JSON either
    broken = requests.post(
        hub.url + "api/workroom/users/jan/ssh-keys",
        data=raw,
        headers={"Authorization": f"token {token(jan, 'jan')}"},
        timeout=10,
    )
    assert "Send a JSON object" in broken.json()["message"]
    for text in (answer.text, page.text, broken.text, hub.log.read_text()):
        assert marked not in text
    assert b"PRIVATE" not in (hub.home / "hub.sqlite").read_bytes()


def test_the_page_shows_markup_as_text(hub: HubProcess) -> None:
    kim = enter(hub, "o'<b>kim<b>&\"$x")
    script = "<img src=x onerror=alert(1)>"
    page = kim.post("account/ssh", key=new_key(script), name="")
    assert page.url.startswith(f"{hub.url}account/ssh?added=")
    assert "<img src=x" not in page.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in page.text
    assert "<b>kim" not in page.text
    wrong = kim.post("account/ssh", key=f"{script}</textarea><b>", name=f'"{script}')
    assert wrong.status_code == 400
    assert "<img src=x" not in wrong.text
    assert "</textarea><b>" not in wrong.text
    shown = html.unescape(wrong.text)
    assert f"{script}</textarea><b>" in shown  # what was typed is kept
    assert "This is not a public SSH key" in shown
    # Such a name ssh takes from its configuration only.
    assert '<pre tabindex="0" role="group" aria-label="Command for My server">ssh workroom<' in (
        wrong.text
    )


def test_the_page_works_with_plain_forms(hub: HubProcess) -> None:
    lea = enter(hub, "lea")
    key = new_key()
    page = lea.open("account/ssh")
    assert "No key yet" in page
    assert "SHA256:" in page  # the gateway's
    assert "ssh lea@" in page
    token = re.search(r'name="_xsrf" value="([^"]+)"', page)
    assert token

    def send(path: str, files: Any = None, **fields: str | bytes) -> requests.Response:
        fields = {"_xsrf": token[1], **fields}
        answer = lea.session.post(hub.url + path, data=fields, files=files, timeout=10)
        answer.encoding = "utf-8"
        return answer

    uploaded = send("account/ssh", {"file": ("id.pub", key.encode())}, key=" ", name="one")
    assert "Added “one”" in uploaded.text
    assert "under the name 'one'" in html.unescape(send("account/ssh", key=key).text)
    assert send("account/ssh", key=key).status_code == 409
    binary = send("account/ssh", {"file": ("id", b"\xff\xfe\0\x01")}, key="")
    assert (binary.status_code, "This is not a text" in binary.text) == (400, True)
    assert send("account/ssh", key="").status_code == 400
    long = send("account/ssh", key=new_key(), name="x" * 61)
    assert (long.status_code, "at most 60" in long.text) == (400, True)
    [row] = lea.api("GET", "/workroom/users/lea/ssh-keys").json()
    assert "is called “two”" in send(f"account/ssh/{row['id']}/rename", name="two").text
    assert "Give the key a name" in send(f"account/ssh/{row['id']}/rename", name=" ").text
    mia = enter(hub, "mia")
    form = re.search(r'name="_xsrf" value="([^"]+)"', mia.open("account/ssh"))
    assert form
    one = f"{hub.url}account/ssh/{row['id']}/remove"
    assert "was removed already" in mia.session.post(one, data={"_xsrf": form[1]}, timeout=10).text
    assert len(lea.api("GET", "/workroom/users/lea/ssh-keys").json()) == 1
    assert "The key is removed" in send(f"account/ssh/{row['id']}/remove").text
    assert "was removed already" in send(f"account/ssh/{row['id']}/remove").text
    assert lea.session.get(f"{hub.url}account/ssh/1/remove", timeout=10).url.endswith("/ssh")


def test_strangers_are_sent_to_the_log_in(hub: HubProcess) -> None:
    stranger = requests.get(hub.url + "account/ssh", timeout=10)
    assert "/hub/login?next=" in stranger.url
    assert (
        requests.post(hub.url + "account/ssh", data={"key": new_key()}, timeout=10).status_code
        == 403
    )


def test_removing_a_user_removes_her_keys(hub: HubProcess) -> None:
    key = new_key()
    for path in ("/workroom/users/nan", "/users/nan"):
        add(enter(hub, "nan"), "nan", key)
        assert log_in(hub, "nan", key)[1]["name"] == "nan"
        assert hub.api("DELETE", path)[0] == 204
        assert log_in(hub, "nan", key) == NOBODY
        again = enter(hub, "nan")
        assert again.api("GET", "/workroom/users/nan/ssh-keys").json() == []
        assert log_in(hub, "nan", key) == NOBODY
        assert hub.api("DELETE", path)[0] == 204


def test_a_disabled_user_has_no_way_in_until_enabled(hub: HubProcess) -> None:
    password, key = hub.add_user("ola"), new_key()
    ola = Person(hub)
    ola.log_in("ola", password)
    add(ola, "ola", key)
    script = token(ola, "ola")
    assert hub.api("POST", "/users/ola/server", {"profile": "small"})[0] in (201, 202)
    assert hub.api("PUT", "/workroom/users/Ola/disabled") == (204, None)
    listed = {user["name"]: user for user in hub.api("GET", "/workroom/users")[1]}
    assert (listed["ola"]["disabled"], listed["ola"]["servers"]) == (True, 0)
    assert not ola.is_in()
    assert hub.api("GET", "/user", token=script)[0] == 403
    assert log_in(hub, "ola", key) == NOBODY
    # Nor does anybody else start one for her, such as the gateway for an ssh that is still open.
    status, told = hub.api("POST", "/users/ola/server", {"profile": "small"})
    assert (status, "is disabled" in told["message"]) == (403, True)
    listed = {user["name"]: user for user in hub.api("GET", "/workroom/users")[1]}
    assert listed["ola"]["servers"] == 0
    refused = Person(hub).log_in("ola", password)
    assert (refused.status_code, "Wrong user name or password." in refused.text) == (403, True)
    # A new password changes nothing about it.
    _, made = hub.api("POST", "/workroom/users/ola/password")
    assert Person(hub).log_in("ola", made["password"]).status_code == 403
    assert hub.api("PUT", "/workroom/users/ola/disabled") == (204, None)
    assert hub.api("DELETE", "/workroom/users/ola/disabled") == (204, None)
    assert log_in(hub, "ola", key)[1]["name"] == "ola"
    assert Person(hub).log_in("ola", made["password"]).url == hub.url + "home"
    assert hub.api("GET", "/user", token=script)[0] == 403
    assert hub.api("PUT", "/workroom/users/nobody/disabled")[0] == 404


def test_an_account_without_a_password_has_no_keys_that_work(hub: HubProcess) -> None:
    assert hub.api("POST", "/users/pat")[0] == 201
    boss = enter(hub, "pats-boss", admin=True)
    key = new_key()
    add(boss, "pat", key)
    assert log_in(hub, "pat", key) == NOBODY
    hub.api("POST", "/workroom/users/pat/password")
    assert log_in(hub, "pat", key)[1]["name"] == "pat"


def test_admins_cannot_lock_everybody_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    with HubProcess(tmp_path_factory.mktemp("admins")) as hub:
        ada, ben = enter(hub, "ada", admin=True), enter(hub, "ben", admin=True)
        itself = ada.api("PUT", "/workroom/users/ada/disabled")
        assert (itself.status_code, "disable yourself" in itself.json()["message"]) == (400, True)
        assert ada.api("PUT", "/workroom/users/ben/disabled").status_code == 204
        assert not ben.is_in()
        for method, path in [
            ("PUT", "/workroom/users/ada/disabled"),
            ("DELETE", "/workroom/users/ada"),
        ]:
            status, told = hub.api(method, path)
            assert (status, "only admin" in told["message"]) == (409, True)
        assert ada.api("DELETE", "/workroom/users/ben/disabled").status_code == 204
        enter(hub, "cy")
        for method in ("PUT", "DELETE"):
            assert hub.api(method, "/workroom/users/cy/disabled", token="none")[0] == 403


def test_keys_end_after_the_last_log_in_by_browser(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    given = {"ssh": {"browser_login_within": 2, "enabled": False}}
    with HubProcess(tmp_path_factory.mktemp("late"), given) as hub:
        password, key = hub.add_user("quin"), new_key()
        quin = Person(hub)
        quin.log_in("quin", password)
        add(quin, "quin", key)
        assert "SSH is switched off here" in quin.open("account/ssh")
        assert log_in(hub, "quin", key)[1]["name"] == "quin"
        time.sleep(2.1)
        assert log_in(hub, "quin", key) == NOBODY
        Person(hub).log_in("quin", password)
        assert log_in(hub, "quin", key)[1]["name"] == "quin"
