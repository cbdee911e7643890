"""The home page and everyone's page in real Chromium, on a real hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import complaints, new_page
from tests.support.hub_process import HubProcess
from tests.support.visitor import choose, enter, log_in

pytestmark = pytest.mark.browser
GIB = 2**30
_WATCH_SHIFTS = """
window.shifts = [];
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const moved = entry.sources.map(({ node }) => node && (node.id || node.className));
    window.shifts.push({ value: entry.value, moved });
  }
}).observe({ type: "layout-shift", buffered: true });
"""


@pytest.fixture(autouse=True)
def quiet(hub: HubProcess) -> Iterator[None]:
    yield
    hub.answering.now = None


def figures(**more: Any) -> dict[str, Any]:
    return {
        "cpu": 0.25,
        "cpu_limit": 1,
        "memory": GIB,
        "memory_limit": 2 * GIB,
        "home": {"used": 12 * GIB, "free": 88 * GIB, "size": 100 * GIB, "counted_at": None},
        "idle": {"last_activity": datetime.now(UTC).isoformat(), "reason": "a keystroke"},
        **more,
    }


def card(page: Page, server: str = "") -> Locator:
    return page.locator(f'[data-server="{server}"]')


def way(page: Page, name: str, server: str = "") -> Locator:
    return card(page, server).locator(f"[data-way={name}]")


def running(page: Page, hub: HubProcess, name: str, size: str = "Small") -> None:
    enter(page, hub, name)
    choose(page, hub, size)
    page.wait_for_url("**/user/**")
    page.goto(hub.url + "home")


# -- the ways in ---------------------------------------------------------------


def test_each_button_of_a_running_server_leads_where_it_says(hub: HubProcess, page: Page) -> None:
    running(page, hub, "direct")
    heard = complaints(page)
    for name, place in {
        "lab": "/user/direct/lab",
        "rstudio": "/user/direct/rstudio/",
        "terminal": "/user/direct/lab?workroom=terminal",
    }.items():
        page.goto(hub.url + "home")
        way(page, name).click()
        page.wait_for_url(hub.base + place)
    assert heard == []


@pytest.mark.parametrize("javascript", [True, False])
def test_the_first_time_a_size_is_asked_for_and_the_target_kept(
    hub: HubProcess, browser: Browser, javascript: bool
) -> None:
    name = f"first-{javascript}".lower()
    password = hub.add_user(name)
    with new_page(browser, java_script_enabled=javascript) as page:
        log_in(page, hub, name, password)
        way(page, "terminal").click()
        expect(page.get_by_role("button", name="Start server")).to_be_visible()
        asked = parse_qs(urlsplit(page.url).query)
        assert asked == {"next": [f"/user/{name}/lab?workroom=terminal"]}
        page.get_by_role("button", name="Start server").click()
        page.wait_for_url(f"{hub.base}/user/{name}/lab?workroom=terminal")


@pytest.mark.parametrize("javascript", [True, False])
def test_a_stopped_server_starts_as_last_time_and_opens_the_target(
    hub: HubProcess, browser: Browser, javascript: bool
) -> None:
    name = f"again-{javascript}".lower()
    password = hub.add_user(name)
    with new_page(browser, java_script_enabled=javascript) as page:
        log_in(page, hub, name, password)
        page.goto(hub.url + "spawn")
        page.get_by_label("Medium").check()
        page.get_by_role("button", name="Start server").click()
        page.wait_for_url(f"**/user/{name}/**")
        page.goto(hub.url + "home")
        card(page).get_by_role("button", name="Stop").click()
        page.wait_for_url(hub.url + "home")
        if not javascript:
            page.wait_for_timeout(500)
            page.reload()
        expect(card(page)).to_have_attribute("data-state", "stopped")
        expect(card(page)).to_contain_text("Starts with Medium · 2 CPUs · 8 GiB · Data science")
        way(page, "rstudio").click()
        page.wait_for_url("**/hub/spawn-pending/**")
        page.wait_for_url(f"{hub.base}/user/{name}/rstudio/")
        page.goto(hub.url + "home")
        expect(card(page)).to_contain_text("Medium · 2 CPUs")


def test_while_it_starts_the_buttons_lead_to_the_progress(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "eager")
    choose(page, hub, "Small")
    page.goto(hub.url + "home")
    expect(card(page)).to_have_attribute("data-state", "starting")
    way(page, "terminal").click()
    page.wait_for_url("**/hub/spawn-pending/eager?next=**")
    page.wait_for_url(hub.base + "/user/eager/lab?workroom=terminal")


def test_a_choice_that_is_no_longer_on_offer_leads_to_the_form(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "outdated")
    status, _ = hub.api("GET", "/users/outdated")
    assert status == 200
    page.evaluate(
        """() => fetch(`${document.body.dataset.baseUrl}api/users/outdated/servers/old`, {
            method: "PUT", headers: {"X-XSRFToken": document.body.dataset.xsrf},
            body: JSON.stringify({display_name: "Old", user_options: {profile: "giant"}})})"""
    )
    page.reload()
    assert way(page, "lab", "old").get_attribute("href") == (
        "/hub/spawn/outdated/old?next=%2Fuser%2Foutdated%2Fold%2Flab"
    )


def test_a_start_that_fails_says_why_and_another_try_keeps_the_target(
    hub: HubProcess, page: Page
) -> None:
    enter(page, hub, "unfortunate")
    choose(page, hub, "Broken")
    page.locator("#progress-failure").wait_for()
    page.goto(hub.url + "home")
    expect(card(page)).to_contain_text("It ran out of memory.")
    way(page, "terminal").click()
    page.wait_for_url("**/hub/spawn-pending/**")
    page.locator("#progress-failure").wait_for()
    page.get_by_role("link", name="Choose again").click()
    page.wait_for_url("**/hub/spawn/unfortunate?next=%2Fuser%2Funfortunate%2Flab%3Fworkroom**")


def test_rstudio_that_is_not_there_says_so(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "rless")
    page.goto(hub.url + "spawn")
    page.get_by_label("Lean").check()
    page.get_by_role("button", name="Start server").click()
    page.wait_for_url("**/user/rless/**")
    page.goto(hub.url + "home")
    button = way(page, "rstudio")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description("RStudio is not in the image Lean.")
    expect(page.get_by_text("RStudio is not in the image Lean.")).to_be_visible()
    button.click(force=True)
    button.press("Enter")
    assert page.url == hub.url + "home"
    page.get_by_text("Why, and how it is added").click()
    expect(page.get_by_text("its package could not be had")).to_be_visible()


def test_ssh_has_the_lines_ready(hub: HubProcess, browser: Browser) -> None:
    password = hub.add_user("shell")
    with new_page(browser) as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        log_in(page, hub, "shell", password)
        way(page, "ssh").press("Enter")
        sheet = page.get_by_role("dialog", name="SSH to My server")
        expect(sheet).to_contain_text("You have no SSH key here yet.")
        expect(sheet.get_by_role("link", name="Add your public key")).to_have_attribute(
            "href", "/hub/account/ssh"
        )
        expect(sheet.locator("pre").first).to_have_text("ssh shell@localhost -p 2222")
        expect(sheet.locator("pre").nth(1)).to_contain_text("User shell")
        expect(sheet.get_by_role("link", name="Open in VS Code")).to_have_attribute(
            "href", re.compile("^vscode://vscode-remote/ssh-remote")
        )
        sheet.get_by_role("button", name="Copy the command").click()
        expect(sheet.get_by_text("Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == "ssh shell@localhost -p 2222"
        page.keyboard.press("Escape")
        expect(sheet).to_be_hidden()
        expect(way(page, "ssh")).to_be_focused()


# -- stop, restart, change size --------------------------------------------------


@pytest.mark.parametrize("javascript", [True, False])
def test_restart_keeps_the_size(hub: HubProcess, browser: Browser, javascript: bool) -> None:
    name = f"restart-{javascript}".lower()
    password = hub.add_user(name)
    with new_page(browser, java_script_enabled=javascript) as page:
        log_in(page, hub, name, password)
        page.goto(hub.url + "spawn")
        page.get_by_label("Medium").check()
        page.get_by_role("button", name="Start server").click()
        page.wait_for_url(f"**/user/{name}/**")
        page.goto(hub.url + "home")
        page.get_by_text("More for My server").click()
        page.get_by_role("button", name="Restart…").click()
        page.get_by_role("button", name="Keep it running").click()
        expect(card(page)).to_have_attribute("data-state", "running")
        if javascript:
            expect(page.get_by_role("button", name="Restart…")).to_be_hidden()
            page.get_by_text("More for My server").click()
        page.get_by_role("button", name="Restart…").click()
        page.get_by_role("button", name="Restart", exact=True).click()
        page.wait_for_url("**/hub/spawn-pending/**")
        page.wait_for_url(f"**/user/{name}/**")
        page.goto(hub.url + "home")
        expect(card(page)).to_contain_text("Medium · 2 CPUs")


def test_the_keyboard_reaches_everything_and_questions_come_first(
    hub: HubProcess, page: Page
) -> None:
    running(page, hub, "typist")
    way(page, "lab").focus()
    order = []
    for _ in range(6):
        order.append(page.evaluate("document.activeElement.innerText").split()[0])
        page.keyboard.press("Tab")
    assert order == ["JupyterLab", "RStudio", "Terminal", "SSH", "Stop", "More"]
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Restart My server?")).to_be_visible()
    expect(page.get_by_role("button", name="Keep it running")).to_be_focused()
    page.keyboard.press("Enter")
    expect(card(page)).to_have_attribute("data-state", "running")


def test_changing_the_size_stops_and_offers_the_present_one(hub: HubProcess, page: Page) -> None:
    running(page, hub, "grower", "Medium")
    page.get_by_text("More for My server").click()
    page.get_by_role("button", name="Change size…").click()
    page.get_by_role("button", name="Stop and choose").click()
    page.wait_for_url("**/hub/spawn/grower")
    expect(page.get_by_label("Medium")).to_be_checked()


def test_only_forms_of_the_page_are_obeyed(hub: HubProcess, page: Page) -> None:
    running(page, hub, "safe")
    for form in ({"do": "stop"}, {"do": "stop", "_xsrf": "forged"}):
        answer = page.request.post(hub.url + "servers", form=form)
        assert answer.status == 403
    token = page.locator("body").get_attribute("data-xsrf") or ""
    for form, status in (
        ({"do": "explode"}, 400),
        ({"do": "stop", "server": "nothing"}, 404),
        ({"do": "stop", "user": "grower"}, 404),
        ({"do": "remove"}, 400),
    ):
        answer = page.request.post(hub.url + "servers", form={**form, "_xsrf": token})
        assert answer.status == status, form
        assert "Traceback" not in answer.text()
    page.reload()
    expect(card(page)).to_have_attribute("data-state", "running")


def test_there_is_no_way_out_of_the_hub(hub: HubProcess, page: Page) -> None:
    running(page, hub, "captive")
    token = page.locator("body").get_attribute("data-xsrf") or ""
    for target in ("https://evil.example/", "//evil.example", "../../hub/logout", "lab"):
        answer = page.request.post(
            hub.url + "servers",
            form={"do": "start", "open": target, "next": target, "_xsrf": token},
            max_redirects=0,
        )
        assert answer.headers["location"] == "/user/captive/lab", target


def test_looking_at_an_address_makes_no_server(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "looker")
    answer = page.goto(hub.url + "spawn/looker/made-up")
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("main")).to_contain_text("There is no server 'made-up'.")
    page.goto(hub.url + "home")
    expect(page.locator(".server")).to_have_count(1)


def test_a_name_that_will_not_do_is_told_at_its_field(hub: HubProcess, browser: Browser) -> None:
    password = hub.add_user("namer")
    with new_page(browser, java_script_enabled=False) as page:
        log_in(page, hub, "namer", password)
        page.get_by_role("button", name="Add server").click()
        expect(page.locator("#server-name-error")).to_have_text("Give the server a name.")
        page.locator("#server-name").fill("Größe <1>")
        page.get_by_role("button", name="Add server").click()
        page.wait_for_url("**/hub/spawn/namer/gro-e-1")
        expect(page.locator("h1")).to_have_text("Start Größe <1>")


# -- figures ---------------------------------------------------------------------


def test_figures_come_in_place_and_nothing_moves(hub: HubProcess, browser: Browser) -> None:
    for width in (1280, 360):
        with new_page(browser, width=width) as page:
            page.add_init_script(_WATCH_SHIFTS)
            hub.answering.now = None
            running(page, hub, f"calm{width}")
            heard = complaints(page)
            page.goto(hub.url + "home")
            cpu = card(page).get_by_role("meter", name="CPU")
            expect(cpu).to_have_attribute("aria-valuetext", "not known now")
            hub.answering.now = figures()
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            page.wait_for_timeout(3200)  # the hub shares its last answer that long
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(cpu).to_have_attribute("aria-valuetext", "0.25 of 1 CPU")
            expect(cpu).to_have_attribute("aria-valuenow", "0.25")
            expect(card(page)).to_contain_text("1.00 of 2 GiB")
            expect(card(page)).to_contain_text(re.compile(r"stops at .*\d:\d\d"))
            expect(page.locator("#home-usage")).to_contain_text(
                "12 GiB used · disk 12 % full, 88 GiB free"
            )
            busy = {
                "last_activity": datetime.now(UTC).isoformat(),
                "reason": "R (process 4242) is at work on something with a very long name",
            }
            hub.answering.now = figures(cpu=0.99, idle=busy)
            page.wait_for_timeout(3200)
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
            expect(card(page)).to_contain_text("R (process 4242) is at work")
            assert page.evaluate("window.shifts") == []
            assert page.evaluate("document.documentElement.scrollWidth") == width
            page.reload()  # what was said a moment ago is in the page from the start
            assert "0.99" in page.request.get(hub.url + "home").text()
            assert heard == []


def test_a_full_home_is_told_with_what_to_do(hub: HubProcess, page: Page) -> None:
    running(page, hub, "hoarder")
    for free, sentence in (
        (5 * GIB, "Your home folder is nearly full: 5 GiB free, 95 % taken."),
        (0, "Your home folder is full."),
    ):
        home = {"used": 95 * GIB, "free": free, "size": 100 * GIB, "counted_at": None}
        hub.answering.now = figures(home=home)
        page.wait_for_timeout(3200)
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text(sentence)
        expect(page.get_by_role("alert")).to_contain_text("du -xh ~")


def test_markup_from_a_container_is_text(hub: HubProcess, page: Page) -> None:
    running(page, hub, "hostile")
    heard = complaints(page)
    reason = "<img src=x onerror=alert(1)>"
    idle = {"last_activity": datetime.now(UTC).isoformat(), "reason": reason}
    hub.answering.now = figures(idle=idle)
    for _ in range(2):  # by the script, then by the template
        page.wait_for_timeout(3200)
        page.reload()
        expect(card(page).locator("[data-stops]")).to_have_text(reason)
    assert page.locator("main img").count() == 0
    assert heard == []


def test_changes_elsewhere_are_noticed_without_a_reload(hub: HubProcess, page: Page) -> None:
    running(page, hub, "noticing")
    heard = complaints(page)
    page.evaluate("window.mark = 'still here'")
    way(page, "lab").focus()
    hub.api("DELETE", "/users/noticing/server")
    expect(card(page)).to_have_attribute("data-state", "stopped", timeout=15_000)
    expect(way(page, "lab")).to_be_focused()
    expect(page.locator("#said")).to_have_text("My server is stopped.")
    options = {"profile": "medium", "image": "notebook"}
    hub.api("POST", "/users/noticing/server", options)
    expect(card(page)).to_have_attribute("data-state", "running", timeout=15_000)
    expect(card(page)).to_contain_text("Medium")
    assert page.evaluate("window.mark") == "still here"
    assert heard == []


def test_a_page_nobody_looks_at_asks_for_nothing(hub: HubProcess, page: Page) -> None:
    running(page, hub, "away")
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.wait_for_timeout(600)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(6000)
    assert asked == []


def test_when_the_hub_is_away_the_page_waits_and_comes_back(
    browser: Browser, tmp_path: Path
) -> None:
    with HubProcess(tmp_path, STAGE_SECONDS="0.5") as hub, new_page(browser) as page:
        running(page, hub, "patient")
        hub.stop()
        page.wait_for_timeout(6000)
        expect(way(page, "lab")).to_be_visible()
        hub.start()
        # Its spawner has forgotten the server, which the page finds out by itself.
        expect(card(page)).to_have_attribute("data-state", "stopped", timeout=25_000)


def test_figures_are_for_their_owner_and_admins(hub: HubProcess, browser: Browser) -> None:
    ask = """async (who) => {
        const answer = await fetch(`/hub/api/workroom/servers-now${who}`,
            {headers: {"X-XSRFToken": document.body.dataset.xsrf}});
        return [answer.status, answer.ok ? await answer.json() : null];
    }"""
    hub.answering.now = figures()
    with new_page(browser) as page:
        running(page, hub, "owner")
        status, told = page.evaluate(ask, "")
        assert status == 200
        assert told["user"] == "owner"
        server = told["servers"][""]
        assert server["state"] == "running"
        assert server["figures"] == {"cpu": 0.25, "memory": GIB}
        assert server["profile"] == "small"
        assert 0 <= server["uptime"] < 60
        stops = datetime.fromisoformat(server["stops"])
        assert abs(stops - datetime.now(UTC) - timedelta(hours=2)) < timedelta(minutes=1)
    with new_page(browser) as page:
        enter(page, hub, "nosy")
        assert page.evaluate(ask, "?user=owner")[0] in (403, 404)
        assert page.evaluate(ask, "?user=nobody")[0] in (403, 404)
        assert page.goto(hub.url + "everyone").status in (403, 404)  # type: ignore[union-attr]
    with new_page(browser) as page:
        enter(page, hub, "chief", admin=True)
        assert page.evaluate(ask, "?user=owner")[1]["servers"][""]["figures"]["cpu"] == 0.25
        assert page.evaluate(ask, "?user=nobody")[0] == 404
    with new_page(browser) as page:
        assert page.request.get(hub.url + "api/workroom/servers-now").status == 403


# -- everyone ----------------------------------------------------------------------


def test_an_admin_finds_opens_and_stops(hub: HubProcess, browser: Browser) -> None:
    with new_page(browser) as owners:
        running(owners, hub, "zoë", "Medium")
    with new_page(browser) as page:
        enter(page, hub, "boss", admin=True)
        heard = complaints(page)
        page.get_by_role("link", name="Everyone").click()
        totals = page.locator(".totals")
        expect(totals).to_contain_text("Medium")
        page.get_by_label("Find").fill("zoë")
        rows = page.locator("table.people tbody tr")
        expect(rows).to_have_count(1)
        expect(page.locator("#count")).to_contain_text(re.compile(r"^1 of \d+ match"))
        expect(page).to_have_url(re.compile(r"find=zo%C3%AB"))
        expect(rows.get_by_role("link", name="Open zoë's server")).to_have_attribute(
            "href", "/user/zo%C3%AB/"
        )
        rows.get_by_role("button", name="Stop zoë's server").click()
        dialog = page.get_by_role("dialog", name="Stop zoë's server?")
        dialog.get_by_role("button", name="Keep it running").click()
        expect(dialog).to_be_hidden()
        rows.get_by_role("button", name="Stop zoë's server").click()
        dialog.get_by_role("button", name="Stop it").click()
        page.wait_for_url(hub.url + "everyone")
        page.wait_for_timeout(500)
        page.goto(hub.url + "everyone?find=zo%C3%AB")
        expect(rows).to_have_count(0)
        assert hub.api("GET", "/users/zoë")[1].get("servers", {}) == {}
        assert heard == []


def test_everyone_without_javascript_and_on_a_phone(hub: HubProcess, browser: Browser) -> None:
    with new_page(browser) as owners:
        running(owners, hub, "<b>tag")
    password = hub.add_user("plainboss", admin=True)
    with new_page(browser, width=360, java_script_enabled=False) as page:
        log_in(page, hub, "plainboss", password)
        page.goto(hub.url + "everyone")
        page.get_by_label("Find").fill("tag")
        page.get_by_label("Order by").select_option("Up for")
        page.get_by_role("button", name="Find").click()
        row = page.locator("table.people tbody tr")
        expect(row).to_have_count(1)
        expect(row).to_contain_text("<b>tag")
        assert page.locator("table.people b").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        tabs = [
            tab.bounding_box() for tab in page.get_by_role("navigation").get_by_role("link").all()
        ]
        assert len(tabs) == 5
        assert all(tab and tab["x"] >= 0 and tab["x"] + tab["width"] <= 360 for tab in tabs)
