"""Log-in at a real OpenID Connect provider, in a real browser, through a real hub."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import TOOLS, chromium, complaints, new_page, npm_ci
from tests.support.hub_process import CLI_TOKEN, HubProcess, free_port, wait_for

pytestmark = pytest.mark.browser

HERE = Path(__file__).parent / "oidc"
SECRET = "a secret+with/characters%that need=encoding"


class Provider:
    """The provider's process; `accounts` may change between log-ins."""

    def __init__(self, home: Path, redirect_uri: str) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.accounts_file = home / "accounts.json"
        self.env = {
            **os.environ,
            "PORT": str(self.port),
            "REDIRECT_URI": redirect_uri,
            "CLIENT_SECRET": SECRET,
            "ACCOUNTS": str(self.accounts_file),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def set_accounts(self, **accounts: dict[str, Any]) -> None:
        self.accounts_file.write_text(json.dumps(accounts))

    def start(self) -> None:
        npm_ci(HERE)
        node = str(TOOLS / "node")
        # A session of its own: `node` here is a wrapper with the real one as its child.
        self.process = subprocess.Popen(
            [node, "provider.mjs"], cwd=HERE, env=self.env, start_new_session=True
        )
        wait_for(f"{self.issuer}/.well-known/openid-configuration", self.process)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None


@contextmanager
def hub_with_provider(home: Path, **more: Any) -> Iterator[tuple[HubProcess, Provider]]:
    hub = HubProcess(home)
    provider = Provider(home, f"{hub.base}/hub/oauth_callback")
    secret = home / "client-secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    oidc = {
        "issuer": provider.issuer,
        "client_id": "workroom",
        "client_secret_file": str(secret),
        "title": "Example Corp",
        "allowed_groups": ["analysts"],
        "admin_groups": ["platform"],
        **more,
    }
    hub.env["HUB_SETTINGS"] = json.dumps({"auth": {"kind": "oidc", "oidc": oidc}})
    try:
        with hub:
            yield hub, provider
    finally:
        provider.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubProcess, Provider]]:
    with hub_with_provider(tmp_path_factory.mktemp("oidc")) as both:
        both[1].start()
        yield both


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with new_page(browser) as page:
        yield page


def sign_in(page: Page, hub: HubProcess, login: str) -> None:
    page.goto(hub.url + "login")
    page.get_by_role("link", name="Sign in with Example Corp").click()
    page.locator("[name=login]").fill(login)
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(hub.base + "/**")


def test_a_member_gets_in_with_the_groups_the_provider_names(
    both: tuple[HubProcess, Provider], page: Page
) -> None:
    hub, provider = both
    provider.set_accounts(mia={"preferred_username": "Mia", "groups": ["analysts", "berlin"]})
    heard = complaints(page)
    sign_in(page, hub, "mia")
    expect(page.get_by_role("heading", name="Your servers")).to_be_visible()
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    expect(page.get_by_text("Change password")).to_have_count(0)
    assert heard == []
    _, user = hub.api("GET", "/users/mia")
    assert sorted(user["groups"]) == ["analysts", "berlin"]
    assert user["admin"] is False


def test_the_person_arrives_where_the_link_pointed(
    both: tuple[HubProcess, Provider], page: Page
) -> None:
    hub, provider = both
    provider.set_accounts(mia={"preferred_username": "mia", "groups": ["analysts"]})
    page.goto(hub.url + "token")
    page.get_by_role("link", name="Sign in with Example Corp").click()
    page.locator("[name=login]").fill("mia")
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(hub.url + "token")


def test_everyone_else_is_refused_with_the_reason(
    both: tuple[HubProcess, Provider], page: Page
) -> None:
    hub, provider = both
    provider.set_accounts(otto={"preferred_username": "otto", "groups": ["sales"]})
    sign_in(page, hub, "otto")
    expect(page.locator("main")).to_contain_text("You may not see this page.")
    expect(page.locator("main")).to_contain_text("your account may not use this platform")
    page.goto(hub.url + "home")
    expect(page).to_have_url(re.compile("/hub/login"))
    assert hub.api("GET", "/users/otto")[0] == 404


def test_an_admin_is_one_for_as_long_as_the_group_says(
    both: tuple[HubProcess, Provider], browser: Browser
) -> None:
    hub, provider = both
    provider.set_accounts(eve={"preferred_username": "eve", "groups": ["platform"]})
    with new_page(browser) as page:
        sign_in(page, hub, "eve")
        expect(page.get_by_role("link", name="Admin")).to_be_visible()
    assert hub.api("GET", "/users/eve")[1]["admin"] is True
    provider.set_accounts(eve={"preferred_username": "eve", "groups": ["analysts"]})
    with new_page(browser) as page:
        sign_in(page, hub, "eve")
        expect(page.get_by_role("heading", name="Your servers")).to_be_visible()
        expect(page.get_by_role("link", name="Admin")).to_have_count(0)
        assert page.goto(hub.url + "admin").status == 403  # type: ignore[union-attr]
    assert hub.api("GET", "/users/eve")[1]["admin"] is False


def test_an_account_without_a_user_name_is_refused_with_the_claim_named(
    both: tuple[HubProcess, Provider], page: Page
) -> None:
    hub, provider = both
    provider.set_accounts(ghost={"groups": ["analysts"]})
    sign_in(page, hub, "ghost")
    expect(page.locator("main")).to_contain_text("no usable 'preferred_username'")


def test_nobody_takes_over_a_name_that_was_somebody_elses(
    both: tuple[HubProcess, Provider], browser: Browser
) -> None:
    hub, provider = both
    provider.set_accounts(first={"preferred_username": "kim", "groups": ["analysts"]})
    with new_page(browser) as page:
        sign_in(page, hub, "first")
        expect(page.get_by_role("heading", name="Your servers")).to_be_visible()
    provider.set_accounts(second={"preferred_username": "KIM", "groups": ["analysts"]})
    with new_page(browser) as page:
        sign_in(page, hub, "second")
        expect(page.locator("main")).to_contain_text("'kim' belongs to another account here")


@pytest.mark.parametrize("adopt", [False, True])
def test_a_user_from_before_the_provider_is_adopted_only_if_an_admin_says_so(
    tmp_path: Path, browser: Browser, adopt: bool
) -> None:
    with (
        hub_with_provider(tmp_path, adopt_existing=adopt) as (hub, provider),
        new_page(browser) as page,
    ):
        provider.set_accounts(lea={"preferred_username": "lea", "groups": ["analysts"]})
        provider.start()
        assert hub.api("POST", "/users/lea")[0] == 201  # as one made for a password: no subject
        sign_in(page, hub, "lea")
        if adopt:
            expect(page.get_by_role("heading", name="Your servers")).to_be_visible()
            return
        expect(page.locator("main")).to_contain_text(
            "The user 'lea' was here before Example Corp, and an admin has to say that it is you."
        )
        assert "auth.oidc.adopt_existing: true" in hub.log.read_text()
        page.goto(hub.url + "home")
        expect(page).to_have_url(re.compile("/hub/login"))
        # The other way out, for one user.
        assert hub.api("DELETE", "/workroom/users/lea")[0] == 204
        with new_page(browser) as again:
            sign_in(again, hub, "lea")
            expect(again.get_by_role("heading", name="Your servers")).to_be_visible()


def test_a_sign_in_that_is_given_up_there_can_be_tried_again(
    both: tuple[HubProcess, Provider], page: Page
) -> None:
    hub, _ = both
    page.goto(hub.url + "login")
    page.get_by_role("link", name="Sign in with Example Corp").click()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(hub.base + "/**")
    expect(page.locator("main")).to_contain_text("cancelled or refused")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_passwords_are_refused_where_a_provider_knows_people(
    both: tuple[HubProcess, Provider],
) -> None:
    status, body = both[0].api("POST", "/workroom/users", {"name": "ann"})
    assert status == 400
    assert "Passwords are not used here" in body["message"]


def test_a_forged_callback_logs_nobody_in(both: tuple[HubProcess, Provider], page: Page) -> None:
    hub, _ = both
    answer = page.goto(hub.url + "oauth_callback?code=stolen&state=e30=")
    assert answer is not None
    assert answer.status == 400
    page.goto(hub.url + "home")
    expect(page).to_have_url(re.compile("/hub/login"))


def test_keys_work_for_who_may_sign_in(both: tuple[HubProcess, Provider], page: Page) -> None:
    hub, provider = both
    provider.set_accounts(
        kay={"preferred_username": "kay", "groups": ["analysts"]},
        ops={"preferred_username": "ops", "groups": ["platform"]},
    )
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()

    def let_in(name: str) -> bool:
        asked = {"user": name, "key": key}
        answer = hub.api("POST", "/workroom/ssh/log-in", asked, token=f"{CLI_TOKEN}-ssh")
        return bool(answer[1]["name"] == name)

    sign_in(page, hub, "kay")
    page.goto(hub.url + "account/ssh")
    page.get_by_label("Public key").fill(key)
    page.get_by_role("button", name="Add key").click()
    expect(page.get_by_text("Keys work for 30 days after you last signed in")).to_be_visible()
    assert let_in("kay")
    # Whoever has no group that may sign in has no key that works, however she got one.
    assert hub.api("POST", "/users/lou")[0] == 201
    page.context.clear_cookies()
    sign_in(page, hub, "ops")
    added = page.evaluate(
        "([name, key]) => Workroom.api('POST', `workroom/users/${name}/ssh-keys`, { key })",
        ["lou", key],
    )
    assert added["name"]
    assert not let_in("lou")
    # And whoever is disabled here does not get in, whatever the provider says.
    assert hub.api("PUT", "/workroom/users/kay/disabled") == (204, None)
    assert not let_in("kay")
    page.context.clear_cookies()
    sign_in(page, hub, "kay")
    expect(page.get_by_text("The account 'kay' is disabled here.")).to_be_visible()
    assert hub.api("DELETE", "/workroom/users/kay/disabled") == (204, None)
    page.context.clear_cookies()
    sign_in(page, hub, "kay")
    expect(page.get_by_role("heading", name="Your servers")).to_be_visible()
    assert let_in("kay")


def test_a_provider_that_is_away_is_named_and_its_return_is_noticed(
    tmp_path: Path, browser: Browser
) -> None:
    with hub_with_provider(tmp_path) as (hub, provider), new_page(browser) as page:
        provider.set_accounts(mia={"preferred_username": "mia", "groups": ["analysts"]})
        page.goto(hub.url + "login")
        page.get_by_role("link", name="Sign in with Example Corp").click()
        expect(page.locator("main")).to_contain_text("Example Corp cannot be reached")
        assert f"127.0.0.1:{provider.port} is not reachable" in hub.log.read_text()
        provider.start()
        sign_in(page, hub, "mia")
        expect(page.get_by_role("heading", name="Your servers")).to_be_visible()


def test_no_secret_reaches_the_log(both: tuple[HubProcess, Provider]) -> None:
    log = both[0].log.read_text()
    assert "Log-in refused" in log  # the cases above were logged
    assert SECRET not in log
    assert urllib.request.quote(SECRET) not in log  # type: ignore[attr-defined]
    assert not re.search(r"eyJ[\w-]{20,}\.", log)  # no ID token
