"""The engine dies while people work: nobody loses a server, and everybody is told the truth.

The hub and the commands talk to the real engine through a relay that the test cuts.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import settings
from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person
from tests.fakes.engine_relay import EngineRelay

pytestmark = pytest.mark.docker
NO_ANSWER = "The container engine does not answer, so no server can be started right now."


@pytest.fixture(scope="module")
def relay() -> Iterator[EngineRelay]:
    """The way to the engine."""
    with tempfile.TemporaryDirectory(prefix="relay-") as folder:
        relay = EngineRelay(Path(folder) / "engine.sock")
        relay.mend()
        yield relay
        relay.cut()


@pytest.fixture(scope="module")
def remote(
    relay: EngineRelay, bring_up: Callable[..., Iterator[Installation]]
) -> Iterator[Installation]:
    """An installation that reaches the engine through the relay only."""
    given = settings("e2e-relay", "path", 8700)
    for running in bring_up(given, DOCKER_HOST=relay.host):
        running.add_user("bob")
        yield running
        relay.mend()


def test_engine_dies_while_running(
    remote: Installation, relay: EngineRelay, chromium: Browser
) -> None:
    remote.start("ada", profile="small", image="notebook")
    ada = Person(remote, chromium, "ada").logged_in()
    ada.page.goto(ada.server_url("lab"))
    kernel = ada.kernel("python3")
    ada.run(kernel, "kept = 6 * 7")
    bob = Person(remote, chromium, "bob").logged_in()
    container = remote.container("ada").id

    relay.cut()
    commands_tell_the_truth(remote, relay)
    a_start_is_refused(remote, bob)
    # The hub has asked the engine, in vain, whether her server runs.
    wait_for(lambda: "the engine did not say whether it runs" in remote.log(), "a poll", 15)
    assert remote.server("ada")["ready"]
    assert ada.run(kernel, "print(kept)").strip() == "42"
    assert remote.container("ada").id == container
    assert remote.container("ada").status == "running"

    relay.mend()
    assert remote.server("ada")["ready"]
    assert ada.run(kernel, "print(kept + 1)").strip() == "43"
    states = json.loads(remote.workroom("status", "--json").stdout)
    assert states["engine"]["state"] == "running"
    assert remote.workroom("doctor", check=False).returncode == 0
    bob.spawn("small")
    remote.stop("bob")
    remote.stop("ada")
    assert remote.containers() == []
    assert remote.usage("ada")[-1]["reason"] == "stopped"
    for someone in (ada, bob):
        someone.context.close()


def commands_tell_the_truth(remote: Installation, relay: EngineRelay) -> None:
    facts = json.loads(remote.workroom("status", "--json").stdout)
    assert facts["engine"]["state"] == "stopped"
    assert [facts[part]["state"] for part in ("hub", "proxy")] == ["running", "running"]
    [server] = facts["servers"]
    assert (server["user"], server["state"]) == ("ada", "running")
    doctor = remote.workroom("doctor", check=False)
    assert doctor.returncode == 1
    assert f"No Docker engine answers at {relay.host}" in doctor.stdout
    assert "Traceback" not in doctor.stdout + doctor.stderr


def a_start_is_refused(remote: Installation, bob: Person) -> None:
    answer: requests.Response = remote.hub(
        "POST", remote.server_path("bob"), {"profile": "small", "image": "notebook"}
    )
    assert answer.status_code >= 500
    assert NO_ANSWER in answer.json()["message"]
    bob.choose("small")
    expect(bob.page.locator("main")).to_contain_text(NO_ANSWER, timeout=20_000)
    assert remote.containers("bob") == []
    assert remote.server("bob") == {}
    assert {row["reason"] for row in remote.usage("bob")} == {"failed: engine_unreachable"}
