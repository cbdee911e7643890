"""The main job in a real browser: log in, choose, watch, work, stop, come back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.installation import Installation
from tests.e2e.person import Person

pytestmark = pytest.mark.docker
STAGES = ["requested", "creating", "starting", "answering"]


@pytest.fixture
def ada(installation: Installation, chromium: Browser) -> Iterator[Person]:
    """The first admin, at the log-in page."""
    someone = Person(installation, chromium, installation.admin)
    someone.page.goto(installation.url)
    yield someone
    someone.context.close()


def test_journey(ada: Person, installation: Installation) -> None:
    expect(ada.page.locator("#login_submit")).to_be_visible()
    ada.log_in(installation.admin_password)
    expect(ada.page.locator('[data-server=""]')).to_have_attribute("data-state", "stopped")

    # A start is over within a second or two; this one is held up to watch it.
    with installation.held(ada.name):
        start_with_a_card(ada)
        watch_the_clock(ada)
    follow_the_stages(ada)
    run_a_cell_by_hand(ada)
    run_r(ada)
    type_in_a_terminal(ada)
    rstudio_says_why_not(ada)

    ada.page.goto(ada.hub_url("home"))
    ada.stop_from_home()
    assert installation.containers(ada.name) == []
    last_choice_is_remembered(ada)

    ada.page.click("#spawn_form button[type=submit]")
    ada.open_lab()
    content = ada.api("GET", "contents/from-terminal.txt")["content"]
    assert content == "42\n"
    ada.stop_from_home()


def start_with_a_card(ada: Person) -> None:
    ada.page.click("#start")
    cards = ada.page.locator("input[name=profile]")
    expect(cards).to_have_count(3)
    expect(ada.page.locator("input[name=profile][value=small]")).to_be_checked()
    ada.page.check("input[name=profile][value=medium]")
    ada.page.click("#spawn_form button[type=submit]")


def watch_the_clock(ada: Person) -> None:
    stage = ada.page.locator('#progress-stages [data-id="starting"]')
    expect(stage).to_have_attribute("data-state", "active")
    expect(ada.page.locator("#progress-message")).to_have_text("Container starting")
    expect(ada.page.locator("#progress-elapsed")).to_have_text(re.compile(r"^[2-9]\.\d s$"))


def follow_the_stages(ada: Person) -> None:
    ada.open_lab()
    assert ada.seen, "the progress page showed no stages"
    for event in ada.seen:
        assert [stage for stage, _ in event["stages"]] == STAGES
        states = [state for _, state in event["stages"]]
        # Done, then the active one, then waiting: never out of order.
        assert states == sorted(states, key=["done", "active", "waiting"].index), states
    active = [s for event in ada.seen for s, state in event["stages"] if state == "active"]
    assert active == sorted(active, key=STAGES.index)
    assert {"starting", "answering"} <= set(active)
    assert {state for _, state in ada.seen[-1]["stages"]} == {"done"}
    assert all(re.fullmatch(r"\d+\.\d s|\d+ s", e["elapsed"]) for e in ada.seen[1:])


def run_a_cell_by_hand(ada: Person) -> None:
    page = ada.page
    page.click('.jp-LauncherCard[data-category="Notebook"][title="Python"]')
    # JupyterLab drops what is run before the kernel is there.
    expect(page.get_by_role("button", name="Python | Idle")).to_be_visible(timeout=20_000)
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.type("print('The answer is', 6 * 7)")
    page.keyboard.press("Shift+Enter")
    expect(page.locator(".jp-OutputArea-output").first).to_contain_text("The answer is 42")


def run_r(ada: Person) -> None:
    kernel = ada.kernel("ir")
    assert ada.run(kernel, "cat(sum(1:10), R.version$language)") == "55 R"


def type_in_a_terminal(ada: Person) -> None:
    page = ada.page
    page.get_by_role("menuitem", name="File").click()
    page.get_by_text("New Launcher").click()
    page.click('.jp-LauncherCard[data-category="Workroom"][title*="terminal"]')
    page.locator(".jp-Terminal .xterm-screen").click()
    [terminal] = ada.api("GET", "terminals")
    ada.terminal(terminal["name"], until=r"\$ ")
    page.keyboard.type("echo $((6*7)) | tee from-terminal.txt; pwd\n")
    seen = ada.terminal(terminal["name"], until=r"\r42\r\n/home/workroom\r")
    assert "tee from-terminal.txt" in seen


def rstudio_says_why_not(ada: Person) -> None:
    response = ada.visit(ada.server_url("rstudio/"))
    assert response.status == 404
    assert "RStudio is not in this image" in ada.text()
    assert "Traceback" not in ada.text()


def last_choice_is_remembered(ada: Person) -> None:
    ada.page.goto(ada.hub_url("spawn"))
    expect(ada.page.locator("input[name=profile][value=medium]")).to_be_checked()
    expect(ada.page.locator("input[name=image][value=notebook]")).to_be_checked()


@pytest.mark.parametrize("installation", ["path"], indirect=True)
def test_pyspark_job(installation: Installation, person: Callable[[str], Person]) -> None:
    bob = person("bob")
    bob.spawn("medium")
    kernel = bob.kernel("pyspark")
    code = "print(spark.range(1000).selectExpr('sum(id * 2) as s').collect()[0].s)"
    assert bob.run(kernel, code, seconds=90).strip().endswith("999000")
    bob.stop_from_home()


def test_rstudio_stand_in(installation: Installation, person: Callable[[str], Person]) -> None:
    """The route to RStudio, with a stand-in for its server: prefix and websocket."""
    bob = person("bob")
    bob.spawn("small", "stand-in")
    response = bob.visit(bob.server_url("rstudio/"))
    assert response.status == 200
    # Through its redirects, which name a host that does not exist, and back below the prefix.
    assert bob.page.url == bob.server_url("rstudio/")
    expect(bob.page.locator("#root")).to_have_text("/user/bob/rstudio/")
    expect(bob.page.locator("#prefix")).to_have_text("ok")
    expect(bob.page.locator("#websocket")).to_have_text("stand-in: hello")
    bob.stop_from_home()
