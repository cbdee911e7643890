"""The hub may die at any instant: servers, kernels and what is in them stay."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.e2e.installation import Installation, children, wait_for
from tests.e2e.person import Person

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("installation", ["path"], indirect=True),
]


def test_a_killed_hub_loses_nothing(
    installation: Installation, person: Callable[[str], Person]
) -> None:
    installation.start("bob", profile="small", image="notebook")
    bob = person("bob")
    bob.page.goto(bob.server_url("lab"))
    bob.open_lab()
    kernel = bob.kernel("python3")
    bob.run(kernel, "kept = 6 * 7")
    container = installation.container("bob").id

    hub = json.loads(installation.workroom("status", "--json").stdout)["hub"]["pid"]
    [culler] = children(hub)
    os.kill(hub, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{culler}").exists(), "the idle culler went with the hub", 10)
    with pytest.raises(requests.ConnectionError):
        installation.hub("GET", "info")
    # The proxy goes on, and so does the page that is open.
    assert bob.run(kernel, "print(kept)").strip() == "42"

    installation.up()
    assert installation.container("bob").id == container
    assert installation.server("bob")["ready"]
    assert bob.run(kernel, "kept += 1; print(kept)").strip() == "43"
    bob.page.reload()
    bob.open_lab()
    assert kernel in [each["id"] for each in bob.api("GET", "kernels")]
    installation.stop("bob")
    assert installation.usage("bob")[-1]["reason"] == "stopped"
