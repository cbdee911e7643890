"""Two users: neither reaches the other's server, API, container or files, nor the host's ports."""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.e2e.installation import Installation
from tests.e2e.person import Person

pytestmark = pytest.mark.docker

# Prints those of the given addresses and ports that accept a connection.
_SCAN = """
import concurrent.futures, json, socket, sys
def accepts(target):
    try:
        socket.create_connection(target, timeout=2).close()
        return True
    except OSError:
        return False
targets = [tuple(t) for t in json.loads(sys.argv[1])]
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    print(json.dumps([t for t, open in zip(targets, pool.map(accepts, targets)) if open]))
"""


@pytest.fixture
def servers(installation: Installation) -> Iterator[None]:
    """A server for ada and one for bob."""
    for name in ("ada", "bob"):
        installation.start(name, profile="small", image="notebook")
    yield
    for name in ("ada", "bob"):
        installation.stop(name)


def reached(installation: Installation, targets: list[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return those targets that accept a connection from bob's container."""
    container = installation.container("bob")
    code, output = container.exec_run(["python3", "-c", _SCAN, json.dumps(targets)])
    assert code == 0, output
    return {(address, port) for address, port in json.loads(output)}


def listening(table: str) -> set[int]:
    """Return the ports that listen, from the text of /proc/net/tcp and tcp6."""
    rows = [line.split() for line in table.splitlines()]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def own_addresses() -> set[str]:
    """Return this machine's IPv4 addresses, loopback left out."""
    lines = Path("/proc/net/fib_trie").read_text().splitlines()
    pairs = itertools.pairwise(lines)
    found = {before.split()[-1] for before, line in pairs if "/32 host LOCAL" in line}
    return {address for address in found if not address.startswith("127.")}


def test_neither_reaches_the_other(
    servers: None, installation: Installation, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    page_is_refused(bob)
    api_is_refused(bob, installation)
    container_is_closed(installation)
    files_are_apart(installation)


def page_is_refused(bob: Person) -> None:
    for path in ("lab", "api/contents", "terminals/websocket/1"):
        response = bob.visit(bob.server_url(path, owner="ada"))
        assert response.status == 403, f"{path}: {response.status} {bob.page.url}"
    bob.visit(bob.server_url("lab", owner="ada"))
    assert "Launcher" not in bob.text()
    response = bob.visit(bob.hub_url("spawn/ada"))
    assert response.status in (403, 404)


def api_is_refused(bob: Person, installation: Installation) -> None:
    bob.page.goto(bob.server_url("lab"))
    bob.open_lab()
    code = "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"
    token = bob.run(bob.kernel("python3"), code).strip()
    assert installation.hub("GET", "user", token=token).json()["name"] == "bob"
    for method, path in (
        ("GET", "users/ada"),
        ("GET", "users"),
        ("POST", "users/ada/tokens"),
        ("DELETE", "users/ada/server"),
        ("GET", "workroom/users"),
        ("POST", "workroom/users/ada/password"),
        ("DELETE", "workroom/users/ada"),
        ("POST", "shutdown"),
    ):
        status = installation.hub(method, path, {} if method == "POST" else None, token).status_code
        assert status in (403, 404), f"{method} {path}: {status}"
    web = f"http://127.0.0.1:{installation.settings['web']['port']}"
    for owner, expected in (("ada", 403), ("bob", 200)):
        host = f"{owner}.localhost" if installation.subdomain else "localhost"
        answer = requests.get(
            f"{web}/user/{owner}/api/contents",
            headers={
                "Authorization": f"token {token}",
                "Host": f"{host}:{installation.settings['web']['port']}",
            },
            timeout=30,
        )
        assert answer.status_code == expected, owner
    # Straight to her container, as if the network let him.
    address = installation.server("ada")["url"] and ada_address(installation)
    direct = requests.get(
        f"http://{address}:8888/user/ada/api/contents",
        headers={"Authorization": f"token {token}"},
        timeout=30,
    )
    assert direct.status_code == 403


def ada_address(installation: Installation) -> str:
    """Return the address of ada's container on the users' network."""
    networks = installation.container("ada").attrs["NetworkSettings"]["Networks"]
    [network] = networks.values()
    return str(network["IPAddress"])


def container_is_closed(installation: Installation) -> None:
    address = ada_address(installation)
    table = installation.sh("ada", "tail -qn +2 /proc/net/tcp /proc/net/tcp6")
    ports = listening(table) | {22, 2222, 8787, 8888}
    socket.create_connection((address, 8888), timeout=5).close()
    assert reached(installation, [(address, port) for port in sorted(ports)]) == set()


def files_are_apart(installation: Installation) -> None:
    volumes = {
        name: {m["Name"] for m in installation.container(name).attrs["Mounts"]}
        for name in ("ada", "bob")
    }
    assert all(len(names) == 1 for names in volumes.values())
    assert not volumes["ada"] & volumes["bob"]
    installation.sh("ada", "echo secret > ~/hers.txt")
    search = "find / -path /proc -prune -o -name hers.txt -print 2>/dev/null; true"
    assert installation.sh("ada", search).split() == ["/home/workroom/hers.txt"]
    assert installation.sh("bob", search) == ""


def test_the_hosts_ports_are_closed(servers: None, installation: Installation) -> None:
    addresses = own_addresses()
    assert installation.gateway in addresses
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        extra = everywhere.getsockname()[1]
        tables = "".join(
            "".join(Path(f"/proc/net/{name}").read_text().splitlines(keepends=True)[1:])
            for name in ("tcp", "tcp6")
        )
        ports = listening(tables) | {22, 53, 80, 443, 2375, 2376, 8000, 8001}
        assert {8300, 8301, 8381, extra} <= ports
        assert len(addresses) * len(ports) < 4000
        for address in addresses:
            socket.create_connection((address, extra), timeout=5).close()
        targets = [(address, port) for address in sorted(addresses) for port in sorted(ports)]
        assert reached(installation, targets) == {(installation.gateway, 8381)}
