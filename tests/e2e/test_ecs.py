"""The ECS path with real containers: `up --cloud local`, and a server's whole life on it.

What the AWS emulator does not model is in docs/ecs.md; that is tested against our own fake.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from docker.models.containers import Container
from playwright.sync_api import Browser

from tests.e2e import data_probe
from tests.e2e.conftest import data_ports, settings
from tests.e2e.installation import Installation, wait_for
from tests.e2e.person import Person

pytestmark = pytest.mark.docker

_PORT, _EMULATOR_PORT = 8800, 8866
_TASK = "com.amazonaws.ecs.task-arn"
# Presents the code of the container's own environment from within it.
_PRESENT_CODE = """
import json, os, urllib.error, urllib.request
request = urllib.request.Request(
    os.environ["WORKROOM_START_URL"],
    json.dumps({"code": os.environ["WORKROOM_START_CODE"], "ssh_host_key": None}).encode(),
    {"Content-Type": "application/json"},
)
try:
    print(urllib.request.urlopen(request, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def installation(
    bring_up: Callable[..., Iterator[Installation]],
) -> Iterator[Installation]:
    """One installation on the AWS emulator, with the users ada (admin) and bob."""
    given = settings(
        "e2e-ecs", "path", _PORT, ecs={"emulator_port": _EMULATOR_PORT}, data=data_ports(_PORT)
    )
    for running in bring_up(given, "--cloud", "local"):
        running.add_user("bob")
        yield running


@pytest.fixture
def bob(installation: Installation, chromium: Browser) -> Iterator[Person]:
    """Bob with a browser of his own, logged in."""
    person = Person(installation, chromium, "bob").logged_in()
    yield person
    person.context.close()


class Tasks:
    """The emulator's word on tasks, through AWS's own API."""

    def __init__(self, installation: Installation) -> None:
        self._engine = installation.engine
        self._cluster = installation.instance
        self._ecs = boto3.client(
            "ecs",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{_EMULATOR_PORT}",
            aws_access_key_id="emulator",
            aws_secret_access_key="emulator",
            config=Config(proxies={}),
        )

    def describe(self, arn: str) -> dict[str, Any]:
        """Return what DescribeTasks says of a task, tags included."""
        answer = self._ecs.describe_tasks(cluster=self._cluster, tasks=[arn], include=["TAGS"])
        return dict(answer["tasks"][0]) if answer["tasks"] else {"failures": answer["failures"]}

    def containers(self, arn: str) -> list[Container]:
        """Return a task's containers, also ended ones."""
        found: list[Container] = self._engine.containers.list(
            all=True, filters={"label": f"{_TASK}={arn}"}, ignore_removed=True
        )
        return found


def start(installation: Installation, server: str = "") -> None:
    """Have a server of bob running."""
    path = installation.server_path("bob", server)
    installation.hub("POST", path, {"profile": "small", "image": "notebook"})
    wait_for(lambda: installation.server("bob", server).get("ready"), "bob's server is ready", 60)


def task_of(installation: Installation) -> str:
    """Return the ARN of bob's task as the hub keeps it."""
    return str(installation.server("bob")["state"]["task_arn"])


def kill(installation: Installation, process: str) -> None:
    """End the hub or the emulator as a crash would."""
    pid = json.loads(installation.workroom("status", "--json").stdout)[process]["pid"]
    os.kill(pid, signal.SIGKILL)


def test_a_server_lives_through_its_hub_and_ends_with_its_task(
    installation: Installation, bob: Person
) -> None:
    tasks = Tasks(installation)
    bob.spawn("small")
    kernel = bob.kernel("python3")
    bob.run(kernel, "kept = 6 * 7; print(kept, file=open('note.txt', 'w'))")
    task = task_of(installation)
    assert tasks.describe(task)["lastStatus"] == "RUNNING"
    [container] = tasks.containers(task)

    kill(installation, "hub")
    with pytest.raises(requests.ConnectionError):
        installation.hub("GET", "info")
    # The proxy goes on, and so does the page that is open.
    assert bob.run(kernel, "print(kept)").strip() == "42"
    installation.up()
    assert task_of(installation) == task
    assert installation.server("bob")["ready"]
    assert [c.id for c in tasks.containers(task)] == [container.id]
    assert bob.run(kernel, "kept += 1; print(kept)").strip() == "43"

    bob.stop_from_home()
    ended = tasks.describe(task)
    assert (ended["lastStatus"], ended["stopCode"]) == ("STOPPED", "UserInitiated")
    wait_for(lambda: not tasks.containers(task), "the container is gone")
    assert installation.usage("bob")[-1]["reason"] == "stopped"

    bob.spawn("small")
    assert task_of(installation) != task
    kernel = bob.kernel("python3")
    assert bob.run(kernel, "print(open('note.txt').read())").strip() == "42"


def test_containers_are_behind_the_same_walls(installation: Installation) -> None:
    tasks = Tasks(installation)
    start(installation)
    start(installation, "two")
    one, two = (installation.server("bob", name)["state"] for name in ("", "two"))
    containers = [tasks.containers(each["task_arn"])[0] for each in (one, two)]
    for state, container in zip((one, two), containers, strict=True):
        networks = container.attrs["NetworkSettings"]["Networks"]
        assert list(networks) == [f"{installation.instance}-users"]
        assert networks[f"{installation.instance}-users"]["IPAddress"] == state["address"]
    # From one to the other's server, to the emulator by the way it is told, and to the hub.
    for host, port, reached in (
        (two["address"], 8888, False),
        ("host.docker.internal", _EMULATOR_PORT, False),
        (installation.gateway, _EMULATOR_PORT, False),
        (installation.gateway, installation.settings["local"]["hub_port"], True),
    ):
        script = f"timeout 3 bash -c '</dev/tcp/{host}/{port}'"
        code, _ = containers[0].exec_run(["bash", "-c", script])
        assert (code == 0) == reached, (host, port)
    installation.stop("bob", "two")


def test_data_is_there_for_a_server_of_the_cluster(installation: Installation) -> None:
    tasks = Tasks(installation)
    start(installation)
    [container] = tasks.containers(task_of(installation))
    data_probe.told_and_usable(installation, container)
    data_probe.only_two_ports(installation, container)
    secret = (installation.home / "secrets" / "s3-users-secret").read_text().strip()
    assert secret not in json.dumps(tasks.describe(task_of(installation)), default=str)


def test_no_secret_is_told(installation: Installation, bob: Person, chromium: Browser) -> None:
    tasks = Tasks(installation)
    start(installation)
    task = task_of(installation)
    [container] = tasks.containers(task)
    environment = dict(v.partition("=")[::2] for v in container.attrs["Config"]["Env"])
    assert "JUPYTERHUB_API_TOKEN" not in environment
    # Anybody who may call DescribeTasks reads the code; it has been used, and is dead.
    code = environment["WORKROOM_START_CODE"]
    assert code in json.dumps(tasks.describe(task), default=str)
    _, answer = container.exec_run(["python3", "-c", _PRESENT_CODE])
    assert answer.decode().strip() == "403"

    bob.page.goto(bob.server_url("lab"))
    bob.open_lab()
    show = "import os; print(os.environ['JUPYTERHUB_API_TOKEN'])"
    token = bob.run(bob.kernel("python3"), show).strip()
    assert len(token) >= 32
    ada = Person(installation, chromium, "ada").logged_in()
    metrics = ada.context.request.get(ada.hub_url("metrics")).text()
    ada.context.close()
    assert "workroom_ecs_calls_total{" in metrics
    state = installation.server("bob")["state"]
    told = {
        "DescribeTasks": json.dumps(tasks.describe(task), default=str),
        "the hub's log": installation.log(),
        "the proxy's log": (installation.home / "proxy.log").read_text(),
        "the emulator's log": (installation.home / "emulator.log").read_text(),
        "the spawner's state": json.dumps(state),
        "the metrics": metrics,
    }
    for where, text in told.items():
        assert len(text) > 0 or where == "the proxy's log", where
        assert token not in text, where
        assert where == "DescribeTasks" or code not in text, where


def test_status_doctor_and_logs_know_it(installation: Installation) -> None:
    start(installation)
    facts = json.loads(installation.workroom("status", "--json").stdout)
    assert facts["spawner"] == "ecs"
    assert facts["emulator"]["state"] == facts["cluster"]["state"] == "running"
    assert (facts["cluster"]["name"], facts["cluster"]["tasks_running"]) == ("e2e-ecs", 1)
    [server] = facts["servers"]
    assert (server["user"], server["task"]) == ("bob", task_of(installation))
    assert server["memory_bytes"] > 0
    assert "AWS emulator" in installation.workroom("status").stdout
    checks = json.loads(installation.workroom("doctor", "--json").stdout)
    states = {check["name"]: check["state"] for check in checks}
    assert (states["AWS emulator"], states["ECS cluster"]) == ("ok", "ok")
    assert "ServerApp" in installation.workroom("logs", "bob").stdout
    assert "Ready" in installation.workroom("logs", "emulator").stdout


def test_an_emulator_that_was_killed_is_started_again(installation: Installation) -> None:
    start(installation)
    task = task_of(installation)
    kill(installation, "emulator")
    broken = installation.workroom("doctor", check=False)
    assert broken.returncode == 1
    assert "AWS emulator: it was started and is gone" in broken.stdout
    # Without the option: what was chosen holds until `down`.
    printed = installation.workroom("up").stdout
    assert "as before" in printed
    assert "1 server ended with the emulator" in printed
    tasks = Tasks(installation)
    assert tasks.containers(task) == []
    assert installation.server("bob") == {}
    start(installation)
    assert tasks.describe(task_of(installation))["lastStatus"] == "RUNNING"
    [container] = tasks.containers(task_of(installation))
    assert container.exec_run(["cat", "/home/workroom/note.txt"]).output.decode().strip() == "42"


def test_homes_outlive_down(installation: Installation) -> None:
    start(installation)
    installation.workroom("down")
    assert installation.emulated() == []
    assert installation.processes() == {}
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{_EMULATOR_PORT}/", timeout=5)
    [home] = [p for p in (installation.home / "homes").iterdir() if "-bob-" in p.name]
    assert (home / "note.txt").read_text().strip() == "42"
    assert home.stat().st_uid == 59000
    assert home.stat().st_mode & 0o777 == 0o700
    installation.up()
    start(installation)
    [container] = Tasks(installation).containers(task_of(installation))
    assert container.exec_run(["cat", "/home/workroom/note.txt"]).output.decode().strip() == "42"
    refused = installation.workroom("up", "--cloud", "mars", check=False)
    assert refused.returncode != 0
