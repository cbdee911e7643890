"""Idle servers are stopped, busy ones are not; and a start that takes too long is given up."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.installation import Installation, children, wait_for
from tests.e2e.person import Person
from tests.e2e.test_start_codes import code_of, post, refused

pytestmark = pytest.mark.docker
STOP_AFTER = 12
# A report every third of the idle time, one look of the culler, and some room.
LATEST = STOP_AFTER + STOP_AFTER / 3 + 3


@pytest.fixture
def people(nap: Installation, chromium: Browser) -> Iterator[dict[str, Person]]:
    """Ada, Bob and Carol on pages of their servers."""
    found = {name: Person(nap, chromium, name).logged_in() for name in ("ada", "bob", "carol")}
    for name in found:
        nap.begin(name, profile="small", image="notebook")
    for name, someone in found.items():
        wait_for(lambda name=name: nap.server(name).get("ready"), f"server of {name}", 60)
        someone.page.goto(someone.server_url("lab"))
    yield found
    for name, someone in found.items():
        someone.context.close()
        nap.stop(name)


@contextmanager
def culler_looks_every_second(nap: Installation) -> Iterator[None]:
    """Run the hub's idle culler once more: its very command and token, but impatient."""
    hub = json.loads(nap.workroom("status", "--json").stdout)["hub"]["pid"]
    [culler] = children(hub)
    words = (Path(f"/proc/{culler}/cmdline")).read_text().rstrip("\0").split("\0")
    variables = (Path(f"/proc/{culler}/environ")).read_bytes().rstrip(b"\0").split(b"\0")
    assert f"--timeout={STOP_AFTER}" in words
    words[words.index("--cull-every=3600")] = "--cull-every=1"
    environment = dict(variable.split(b"=", 1) for variable in variables)
    impatient = subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield
        assert impatient.poll() is None, "the culler ended by itself"
    finally:
        impatient.kill()
        impatient.wait(10)


def test_start_takes_too_long(nap: Installation, chromium: Browser) -> None:
    carol = Person(nap, chromium, "carol").logged_in()
    carol.choose("small", "stuck")
    wait_for(lambda: nap.containers("carol"), "her container", 10)
    code = code_of(nap, "carol")
    reason = carol.page.locator("#progress-reason")
    expect(reason).to_contain_text("did not get ready within 10 seconds", timeout=20_000)
    expect(reason).to_contain_text("Container starting")
    failed = carol.page.locator('#progress-stages [data-id="starting"]')
    expect(failed).to_have_attribute("data-state", "failed")
    # The code of the start that was given up was never used, and is worth nothing any more.
    refused(nap, code, "expired", post(f"{nap.hub_url}/workroom/start", code))
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
    bob.run(kernel, "1")  # it is up, however slow the machine
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

    with culler_looks_every_second(nap):
        wait_for(lambda: nap.containers("ada") == [], "the idle server is stopped", LATEST)
        wait_for(lambda: nap.usage("ada"), "usage row", 5)
        assert nap.usage("ada")[-1]["reason"] == "idle"
        # As long as any idle server would have been stopped by now.
        wait_for(lambda: time.monotonic() > begun + LATEST, "time to pass", LATEST + 1)
        assert nap.server("bob").get("ready"), "a busy kernel was stopped"
        assert nap.server("carol").get("ready"), "a terminal with a job was stopped"
