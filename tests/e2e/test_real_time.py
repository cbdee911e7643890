"""The waits that other tests shorten, in real time; `make soak` runs this, about ten minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import settings
from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = pytest.mark.soak
MINUTE = 60
# Longer than the five minutes of processor use that count as work.
STOP_AFTER = 7 * MINUTE
CULL_EVERY = 30


@pytest.fixture(scope="module")
def patient(bring_up: Callable[..., Iterator[Installation]]) -> Iterator[Installation]:
    """An installation with times as people have them; everything else is the default."""
    idle = {"stop_after": STOP_AFTER, "check_every": CULL_EVERY}
    for running in bring_up(settings("e2e-soak", "path", 8600, idle=idle)):
        for name in ("bob", "carol", "dora"):
            running.add_user(name)
        yield running


def test_a_start_is_given_up_after_two_minutes(patient: Installation, chromium: Browser) -> None:
    ada = Person(patient, chromium, "ada").logged_in()
    begun = time.monotonic()
    ada.choose("small", "stuck")
    reason = ada.page.locator("#progress-reason")
    expect(reason).to_contain_text("did not get ready within 120 seconds", timeout=150_000)
    assert time.monotonic() - begun >= 119
    wait_for(lambda: patient.containers("ada") == [], "nothing left behind", 15)
    ada.context.close()


def test_only_the_idle_server_is_stopped(patient: Installation, chromium: Browser) -> None:
    people: dict[str, Any] = {}
    for name in ("ada", "bob", "carol", "dora"):
        people[name] = Person(patient, chromium, name).logged_in()
        patient.begin(name, profile="small", image="notebook")
        wait_for(lambda name=name: patient.server(name).get("ready"), f"server of {name}", 60)
        people[name].page.goto(people[name].server_url("lab"))
    people["ada"].run(people["ada"].kernel("python3"), "1 + 1")
    begun = time.monotonic()

    # Bob's kernel sleeps, busy; Carol's terminal waits for a job; Dora's computes, detached.
    kernel = people["bob"].kernel("python3")
    people["bob"].page.evaluate(
        "() => { window.onerror = () => true; window.onunhandledrejection = () => true; }"
    )
    with pytest.raises(Exception, match="no answer"):
        people["bob"].run(kernel, "import time\nwhile True: time.sleep(1)", seconds=1)
    for name, job in (("carol", "sleep 3000"), ("dora", "setsid nohup yes > /dev/null &")):
        terminal = people[name].api("POST", "terminals")["name"]
        people[name].terminal(terminal, typed=f"{job}\r", until=job)

    # Her tab stays open and polls all the while.
    latest = STOP_AFTER + STOP_AFTER / 3 + CULL_EVERY + MINUTE
    wait_for(lambda: patient.containers("ada") == [], "the idle server is stopped", latest)
    assert time.monotonic() - begun >= STOP_AFTER - MINUTE
    wait_for(lambda: time.monotonic() > begun + latest, "time to pass", latest)
    for name in ("bob", "carol", "dora"):
        assert patient.server(name).get("ready"), f"{name} was working"
        people[name].context.close()
    wait_for(lambda: patient.usage("ada"), "usage row", 5)
    assert patient.usage("ada")[-1]["reason"] == "idle"
