"""An AWS emulator that hangs: it is seen by who looks, and `up` starts it again."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workroom_hub.errors import EngineError
from workroom_hub.machine import (
    cluster,
    doctor,
    emulator,
    emulator_install,
    engine,
    processes,
    status,
)
from workroom_hub.machine.console import Reporter, Step
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import EMULATOR_CHOSEN
from workroom_hub.settings import Settings

PROGRAM = """
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Ministack(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/_ministack/health" else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        with Path("asked").open("a") as asked:
            print(operation, file=asked)
        one = {"clusterName": "lab", "status": "ACTIVE"}
        body = json.dumps({"cluster": one, "clusters": [one], "taskArns": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


HTTPServer((os.environ["BIND_HOST"], int(os.environ["GATEWAY_PORT"])), Ministack).serve_forever()
"""


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """An installation whose emulator is a small program that answers as the real one does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "ministack.py").write_text(PROGRAM)
    (tmp_path / EMULATOR_CHOSEN).touch()
    python = Path(sys.executable)
    monkeypatch.setattr(emulator_install, "ensure", lambda home, step: python)
    monkeypatch.setattr(emulator, "_place", lambda stack, client, users: "lab-emulator")
    monkeypatch.setattr(emulator, "clear", lambda client, instance, keep: 0)
    monkeypatch.setattr(emulator, "_LOOK", 0.3)
    monkeypatch.setattr(emulator, "_PATIENCE", 2.0)
    settings = Settings.model_validate({"instance": "lab", "ecs": {"emulator_port": port}})
    made = Stack(settings, None, tmp_path, Reporter())
    try:
        yield made
    finally:
        processes.stop(tmp_path, emulator.ROLE, grace=0.1)


def ensure(stack: Stack) -> tuple[bool, str]:
    nobody: Any = None
    step = Step(stack.report, "AWS emulator")
    return emulator.ensure(stack, nobody, nobody, step), step.result


def freeze(stack: Stack) -> int:
    running = processes.find(stack.home, emulator.ROLE)
    assert running
    os.kill(running.pid, signal.SIGSTOP)
    return running.pid


def test_up_starts_a_frozen_one_again(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ensure(stack)[0] is True
    assert ensure(stack) == (False, "running")
    frozen = freeze(stack)
    assert emulator.listens(stack)
    assert not emulator.answers(stack)
    capsys.readouterr()
    monkeypatch.setattr(processes, "end", hastily(processes.end))
    assert ensure(stack)[0] is True
    assert "it does not answer: waiting 2 s for it" in capsys.readouterr().out
    running = processes.find(stack.home, emulator.ROLE)
    assert running
    assert running.pid != frozen
    assert emulator.answers(stack)


def hastily(end: Any) -> Any:
    return lambda process, grace: end(process, grace=0.1)


def test_up_waits_for_one_that_is_only_busy(stack: Stack) -> None:
    ensure(stack)
    pid = freeze(stack)
    goes_on = SimpleNamespace(update=lambda text: os.kill(pid, signal.SIGCONT))
    nobody: Any = None
    step: Any = goes_on
    assert emulator.ensure(stack, nobody, nobody, step) is False


def test_a_cluster_that_an_interrupted_up_did_not_make_is_made(stack: Stack) -> None:
    ensure(stack)
    (stack.home / "asked").unlink()
    assert ensure(stack) == (False, "running")
    assert (stack.home / "asked").read_text() == "CreateCluster\n"


def test_status_says_so_of_the_emulator_and_its_cluster(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(timeout: float) -> None:
        raise EngineError("No Docker engine answers.")

    monkeypatch.setattr(engine, "connect", away)
    ensure(stack)
    facts = status.collect(stack)
    assert (facts["emulator"]["state"], facts["cluster"]["state"]) == ("running", "running")
    freeze(stack)
    facts = status.collect(stack)
    assert facts["emulator"]["state"] == "not answering"
    assert facts["cluster"]["state"] == "not usable"
    assert facts["cluster"]["note"] == "The AWS emulator is not answering: workroom up"


@pytest.mark.parametrize("how", ["well", "frozen", "dead", "not started"])
def test_doctor_blames_the_emulator_and_not_the_settings(
    how: str, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how != "not started":
        ensure(stack)
    if how == "frozen":
        freeze(stack)
    if how == "dead":
        os.kill(int((stack.home / "emulator.pid").read_text().split()[0]), signal.SIGKILL)
    missing = doctor.Check("Docker engine", "failed", "none")
    monkeypatch.setattr(doctor, "_settings", lambda: (stack, doctor.Check("settings", "ok", "")))
    monkeypatch.setattr(doctor, "_engine", lambda: (None, missing))
    found = {check.name: check for check in doctor.run()}
    if how == "well":
        assert found["AWS emulator"].state == found["ECS cluster"].state == "ok"
        return
    assert "ECS cluster" not in found
    line = found["AWS emulator"]
    assert line.state == ("note" if how == "not started" else "failed")
    assert "workroom up" in line.fix
    assert how == "not started" or "workroom logs emulator" in line.fix


def test_an_emulator_that_ends_under_a_question_is_no_mistake_of_the_settings(
    stack: Stack,
) -> None:
    with pytest.raises(cluster.CloudError, match="The AWS emulator does not answer") as refused:
        cluster.look(emulator.cluster_in_use(stack), emulated=True)
    assert "workroom.yaml" not in refused.value.fix
    assert refused.value.fix == "workroom up, then workroom logs emulator"
