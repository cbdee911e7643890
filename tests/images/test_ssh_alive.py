"""What of ssh keeps a server alive and what does not, with real sessions (docs/image.md)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from containers import Notebook
from ssh_client import Authority, Client, free_port
from test_alive import goes_on, is_alive, last_activity, settle, stays_idle

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def ssh(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Notebook, Client]]:
    """A server that looks at itself twice a second, and the client that is let in."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    options = ["-e", "WORKROOM_ACTIVITY_SAMPLE=0.5", "-e", "WORKROOM_ACTIVITY_CPU=9"]
    with authority.hub() as hub, Notebook(image, hub=hub, options=options) as server:
        server.wait_until_up()
        client = Client(server, authority.signed("me"), "-o", "ServerAliveInterval=1")
        until = time.monotonic() + 15
        while client(check=False).returncode:
            assert time.monotonic() < until, server.logs()
        yield server, client


def settled(server: Notebook) -> None:
    """Wait until what was done before is past, and the steps of a terminal's clock with it."""
    settle(server)
    assert stays_idle(server, 3)


# What somebody has open and what it runs in: a terminal or not.
WAITING = {
    "prompt": (True, []),
    "tmux": (True, ["tmux"]),
    "editor": (True, ["vi /tmp/notes"]),
    "no terminal": (False, ["cat"]),
    "script's shell": (False, ["bash -s"]),
    "rsync": (False, ["rsync --server -logDtpre.iLsfxCIvu . /tmp/copied"]),
}


def test_what_waits_does_not(ssh: tuple[Notebook, Client]) -> None:
    """All at once, since it takes a while to see that nothing happens."""
    server, client = ssh
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(client.open(*words, tty=tty))
            for name, (tty, words) in WAITING.items()
        }
        for program in ("tmux", "vi /tmp/notes", "cat", "bash -s", "rsync --server"):
            server.run(f"until pgrep -f '^{program}'; do sleep 0.1; done", timeout=15)
        settle(server)
        assert stays_idle(server), "keep-alives went on all the while"
        assert [name for name, session in sessions.items() if session.poll() is not None] == []
        for session in sessions.values():
            session.kill()
    server.run("tmux kill-server || true", check=False)


# What an editor's remote bootstrap does over exec: a shell script on standard input that leaves a
# server behind, says where it listens, and stays for as long as the editor. The server here is a
# stand-in (a Python process named as the editor's), since the real one comes from its vendor only.
BOOTSTRAP = """
mkdir -p ~/.editor-server && cd ~/.editor-server
printf '%s\\n' 'import socket; s = socket.create_server(("127.0.0.1", 7005))' \\
  'while True: c, _ = s.accept(); c.sendall(b"editor"); c.close()' > server-main.js
nohup bash -c 'exec -a node python server-main.js' > log 2>&1 < /dev/null &
until grep -q ':1B5D' /proc/net/tcp; do sleep 0.1; done
echo listening on 7005
while true; do sleep 1; done
"""


def test_an_idle_editor_with_its_server_and_port_does_not(ssh: tuple[Notebook, Client]) -> None:
    server, client = ssh
    dynamic = f"127.0.0.1:{free_port()}"
    words = ["ssh", "-T", "-D", dynamic, *client.options, client.host, "bash"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write(BOOTSTRAP)
        session.stdin.flush()
        assert session.stdout.readline() == "listening on 7005\n"
        settled(server)
        before = last_activity(server)
        for _ in range(5):
            asked = ["curl", "-s", "--http0.9", "--socks5", dynamic, "127.0.0.1:7005"]
            assert subprocess.run(asked, capture_output=True, check=False).stdout == b"editor"
            time.sleep(0.5)
        assert last_activity(server) == before
        session.kill()
    server.run("pkill -f server-main.js || true", check=False)


def test_a_job_in_tmux_does_attached_and_detached(ssh: tuple[Notebook, Client]) -> None:
    server, client = ssh
    with client.open("tmux", "new", "-s", "job", "'sleep 99'", tty=True) as session:
        assert is_alive(server)
        session.kill()
    assert is_alive(server), "the person has gone, the job has not"
    client("tmux kill-server")
    settled(server)


def test_a_command_with_a_terminal_does(ssh: tuple[Notebook, Client]) -> None:
    server, client = ssh
    with client.open("sleep 99", tty=True) as session:
        assert is_alive(server)
        session.kill()
    server.run("pkill sleep || true", check=False)


def test_a_keystroke_does_and_only_for_its_moment(ssh: tuple[Notebook, Client]) -> None:
    server, client = ssh
    with client.open(tty=True) as session:
        time.sleep(9)  # a terminal's clock moves in steps of 8 seconds
        before = last_activity(server)
        assert session.stdin
        session.stdin.write("ls\n")
        session.stdin.flush()
        assert goes_on(server, before, 2)
        settled(server)
        session.kill()
