"""The `workroom` command as people meet it: a process, its words and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aws_settings import everything

ROOT = Path(__file__).resolve().parents[2]
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.fixture
def workroom(tmp_path: Path):
    """Run the command in a folder of its own, with a state folder of its own."""

    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("WORKROOM_", "RSTUDIO"))}
        path = os.pathsep.join([str(ROOT / "hub"), str(ROOT / "spawner")])
        return subprocess.run(
            [sys.executable, "-m", "workroom_hub.cli", *words],
            cwd=tmp_path,
            env={**own, "PYTHONPATH": path, "WORKROOM_HOME": str(tmp_path / "state"), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


COMMANDS = ["up", "down", "status", "doctor", "logs", "build", "users", "config", "push", "images"]


def test_help_names_every_command_with_examples(workroom) -> None:
    shown = workroom("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)
    assert "workroom users add ann" in shown.stdout


def test_the_command_starts_without_loading_what_it_may_not_need() -> None:
    heavy = "('jupyterhub', 'docker', 'sqlalchemy', 'requests', 'pydantic', 'tornado')"
    code = f"import sys, workroom_hub.cli; print([m for m in {heavy} if m in sys.modules])"
    path = os.pathsep.join([str(ROOT / "hub"), str(ROOT / "spawner")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words", [("up",), ("down",), ("status",), ("users", "list"), ("config", "check")]
)
def test_a_mistake_in_the_settings_stops_every_command(workroom, tmp_path, words) -> None:
    (tmp_path / "workroom.yaml").write_text("web:\n  prot: 1\n")
    done = workroom(*words, **NO_ENGINE)
    assert done.returncode == 1
    assert "Error: workroom.yaml:2: web.prot: there is no such field." in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_config_check_does_not_measure_a_deployment_by_this_machine(workroom, tmp_path) -> None:
    given = everything()
    given["profiles"][1] |= {"cpu": 90, "memory": "300G"}
    (tmp_path / "workroom.yaml").write_text(json.dumps(given))
    assert "ok for a deployment to AWS" in workroom("config", "check").stdout


def test_config_check_says_ok(workroom, tmp_path) -> None:
    assert "the defaults apply" in workroom("config", "check").stdout
    (tmp_path / "workroom.yaml").write_text("title: Ours\n")
    assert workroom("config", "check").stdout == f"{tmp_path / 'workroom.yaml'}: ok\n"


def test_doctor_without_an_engine_fails_and_names_the_fix(workroom) -> None:
    done = workroom("doctor", **NO_ENGINE)
    assert done.returncode == 1
    assert "failed  Docker engine: No Docker engine answers" in done.stdout
    assert "→ DOCKER_HOST names that engine." in done.stdout
    assert "Traceback" not in done.stderr


def test_doctor_speaks_json(workroom) -> None:
    done = workroom("doctor", "--json", **NO_ENGINE)
    checks = json.loads(done.stdout)
    assert {"name", "state", "message", "fix"} == set(checks[0])
    [engine] = [check for check in checks if check["name"] == "Docker engine"]
    assert engine["state"] == "failed"
    assert engine["fix"]


def test_doctor_goes_on_after_a_mistake_in_the_settings(workroom, tmp_path) -> None:
    (tmp_path / "workroom.yaml").write_text("web: {port: x}\n")
    done = workroom("doctor", **NO_ENGINE)
    assert "failed  settings: workroom.yaml:1: web.port" in done.stdout
    assert "memory: " in done.stdout


def test_up_without_an_engine_fails_before_anything_is_made(workroom, tmp_path) -> None:
    done = workroom("up", **NO_ENGINE)
    assert done.returncode == 1
    assert "Error: No Docker engine answers" in done.stderr
    assert "To fix it: " in done.stderr
    assert not (tmp_path / "state" / "hub.sqlite").exists()
    assert "Traceback" in (tmp_path / "state" / "workroom.log").read_text()


def test_up_refuses_a_remote_engine(workroom) -> None:
    done = workroom("up", DOCKER_HOST="tcp://10.0.0.1:2375")
    assert done.returncode == 1
    assert "DOCKER_HOST is 'tcp://10.0.0.1:2375', which is not an engine of this" in done.stderr


def test_ended_by_sigterm_a_command_takes_its_way_out(tmp_path) -> None:
    script = (
        "import sys; from workroom_hub import cli\n"
        "@cli.app.command()\n"
        "def wait() -> None:\n"
        "    import time\n"
        "    try:\n"
        "        print('waiting', flush=True); time.sleep(60)\n"
        "    finally:\n"
        "        print('cleaned up')\n"
        "sys.argv = ['workroom', 'wait']; cli.main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.terminate()
    assert child.stdout.read() == "cleaned up\n"
    assert child.wait(10) == 143


def test_status_is_true_when_nothing_runs(workroom) -> None:
    done = workroom("status", "--json", **NO_ENGINE)
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    stopped = {"state": "stopped", "pid": None, "uptime_seconds": None, "version": None}
    assert facts["url"] == "http://localhost:8000/"
    assert facts["hub"] == facts["proxy"] == stopped
    assert facts["engine"] == {"state": "stopped", "version": None}
    assert [image["name"] for image in facts["images"]] == ["notebook"]
    assert facts["servers"] == []
    assert "No servers are running." in workroom("status", **NO_ENGINE).stdout


def test_users_before_up_says_what_to_do(workroom) -> None:
    done = workroom("users", "add", "ann")
    assert done.returncode == 1
    assert done.stderr == "Error: Workroom is not up.\nTo fix it: Start it: workroom up\n"


def test_dangerous_commands_ask_and_do_not_guess(workroom) -> None:
    for words in (("down", "--purge"), ("users", "remove", "ann")):
        done = workroom(*words)
        assert done.returncode == 1
        assert "This needs a yes" in done.stderr


def test_aws_is_chosen_in_the_settings_and_not_by_an_option(workroom) -> None:
    done = workroom("up", "--cloud", "aws")
    assert done.returncode == 2
    assert "set `spawner: ecs` in" in done.stderr


def test_down_before_up_is_harmless(workroom) -> None:
    done = workroom("down")
    assert done.returncode == 0
    assert "Nothing to stop" in done.stdout


def test_logs_of_the_hub_and_of_nobody(workroom, tmp_path) -> None:
    assert "There is no hub.log" in workroom("logs").stderr
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "hub.log").write_text("one\ntwo\nthree\n")
    assert workroom("logs", "hub", "-n", "2").stdout == "two\nthree\n"


def test_a_surprise_is_a_sentence_for_people_and_a_traceback_in_the_log(workroom, tmp_path) -> None:
    # A state folder that is a file is what no command foresees.
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "runtime.json").mkdir()
    done = workroom("users", "list")
    assert done.returncode == 70
    assert "Error: Something unexpected happened (IsADirectoryError)." in done.stderr
    assert "Traceback" not in done.stderr
    assert "IsADirectoryError" in (tmp_path / "state" / "workroom.log").read_text()
