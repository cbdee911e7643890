"""Idle servers are stopped, busy ones are not; and a start that takes too long is given up.

In an installation of its own, beside the other one: its times are short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import settings
from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = pytest.mark.docker
STOP_AFTER, CHECK_EVERY = 24, 10
# A report every third of the idle time, one look of the culler, and some room.
LATEST = STOP_AFTER + STOP_AFTER / 3 + CHECK_EVERY + 5


@pytest.fixture(scope="module")
def nap(bring_up: Callable[[dict[str, Any]], Iterator[Installation]]) -> Iterator[Installation]:
    """An installation that gives up early."""
    given = settings(
        "e2e-nap",
        "path",
        8400,
        idle={"stop_after": f"{STOP_AFTER}s", "check_every": f"{CHECK_EVERY}s"},
        limits={"start_timeout": "10s"},
    )
    for running in bring_up(given):
        for name in ("bob", "carol"):
            running.add_user(name)
        yield running


@pytest.fixture
def people(nap: Installation, chromium: Browser) -> Iterator[dict[str, Person]]:
    """Ada, Bob and Carol in JupyterLab."""
    found = {name: Person(nap, chromium, name).logged_in() for name in ("ada", "bob", "carol")}
    for name, someone in found.items():
        nap.start(name, profile="small", image="notebook")
        someone.page.goto(someone.server_url("lab"))
        someone.open_lab()
    yield found
    for someone in found.values():
        someone.context.close()


def test_start_takes_too_long(nap: Installation, chromium: Browser) -> None:
    carol = Person(nap, chromium, "carol").logged_in()
    carol.choose("small", "stuck")
    reason = carol.page.locator("#progress-reason")
    expect(reason).to_contain_text("did not get ready within 10 seconds", timeout=25_000)
    expect(reason).to_contain_text("Container starting")
    failed = carol.page.locator('#progress-stages [data-id="starting"]')
    expect(failed).to_have_attribute("data-state", "failed")
    carol.page.get_by_role("link", name="Choose again").click()
    expect(carol.page.locator("main")).to_contain_text("did not get ready within 10 seconds")
    carol.context.close()
    wait_for(lambda: nap.containers("carol") == [], "nothing left behind", 15)
    assert nap.usage("carol")[-1]["reason"] == "failed: timeout"


def test_idle_is_stopped_and_busy_is_not(nap: Installation, people: dict[str, Person]) -> None:
    # Ada leaves a notebook open and goes away.
    ada = people["ada"]
    ada.run(ada.kernel("python3"), "1 + 1")
    # Bob's kernel computes on; what it prints would count as nothing.
    bob = people["bob"]
    code = "import time\nwhile True: time.sleep(1)"
    kernel = bob.kernel("python3")
    bob.page.evaluate(
        "() => { window.onerror = () => true; window.onunhandledrejection = () => true; }"
    )
    with pytest.raises(Exception, match="no answer"):
        bob.run(kernel, code, seconds=1)
    # Carol has a job in the foreground of a terminal.
    carol = people["carol"]
    terminal = carol.api("POST", "terminals")["name"]
    carol.terminal(terminal, typed="sleep 300\r", until="sleep 300")
    begun = time.monotonic()

    wait_for(lambda: nap.containers("ada") == [], "the idle server is stopped", LATEST)
    wait_for(lambda: nap.usage("ada"), "usage row", 5)
    assert nap.usage("ada")[-1]["reason"] == "idle"
    # As long as any idle server would have been stopped by now.
    wait_for(lambda: time.monotonic() > begun + LATEST, "time to pass", LATEST + 1)
    assert nap.server("bob").get("ready"), "a busy kernel was stopped"
    assert nap.server("carol").get("ready"), "a terminal with a job was stopped"
