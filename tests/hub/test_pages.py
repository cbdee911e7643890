"""Every page in real Chromium, on a real hub: no complaint, no barrier, what people do there."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import complaints, new_page, npm_ci
from tests.support.hub_process import REPOSITORY, HubProcess
from tests.support.visitor import choose, enter, log_in
from workroom_hub.static_files import static_version

pytestmark = pytest.mark.browser

PHONE, DESKTOP = 375, 1280


@pytest.fixture(scope="module")
def axe() -> str:
    return (npm_ci(REPOSITORY / "tests/e2e") / "axe-core/axe.min.js").read_text()


class Inspector:
    """Looks at a page as it is, on a phone and a desktop, in light and in dark.

    It finds what axe calls serious or critical, and content wider than the window.
    """

    def __init__(self, page: Page, axe: str) -> None:
        self.page, self.axe = page, axe
        self.found: list[str] = []

    def look(self, name: str, within: str = "html") -> None:
        self.page.evaluate(self.axe + "; undefined")
        for width in (PHONE, DESKTOP):
            self.page.set_viewport_size({"width": width, "height": 800})
            self._measure(f"{name}, {width} px")
            for scheme in ("light", "dark"):
                self.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                self._run_axe(f"{name}, {width} px, {scheme}", within, all_rules=scheme == "light")

    def _run_axe(self, name: str, within: str, all_rules: bool) -> None:
        options = {} if all_rules else {"runOnly": ["color-contrast"]}
        result: dict[str, Any] = self.page.evaluate(
            "([within, options]) => axe.run(within, options)", [within, options]
        )
        assert result["passes"], f"{name}: axe checked nothing"
        for violation in result["violations"]:
            if violation["impact"] in ("serious", "critical"):
                targets = [node["target"] for node in violation["nodes"]]
                self.found.append(f"{name}: {violation['id']} {targets}")

    def _measure(self, name: str) -> None:
        wide, window = self.page.evaluate(
            "[document.documentElement.scrollWidth, window.innerWidth]"
        )
        if wide > window:
            self.found.append(f"{name}: {wide} px of content in {window} px")


def test_no_page_has_a_barrier_or_an_error(hub: HubProcess, browser: Browser, axe: str) -> None:
    name = "walker"
    password = hub.add_user(name, admin=True)
    with new_page(browser, reduced_motion="reduce") as page:
        heard, inspector = complaints(page), Inspector(page, axe)
        look = inspector.look
        page.goto(hub.url + "login")
        look("log-in")
        page.get_by_label("User name").fill(name)
        page.get_by_label("Password", exact=True).fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("Wrong user name or password.")
        look("log-in, wrong")
        log_in(page, hub, name, password)
        look("home, empty")
        page.locator("#login_widget summary").click()
        look("menu")
        choose(page, hub, "Broken")
        page.locator(".stage.done").first.wait_for()
        look("progress")
        page.locator("#progress-failure").wait_for()
        look("progress, failed")
        page.reload()
        expect(page.locator("h1")).to_have_text("Your server could not be started")
        look("not running, failed")
        page.goto(hub.url + "spawn")
        page.get_by_text("Last lines of its output").click()
        look("spawn, after a failure")
        choose(page, hub, "Small")
        page.wait_for_url(f"**/user/{name}/**")
        page.goto(hub.url + "home")
        look("home, running")
        page.locator("[data-way=ssh]").click()
        look("home, ssh")
        page.keyboard.press("Escape")
        page.get_by_text("More for My server").click()
        look("home, more")
        page.get_by_role("button", name="Restart…").click()
        look("home, restart?")
        page.keyboard.press("Escape")
        page.goto(hub.url + "everyone")
        look("everyone")
        page.get_by_role("button", name="Stop walker's server").click()
        look("everyone, stop?")
        page.goto(hub.url + "home")
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".pill")).to_have_text("Stopped")
        look("home, stopped")
        page.get_by_label("Name").fill("Second")
        page.get_by_role("button", name="Add server").click()
        page.wait_for_url("**/spawn/*/second")
        page.goto(hub.url + "home")
        page.get_by_role("button", name="Remove Second").click()
        look("home, question")
        page.get_by_role("button", name="Keep").click()
        page.goto(hub.url + "token")
        page.get_by_role("button", name="Create token").click()
        page.locator("#token-area").wait_for()
        look("token")
        page.reload()
        look("tokens, listed")
        page.goto(hub.url + "account/ssh")
        look("ssh keys")
        page.goto(hub.url + "change-password")
        look("change password")
        page.goto(hub.url + "admin")
        page.get_by_role("button", name="Add Users").wait_for()
        look("admin", within="main > .head")  # the rest is JupyterHub's own
        page.goto(hub.url + "nothing-here")
        look("not found")
        page.goto(hub.url + "error/503")
        look("error")
        assert inspector.found == []
        assert heard == []


def test_the_keyboard_is_enough(hub: HubProcess, page: Page) -> None:
    hub_password = hub.add_user("keys")
    page.goto(hub.url + "login")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("keys")
    page.keyboard.press("Tab")
    page.keyboard.type(hub_password)
    page.keyboard.press("Enter")
    page.wait_for_url(hub.url + "home")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/hub/spawn/keys?**")
    page.get_by_label("Small").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Medium")).to_be_checked()
    page.keyboard.press("Enter")
    page.wait_for_url("**/user/keys/**")


def test_without_javascript_a_server_starts_and_opens(hub: HubProcess, browser: Browser) -> None:
    password = hub.add_user("plain")
    with new_page(browser, java_script_enabled=False) as page:
        log_in(page, hub, "plain", password)
        page.get_by_role("link", name="JupyterLab").click()
        page.get_by_label("Medium").check()
        page.get_by_role("button", name="Start server").click()
        page.wait_for_url("**/user/plain/**")  # the page looks again by itself


def test_a_token_that_is_refused_is_not_shown_as_the_one_before(
    hub: HubProcess, page: Page
) -> None:
    enter(page, hub, "scripter")
    page.goto(hub.url + "token")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#token-area")).to_be_visible()
    page.get_by_label("Permissions").fill("no:such")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#token-problem")).to_contain_text("no:such")
    expect(page.locator("#token-area")).to_be_hidden()


def test_markup_in_names_is_text(hub: HubProcess, page: Page) -> None:
    hostile = "\"'><b>&"
    enter(page, hub, hostile)
    heard = complaints(page)
    expect(page.locator(".who")).to_have_text(hostile)
    page.get_by_label("Name").fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("h1")).to_have_text("Start <img src=x onerror=alert(1)>")
    choose(page, hub, "Small", page.url.removeprefix(hub.url))
    page.wait_for_url("**/user/**")
    page.goto(hub.url + "home")
    page.get_by_role("button", name="Stop", exact=False).first.click()
    card = page.locator(".server", has_text="<img src=x")
    card.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.wait_for_url(hub.url + "home")
    expect(card).to_have_count(0)
    assert page.locator("main img").count() == 0
    assert heard == []


def test_somebody_elses_server_names_its_owner(
    hub: HubProcess, page: Page, browser: Browser
) -> None:
    with new_page(browser) as owners:
        enter(owners, hub, "zoë")
        choose(owners, hub, "Small")
        owners.wait_for_url("**/user/**")
    enter(page, hub, "visitor")
    name = quote(quote("zoë"))
    answer = page.goto(
        f"{hub.url}api/oauth2/authorize?response_type=code&client_id=jupyterhub-user-{name}"
        f"&redirect_uri=/user/{name}/oauth_callback"
    )
    assert answer is not None
    assert answer.status == 403
    expect(page.locator("h1")).to_have_text("This is the server of zoë.")
    expect(page.locator("main")).to_contain_text("Ask zoë to share it with you")
    expect(page.locator("main")).not_to_contain_text("/user/")
    page.get_by_role("link", name="Your servers").click()
    page.wait_for_url(hub.url + "home")


def test_the_admin_page_is_quiet(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "quiet", admin=True)
    page.goto(hub.url + "admin")
    for name in ("Start All", "Stop All", "Add Users"):
        expect(page.get_by_role("button", name=name)).to_have_css(
            "background-color", "rgba(0, 0, 0, 0)"
        )
    expect(page.get_by_role("button", name="Stop All")).to_have_css(
        "border-color", "rgb(179, 38, 30)"
    )
    # One click, and nobody could log in until somebody is at the machine.
    expect(page.locator("#shutdown-button")).to_be_hidden()


def test_named_servers_up_to_the_limit(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "many")
    for name in ("one", "Zwei & drei", "three"):
        page.goto(hub.url + "home")
        page.get_by_label("Name").fill(name)
        page.get_by_role("button", name="Add server").click()
        page.wait_for_url("**/spawn/many/**")
    page.goto(hub.url + "home")
    titles = ["My server", "one", "three", "Zwei & drei"]
    expect(page.locator(".server-name h2")).to_have_text(titles)
    expect(page.locator("main")).to_contain_text("You have 3 of 3 extra servers")
    page.get_by_role("button", name="Remove one").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.locator(".server")).to_have_count(3)
    page.get_by_label("Name").fill("THREE")
    page.get_by_role("button", name="Add server").click()
    expect(page.locator("#server-name-error")).to_have_text("You already have a server “three”.")


def test_nothing_is_fetched_from_elsewhere(hub: HubProcess, page: Page) -> None:
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url))
    enter(page, hub, "local")
    for path in ("spawn", "token", "change-password"):
        page.goto(hub.url + path)
    assert {url for url in asked if not url.startswith((hub.base, "data:"))} == set()
    assert any(url.endswith(f".css?v={static_version()}") for url in asked)
