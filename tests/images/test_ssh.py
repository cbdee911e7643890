"""sshd in a real container, with the real OpenSSH client and certificates as the gateway's."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import Notebook, docker
from ssh_client import PRINCIPAL, TOKEN, Authority, Client, free_port, run

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The gateway's CA."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def me(authority: Authority) -> Path:
    """A key with a certificate that is right."""
    return authority.signed("me")


@pytest.fixture(scope="module")
def server(image: str, authority: Authority) -> Iterator[Notebook]:
    """A running server with sshd, its environment one of awkward values."""
    awkward = 'it\'s "so" \\ # %h $(id) é'
    with authority.hub(AWKWARD=awkward) as hub, Notebook(image, hub=hub) as container:
        container.wait_until_up()
        wait_for_sshd(container)
        yield container


@pytest.fixture
def ssh(server: Notebook, me: Path) -> Client:
    """The client that is let in."""
    return Client(server, me)


def wait_for(what: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def listens(address: str, port: int = 2222) -> bool:
    """Whether somebody answers there with a banner."""
    try:
        with socket.create_connection((address, port), timeout=5) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False


def wait_for_sshd(container: Notebook) -> None:
    """Wait until sshd answers, which is soon after the server does."""
    wait_for(lambda: listens(container.address))


# -- who gets in -------------------------------------------------------------------


def test_a_certificate_for_this_servers_principal_gets_in(ssh: Client) -> None:
    assert ssh.says("id") == "uid=59000(workroom) gid=59000(workroom) groups=59000(workroom)"


def plain(authority: Authority, folder: Path) -> Path:
    """The key alone, without its certificate."""
    return authority.plain(f"plain-{folder.name}")


REFUSED: dict[str, Callable[[Authority, Path], Path]] = {
    "no certificate": plain,
    "another authority": lambda _, f: Authority(f / "foreign").signed("x"),
    "another principal": lambda a, f: a.signed(f"other-{f.name}", "workroom-ffff0000"),
    "the image's user as principal": lambda a, f: a.signed(f"user-{f.name}", "workroom"),
    "several principals, none right": lambda a, f: a.signed(f"many-{f.name}", "root,ada,*"),
    "expired": lambda a, f: a.signed(f"old-{f.name}", PRINCIPAL, "-10m:-5m"),
    "not yet valid": lambda a, f: a.signed(f"new-{f.name}", PRINCIPAL, "+5m:+10m"),
    "a host's certificate": lambda a, f: a.signed(f"host-{f.name}", PRINCIPAL, "-1m:+5m", "-h"),
    "the authority's own key": lambda a, _: a.key,
    "another address": lambda a, f: a.signed(
        f"from-{f.name}", PRINCIPAL, "-1m:+5m", "-O", "source-address=192.0.2.1/32"
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_everybody_else_is_refused(
    server: Notebook, authority: Authority, tmp_path: Path, kind: str
) -> None:
    answer = Client(server, REFUSED[kind](authority, tmp_path))(check=False)
    assert answer.returncode == 255
    assert "Permission denied (publickey)" in answer.stdout


def test_another_user_and_any_password_are_refused(server: Notebook, me: Path) -> None:
    ssh = Client(server, me)
    ssh.host = ssh.host.replace("workroom@", "root@")
    assert "Permission denied (publickey)" in ssh(check=False).stdout
    password = Client(server, me, "-o", "PreferredAuthentications=password,keyboard-interactive")
    assert "Permission denied (publickey)" in password(check=False).stdout


def test_keys_in_the_home_let_nobody_in(
    server: Notebook, authority: Authority, tmp_path: Path
) -> None:
    """Only the gateway decides; a line somebody left in the home must not be a back door."""
    key = plain(authority, tmp_path)
    line = key.with_suffix(".pub").read_text().strip()
    server.run(f"mkdir -pm 700 ~/.ssh; echo '{line}' > ~/.ssh/authorized_keys")
    server.run(f"echo 'cert-authority {authority.public}' >> ~/.ssh/authorized_keys")
    assert Client(server, key)(check=False).returncode == 255
    # A CA in that file would take the user's name for the principal.
    users = authority.signed(f"by-name-{tmp_path.name}", "workroom")
    assert Client(server, users)(check=False).returncode == 255


def test_neither_weak_ciphers_nor_weak_exchanges_are_offered(server: Notebook, me: Path) -> None:
    for weak in ("Ciphers=aes128-ctr", "KexAlgorithms=diffie-hellman-group14-sha256"):
        answer = Client(server, me, "-o", weak, "-o", "LogLevel=INFO")(check=False)
        assert "no matching" in answer.stdout
    assert Client(server, me, "-c", "aes128-gcm@openssh.com").says("echo in") == "in"


def test_it_has_no_power(ssh: Client) -> None:
    status = ssh.says("cat /proc/self/status")
    for line in ("CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"):
        assert line in status
    owners = ssh.says("ps -C sshd -o user=").split()
    assert set(owners) == {"workroom"}


# -- what it finds there -----------------------------------------------------------

# What a session has of its own, the browser's terminal, or a prompt (colours).
OF_A_SESSION = {
    "_", "SHLVL", "PWD", "OLDPWD", "TERM", "MAIL", "USER", "LOGNAME", "SSH_CLIENT",
    "SSH_CONNECTION", "SSH_TTY", "JUPYTER_SERVER_ROOT", "JUPYTER_SERVER_URL", "COLUMNS", "LINES",
    "LS_COLORS", "LESSOPEN", "LESSCLOSE", "PYXTERM_DIMENSIONS",
}  # fmt: skip
ASK = "{ env -0; umask; pwd; ulimit -a; } > /tmp/asked-part && mv /tmp/asked-part /tmp/asked"


def asked(server: Notebook) -> dict[str, str]:
    """What ASK wrote, once it has: the environment, and the rest under that name."""
    wait_for(lambda: "yes" in server.run("[ -e /tmp/asked ] && echo yes || true"))
    *pairs, rest = server.run("cat /tmp/asked; rm /tmp/asked").split("\0")
    found = dict(pair.split("=", 1) for pair in pairs)
    for name in OF_A_SESSION & set(found):
        del found[name]
    return found | {"the rest": rest}


def test_every_way_in_finds_what_the_browsers_terminal_has(server: Notebook, ssh: Client) -> None:
    server.type_in_terminal(f"{ASK}\n")
    browser = asked(server)
    assert browser["AWKWARD"] == 'it\'s "so" \\ # %h $(id) é'
    assert browser["JUPYTERHUB_API_TOKEN"] == "token-of-ada"
    assert browser["SHELL"] == "/bin/bash"
    assert browser["LANG"] == "C.UTF-8"
    assert browser["the rest"].startswith("0027\n/home/workroom\n")

    ssh(ASK)
    assert asked(server) == browser, "a command"
    run(*ssh.words, input=f"{ASK}\n")
    assert asked(server) == browser, "a log-in shell without a terminal"
    with ssh.open(tty=True) as shell:
        shell.communicate(f"{ASK}; exit\n", timeout=30)
    assert asked(server) == browser, "a log-in shell"


def test_a_kernels_variables_are_there_too(server: Notebook, ssh: Client) -> None:
    printed = server.execute("python3", "import os, json; print(json.dumps(dict(os.environ)))")
    import json

    kernel = json.loads(printed)
    session = dict(p.split("=", 1) for p in ssh.says("env -0").split("\0") if p)
    own = {"PATH", "JPY_PARENT_PID", "JPY_SESSION_NAME", "TERM", "CLICOLOR", "FORCE_COLOR", "PAGER"}
    own |= {"CLICOLOR_FORCE", "GIT_PAGER", "MPLBACKEND", "PYDEVD_USE_FRAME_EVAL", *OF_A_SESSION}
    for name in set(kernel) - own:
        assert session.get(name) == kernel[name], name
    assert session["PATH"].split(":")[1:] == kernel["PATH"].split(":")


def test_the_hubs_secrets_are_in_no_process_and_no_log(server: Notebook, ssh: Client) -> None:
    kernel = server.json("api/kernels", "POST", {"name": "python3"})["id"]
    server.look_at_kernel(kernel)
    for name in (TOKEN, "WORKROOM_SSH_USER_CA", "WORKROOM_USAGE_TOKEN"):
        # The command itself has no such word in its environment, only in its arguments.
        assert ssh("grep -laE '" + name + "' /proc/[0-9]*/environ", check=False).stdout == ""
        assert name not in server.logs()
    server.request(f"api/kernels/{kernel}", "DELETE")


def test_locale_and_terminal(server: Notebook, me: Path) -> None:
    environment = {**os.environ, "LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8"}
    ssh = Client(server, me, "-o", "SendEnv=LANG LC_*")
    said = ssh("perl -e 'print 1'; locale 2>&1 | sort -u; git --version", env=environment).stdout
    assert "cannot" not in said
    assert "warning" not in said.lower()
    assert "LANG=C.UTF-8" in said
    printed = ssh.says("printf 'Größe €\\n' | wc -m")
    assert printed == "8"
    unknown = {**os.environ, "TERM": "xterm-of-tomorrow"}
    with subprocess.Popen(
        [*ssh.words[:1], "-tt", *ssh.words[1:]], env=unknown, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as shell:  # fmt: skip
        said, _ = shell.communicate("tmux new-session 'echo in-tmux > /tmp/t'; exit\n", timeout=30)
    assert server.run("cat /tmp/t").strip() == "in-tmux", said


# -- what it can do ----------------------------------------------------------------


def test_exit_codes_signals_and_both_outputs(ssh: Client) -> None:
    done = ssh("echo out; echo err >&2; exit 7", check=False, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert run(*ssh.words, "cat; echo end", input="through").stdout == "throughend\n"


def test_copies_with_scp_sftp_and_rsync(ssh: Client, tmp_path: Path) -> None:
    here = tmp_path / "with a blank"
    (here / "sub").mkdir(parents=True)
    data = os.urandom(3_000_000)
    (here / "sub" / "ümläut.bin").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    run("scp", "-q", "-r", *ssh.options, here, f"{ssh.host}:copied")
    assert ssh.says("sha256sum copied/sub/* | cut -d' ' -f1") == digest
    run("scp", "-q", "-O", "-r", *ssh.options, f"{ssh.host}:copied", tmp_path / "old")
    assert (tmp_path / "old" / "sub" / "ümläut.bin").read_bytes() == data
    batch = f"put -r '{here}' by-sftp\nls by-sftp\npwd\n"
    said = run("sftp", "-q", "-b", "-", *ssh.options, ssh.host, input=batch).stdout
    assert "Remote working directory: /home/workroom" in said
    words = " ".join(["ssh", *(f"'{option}'" for option in ssh.options)])
    run("rsync", "-a", "-e", words, f"{ssh.host}:by-sftp/", tmp_path / "back")
    assert (tmp_path / "back" / "sub" / "ümläut.bin").read_bytes() == data


SERVE = "python -c \"import socket; s = socket.create_server(('127.0.0.1', {port})); "
SERVE += "print('ready', flush=True); c, _ = s.accept(); c.sendall(b'from inside')\""


def test_forwarding_of_ports_and_sockets(server: Notebook, me: Path, tmp_path: Path) -> None:
    port, back = free_port(), free_port()
    client = Client(server, me, "-o", "ExitOnForwardFailure=yes")
    local = ["-L", f"127.0.0.1:{port}:127.0.0.1:7001"]
    with subprocess.Popen(
        ["ssh", *local, *client.options, client.host, SERVE.format(port=7001)],
        stdout=subprocess.PIPE, text=True,
    ) as session:  # fmt: skip
        assert session.stdout
        assert session.stdout.readline() == "ready\n"
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            assert connection.recv(99) == b"from inside"

    with socket.create_server(("127.0.0.1", back)) as here:
        ask = "python -c \"import socket; print(socket.create_connection(('127.0.0.1', 7002))"
        ask += '.recv(99).decode())"'
        with subprocess.Popen(
            ["ssh", "-R", f"7002:127.0.0.1:{back}", *client.options, client.host, ask],
            stdout=subprocess.PIPE, text=True,
        ) as session:  # fmt: skip
            connection, _ = here.accept()
            with connection:
                connection.sendall(b"from here")
            assert session.communicate(timeout=20)[0] == "from here\n"

    sock = tmp_path / "s"
    options = ["-o", "StreamLocalBindUnlink=yes", "-R", f"/tmp/back.sock:{sock}"]
    for _ in range(2):  # the second time the socket of the first is in the way
        run("ssh", *options, *client.options, client.host, "test -S /tmp/back.sock")


def test_remote_forwarding_stays_inside_the_container(server: Notebook, me: Path) -> None:
    client = Client(server, me)
    with subprocess.Popen(
        ["ssh", "-R", "0.0.0.0:7003:127.0.0.1:1", *client.options, client.host, "echo up; cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as session:  # fmt: skip
        assert session.stdout
        assert session.stdout.readline() == "up\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.address, 7003), timeout=2)
        session.communicate("")


def test_the_agent_is_forwarded(server: Notebook, me: Path) -> None:
    said = run("ssh-agent", "-s").stdout
    words = dict(part.split("=") for part in said.split(";")[:3:2] for part in [part.strip()])
    environment = {**os.environ, **words}
    try:
        run("ssh-add", "-q", me, env=environment)
        client = Client(server, me, "-A")
        assert "me (ED25519)" in client("ssh-add -l", env=environment).stdout
    finally:
        run("ssh-agent", "-k", env=environment)


def test_an_editors_dozen_of_channels_share_one_connection(
    server: Notebook, me: Path, tmp_path: Path
) -> None:
    client = Client(server, me, "-o", f"ControlPath={tmp_path}/c")
    master = client.open("-N", "-M")
    try:
        wait_for((tmp_path / "c").exists)
        sessions = [client.open("cat") for _ in range(20)]
        said = [session.communicate("here", timeout=30)[0] for session in sessions]
        assert said == ["here"] * 20
    finally:
        # OpenSSH's client may miss a gentler signal that comes between its check and its wait.
        master.kill()
        master.communicate(timeout=10)


# -- how long it lives -------------------------------------------------------------


def test_a_killed_sshd_comes_back_and_open_sessions_stay(server: Notebook, ssh: Client) -> None:
    with ssh.open("cat") as session:
        assert session.stdin
        assert session.stdout
        session.stdin.write("before\n")
        session.stdin.flush()
        assert session.stdout.readline() == "before\n"
        listener = server.run("cat /var/lib/workroom/ssh/sshd.pid").strip()
        server.run(f"kill -9 {listener}")
        wait_for(lambda: ssh(check=False).returncode == 0, 10)
        session.stdin.write("after\n")
        session.stdin.flush()
        assert session.stdout.readline() == "after\n"
        session.stdin.close()
        assert session.wait(timeout=10) == 0
    assert server.run("cat /var/lib/workroom/ssh/sshd.pid").strip() != listener
    assert "sshd was ended by signal 9; it is started again" in server.logs()


def test_the_host_key_stays_over_restarts_and_when_two_start_at_once(
    image: str, authority: Authority, me: Path, volume: str
) -> None:
    home = [f"--volume={volume}:/home/workroom"]
    with authority.hub() as hub, Notebook(image, hub=hub, options=home) as one:
        with Notebook(image, hub=hub, options=home) as two:
            one.wait_until_up()
            two.wait_until_up()
        first = {request["ssh_host_key"] for request in hub.start_requests}
    assert len(first) == 1
    with authority.hub() as hub, Notebook(image, hub=hub, options=home) as again:
        again.wait_until_up()
        wait_for_sshd(again)
        assert {request["ssh_host_key"] for request in hub.start_requests} == first
        assert Client(again, me).says("echo in") == "in"
        again.run(
            "head -c 200 ~/.workroom/ssh/host_ed25519 > ~/h; mv ~/h ~/.workroom/ssh/host_ed25519"
        )
    with authority.hub() as hub, Notebook(image, hub=hub, options=home) as damaged:
        damaged.wait_until_up()
        wait_for_sshd(damaged)
        assert not {request["ssh_host_key"] for request in hub.start_requests} & first
        assert "cannot be used (it is not a whole private key" in damaged.logs()
        assert Client(damaged, me).says("ls ~/.workroom/ssh | grep -c bad") == "1"


BAD_HOMES = {
    "full": ["--tmpfs=/home/workroom:size=8k,uid=59000,gid=59000,mode=0755"],
    "read-only": ["--tmpfs=/home/workroom:ro,mode=0755"],
    "closed": ["--volume={closed_home}:/home/workroom"],
}


@pytest.mark.parametrize("kind", BAD_HOMES)
def test_a_bad_home_does_not_keep_ssh_away(
    image: str, authority: Authority, me: Path, closed_home: str, kind: str
) -> None:
    options = [option.format(closed_home=closed_home) for option in BAD_HOMES[kind]]
    with authority.hub() as hub, Notebook(image, hub=hub, options=options) as server:
        server.wait_until_up()
        wait_for_sshd(server)
        ssh = Client(server, me)
        assert "in\n" in ssh("echo in").stdout
        shown = run(*ssh.words, input="pwd; echo $HOME; echo $IPYTHONDIR\n").stdout
        assert "your home /home/workroom cannot be written" in shown
        where = "/var/lib/workroom/instead-of-home" if kind == "closed" else "/home/workroom"
        assert f"{where}\n{where}\n/var/lib/workroom/instead-of-home/ipython\n" in shown
        assert "Traceback" not in server.logs()


def test_without_an_authority_or_a_hub_there_is_no_sshd(image: str, authority: Authority) -> None:
    with authority.hub(WORKROOM_SSH_USER_CA="") as hub, Notebook(image, hub=hub) as server:
        server.wait_until_up()
        assert server.run("pgrep -c sshd || true").strip() == "0"
        assert not listens(server.address)
    given = ["-e", f"WORKROOM_SSH_USER_CA={authority.public}", "-e", "WORKROOM_SSH_PRINCIPAL=x"]
    with Notebook(image, options=given) as alone:
        alone.wait_until_up()
        assert not listens(alone.address)


def test_stopping_is_quick_with_sessions_open(image: str, authority: Authority, me: Path) -> None:
    with authority.hub() as hub, Notebook(image, hub=hub) as server:
        server.wait_until_up()
        wait_for_sshd(server)
        with Client(server, me).open("cat") as session:
            assert session.stdin
            assert session.stdout
            session.stdin.write("here\n")
            session.stdin.flush()
            session.stdout.readline()
            began = time.monotonic()
            docker("stop", "--time=20", server.id)
            assert time.monotonic() - began < 8
            session.stdin.close()
            session.wait(timeout=30)
        assert server.exit_code() == 0
        assert "started again" not in server.logs()
