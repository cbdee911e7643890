"""The SSH gateway beside the hub: left alone, replaced while people work, killed, switched off."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.conftest import settings
from tests.e2e.installation import Installation, wait_for
from tests.support.ssh import Laptop, with_server
from workroom_hub.machine import processes

pytestmark = pytest.mark.docker
_PORT = 8850


@pytest.fixture(scope="module")
def installation(bring_up: Callable[..., Iterator[Installation]]) -> Iterator[Installation]:
    """An installation whose gateway listens on every address of this machine, with bob."""
    ssh = {"host": "0.0.0.0", "port": _PORT - 6000}
    for running in bring_up(settings("e2e-gate", "path", _PORT, ssh=ssh)):
        running.add_user("bob")
        with_server(running, "bob")
        yield running


@pytest.fixture(scope="module")
def bob(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    return Laptop(tmp_path_factory.mktemp("bob"), installation, "bob").register()


def gateway(installation: Installation) -> dict[str, Any]:
    """Return what `status` says of it."""
    facts: dict[str, Any] = json.loads(installation.workroom("status", "--json").stdout)["ssh"]
    return facts


def change(installation: Installation, **ssh: Any) -> str:
    """Change settings of the gateway and put them in force."""
    installation.settings["ssh"] |= ssh
    return installation.up()


def test_it_greets_and_is_left_alone(installation: Installation) -> None:
    before = gateway(installation)
    assert before["state"] == "running"
    assert before["port"] == _PORT - 6000
    assert before["command"] == f"ssh NAME@localhost -p {_PORT - 6000}"
    with socket.create_connection(("127.0.0.1", before["port"]), timeout=5) as connection:
        assert connection.recv(255).startswith(b"SSH-2.0-")
    printed = installation.up()
    assert f"ssh ada@localhost -p {_PORT - 6000} " in printed
    assert f"http://localhost:{_PORT}/hub/account/ssh" in printed
    assert gateway(installation)["pid"] == before["pid"]


def test_the_hub_is_restarted_without_it(installation: Installation, bob: Laptop) -> None:
    before = gateway(installation)["pid"]
    with bob.terminal("gw") as shell:
        shell.expect(r"\$ ")
        installation.settings["title"] = "Renamed"
        assert "something changed" in installation.up()
        assert shell.ask("echo there") == "there"
    assert gateway(installation)["pid"] == before


def test_replaced_while_somebody_works(installation: Installation, bob: Laptop) -> None:
    before = gateway(installation)["pid"]
    with bob.terminal("gw") as shell:
        shell.expect(r"\$ ")
        assert shell.ask("echo $$; kept=mine").isdigit()
        said = change(installation, idle_timeout="2h")
        assert "1 connection of the one before goes on" in said
        assert shell.ask("echo $kept") == "mine"
        now = gateway(installation)
        assert now["pid"] != before
        assert [(old["pid"], old["connections"]) for old in now["draining"]] == [(before, 1)]
        assert bob.says("echo new") == "new"
        # Neither the timer's `up` nor one more change ends it.
        installation.up()
        change(installation, idle_timeout="3h")
        assert shell.ask("echo $kept") == "mine"
        shown = installation.workroom("status").stdout
        assert "draining" in shown
        assert "1 connection" in shown
        shell.type("exit\r")
        assert shell.ended() == 0
    wait_for(lambda: not gateway(installation)["draining"], "the end of the one before")
    assert processes.start_ticks(before) is None


def test_killed_it_is_missed_and_started_again(installation: Installation, bob: Laptop) -> None:
    before = gateway(installation)["pid"]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: processes.start_ticks(before) is None, "its end")
    facts = gateway(installation)
    assert (facts["state"], facts["pid"], facts["connections"]) == ("stopped", None, None)
    checks = installation.workroom("doctor", check=False)
    assert checks.returncode == 1
    assert "SSH gateway: it was started and is gone" in checks.stdout
    installation.up()
    assert gateway(installation)["pid"] not in (None, before)
    assert bob.says("echo again") == "again"
    assert "All is well" in installation.workroom("doctor").stdout
    assert "listening on" in installation.workroom("logs", "ssh").stdout


def test_a_container_does_not_reach_it(installation: Installation) -> None:
    # It listens everywhere here; the machine's firewall rules are what keeps containers out.
    script = """
import socket, sys
for port in map(int, sys.argv[2:]):
    try:
        socket.create_connection((sys.argv[1], port), timeout=3).close()
        print(port, "open")
    except OSError:
        print(port, "shut")
"""
    ssh, hub = _PORT - 6000, installation.settings["local"]["hub_port"]
    container = installation.container("bob")
    code, output = container.exec_run(
        ["python3", "-c", script, installation.gateway, str(ssh), str(hub)]
    )
    assert code == 0
    assert output.decode().split() == [str(ssh), "shut", str(hub), "open"]


def test_a_taken_port_is_told_before_anything_changes(
    installation: Installation, bob: Laptop
) -> None:
    before = gateway(installation)["pid"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        done = installation.workroom("up", check=False, env={"WORKROOM_SSH_PORT": taken})
    assert done.returncode == 1
    assert f"Port {taken} (ssh) is taken by" in done.stderr
    assert "WORKROOM_SSH_PORT=2223 make up" in done.stderr
    assert gateway(installation)["pid"] == before
    assert gateway(installation)["port"] == _PORT - 6000
    assert bob.says("echo here") == "here"


def test_a_port_of_a_variable_is_remembered(installation: Installation) -> None:
    other = _PORT - 6000 + 1
    try:
        installation.workroom("up", env={"WORKROOM_SSH_PORT": str(other)})
        facts = gateway(installation)
        assert (facts["state"], facts["port"]) == ("running", other)
    finally:
        installation.up()
    assert gateway(installation)["port"] == _PORT - 6000


def test_a_new_authority_is_for_servers_started_after_it(
    installation: Installation, bob: Laptop
) -> None:
    (installation.home / "secrets" / "ssh-user-ca").unlink()
    installation.up()
    said = bob.refused("gw", "true")
    assert "Traceback" not in said
    installation.stop("bob")
    installation.start("bob", profile="small", image="notebook")
    assert bob.says("echo new authority") == "new authority"


def test_off_and_down_end_connections_with_a_word(installation: Installation, bob: Laptop) -> None:
    with bob.terminal("gw") as shell:
        shell.expect(r"\$ ")
        # It says how many it has once a second; one of the test before may not be over for it.
        wait_for(lambda: gateway(installation)["connections"], "the gateway to count it")
        assert re.search(r"\d ssh connections? with it", change(installation, enabled=False))
        assert shell.ended() == 255
        assert "The ssh gateway was stopped." in shell.text
    facts = gateway(installation)
    assert (facts["state"], facts["pid"], facts["command"]) == ("off", None, None)
    change(installation, enabled=True)
    with_server(installation, "bob")
    installation.workroom("down")
    assert gateway(installation)["state"] == "stopped"
    assert installation.processes() == {}
    assert [path.name for path in installation.home.glob("ssh*")] == ["ssh.log"]
