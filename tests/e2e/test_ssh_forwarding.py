"""Forwarded ports, sockets and agents, jumps, and how VS Code Remote begins; the real client."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_server

import pytest

from tests.e2e.installation import REPOSITORY, Installation, wait_for
from tests.support.ssh import Laptop, answered, container_of, free_port, with_server

pytestmark = pytest.mark.docker
_ECHO = 8123
_STAND_IN = REPOSITORY / "tests/fakes/vscode_server_stand_in.py"
# Shortened from what the editor sends: find a server that runs, else unpack and start one; tell
# where it listens between marks. Then it waits for its input to end, which it never does.
_BOOTSTRAP = r"""
echo "c0ffee: running"
DIR="$HOME/.vscode-server/bin/1234"; mkdir -p "$DIR"; umask 077
if ! kill -0 "$(cat "$DIR/pid" 2>/dev/null)" 2>/dev/null; then
  echo "c0ffee: installing"
  head -c %(size)d > "$DIR/server.py"
  nohup python3 "$DIR/server.py" %(how)s > "$DIR/log" 2>&1 < /dev/null &
  echo $! > "$DIR/pid"
else
  head -c %(size)d > /dev/null
fi
for i in $(seq 100); do grep -q listening "$DIR/log" && break; sleep 0.1; done
echo "c0ffee: start"
echo "listeningOn==$(sed -n 's/.*listening on //p' "$DIR/log")=="
echo "pid==$(cat "$DIR/pid")=="
echo "c0ffee: end"
"""


@pytest.fixture(scope="module")
def bob(over_ssh: Installation, tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """Bob's laptop, with a key of his account; in his server something listens."""
    with_server(over_ssh, "bob")
    bob = Laptop(tmp_path_factory.mktemp("bob"), over_ssh, "bob").register()
    serve = (
        "import socketserver as s; H = type('H', (s.StreamRequestHandler,), {'handle': lambda h:"
        "h.wfile.write(b'bob: ' + h.rfile.read())}); s.ThreadingTCPServer.allow_reuse_address = 1;"
        f"s.ThreadingTCPServer(('127.0.0.1', {_ECHO}), H).serve_forever()"
    )
    until = f"until (: < /dev/tcp/127.0.0.1/{_ECHO}) 2> /dev/null; do sleep 0.1; done"
    bob.ssh("gw", f'nohup python3 -c "{serve}" > /dev/null 2>&1 & {until}')
    return bob


@contextmanager
def forwarded(bob: Laptop, *words: str) -> Iterator[None]:
    """Have an ssh that only forwards."""
    with bob.background("-N", "-o", "ExitOnForwardFailure=yes", *words) as ssh:
        yield
        assert ssh.poll() is None


def curl(*words: str) -> str:
    """Ask with curl; return what came."""
    words = ("curl", "-sS", "--max-time", "20", "--retry", "40", "--retry-delay", "0", *words)
    done = subprocess.run(
        [*words, "--retry-connrefused", "--noproxy", ""], capture_output=True, check=False
    )
    return done.stdout.decode()


def test_local_ports_and_sockets(bob: Laptop) -> None:
    one, two, three = free_port(), free_port(), free_port()
    bob.ssh("gw", "rm -f here.sock")
    listen = "import socket as s; l = s.socket(s.AF_UNIX); l.bind('here.sock'); l.listen();"
    serve = listen + "c, _ = l.accept(); c.sendall(b'socket: ' + c.recv(99))"
    with (
        bob.background("gw", f'python3 -c "{serve}"'),
        forwarded(
            bob,
            *("-L", f"{one}:localhost:{_ECHO}", "-L", f"{two}:127.0.0.1:{_ECHO}"),
            *("-L", f"{three}:/home/workroom/here.sock", "gw"),
        ),
    ):
        assert answered(one) == b"bob: ping\n"
        big = b"0123456789abcdef" * 200_000
        assert answered(two, big) == b"bob: " + big
        wait_for(lambda: bob.says("ls here.sock || true"), "a socket")
        assert answered(three) == b"socket: ping\n"
    # Straight to standard input and output.
    assert bob.ssh("-W", f"localhost:{_ECHO}", "gw", stdin=b"ping").stdout == b"bob: ping"
    said = bob.refused("-W", "localhost:9", "gw")
    assert "connect failed" in said.lower()


def test_remote_ports_and_sockets(bob: Laptop) -> None:
    with create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(b"laptop: " + connection.recv(99))

        threading.Thread(target=serve, daemon=True).start()
        connect = "python3 -c 'import socket as s; c = s.socket(s.{0}); c.connect({1}); "
        connect += 'c.sendall(b"ping"); print(c.recv(99).decode())\''
        with bob.background(
            *("-o", "ExitOnForwardFailure=yes", "-R", f"8124:localhost:{port}"),
            *("-R", f"0:localhost:{port}", "-R", f"/home/workroom/back.sock:localhost:{port}"),
            *("gw", "echo ready; cat"),
        ) as ssh:
            assert ssh.stdout is not None
            assert ssh.stderr is not None
            chosen = re.search(rb"Allocated port (\d+)", ssh.stderr.readline())
            assert chosen
            assert ssh.stdout.readline() == b"ready\n"
            for kind, where in (
                ("AF_INET", '("localhost", 8124)'),
                ("AF_INET", f'("localhost", {int(chosen[1])})'),
                ("AF_UNIX", '"/home/workroom/back.sock"'),
            ):
                assert bob.says(connect.format(kind, where)) == "laptop: ping"
        wait_for(lambda: "refused" in refusal(bob), "the port is given back", 10)


def refusal(bob: Laptop) -> str:
    """Return what a connection to the forwarded port ends with."""
    return bob.ssh("gw", "exec 3<>/dev/tcp/127.0.0.1/8124", code=None).stderr.decode().lower()


def test_socks(bob: Laptop) -> None:
    port = free_port()
    serve = "nohup python3 -m http.server -b 127.0.0.1 -d www 8125 > /dev/null 2>&1 &"
    wait = "until (: < /dev/tcp/127.0.0.1/8125) 2> /dev/null; do sleep 0.1; done"
    bob.ssh("gw", f"mkdir -p www; echo from bob > www/page; {serve} {wait}")
    with forwarded(bob, "-D", f"{port}", "gw"):
        for kind in ("--socks5", "--socks5-hostname", "--socks4"):
            assert curl(kind, f"localhost:{port}", "http://localhost:8125/page") == "from bob\n"


def test_only_ones_own_server_is_reached(over_ssh: Installation, bob: Laptop) -> None:
    with_server(over_ssh, "carol")
    carol = str(over_ssh.server("carol")["state"]["address"])
    own = str(over_ssh.server("bob")["state"]["address"])
    hub = over_ssh.settings["local"]["hub_port"]
    places = [
        "169.254.169.254:80",
        f"{over_ssh.gateway}:{hub}",
        f"127.0.0.1:{hub}",
        f"localhost:{over_ssh.settings['web']['proxy_api_port']}",
        f"{carol}:8888",
        f"{carol}:2222",
        f"{own}:8888",
        "[::ffff:169.254.169.254]:80",
        "example.org:443",
    ]
    for place in places:
        said = bob.refused("-W", place, "gw")
        assert "open failed" in said, (place, said)
    for path in ("/var/run/docker.sock", f"{over_ssh.home}/hub.sqlite"):
        with forwarded(bob, "-L", f"{bob.folder}/sock:{path}", "gw"):
            wait_for((bob.folder / "sock").exists, "a socket")
            done = subprocess.run(
                ["curl", "-sS", "--unix-socket", str(bob.folder / "sock"), "http://x/version"],
                capture_output=True,
                check=False,
            )
            assert done.returncode != 0
            assert done.stdout == b""
        (bob.folder / "sock").unlink(missing_ok=True)


def test_jump(over_ssh: Installation, bob: Laptop) -> None:
    for name in ("workroom", "bob", "localhost"):
        # The inner host key is the gateway's as well.
        alias = ("-o", "HostKeyAlias=workroom")
        assert bob.ssh(*alias, "-J", "gw", f"bob@{name}", "hostname; exit 6", code=6).stdout
    done = bob.run(bob.words("scp", "-J", "gw", str(bob.config), "bob@workroom:jumped"), stdin=b"")
    assert done.returncode == 0
    assert bob.says("cat jumped") == bob.config.read_text().strip()
    with_server(over_ssh, "bob", "two")
    shown = bob.ssh("-J", "gw", "bob@two", "echo $JUPYTERHUB_SERVER_NAME").stdout
    assert shown == b"two\n"
    with_server(over_ssh, "carol")
    for other in ("carol@workroom", "bob@carol", "workroom@workroom"):
        alias = ("-o", "HostKeyAlias=workroom")
        said = bob.ssh(*alias, "-J", "gw", other, "hostname", code=255)
        assert said.stdout == b"", other
    # Not through oneself again, and to nobody's bare sshd.
    twice = ("-o", "HostKeyAlias=workroom", "-J", "gw,bob@workroom")
    assert bob.ssh(*twice, "bob@workroom", "hostname", code=255).stdout == b""
    over_ssh.stop("bob", "two")


def test_agent(bob: Laptop) -> None:
    fingerprint = bob.run(["ssh-keygen", "-lf", str(bob.key)]).stdout.decode().split()[1]
    with bob.agent() as path:
        with_agent = ("-o", f"IdentityAgent={path}")
        shown = bob.ssh(*with_agent, "-A", "gw", "ssh-add -l; ssh-add -L").stdout.decode()
        assert fingerprint in shown
        assert bob.key.with_suffix(".pub").read_text().split()[1] in shown
        # It signs, too: the server's git could use it.
        sign = "ssh-add -L > k.pub; echo hi | ssh-keygen -q -Y sign -n file -f k.pub"
        assert "BEGIN SSH SIGNATURE" in bob.ssh(*with_agent, "-A", "gw", sign).stdout.decode()
        none = bob.ssh(*with_agent, "-a", "gw", "echo [$SSH_AUTH_SOCK]; ssh-add -l", code=2)
        assert none.stdout == b"[]\n"
    assert bob.says("ls -d /tmp/ssh-* 2>/dev/null | wc -l") == "0", "agents' sockets are left"


@contextmanager
def bootstrapped(bob: Laptop, how: str, *words: str) -> Iterator[dict[str, str]]:
    """Begin as VS Code Remote does; yields what its script printed between its marks."""
    server = _STAND_IN.read_bytes()
    script = (_BOOTSTRAP % {"size": len(server), "how": how}).lstrip()
    # One word, as bash reads its script and the script the rest of the same input.
    line = f"eval {_quoted(script)}\n".encode()
    with bob.background("-T", *words, "gw", "bash") as ssh:
        assert ssh.stdin is not None
        assert ssh.stdout is not None
        ssh.stdin.write(line + server)
        shown: list[str] = []
        while not shown or shown[-1] != "c0ffee: end":
            data = ssh.stdout.readline().decode()
            assert data, shown
            shown.append(data.strip())
        found = dict(text.rstrip("=").split("==") for text in shown if "==" in text)
        yield {**found, "installed": str("c0ffee: installing" in shown)}
        assert ssh.poll() is None


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def test_vscode_remote(bob: Laptop) -> None:
    bob.ssh("gw", "rm -rf .vscode-server")
    first, second = free_port(), free_port()
    with bootstrapped(bob, "--port", "-D", str(first)) as told:
        assert told["installed"] == "True"
        where = f"telnet://127.0.0.1:{told['listeningOn']}"
        assert says_over_socks(first, where) == "stand-in: bye\n"
        with bootstrapped(bob, "--port", "-D", str(second)) as again:
            assert again == {**told, "installed": "False"}
            assert says_over_socks(second, where) == "stand-in: bye\n"
    # The window is closed; the next one finds the server that is there.
    with bootstrapped(bob, "--port", "-D", str(first)) as later:
        assert later == {**told, "installed": "False"}
    bob.ssh("gw", f"kill {told['pid']}; rm -r .vscode-server")


def says_over_socks(port: int, where: str) -> str:
    """Return what answers `bye` through a dynamic forward."""
    words = ["curl", "-sS", "--max-time", "20", "--noproxy", "", "--socks5", f"127.0.0.1:{port}"]
    done = subprocess.run([*words, where], input=b"bye\n", capture_output=True, check=False)
    return done.stdout.decode()


def test_vscode_remote_by_socket(bob: Laptop) -> None:
    bob.ssh("gw", "rm -rf .vscode-server")
    path, port = "/home/workroom/.vscode-server/agent.sock", free_port()
    with bootstrapped(bob, f"--socket {path}") as told:
        assert told["listeningOn"] == path
        with forwarded(bob, "-L", f"127.0.0.1:{port}:{path}", "gw"):
            assert answered(port) == b"stand-in: ping\n"
            assert answered(port) == b"stand-in: ping\n"
    bob.ssh("gw", f"kill {told['pid']}; rm -r .vscode-server")


def test_the_sshd_itself_takes_nobody_without_a_certificate(
    over_ssh: Installation, bob: Laptop, tmp_path: Path
) -> None:
    address = over_ssh.server("bob")["state"]["address"]
    key = str(over_ssh.server("bob")["state"]["ssh_host_key"])
    known = tmp_path / "known"
    known.write_text(f"[{address}]:2222 {key}\n")
    there = ["-p", "2222", "-o", f"UserKnownHostsFile={known}", f"workroom@{address}", "true"]
    assert "Permission denied (publickey)" in bob.refused(*there)
    assert container_of(over_ssh, "bob").exec_run(["id", "-u"]).output.strip() == b"59000"
