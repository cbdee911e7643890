"""The users' network and its firewall on the real engine, seen from a real container."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from workroom_hub.errors import NetworkError
from workroom_hub.machine import engine, firewall, image, network, probe
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.settings import Settings

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    client = engine.connect()
    yield client
    client.close()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> str:
    log = tmp_path_factory.mktemp("image") / "build.log"
    image.build_image(Settings(), progress=print, log=log)
    return Settings().build.tag


@pytest.fixture
def stack(client: docker.DockerClient, tmp_path: Path) -> Iterator[Stack]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings.model_validate(
        {"instance": f"net-{os.getpid()}", "local": {"hub_port": port}}
    )
    yield Stack(settings, None, tmp_path, Reporter(quiet=True))
    firewall.remove(settings.instance, network.bridge_name(settings.instance))
    network.remove(client, settings.instance)


def rules(stack: Stack, users: network.UsersNetwork) -> firewall.Rules:
    return firewall.rules(stack.settings.instance, users, stack.settings.local.hub_port)


def test_the_network_is_made_once(client: docker.DockerClient, stack: Stack) -> None:
    made = network.ensure(client, stack.settings, stack.home)
    assert network.ensure(client, stack.settings, stack.home) == made
    assert network.find(client, stack.settings) == made
    found = client.networks.list(names=[made.name])
    assert len(found) == 1
    assert found[0].attrs["Options"]["com.docker.network.bridge.enable_icc"] == "false"
    assert network.remove(client, stack.settings.instance) is True
    assert network.find(client, stack.settings) is None


def test_a_network_made_otherwise_is_made_anew(client: docker.DockerClient, stack: Stack) -> None:
    name = network.network_name(stack.settings.instance)
    client.networks.create(name, driver="bridge")
    network.ensure(client, stack.settings, stack.home)
    [found] = client.networks.list(names=[name])
    assert found.attrs["Options"]["com.docker.network.bridge.enable_icc"] == "false"


def test_a_taken_address_range_is_told(client: docker.DockerClient, stack: Stack) -> None:
    taken = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    local = {"hub_port": stack.settings.local.hub_port, "subnet": taken}
    settings = Settings.model_validate({"instance": stack.settings.instance, "local": local})
    with pytest.raises(NetworkError, match="did not make the network"):
        network.ensure(client, settings, stack.home)


def test_rules_are_put_once_and_removed_whole(client: docker.DockerClient, stack: Stack) -> None:
    users = network.ensure(client, stack.settings, stack.home)
    wanted = rules(stack, users)
    before = saved(users)
    firewall.apply(wanted)
    once = saved(users)
    firewall.apply(wanted)
    assert saved(users) == once != before
    assert firewall.in_force(wanted) is True
    subprocess.run(["iptables", "-w", "-I", "INPUT", "1", "-i", users.bridge, "-j", "ACCEPT"])
    assert firewall.in_force(wanted) is False
    firewall.apply(wanted)
    assert firewall.in_force(wanted) is True
    subprocess.run(["iptables", "-w", "-D", "INPUT", "-i", users.bridge, "-j", "ACCEPT"])
    assert firewall.remove(stack.settings.instance, users.bridge) is True
    assert saved(users) == before
    assert firewall.remove(stack.settings.instance, users.bridge) is False


def test_a_container_reaches_the_hub_and_no_other_port_of_this_machine(
    client: docker.DockerClient, stack: Stack, notebook: str
) -> None:
    users = network.ensure(client, stack.settings, stack.home)
    # Something that listens everywhere, as people's own services do, beside what doctor opens.
    with (
        socket.create_server(("0.0.0.0", 0)),
        socket.create_server((users.gateway, stack.settings.local.hub_port)),
    ):
        open_ = probe.look(client, stack, users, notebook)
        assert open_.answer == (stack.settings.local.hub_port,)
        assert open_.reached, "without the rules this machine is open, or the test proves nothing"
        firewall.apply(rules(stack, users))
        shut = probe.look(client, stack, users, notebook)
    assert shut.answer == (stack.settings.local.hub_port,)
    assert shut.reached == ()


def test_a_container_does_not_reach_its_peers(
    client: docker.DockerClient, stack: Stack, notebook: str
) -> None:
    users = network.ensure(client, stack.settings, stack.home)
    firewall.apply(rules(stack, users))
    serve = ["python3", "-m", "http.server", "8888", "--directory", "/usr"]
    peer = client.containers.run(notebook, serve, detach=True, network=users.name, entrypoint="")
    try:
        peer.reload()
        address = peer.attrs["NetworkSettings"]["Networks"][users.name]["IPAddress"]
        wait = f"for i in $(seq 50); do (echo > /dev/tcp/{address}/8888) && break; sleep 0.1; done"
        assert subprocess.run(["bash", "-c", wait], capture_output=True).returncode == 0
        reach = f"timeout 3 bash -c 'echo > /dev/tcp/{address}/8888' && echo reached || echo shut"
        said = client.containers.run(
            notebook, ["bash", "-c", reach], network=users.name, entrypoint="", remove=True
        )
        assert said.decode().split()[-1] == "shut"
    finally:
        peer.remove(force=True)


def saved(users: network.UsersNetwork) -> list[str]:
    """Return every filter rule of this machine that names our network or our chain."""
    out = []
    for program in ("iptables", "ip6tables"):
        done = subprocess.run([program, "-w", "-S"], capture_output=True, text=True, check=True)
        out += done.stdout.splitlines()
    instance = users.name.removesuffix("-users")
    ours = (users.bridge, firewall.chain_name(instance))
    return [line for line in out if any(name in line for name in ours)]
