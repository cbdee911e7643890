"""What a container cannot do: reach the cloud's metadata, the host by UDP, IPv6; fork for ever."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e.installation import Installation

pytestmark = pytest.mark.docker

# Says how a connection ends, and after how many seconds.
_CONNECT = """
import socket, sys, time
begun = time.monotonic()
try:
    socket.create_connection((sys.argv[1], 80), timeout=2)
    print("open", time.monotonic() - begun)
except OSError:
    print("closed", time.monotonic() - begun)
"""

# Sends datagrams; the answer to the first, if it is "port unreachable", comes with the second.
_SEND = """
import socket, sys, time
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
    sender.connect((sys.argv[1], int(sys.argv[2])))
    try:
        for _ in range(5):
            sender.send(b"from a container")
            time.sleep(0.1)
        print("sent")
    except ConnectionRefusedError:
        print("refused")
"""

# Starts up to 300 processes that wait, says how many there could be, and ends them.
_FORK = """
import os, signal
started = []
try:
    for _ in range(300):
        pid = os.fork()
        if pid == 0:
            signal.pause()
        started.append(pid)
    print("unlimited")
except BlockingIOError:
    print("limited", len(started))
finally:
    for pid in started:
        os.kill(pid, signal.SIGKILL)
    for pid in started:
        os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module", autouse=True)
def server(nap: Installation) -> Iterator[None]:
    """A server for bob, whom nobody disturbs."""
    nap.start("bob", profile="small", image="notebook")
    yield
    nap.stop("bob")


def python(nap: Installation, code: str, *words: str) -> list[str]:
    """Run Python in bob's container; return the words it printed."""
    status, output = nap.container("bob").exec_run(["python3", "-c", code, *words])
    assert status == 0, output.decode()
    return list(output.decode().split())


def dropped(nap: Installation) -> int:
    """Return how many packets the rule against metadata has dropped so far."""
    rules = subprocess.run(
        ["iptables", "-w", "-nvxL", "DOCKER-USER"], capture_output=True, text=True, check=True
    ).stdout
    bridge = f"wr-{nap.instance}"
    [packets] = re.findall(rf"(\d+) +\d+ +DROP .* {bridge} .* 169\.254\.0\.0/16", rules)
    return int(packets)


def test_no_cloud_metadata(nap: Installation) -> None:
    before = dropped(nap)
    answer, seconds = python(nap, _CONNECT, "169.254.169.254")
    assert answer == "closed"
    assert float(seconds) < 5
    # There is no such service here to say so itself: the rule is what ate the packets.
    assert dropped(nap) > before


def test_no_datagrams_to_this_machine(nap: Installation) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind((nap.gateway, 0))
        listener.settimeout(2)
        address, port = listener.getsockname()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"from here", (address, port))
        assert listener.recv(100) == b"from here"
        assert python(nap, _SEND, address, str(port)) == ["refused"]
        listener.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listener.recv(100)


def test_no_ipv6(nap: Installation) -> None:
    script = "cat /proc/net/if_inet6 2>/dev/null; cut -d' ' -f1,2 /proc/net/route; true"
    words = [line.split() for line in nap.sh("bob", script).splitlines()]
    assert any(line[0] == "eth0" for line in words), "the container has no network at all"
    assert [line for line in words if len(line) == 6 and line[-1] != "lo"] == []
    [network] = nap.container("bob").attrs["NetworkSettings"]["Networks"].values()
    assert network["GlobalIPv6Address"] == ""


def test_processes_are_limited(nap: Installation) -> None:
    limit = nap.settings["limits"]["pids"]
    answer, count = python(nap, _FORK)
    assert answer == "limited"
    assert 50 < int(count) < limit
    # The server lives on.
    assert nap.server("bob").get("ready")
    assert nap.sh("bob", "curl -s -o /dev/null -w '%{http_code}' localhost:8888/user/bob/api") == (
        "200"
    )
