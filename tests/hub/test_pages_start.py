"""From the form to the server, in real Chromium on a real hub."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import new_page
from tests.support.hub_process import HubProcess
from tests.support.visitor import choose, enter

pytestmark = pytest.mark.browser

PHONE = 375


def test_the_form_offers_sizes_with_their_share_and_remembers_the_last(
    hub: HubProcess, page: Page
) -> None:
    enter(page, hub, "shares")
    page.goto(hub.url + "spawn")
    large = page.locator(".choice", has_text="Wide data")
    expect(large).to_contain_text("4 CPUs · 22 GiB · 1 GPU")
    expect(page.get_by_label("Large")).to_have_accessible_description(
        "Uses up to 100 % of this machine's CPUs and 92 % of its memory."
    )
    expect(page.get_by_label("Small")).to_be_checked()
    page.get_by_label("Lean").check()
    page.get_by_label("Large").check()  # offered with one image only
    expect(page.get_by_label("Lean")).to_be_disabled()
    expect(page.get_by_label("Data science")).to_be_checked()
    page.get_by_role("button", name="Start server").click()
    page.wait_for_url("**/user/shares/**")
    hub.api("DELETE", "/users/shares/server")
    page.goto(hub.url + "home")
    expect(page.locator(".pill")).to_have_text("Stopped")
    page.goto(hub.url + "spawn")
    expect(page.get_by_label("Large")).to_be_checked()


def test_why_there_is_no_rstudio_is_told_on_demand_and_chooses_nothing(
    hub: HubProcess, page: Page
) -> None:
    enter(page, hub, "curious")
    page.goto(hub.url + "spawn")
    lean = page.locator(".choice", has_text="Python only.")
    expect(lean.get_by_text("No RStudio")).to_be_visible()
    note = lean.get_by_text("its package could not be had")
    expect(note).to_be_hidden()
    lean.locator("summary").click()
    expect(note).to_be_visible()
    note.click()
    lean.locator("summary").press("Enter")
    expect(note).to_be_hidden()
    expect(page.get_by_label("Data science")).to_be_checked()
    assert page.url.endswith("/spawn")
    page.evaluate("""document.querySelector('.why p').textContent =
        'https://example.com/' + 'a-long-name-without-an-end-'.repeat(9)""")
    lean.locator("summary").click()
    page.set_viewport_size({"width": PHONE, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE
    lean.click(position={"x": 6, "y": 60})  # anywhere else, the card is the label
    expect(page.get_by_label("Lean")).to_be_checked()


def test_cards_fill_the_row(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "wide")
    page.goto(hub.url + "spawn")
    page.locator(".choice", has_text="Always fails").evaluate("card => card.remove()")
    row = page.locator(".choices").first.bounding_box()
    last = page.locator(".choices").first.locator(".choice").last.bounding_box()
    assert row is not None
    assert last is not None
    assert abs(row["x"] + row["width"] - last["x"] - last["width"]) < 1


def test_a_forged_choice_is_refused_on_the_form(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "forger")
    page.goto(hub.url + "spawn")
    page.evaluate("document.querySelector('input[value=small]').value = 'huge'")
    page.get_by_role("button", name="Start server").click()
    expect(page.get_by_role("alert")).to_have_text(
        "The profile 'huge' is not on offer. Choose from: small, medium, large, broken."
    )
    expect(page.get_by_label("Small")).to_be_visible()


def test_progress_shows_each_stage_and_ticks_and_survives_a_reload(
    browser: Browser, tmp_path: Path
) -> None:
    # Stages long enough for a busy machine to load a page twice before the last one.
    with HubProcess(tmp_path / "slow", STAGE_SECONDS="2") as hub, new_page(browser) as page:
        enter(page, hub, "watcher")
        page.goto(hub.url + "spawn?next=/hub/token")
        page.get_by_role("button", name="Start server").click()
        page.locator(".stage.active").wait_for()
        elapsed = page.locator("#progress-elapsed")
        first = elapsed.text_content()
        page.wait_for_timeout(250)
        assert elapsed.text_content() != first
        page.reload()
        page.locator(".stage.active").wait_for()
        assert page.locator(".stage").count() == 4
        expect(page.locator(".stage .name").last).to_contain_text("(waiting)")
        bar = page.get_by_role("progressbar")
        before = int(bar.get_attribute("aria-valuenow") or 0)
        assert 0 < before < 100
        page.wait_for_url(hub.url + "token")  # where the link that began it pointed


def test_on_a_cluster_the_place_in_line_and_the_machines_are_told(
    browser: Browser, tmp_path: Path
) -> None:
    with (
        HubProcess(tmp_path / "ecs", STAGES="ecs", STAGE_SECONDS="1") as ecs,
        new_page(browser) as page,
    ):
        enter(page, ecs, "patient")
        choose(page, ecs, "Small")
        message = page.locator("#progress-message")
        expect(message).to_have_text("Many servers are starting: you are number 7 in line")
        expect(message).to_contain_text("Adding 2 machines, waiting for 1 min 20 s")
        names = page.locator(".stage .name").all_inner_texts()
        assert [" ".join(name.split()) for name in names[1:4]] == [
            "Waiting for your turn (done)",
            "Finding a machine (under way)",
            "Fetching the image (waiting)",
        ]
        for width, name in ((1280, "wide"), (PHONE, "phone")):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") == width, name
        page.wait_for_url("**/user/patient/**")


def test_a_failed_start_says_why_and_what_next(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "unlucky")
    choose(page, hub, "Broken")
    sentence = "It ran out of memory. Start it again with a larger profile."
    expect(page.locator("#progress-failure")).to_have_text(sentence)
    expect(page).to_have_title(re.compile("^Failed"))
    expect(page.locator(".stage.failed")).to_contain_text("Container starting")
    expect(page.locator("#progress-details")).not_to_have_attribute("open", "")
    page.locator("#progress-details summary").click()  # it says no more, but pushes nothing away
    for name in ("Choose again", "Home"):
        expect(page.get_by_role("link", name=name)).to_be_in_viewport(ratio=1)
    page.goto(hub.url + "home")
    expect(page.locator(".server .note p").first).to_have_text("What happened last time")
    expect(page.locator(".server .note.bad")).to_contain_text(sentence)
    page.get_by_text("Last lines of its output").click()
    expect(page.locator(".server .note.bad pre")).to_contain_text("MemoryError")
    page.goto(hub.url + "spawn-pending/unlucky")
    expect(page.get_by_role("alert")).to_contain_text(sentence)
    page.get_by_role("link", name="Choose again").click()
    expect(page.get_by_role("group", name="What happened last time")).to_contain_text(sentence)
    expect(page.locator("main")).not_to_contain_text("unexpectedly")


def test_a_start_can_be_cancelled(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "hasty")
    choose(page, hub, "Small")
    page.get_by_role("button", name="Cancel the start").click()
    page.wait_for_url(hub.url + "home")
    expect(page.locator(".pill")).to_have_text("Stopped")
    mine = [user for user in hub.api("GET", "/workroom/users")[1] if user["name"] == "hasty"]
    assert mine[0]["servers"] == 0


def test_another_window_that_cancels_is_noticed(hub: HubProcess, page: Page) -> None:
    enter(page, hub, "elsewhere")
    choose(page, hub, "Small")
    page.locator(".stage.active").wait_for()
    hub.api("DELETE", "/users/elsewhere/server")
    expect(page.locator("h1")).to_have_text("Your server is not running")
    expect(page.get_by_role("link", name="Start it")).to_be_visible()


def test_a_hub_that_dies_during_a_start_is_waited_for(tmp_path: Path, browser: Browser) -> None:
    with (
        HubProcess(tmp_path, STAGE_SECONDS="20") as hub,
        new_page(browser) as page,
    ):
        enter(page, hub, "patient")
        choose(page, hub, "Small")
        page.locator(".stage.active").wait_for()
        assert hub.process is not None
        os.killpg(hub.process.pid, signal.SIGKILL)
        hub.process.wait()
        expect(page.locator("#progress-lost")).to_be_visible()
        hub.start()
        page.get_by_role("link", name="Start it").wait_for(timeout=15_000)
        expect(page.locator("h1")).to_have_text("Your server is not running")
