"""`workroom up` ended at any moment, or in a place that is taken: nothing half-made stays."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.e2e.conftest import settings
from tests.e2e.installation import COMMAND, REPOSITORY, Installation

pytestmark = pytest.mark.docker

# When (so many seconds after `up` says this) and how it is ended.
Moment = tuple[str, float, signal.Signals]
ENGINE: Moment = ("Docker engine …", 0, signal.SIGKILL)
NETWORK: Moment = ("Users' network …", 0.05, signal.SIGTERM)
FIREWALL: Moment = ("Firewall around the users' network …", 0, signal.SIGINT)
NPM: Moment = ("installing configurable-http-proxy", 0.8, signal.SIGKILL)
PROXY: Moment = ("Web proxy …", 0.2, signal.SIGTERM)
HUB: Moment = ("Hub …", 0.2, signal.SIGINT)
# "… for it to answer", or "… for its answer" where an earlier `up` has started it.
HUB_STARTS: Moment = ("waiting for it", 0.3, signal.SIGKILL)
GATEWAY: Moment = ("SSH gateway …", 0.1, signal.SIGKILL)


@pytest.fixture
def bare(
    engine: docker.DockerClient, notebook_image: str, tmp_path: Path
) -> Iterator[Installation]:
    """An installation that has never been up; its image is there."""
    given = settings("e2e-cut", "path", 8500)
    given["images"] = given["images"][:1]
    tag = given["images"][0]["ref"]
    engine.images.get(notebook_image).tag(tag)
    installation = Installation(tmp_path / "home", given, engine)
    installation.write_settings()
    yield installation
    installation.down()
    engine.images.remove(tag)


def interrupt(installation: Installation, moment: Moment) -> None:
    """Run `up` and end it at a moment."""
    sentence, seconds, number = moment
    with subprocess.Popen(
        # Python listens to SIGINT unless it is born deaf, as a shell's background jobs are.
        ["env", "--default-signal=INT", *COMMAND, "up"],
        cwd=REPOSITORY,
        env=installation.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as up:
        assert up.stdout is not None
        assert any(sentence in line for line in up.stdout), f"it never said: {sentence}"
        time.sleep(seconds)
        assert up.poll() is None, f"it was over {seconds} s after: {sentence}"
        up.send_signal(number)
        assert up.wait(20) != 0, f"{number.name} had no effect"
        up.stdout.close()


@pytest.mark.parametrize(
    "moments",
    [(ENGINE, NETWORK, FIREWALL, NPM), (PROXY, HUB, HUB_STARTS, GATEWAY)],
    ids=["before-the-proxy", "from-the-proxy-on"],
)
def test_up_goes_on_where_it_was_interrupted(
    bare: Installation, moments: tuple[Moment, ...]
) -> None:
    for moment in moments:
        interrupt(bare, moment)
    printed = bare.up()
    assert bare.admin_password, printed
    facts = json.loads(bare.workroom("status", "--json").stdout)
    assert [facts[name]["state"] for name in ("hub", "proxy", "ssh", "engine")] == ["running"] * 4
    assert [user["name"] for user in bare.hub("GET", "users").json()] == [bare.admin]
    roles = [words for words in bare.processes().values() if "workroom_hub.app" in words]
    assert len(roles) == 1, "two hubs run"
    gateways = [words for words in bare.processes().values() if "workroom_hub.ssh" in words]
    assert len(gateways) == 1, "two gateways run"
    bare.down()
    assert bare.traces() == []


@pytest.mark.parametrize(
    "moment", [FIREWALL, NPM, HUB_STARTS, GATEWAY], ids=lambda moment: moment[0]
)
def test_down_clears_what_was_interrupted(bare: Installation, moment: Moment) -> None:
    interrupt(bare, moment)
    said = bare.workroom("down", "--purge", "--yes").stdout
    assert bare.traces() == [], said


def test_port_is_taken(bare: Installation) -> None:
    port = bare.settings["web"]["port"]
    with socket.create_server(("127.0.0.1", port)):
        done = bare.workroom("up", check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1
        assert f"Port {port} (the web page) is taken by " in said
        assert f"(process {os.getpid()}: " in said
        assert "Stop that process, or choose another port: WORKROOM_PORT=8010 make up" in said
        assert "Traceback" not in said
    left = [trace for trace in bare.traces() if not trace.startswith("folder ")]
    assert left == []
    # The folder holds the installation's secrets, and serves the next `up`.
    bare.up()
