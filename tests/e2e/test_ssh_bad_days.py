"""Bad days over ssh, with real parts: hub killed, server gone, keys refused, an impostor.

The gateway's own, restarted and killed, are in test_ssh_gateway_process.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, wait_for
from tests.e2e.test_idle import LATEST, culler_looks_every_second
from tests.support.ssh import Laptop, Terminal, container_of, with_server

pytestmark = pytest.mark.docker
local = pytest.mark.parametrize("over_ssh", ["local"], indirect=True)


@pytest.fixture
def bob(over_ssh: Installation, tmp_path: Path) -> Iterator[Laptop]:
    """Bob's laptop, with a key of his account; his server runs."""
    with_server(over_ssh, "bob")
    laptop = Laptop(tmp_path / "bob", over_ssh, "bob").register()
    yield laptop
    laptop.remove_key()


def process(installation: Installation, name: str) -> int:
    """Return the id of one of the installation's processes."""
    return int(json.loads(installation.workroom("status", "--json").stdout)[name]["pid"])


def works(shell: Terminal, word: str) -> None:
    """Type into a shell and see it answer."""
    assert shell.ask(f"echo $KEPT {word}") == f"kept {word}"


@local
def test_the_hub_is_killed_while_somebody_types(over_ssh: Installation, bob: Laptop) -> None:
    with bob.terminal("gw") as shell:
        shell.expect(r"\$ ")
        shell.ask("KEPT=kept")
        os.kill(process(over_ssh, "hub"), signal.SIGKILL)
        works(shell, "without a hub")
        # Whoever comes now waits for the hub that is coming.
        with bob.background("gw", "echo in") as ssh:
            over_ssh.up()
            out, err = ssh.communicate(timeout=30)
            assert (out, ssh.returncode) == (b"in\n", 0), err
        works(shell, "with another hub")
        shell.type("exit 4\r")
        assert shell.ended() == 4


def test_the_server_is_stopped_while_somebody_is_connected(
    over_ssh: Installation, bob: Laptop
) -> None:
    everybody_is_told(over_ssh, bob, lambda: over_ssh.stop("bob"))


@local
def test_the_container_is_killed_while_somebody_is_connected(
    over_ssh: Installation, bob: Laptop
) -> None:
    everybody_is_told(over_ssh, bob, container_of(over_ssh, "bob").kill)


def everybody_is_told(over_ssh: Installation, bob: Laptop, end: Callable[[], None]) -> None:
    """Have bob's server end, and see what who is connected sees, and who comes next."""
    lost = "The connection to your server was lost: it was stopped or ended."
    with (
        bob.background("gw", "echo here; cat") as command,
        bob.terminal("gw") as shell,
        bob.background("-N", "-R", "8126:localhost:1", "gw") as forwards,
    ):
        shell.expect(r"\$ ")
        assert command.stdout is not None
        assert command.stdout.readline() == b"here\n"
        begun = time.monotonic()
        end()
        shell.expect(f"workroom: {lost}")
        assert shell.ended() == 255
        out, err = command.communicate(timeout=10)
        assert (out, command.returncode) == (b"", 255)
        assert err.decode().splitlines()[-1] == f"workroom: {lost}"
        assert time.monotonic() - begun < 25
        assert forwards.poll() is None or forwards.returncode == 255
    over_ssh.stop("bob")  # until the hub finds out by itself, which can take a minute
    done = bob.ssh("gw", "echo started again")
    assert done.stdout == b"started again\n"
    assert done.stderr.startswith(b"workroom: Starting your server\n")


def test_who_is_not_let_in(over_ssh: Installation, bob: Laptop, tmp_path: Path) -> None:
    told = f"Not recognised. Register your key at {over_ssh.url}/hub/account/ssh"
    unknown = Laptop(tmp_path / "unknown", over_ssh, "bob")
    said = {
        "no such key": unknown.refused("gw", "true"),
        "another's name": bob.refused("-l", "carol", "gw", "true"),
        "another's server": bob.refused("-l", "carol+two", "gw", "true"),
        "nobody's name": bob.refused("-l", "nobody", "gw", "true"),
        "the container's user": bob.refused("-l", "workroom", "gw", "true"),
        "the machine's root": bob.refused("-l", "root", "gw", "true"),
    }
    for what, text in said.items():
        assert text.count(told) == 1, (what, text)
        assert "Permission denied (publickey" in text.splitlines()[-1], (what, text)
    one, *others = (
        text.replace("carol+two", "NAME").replace("carol", "NAME").replace("bob", "NAME")
        .replace("nobody", "NAME").replace("workroom@", "NAME@").replace("root@", "NAME@")
        for text in said.values()
    )  # fmt: skip
    assert set(others) == {one}
    # Without a terminal nothing is asked, and nothing hangs.
    assert "Permission denied" in unknown.refused("-o", "BatchMode=yes", "gw", "true")
    log = (over_ssh.home / "ssh.log").read_text()
    assert "BEGIN" not in log
    assert unknown.key.with_suffix(".pub").read_text().split()[1] not in log


@local
def test_keys_and_people_are_taken_away(over_ssh: Installation, tmp_path: Path) -> None:
    over_ssh.add_user("dora")
    with_server(over_ssh, "dora")
    laptop = Laptop(tmp_path / "dora", over_ssh, "dora").register()
    assert laptop.says("echo in") == "in"
    with laptop.terminal("gw") as shell:
        shell.expect(r"\$ ")
        laptop.remove_key()
        assert "Not recognised." in laptop.refused("gw", "true")
        laptop.register()
        assert laptop.says("echo in") == "in"

        over_ssh.workroom("users", "disable", "dora", "--yes")
        shell.expect("workroom: ")
        assert shell.ended() == 255
    assert "Not recognised." in laptop.refused("gw", "true")
    assert not over_ssh.server("dora").get("ready")
    over_ssh.workroom("users", "enable", "dora")
    assert laptop.ssh("gw", "echo in").stdout == b"in\n"
    over_ssh.workroom("users", "remove", "dora", "--yes")
    assert "Not recognised." in laptop.refused("gw", "true")
    # Whoever gets the name next has none of her keys.
    over_ssh.add_user("dora")
    assert "Not recognised." in laptop.refused("gw", "true")
    over_ssh.workroom("users", "remove", "dora", "--yes")


# Takes an address of the network, and then lets in whoever comes, as one that wants people's
# secrets would.
_IMPOSTOR = """
import fcntl, os, socket, struct, subprocess, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    address = struct.pack("16sHH4s8x", b"eth0", socket.AF_INET, 0, socket.inet_aton(sys.argv[1]))
    fcntl.ioctl(control, 0x8916, address)  # SIOCSIFADDR
subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/tmp/key"], check=True)
os.makedirs("/run/sshd", exist_ok=True)
os.execv("/usr/sbin/sshd", ["/usr/sbin/sshd", *"-D -e -p 2222 -h /tmp/key -f /dev/null".split()])
"""


@local
def test_something_else_takes_the_servers_address(over_ssh: Installation, bob: Laptop) -> None:
    address = over_ssh.server("bob")["state"]["address"]
    network = over_ssh.engine.networks.get(f"{over_ssh.instance}-users")
    container = container_of(over_ssh, "bob")
    mac = container.attrs["NetworkSettings"]["Networks"][network.name]["MacAddress"]
    network.disconnect(container)
    impostor = over_ssh.engine.containers.run(
        f"{over_ssh.instance}/notebook:latest",
        entrypoint=["python3", "-c", _IMPOSTOR, address],
        user="0",
        cap_add=["NET_ADMIN"],
        network=network.name,
        mac_address=mac,
        detach=True,
    )
    try:
        wait_for(lambda: b"listening" in impostor.logs(), "the impostor listens")
        said = bob.refused("gw", "cat", stdin=b"a secret")
        assert "What answers at your server's address is not your server" in said
        log = (over_ssh.home / "ssh.log").read_text()
        assert f"ALARM something else than the server of 'bob' answers at {address}" in log
        wait_for(
            lambda: b"Host key is not trusted" in impostor.logs(), "it is told no more than that"
        )
        assert b"Accepted" not in impostor.logs()
    finally:
        impostor.remove(force=True)
        over_ssh.stop("bob")
    assert bob.ssh("gw", "echo it is me").stdout == b"it is me\n"


@local
def test_the_home_is_full(over_ssh: Installation, bob: Laptop) -> None:
    home = "/home/workroom"
    pid = container_of(over_ssh, "bob").attrs["State"]["Pid"]
    inside = ["nsenter", f"--target={pid}", "--mount", "--pid"]
    size = "size=64k,uid=59000,gid=59000"
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", size, "none", home], check=True)
    try:
        bob.ssh("gw", "cat /dev/zero > all", code=1)
        assert "No space left" in bob.ssh("gw", "echo x > file", code=1).stderr.decode()
        assert bob.says("pwd") == home
        with bob.terminal("gw") as shell:
            shell.expect(r"\$ ")
            assert shell.ask("rm all && echo x > file && cat file") == "x"
    finally:
        subprocess.run([*inside, "umount", "-l", home], check=True)


def test_a_job_in_tmux_keeps_a_server_and_an_idle_session_does_not(
    nap: Installation, tmp_path: Path
) -> None:
    people = {}
    for name in ("bob", "carol"):
        with_server(nap, name)
        people[name] = Laptop(tmp_path / name, nap, name).register()
    people["bob"].ssh("gw", "tmux new-session -d 'python -c \"import time; time.sleep(3000)\"'")
    with people["carol"].terminal("-o", "ServerAliveInterval=1", "gw") as shell:
        shell.expect(r"\$ ")
        begun = time.monotonic()
        with culler_looks_every_second(nap):
            wait_for(lambda: nap.containers("carol") == [], "the idle server is stopped", LATEST)
            assert shell.ended() == 255
            wait_for(lambda: time.monotonic() > begun + LATEST, "time to pass", LATEST + 1)
            assert nap.server("bob").get("ready"), "a job in tmux was stopped"
    wait_for(lambda: nap.usage("carol"), "usage row", 5)
    assert nap.usage("carol")[-1]["reason"] == "idle"
    nap.stop("bob")
