"""`ssh NAME@host` with the real OpenSSH client into real containers, of both spawners.

Sessions and starts; files are in test_ssh_files.py, forwarding in test_ssh_forwarding.py.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.e2e.installation import Installation, wait_for
from tests.support.ssh import Laptop, with_server

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def bob(over_ssh: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Bob's laptop, with a key of his account; his server runs."""
    with_server(over_ssh, "bob")
    return Laptop(tmp_path_factory.mktemp("bob"), over_ssh, "bob").register()


@pytest.fixture(scope="module")
def carol(over_ssh: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Carol's laptop, with a key of her account; she has no server yet."""
    return Laptop(tmp_path_factory.mktemp("carol"), over_ssh, "carol").register()


@pytest.fixture(scope="module")
def ada(over_ssh: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Ada's laptop, with a key of her account; she has no server yet."""
    return Laptop(tmp_path_factory.mktemp("ada"), over_ssh, "ada").register()


def test_commands(bob: Laptop) -> None:
    done = bob.ssh("gw", "echo out; echo err >&2; exit 42", code=42)
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")
    bob.ssh("gw", "true")
    bob.ssh("gw", "false", code=1)
    # 255 is what ssh says of a process that a signal ended; a shell that saw one says 137.
    assert bob.ssh("gw", "kill -KILL $$", code=255).stdout == b""
    bob.ssh("gw", "sh -c 'kill -KILL $$'; exit $?", code=137)
    bob.ssh("gw", "no-such-command", code=127)


def test_bytes_are_exact_and_input_ends(bob: Laptop) -> None:
    data = os.urandom(3_000_000) + b"\r\n\0~.\x04\x03\n~."
    done = bob.ssh("gw", "tee /dev/stderr", stdin=data)
    assert done.stdout == data
    assert done.stderr == data
    assert bob.ssh("gw", "wc -c", stdin=b"").stdout.strip() == b"0"
    # Its output ends although nobody reads what is typed, and the other way round.
    assert bob.ssh("gw", "head -c 3", stdin=data).stdout == data[:3]
    assert bob.ssh("gw", "exec 1>&- 2>&-; cat > at-once; exit 3", stdin=b"x" * 99, code=3)
    assert bob.says("cat at-once") == "x" * 99


def test_a_command_has_the_notebooks_environment(bob: Laptop) -> None:
    shown = bob.says("echo $JUPYTERHUB_USER; pwd; echo $HOME; whoami; which python jupyter R")
    home = "/home/workroom"
    programs = ["/opt/workroom/bin/python", "/opt/workroom/bin/jupyter", "/usr/bin/R"]
    assert shown.splitlines() == ["bob", home, home, "workroom", *programs]
    assert (
        bob.says("python -c 'import pandas; print(pandas.DataFrame([[6 * 7]]).iat[0, 0])'") == "42"
    )
    assert bob.says("R --slave -e 'cat(6 * 7)'") == "42"
    assert "python3" in bob.says("jupyter kernelspec list 2>/dev/null")
    environment = dict(line.partition("=")[::2] for line in bob.says("env").splitlines())
    assert len(environment["JUPYTERHUB_API_TOKEN"]) >= 32
    assert environment["LANG"] == "C.UTF-8"
    for secret in ("WORKROOM_USAGE_TOKEN", "WORKROOM_SSH_USER_CA", "WORKROOM_SSH_PRINCIPAL"):
        assert secret not in environment
    sent = bob.words("ssh", "-o", "SendEnv=COLORTERM LC_ALL LD_PRELOAD PATH")
    variables = {"COLORTERM": "truecolor", "LC_ALL": "de_DE", "LD_PRELOAD": "/tmp/evil.so"}
    shown = bob.run([*sent, "gw", "env"], **variables).stdout.decode()
    assert "COLORTERM=truecolor" in shown
    assert "de_DE" not in shown
    assert "evil" not in shown


def test_a_login_shell(bob: Laptop) -> None:
    with bob.terminal("gw", columns=101, rows=31) as shell:
        shell.expect(r"\$ ")
        assert shell.ask("shopt -q login_shell && echo login") == "login"
        assert shell.ask("stty size; echo $TERM").split() == ["31", "101", "xterm-256color"]
        assert shell.ask("tty").startswith("/dev/pts/")
        assert shell.ask("which python; pwd; echo $JUPYTERHUB_USER").split() == [
            "/opt/workroom/bin/python",
            "/home/workroom",
            "bob",
        ]
        assert shell.ask("echo 'ä€😀'") == "ä€😀"
        shell.resize(133, 43)
        shell.type("while true; do stty size; sleep 0.1; done\r")
        shell.expect("43 133\r\n")
        shell.type("\x03")
        shell.expect(r"\$ ")
        shell.type("sh -c 'echo r''uns; exec sleep 1000'\r")
        shell.expect("runs\r\n")
        shell.type("\x1a")
        shell.expect("Stopped")
        # A job that still counts as stopped is not waited for, and holds up `exit`.
        gone = "while jobs -s | grep -q sleep; do sleep 0.1; done; wait"
        assert "sleep 1000" in shell.ask(f"jobs; kill %1; {gone}")
        shell.type("exit 7\r")
        assert shell.ended() == 7


def test_a_terminal_for_a_command(bob: Laptop) -> None:
    with bob.terminal("-t", "gw", "stty size; trap 'echo caught; exit 5' INT; cat") as terminal:
        terminal.expect("24 80\r\n")
        terminal.type("typed\r")
        terminal.expect("typed\r\ntyped\r\n")
        terminal.type("\x03")
        terminal.expect("caught\r\n")
        assert terminal.ended() == 5
    with bob.terminal("gw") as terminal:
        terminal.expect(r"\$ ")
        terminal.type("\r~.")
        assert terminal.ended() == 255
    assert "not a tty" in bob.ssh("-T", "gw", "tty", code=1).stdout.decode()


def test_sessions_end_with_their_ssh(bob: Laptop) -> None:
    with bob.terminal("-t", "gw", "exec -a of-a-terminal sleep 1000"):
        wait_for(lambda: bob.says("pgrep -f ^of-a-termina[l] || true"), "a process")
    wait_for(lambda: not bob.says("pgrep -f ^of-a-termina[l] || true"), "its end")


def test_several_at_once_and_in_one_connection(bob: Laptop) -> None:
    shown: list[bytes] = []

    def one(number: int) -> None:
        shown.append(bob.ssh("gw", f"cat; echo {number}", stdin=b"x" * 100_000).stdout)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(shown) == sorted(b"x" * 100_000 + b"%d\n" % number for number in range(8))

    master = ("-M", "-N", "-S", "shared", "-o", "ControlPersist=no", "gw")
    with bob.background(*master):
        wait_for((bob.folder / "shared").exists, "the shared connection")
        through = ("-S", "shared", "-o", "ProxyCommand=false")
        shown.clear()
        for code in range(8):
            words = bob.words("ssh", *through, "gw", f"echo $PPID; exit {code}")
            shown.append(bob.run(words, code=code).stdout)
        assert len(set(shown)) == 1, "each had a connection of its own"
        bob.ssh("-S", "shared", "-O", "exit", "gw")


def test_keep_alives_are_answered(bob: Laptop) -> None:
    with bob.background("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1", "gw") as ssh:
        time.sleep(2.3)
        assert ssh.poll() is None
        out, err = ssh.communicate(b"echo still here; exit 9\n", timeout=20)
        assert (out, ssh.returncode) == (b"still here\n", 9), err


def test_the_first_start_ever_and_a_second_one(over_ssh: Installation, tmp_path: Path) -> None:
    over_ssh.add_user("eve")
    eve = Laptop(tmp_path / "eve", over_ssh, "eve").register()
    first = eve.ssh("gw", "printf 'a\\0b'; printf kept > note.txt")
    assert first.stdout == b"a\0b", "what is printed goes into a file as it is"
    lines = first.stderr.decode().splitlines()
    assert lines[0] == "workroom: Starting your server"
    assert len(lines) >= 3
    assert all(line.startswith("workroom: ") for line in lines)
    # It has the first size there is, as a browser's choice would begin with.
    assert over_ssh.server("eve")["user_options"] == {}
    assert eve.ssh("gw", "cat note.txt").stderr == b""

    over_ssh.stop("eve")
    with eve.terminal("gw") as terminal:
        # One line that changes, gone when the shell begins.
        terminal.expect("\r\x1b\\[Kworkroom: Starting your server")
        shell = terminal.expect(r".*\$ ")
        assert "\n" not in shell.rpartition("\r\x1b[K")[0]
        assert terminal.ask("cat note.txt") == "kept"
        terminal.type("exit\r")
        assert terminal.ended() == 0
    over_ssh.workroom("users", "remove", "eve", "--yes")


def test_two_connections_start_one_server(over_ssh: Installation, carol: Laptop) -> None:
    over_ssh.stop("carol")
    rows = len(over_ssh.usage("carol"))
    with carol.background("gw", "hostname") as one, carol.background("gw", "hostname") as two:
        shown = [each.communicate(timeout=60) for each in (one, two)]
        assert (one.returncode, two.returncode) == (0, 0), shown
    assert shown[0][0] == shown[1][0] != b""
    for _, errors in shown:
        assert b"workroom: " in errors
    over_ssh.stop("carol")
    wait_for(lambda: len(over_ssh.usage("carol")) > rows, "usage row", 10)
    assert len(over_ssh.usage("carol")) == rows + 1


def test_a_start_that_is_cancelled(over_ssh: Installation, ada: Laptop) -> None:
    over_ssh.stop("ada")
    # An image that never reports in.
    stuck = {"profile": "small", "image": "stuck"}
    words = ("POST", over_ssh.server_path("ada"), stuck)
    threading.Thread(target=over_ssh.hub, args=words, daemon=True).start()
    wait_for(lambda: over_ssh.server("ada").get("pending") == "spawn", "its start")
    with ada.background("gw", "true") as ssh:
        assert ssh.stderr is not None
        assert ssh.stderr.readline().startswith(b"workroom: ")
        over_ssh.stop("ada")
        out, err = ssh.communicate(timeout=20)
        assert (out, ssh.returncode) == (b"", 255)
        said = err.decode().splitlines()[-1]
        assert said == "workroom: The start of your server was cancelled."


@pytest.mark.parametrize("over_ssh", ["local"], indirect=True)
def test_a_start_that_fails_says_why(over_ssh: Installation, ada: Laptop) -> None:
    # What was chosen last is chosen again, and is gone meanwhile.
    over_ssh.hub("POST", over_ssh.server_path("ada"), {"profile": "small", "image": "stand-in"})
    wait_for(lambda: over_ssh.server("ada").get("ready"), "ada's server", 60)
    over_ssh.stop("ada")
    tag, aside = f"{over_ssh.instance}/stand-in:latest", f"{over_ssh.instance}/aside:latest"
    image = over_ssh.engine.images.get(tag)
    image.tag(aside)
    over_ssh.engine.images.remove(tag)
    try:
        said = ada.refused("gw", "true").splitlines()
    finally:
        image.tag(tag)
        over_ssh.engine.images.remove(aside)
    assert said[-1].startswith("workroom: The image "), said


def test_named_servers(over_ssh: Installation, bob: Laptop) -> None:
    said = bob.refused("-l", "bob+none", "gw", "true")
    assert "workroom: You have no server 'none'." in said
    assert f"{over_ssh.url}/hub/" in said
    with_server(over_ssh, "bob", "two")
    assert bob.says("-l", "bob+two", "echo $JUPYTERHUB_SERVER_NAME $(hostname)").startswith("two ")
    assert bob.says("-l", "bob+two", "hostname") != bob.says("hostname")
    over_ssh.stop("bob", "two")
    done = bob.ssh("-l", "bob+two", "gw", "echo $JUPYTERHUB_SERVER_NAME")
    assert done.stdout == b"two\n"
    assert done.stderr.startswith(b"workroom: Starting your server\n")
    over_ssh.stop("bob", "two")


def test_the_gateways_host_keys(over_ssh: Installation, bob: Laptop, tmp_path: Path) -> None:
    for kind in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        assert bob.says("-o", f"HostKeyAlgorithms={kind}", "echo in") == "in"
    other = Laptop(tmp_path / "other", over_ssh, "bob")
    other.configure(known=other.key.with_suffix(".pub").read_text().strip())
    said = other.refused("gw", "true")
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in said
