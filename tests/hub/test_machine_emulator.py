"""`up --cloud local` and the cluster: what is chosen, started, installed, told when it fails."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workroom_hub.errors import CloudError, EmulatorError, MachineError, PortTaken
from workroom_hub.machine import cluster, down, emulator, emulator_install, processes
from workroom_hub.machine.console import Reporter, Step
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import read_installation
from workroom_hub.settings import Settings
from workroom_hub.settings_ecs import Ecs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    settings = Settings.model_validate({"instance": "lab", "ecs": {"emulator_port": 4999}})
    return Stack(settings, None, tmp_path, Reporter(quiet=True))


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)


# -- the choice ----------------------------------------------------------------------------


def test_without_a_word_there_is_no_emulator(stack: Stack) -> None:
    assert emulator.choose(stack, None) is False
    assert (stack.emulated, stack.spawner) == (False, "local")
    assert list(stack.home.iterdir()) == []


def test_the_choice_holds_until_down_removes_it(stack: Stack, root: None) -> None:
    assert emulator.choose(stack, "local") is True
    assert emulator.choose(stack, None) is True
    assert (stack.emulated, stack.spawner) == (True, "ecs")
    [chosen] = stack.home.iterdir()
    assert chosen.name in down._STATE
    chosen.unlink()
    assert emulator.choose(stack, None) is False


def test_servers_that_run_without_it_cannot_move_there(stack: Stack, root: None) -> None:
    processes.record(stack.home, "hub", os.getpid(), "")
    with pytest.raises(MachineError, match="cannot move there") as refused:
        emulator.choose(stack, "local")
    assert refused.value.fix == "workroom down, then: workroom up --cloud local"
    assert not stack.emulated


def test_a_try_that_fails_before_anything_runs_is_no_choice(stack: Stack, root: None) -> None:
    def bring_up() -> None:
        with emulator.chosen(stack, "local"):
            assert stack.emulated
            raise PortTaken("Port 8000 (the web page) is taken.")

    with pytest.raises(PortTaken):
        bring_up()
    assert not stack.emulated


@pytest.mark.parametrize("runs", ["before", emulator.ROLE, "hub"])
def test_a_choice_with_which_something_runs_survives_a_failure(
    runs: str, stack: Stack, root: None
) -> None:
    if runs == "before":
        emulator.choose(stack, "local")

    def bring_up() -> None:
        with emulator.chosen(stack, "local"):
            if runs != "before":
                processes.record(stack.home, runs, os.getpid(), "")
            raise EmulatorError("It does not start.")

    with pytest.raises(EmulatorError):
        bring_up()
    assert stack.emulated


def test_it_needs_root_and_says_why(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match="needs root: homes are folders"):
        emulator.choose(stack, "local")


# -- what its process, and the hub's, are given ------------------------------------------------


def test_it_listens_on_loopback_only_and_gets_nothing_of_the_shell(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("BIND_HOST", "0.0.0.0")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    assert set(emulator._inherited()) <= {"PATH", "LANG", "DOCKER_HOST"}
    assert emulator._environment(stack, "lab-emulator") == {
        "AWS_ACCESS_KEY_ID": "emulator",
        "AWS_SECRET_ACCESS_KEY": "emulator",
        "AWS_EC2_METADATA_DISABLED": "true",
        "WORKROOM_HOME": str(stack.home),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": "4999",
        "HOSTNAME": "lab-emulator",
        "MINISTACK_REGION": "us-east-1",
        "MINISTACK_ACCOUNT_ID": "000000000000",
        "MINISTACK_HOSTNAME": read_installation(stack.home),
        "SERVICES": "ecs",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(stack.home / "emulator" / "tmp"),
    }


def test_no_key_of_a_real_account_reaches_the_emulator(
    stack: Stack, root: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of the company")
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("NO_PROXY", "intranet")
    assert stack.environment["AWS_SECRET_ACCESS_KEY"] == "of the company"
    emulator.choose(stack, "local")
    given = stack.environment
    assert {n for n in given if n.startswith("AWS_")} == {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_EC2_METADATA_DISABLED",
    }
    assert given["AWS_SECRET_ACCESS_KEY"] == "emulator"
    assert given["NO_PROXY"] == "intranet,127.0.0.1"


def test_a_taken_port_is_told_before_anything_is_made(stack: Stack) -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        settings = Settings.model_validate({"ecs": {"emulator_port": other.server_port}})
        taken = Stack(settings, None, stack.home, Reporter(quiet=True))
        with pytest.raises(PortTaken, match="the AWS emulator") as refused:
            emulator.require_port(taken)
    assert "WORKROOM_EMULATOR_PORT" in refused.value.fix


# -- the users' network --------------------------------------------------------------------------


class Engine:
    """Containers of an engine that is none: what is made, and what is removed."""

    def __init__(self, network_id: str, *there: Any) -> None:
        self.there = list(there)
        self.networks = SimpleNamespace(get=lambda _: SimpleNamespace(id=network_id))
        self.containers = self

    def list(self, *, all: bool, filters: dict[str, str], ignore_removed: bool) -> list[Any]:
        name, _, value = filters["label"].partition("=")
        return [c for c in self.there if c.labels.get(name) == value]

    def create(self, image: str, command: list[str], **request: Any) -> Any:
        made = container(self, **{k: request[k] for k in ("name", "labels")})
        made.network = request["network"]
        self.there.append(made)
        return made


def container(engine: Engine | None, name: str, labels: dict[str, str]) -> Any:
    made = SimpleNamespace(name=name, labels=labels)
    made.remove = lambda **_: engine.there.remove(made) if engine else None
    return made


def test_a_container_never_started_leads_the_emulator_to_the_users_network(stack: Stack) -> None:
    users: Any = SimpleNamespace(name="lab-users")
    engine: Any = Engine("network-1")
    assert emulator._place(stack, engine, users) == "lab-emulator"
    [made] = engine.there
    assert made.network == "lab-users"
    assert emulator._place(stack, engine, users) == "lab-emulator"
    assert engine.there == [made]
    # The network was made anew: the old one would lead nowhere.
    engine.networks = SimpleNamespace(get=lambda _: SimpleNamespace(id="network-2"))
    emulator._place(stack, engine, users)
    assert [c is made for c in engine.there] == [False]


def test_only_containers_of_this_instances_cluster_are_cleared() -> None:
    def task(cluster: str) -> Any:
        arn = f"arn:aws:ecs:us-east-1:000000000000:cluster/{cluster}"
        return container(engine, cluster, {"com.amazonaws.ecs.cluster": arn})

    engine: Any = Engine("network-1")
    place = container(engine, "lab-emulator", {"io.workroom.emulator": "lab"})
    engine.there = [task("lab"), task("lab"), task("laboratory"), place]
    assert emulator.clear(engine, "lab", keep="lab-emulator") == 2
    assert [c.name for c in engine.there] == ["laboratory", "lab-emulator"]
    assert emulator.clear(engine, "lab") == 1
    assert [c.name for c in engine.there] == ["laboratory"]


# -- its environment -------------------------------------------------------------------------------


def test_the_lock_names_hashes_and_no_registry() -> None:
    locked = (ROOT / "requirements" / "emulator.txt").read_text()
    assert emulator_install.LOCK.read_text() == locked
    assert "ministack==" in locked
    assert "docker==" in locked
    assert "://" not in locked
    names = [line for line in locked.splitlines() if "==" in line]
    assert locked.count("--hash=sha256:") >= len(names)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of packages that needs no network."""
    file = tmp_path / "emulator.txt"
    file.write_text("# nothing\n")
    monkeypatch.setattr(emulator_install, "LOCK", file)
    return file


def test_the_environment_is_made_once_and_anew_for_another_list(tmp_path: Path, lock: Path) -> None:
    home, step = tmp_path / "home", Step(Reporter(quiet=True), "x")
    python = emulator_install.ensure(home, step)
    made = python.stat().st_ino, (python.parent.parent / "pyvenv.cfg").stat().st_mtime_ns
    assert emulator_install.ensure(home, step) == python
    again = python.stat().st_ino, (python.parent.parent / "pyvenv.cfg").stat().st_mtime_ns
    assert again == made
    lock.write_text("# nothing else\n")
    other = emulator_install.ensure(home, step)
    assert other != python
    assert [p.name for p in (home / "emulator").iterdir()] == [other.parents[1].name]


def test_packages_that_cannot_be_had_leave_nothing_behind(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock.write_text("this is no requirement\n")
    # pip takes seconds to say the same as uv, which is tried before it for real.
    says = [sys.executable, "-c", "raise SystemExit('pip: this is no requirement')"]
    monkeypatch.setattr(emulator_install, "_with_pip", lambda folder: [says])
    with pytest.raises(EmulatorError, match=r"emulator\.txt could not be installed") as refused:
        emulator_install.ensure(tmp_path / "home", Step(Reporter(quiet=True), "x"))
    assert refused.value.details == "pip: this is no requirement"
    assert "PIP_INDEX_URL" in refused.value.fix
    assert list((tmp_path / "home" / "emulator").iterdir()) == []


def test_where_uv_fails_pip_is_tried(
    tmp_path: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulator_install, "_with_uv", lambda folder: [["false"]])

    def made_by_hand(folder: Path) -> list[list[str]]:
        return [[sys.executable, "-m", "venv", "--without-pip", str(folder)]]

    monkeypatch.setattr(emulator_install, "_with_pip", made_by_hand)
    python = emulator_install.ensure(tmp_path / "home", Step(Reporter(quiet=True), "x"))
    assert python.exists()


# -- the cluster ---------------------------------------------------------------------------------


class Aws(HTTPServer):
    """Answers every ECS call with `answer`: an HTTP status and what AWS says."""

    answer: tuple[int, dict[str, Any]] = (200, {})


class _Ecs(BaseHTTPRequestHandler):
    server: Aws

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = self.server.answer
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "mine")
    with Aws(("127.0.0.1", 0), _Ecs) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def at(server: Aws, host: str = "127.0.0.1") -> Ecs:
    endpoint = f"http://{host}:{server.server_port}"
    return Ecs(region="eu-central-1", cluster="data", endpoint_url=endpoint)


def test_a_cluster_that_is_there_is_counted(aws: Aws) -> None:
    aws.answer = (
        200,
        {
            "clusters": [
                {
                    "clusterName": "data",
                    "status": "ACTIVE",
                    "registeredContainerInstancesCount": 3,
                    "runningTasksCount": 40,
                    "pendingTasksCount": 2,
                }
            ]
        },
    )
    assert cluster.look(at(aws)) == cluster.Cluster("data", "eu-central-1", 3, 40, 2)


@pytest.mark.parametrize("found", [[], [{"clusterName": "data", "status": "INACTIVE"}]])
def test_a_cluster_that_is_not_there_is_named(aws: Aws, found: list[dict[str, str]]) -> None:
    aws.answer = 200, {"clusters": found, "failures": [{"reason": "MISSING"}]}
    with pytest.raises(CloudError, match="no ECS cluster 'data' in eu-central-1"):
        cluster.look(at(aws))


def test_a_refusal_says_what_was_refused_and_where_the_rights_are(aws: Aws) -> None:
    aws.answer = 400, {"__type": "AccessDeniedException", "message": "User is not authorized"}
    with pytest.raises(CloudError, match="refuses DescribeClusters") as refused:
        cluster.look(at(aws))
    assert "AccessDeniedException" in refused.value.message
    assert refused.value.details == "User is not authorized"
    assert "docs/ecs.md" in refused.value.fix


def test_an_aws_that_is_away_is_told_with_its_address(aws: Aws) -> None:
    nowhere = Ecs(region="eu-central-1", cluster="data", endpoint_url="http://127.0.0.1:9")
    with pytest.raises(CloudError, match=r"AWS is not reached .*http://127\.0\.0\.1:9"):
        cluster.look(nowhere)


def test_without_credentials_nothing_is_asked(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for host in ("localhost", "127.0.0.1"):  # a tunnel to AWS, for one
        with pytest.raises(CloudError, match="no AWS credentials"):
            cluster.look(at(aws, host))
    aws.answer = 200, {"clusters": [{"clusterName": "data", "status": "ACTIVE"}]}
    assert cluster.look(at(aws), emulated=True).name == "data"
