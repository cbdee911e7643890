"""The SSH gateway's process: left alone, set aside, ended; by a stand-in that fails on demand."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workroom_hub.errors import PortTaken, SshError
from workroom_hub.machine import doctor_running, down, ports, processes, ssh, status
from workroom_hub.machine import up as up_command
from workroom_hub.machine.console import Reporter, Step
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings

STAND_IN = Path(__file__).resolve().parents[1] / "fakes" / "ssh_gateway_stand_in.py"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    port = free_port()
    monkeypatch.setenv("STAND_IN_PORT", str(port))
    monkeypatch.setattr(ssh, "_COMMAND", [sys.executable, str(STAND_IN)])
    monkeypatch.setattr(ssh, "_BUSY", 0.5)
    monkeypatch.setattr(ssh, "_ANSWER_WITHIN", 0.3)
    settings = Settings.model_validate({"ssh": {"port": port}})
    yield Stack(settings, None, tmp_path, Reporter(quiet=True))
    for process in [*processes.aside(tmp_path, "ssh"), *filter(None, [ssh.current(tmp_path)])]:
        processes.end(process, first=signal.SIGKILL)


def changed(stack: Stack, **ssh_settings: Any) -> Stack:
    section = stack.settings.ssh.model_copy(update=ssh_settings)
    return replace(stack, settings=stack.settings.model_copy(update={"ssh": section}))


def up(stack: Stack) -> tuple[int, str]:
    """Do what `up` does; return the process that is current then, and the step's result."""
    step = Step(stack.report, "SSH gateway")
    ssh.ensure(stack, runtime_of(stack), step)
    running = ssh.current(stack.home)
    return (running.pid if running else 0), step.result


def runtime_of(stack: Stack) -> Runtime:
    return Runtime(stack.home, "127.0.0.1", "users", 2, 2**33, {}, **ssh.keys(stack))


def connect(stack: Stack) -> socket.socket:
    """Return a connection that the gateway counts."""
    made = socket.create_connection(("127.0.0.1", stack.settings.ssh.port), timeout=5)
    made.recv(100)
    made.sendall(b"hello")
    assert made.recv(100) == b"hello"
    return made


def wait(look: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- up ------------------------------------------------------------------------------


def test_a_running_one_is_left_alone(stack: Stack) -> None:
    first, said = up(stack)
    assert first
    assert said == f"listening on 127.0.0.1:{stack.settings.ssh.port}"
    assert up(stack) == (first, "running")


def test_it_has_no_credentials_of_the_cloud(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-its-business")
    pid, _ = up(stack)
    assert b"not-its-business" not in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda stack: changed(stack, idle_timeout=60),
        lambda stack: replace(stack, settings=stack.settings.model_copy(update={"ecs": _ecs()})),
        lambda stack: (stack.home / "secrets" / "ssh-user-ca").unlink() or stack,
        lambda stack: (stack.home / "secrets" / "ssh-token").write_text("another") and stack,
    ],
    ids=["setting", "the hub's address", "authority", "token"],
)
def test_a_change_of_what_it_uses_sets_it_aside(
    stack: Stack, change: Callable[[Stack], Stack]
) -> None:
    first, _ = up(stack)
    second, said = up(change(stack))
    assert second not in (0, first)
    assert said.startswith("listening on")


def _ecs() -> Any:
    return Settings().ecs.model_copy(update={"hub_url": "http://10.0.0.1:8081"})


@pytest.mark.parametrize("change", [{"title": "Another"}, {"default_profile": "medium"}])
def test_a_change_of_the_pages_leaves_it_alone(stack: Stack, change: dict[str, str]) -> None:
    first, _ = up(stack)
    settings = stack.settings.model_copy(update=change)
    assert up(replace(stack, settings=settings)) == (first, "running")


def test_connections_of_the_one_before_go_on(stack: Stack) -> None:
    first, _ = up(stack)
    with closing(connect(stack)) as old:
        second, said = up(changed(stack, idle_timeout=60))
        assert second != first
        assert said.endswith("; 1 connection of the one before goes on")
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"
        assert [p.pid for p in ssh.draining(stack.home)] == [first]
        # Another `up` leaves both alone, and so does another change.
        assert up(changed(stack, idle_timeout=60)) == (second, "running")
        third, _ = up(changed(stack, idle_timeout=61))
        old.sendall(b"and here")
        assert old.recv(100) == b"and here"
        assert processes.find(stack.home, "ssh").pid == third  # type: ignore[union-attr]
    wait(lambda: not ssh.draining(stack.home))
    up(changed(stack, idle_timeout=61))
    assert sorted(path.name for path in stack.home.glob("ssh*")) == sorted(
        ["ssh.pid", "ssh.log", f"ssh-{third}.json"]
    )


def test_a_draining_one_without_record_is_not_taken_for_the_current(stack: Stack) -> None:
    first, _ = up(stack)
    with closing(connect(stack)) as old:
        os.kill(first, signal.SIGTERM)  # by somebody else
        wait(lambda: ssh.current(stack.home) is None)
        assert status.collect_ssh(stack)["state"] == "stopped"
        second, _ = up(stack)
        assert second not in (0, first)
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"


@pytest.mark.parametrize("at", ["before the record", "after the record"])
def test_up_that_was_killed_while_it_set_one_aside_is_done_again(stack: Stack, at: str) -> None:
    first, _ = up(stack)
    with closing(connect(stack)) as old:
        process = ssh.current(stack.home)
        assert process
        if at == "before the record":
            (stack.home / "ssh.pid").unlink()
        else:
            processes.set_aside(stack.home, "ssh", process)  # and SIGTERM never came
        second, _ = up(changed(stack, idle_timeout=60))
        assert second not in (0, first)
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"


def test_one_that_was_killed_is_started_again(stack: Stack) -> None:
    first, _ = up(stack)
    os.kill(first, signal.SIGKILL)
    wait(lambda: processes.find(stack.home, "ssh") is None)
    assert status.collect_ssh(stack)["state"] == "stopped"
    second, _ = up(stack)
    assert second not in (0, first)
    assert not (stack.home / f"ssh-{first}.json").exists()


def test_one_that_says_nothing_is_replaced(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = up(stack)
    os.kill(first, signal.SIGSTOP)
    assert status.collect_ssh(stack)["state"] == "not answering"
    second, _ = up(stack)
    assert second not in (0, first)
    assert processes.start_ticks(first) is None


def test_one_that_turns_away_is_alive(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "turns-away")
    first, _ = up(stack)
    assert status.collect_ssh(stack)["state"] == "running"
    assert up(stack) == (first, "running")


def test_one_that_keeps_its_port_is_ended(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAND_IN", "stubborn")
    first, _ = up(stack)
    second, _ = up(changed(stack, idle_timeout=60))
    assert second not in (0, first)
    assert processes.start_ticks(first) is None


def test_one_that_dies_is_told_with_its_last_words(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "dies")
    with pytest.raises(SshError, match="The SSH gateway was started and does not answer") as caught:
        up(stack)
    assert caught.value.details == "no keys to open"


def test_one_that_never_greets_is_an_error_and_ends(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAND_IN", "mute")
    monkeypatch.setattr(ssh, "_PATIENCE", 1)
    with pytest.raises(SshError):
        up(stack)
    assert processes.find(stack.home, "ssh") is None


def test_a_failed_start_does_not_end_old_connections(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    up(stack)
    with closing(connect(stack)) as old:
        monkeypatch.setenv("STAND_IN", "dies")
        with pytest.raises(SshError):
            up(changed(stack, idle_timeout=60))
        old.sendall(b"still here")
        assert old.recv(100) == b"still here"


def test_a_taken_port_is_told_before_anything_is_stopped(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = up(stack)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"^Port {taken} \(ssh\) is taken by ") as caught:
            up(changed(stack, port=taken))
    assert "WORKROOM_SSH_PORT=2223 make up" in caught.value.fix
    assert ports.of(ssh.current(stack.home)) == {stack.settings.ssh.port}  # type: ignore[arg-type]
    assert ssh.current(stack.home).pid == first  # type: ignore[union-attr]


def test_servers_on_aws_know_its_keys_too(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `up` does there, the cluster, the proxy and the hub left out."""
    begun: list[str] = []
    found = SimpleNamespace(name="data", region="eu-central-1", machines=1)
    monkeypatch.setattr(up_command.cluster, "look", lambda _: found)
    monkeypatch.setattr(up_command.proxy, "require_ports", lambda _: None)
    monkeypatch.setattr(up_command.proxy, "ensure", lambda *_: begun.append("proxy"))
    monkeypatch.setattr(up_command.hub, "ensure", lambda *_: begun.append("hub"))
    monkeypatch.setattr(up_command.config_file, "check_against_machine", lambda *_: None)
    ecs = stack.settings.ecs.model_copy(update={"hub_url": "http://127.0.0.1:8081"})
    settings = stack.settings.model_copy(update={"spawner": "ecs", "ecs": ecs})
    runtime = up_command._bring_up_for_aws(replace(stack, settings=settings))
    assert Runtime.load(stack.home) == runtime
    assert runtime.ssh_user_ca.startswith("ssh-ed25519 ")
    assert [key.split()[0] for key in runtime.ssh_host_keys] == [
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
    ]
    assert begun == ["proxy", "hub"]
    assert ssh.current(stack.home) is not None


# -- off, and down --------------------------------------------------------------------


def test_switched_off_it_ends_and_servers_trust_nobody(stack: Stack) -> None:
    up(stack)
    with closing(connect(stack)) as old:
        off = changed(stack, enabled=False)
        assert ssh.keys(off) == {"ssh_user_ca": "", "ssh_host_keys": ()}
        assert up(off) == (
            0,
            "off, as ssh.enabled says; stopped, and 1 ssh connection with it",
        )
        assert old.recv(100) == b"The end.\r\n"
    assert up(off) == (0, "off, as ssh.enabled says")
    facts = status.collect_ssh(off)
    assert (facts["state"], facts["port"], facts["command"]) == ("off", None, None)
    assert doctor_running.ssh_check(off).state == "note"


def test_down_ends_all_of_them_and_says_so(stack: Stack) -> None:
    first, _ = up(stack)
    with closing(connect(stack)) as one:
        second, _ = up(changed(stack, idle_timeout=60))
        with closing(connect(stack)) as two:
            assert ssh.end_all(stack.home) == "stopped, and 2 ssh connections with it"
            assert (one.recv(100), two.recv(100)) == (b"The end.\r\n", b"The end.\r\n")
    assert [processes.start_ticks(pid) for pid in (first, second)] == [None, None]
    assert [path.name for path in stack.home.glob("ssh*")] == ["ssh.log"]
    assert ssh.end_all(stack.home) == ""


def test_purge_removes_its_files(stack: Stack) -> None:
    up(stack)
    processes.end(ssh.current(stack.home), first=signal.SIGKILL)  # type: ignore[arg-type]
    (stack.home / "ssh-1.pid").write_text("1\n1\n\n")
    (stack.home / "ports.json").write_text("{}")
    (stack.home / "ssh-notes.txt").write_text("not ours")
    down._remove_state(stack)
    assert [path.name for path in stack.home.iterdir()] == ["ssh-notes.txt"]


# -- status and doctor ---------------------------------------------------------------


def test_status_has_current_and_draining_ones(stack: Stack) -> None:
    port = stack.settings.ssh.port
    assert status.collect_ssh(stack) == {
        "state": "stopped", "pid": None, "uptime_seconds": None, "version": None,
        "port": port, "connections": None, "draining": [],
        "command": f"ssh NAME@localhost -p {port}",
    }  # fmt: skip
    first, _ = up(stack)
    with closing(connect(stack)):
        assert status.collect_ssh(stack)["connections"] == 1
        second, _ = up(changed(stack, idle_timeout=60))
        facts = status.collect_ssh(stack)
    assert (facts["state"], facts["pid"], facts["connections"]) == ("running", second, 0)
    assert facts["version"]
    [old] = facts["draining"]
    assert (old["pid"], old["connections"]) == (first, 1)


def test_doctor_says_when_it_is_gone(stack: Stack) -> None:
    assert doctor_running.ssh_check(stack).state == "note"
    pid, _ = up(stack)
    assert doctor_running.ssh_check(stack).message == f"process {pid} answers"
    os.kill(pid, signal.SIGKILL)
    wait(lambda: processes.find(stack.home, "ssh") is None)
    check = doctor_running.ssh_check(stack)
    assert (check.state, check.message) == ("failed", "it was started and is gone")
    assert "workroom logs ssh" in check.fix


def test_doctor_after_down_finds_no_fault_with_the_object_store(stack: Stack) -> None:
    """The users' network is gone then, and with it the address that `up` wrote down."""
    Runtime(stack.home, "192.0.2.77", "users", 2, 2**33, {}).save()
    data = stack.settings.data.model_copy(update={"s3_port": free_port()})
    other = replace(stack, settings=stack.settings.model_copy(update={"data": data}))
    check = doctor_running.object_store_check(other)
    assert (check.state, check.message) == ("note", "not started")


def test_doctor_looks_at_the_keys(stack: Stack) -> None:
    assert doctor_running.ssh_keys_check(stack).state == "note"
    assert not (stack.home / "secrets").exists()
    ssh.keys(stack)
    authority = stack.home / "secrets" / "ssh-user-ca"
    check = doctor_running.ssh_keys_check(stack)
    assert check.state == "ok"
    assert all(f"{kind} SHA256:" in check.message for kind in ("ssh-host-ed25519", "ssh-user-ca"))
    authority.chmod(0o640)
    check = doctor_running.ssh_keys_check(stack)
    assert check.message == f"{authority} can be read by others (mode 640)"
    assert check.fix == f"chmod 600 {authority}"
    authority.chmod(0o600)
    authority.write_text("rubbish")
    check = doctor_running.ssh_keys_check(stack)
    assert check.message == f"{authority} is not an unencrypted private key"
    gone = changed(stack, host_key_files=[stack.home / "nothing"])
    assert "No such file" in doctor_running.ssh_keys_check(gone).message


# -- the line people type ----------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "user", "line"),
    [
        ({}, "ann", "ssh ann@localhost -p 2222"),
        ({"ssh": {"port": 22}}, "ann", "ssh ann@localhost"),
        ({"ssh": {"port": 2250, "public_port": 22}}, "ann", "ssh ann@localhost"),
        ({"web": {"public_url": "https://a.example.com"}}, "ann", "ssh ann@a.example.com -p 2222"),
        ({"ssh": {"public_host": "ssh.example.com"}}, "ann", "ssh ann@ssh.example.com -p 2222"),
        ({"web": {"host": "10.1.2.3"}}, "ann", "ssh ann@10.1.2.3 -p 2222"),
        ({}, "a b", "ssh 'a b@localhost' -p 2222"),
    ],
)
def test_the_line_people_type(given: dict[str, Any], user: str, line: str) -> None:
    assert ssh.command(Settings.model_validate(given), user) == line


# -- ports given by variables --------------------------------------------------------


def test_ports_that_up_was_given_are_remembered_until_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKROOM_HOME", str(tmp_path))
    monkeypatch.setenv("WORKROOM_PORT", "8010")
    monkeypatch.setenv("WORKROOM_SSH_PORT", "2223")
    Stack.load(anew=True).remember_ports()
    monkeypatch.delenv("WORKROOM_SSH_PORT")
    monkeypatch.setenv("WORKROOM_PORT", "")
    later = Stack.load()
    assert (later.url, later.settings.ssh.port) == ("http://localhost:8010/", 2223)
    monkeypatch.setenv("WORKROOM_PORT", "8020")
    assert Stack.load().url == "http://localhost:8020/"
    monkeypatch.delenv("WORKROOM_PORT")
    # `up` itself goes by what it is given now.
    assert Stack.load(anew=True).url == "http://localhost:8000/"
    for spoiled in ("", "[", "[]", json.dumps({"PATH": "1"})):
        (tmp_path / "ports.json").write_text(spoiled)
        assert Stack.load().url == "http://localhost:8000/"
    (tmp_path / "ports.json").write_text(json.dumps({"WORKROOM_PORT": "8010"}))
    Stack.load().forget_ports()
    assert Stack.load().url == "http://localhost:8000/"
