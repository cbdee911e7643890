"""`workroom status` on ECS while no hub runs: whose the tasks are is in their tags."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from workroom_hub.errors import EngineError
from workroom_hub.machine import engine, status
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import read_installation
from workroom_hub.settings import Settings


def arn(number: int) -> str:
    return f"arn:aws:ecs:eu-central-1:123456789012:task/data/{number:032x}"


class Aws(HTTPServer):
    """A cluster whose tasks are all listed for one `startedBy`, 100 a page."""

    started_by = ""
    tasks: tuple[dict[str, Any], ...] = ()
    refuses = ""

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if operation == self.refuses:
            return 400, {"__type": "AccessDeniedException", "message": "no"}
        if operation == "DescribeClusters":
            return 200, {"clusters": [{"clusterName": "data", "status": "ACTIVE"}]}
        if operation == "ListTasks":
            ours = self.tasks if request["startedBy"] == self.started_by else ()
            first = int(request.get("nextToken", 0))
            page = {"taskArns": [task["taskArn"] for task in ours[first : first + 100]]}
            more = {"nextToken": str(first + 100)} if len(ours) > first + 100 else {}
            return 200, page | more
        if len(request["tasks"]) > 100:
            return 400, {"__type": "InvalidParameterException", "message": "too many"}
        found = [task for task in self.tasks if task["taskArn"] in request["tasks"]]
        if "TAGS" not in request.get("include", ()):
            found = [{k: v for k, v in task.items() if k != "tags"} for task in found]
        return 200, {"tasks": found}


class _Ecs(BaseHTTPRequestHandler):
    server: Aws

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        operation = self.headers["X-Amz-Target"].rpartition(".")[2]
        code, answer = self.server.answer(operation, request)
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "mine")

    def away(timeout: float) -> None:
        raise EngineError("No Docker engine answers.")

    monkeypatch.setattr(engine, "connect", away)
    with Aws(("127.0.0.1", 0), _Ecs) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stack(tmp_path: Path, aws: Aws) -> Stack:
    settings = Settings.model_validate(
        {
            "spawner": "ecs",
            "homes": {"kind": "host-path"},
            "ecs": {
                "region": "eu-central-1",
                "cluster": "data",
                "subnets": ["subnet-01234567"],
                "hub_url": "http://10.0.1.5:8081",
                "endpoint_url": f"http://127.0.0.1:{aws.server_port}",
            },
        }
    )
    aws.started_by = f"workroom/{read_installation(tmp_path)}"
    return Stack(settings, None, tmp_path, Reporter(quiet=True))


def task(number: int, last: str, user: str, server: str = "") -> dict[str, Any]:
    tags = {"workroom:user": user, "workroom:server": server, "workroom:profile": "small"}
    made: dict[str, Any] = {
        "taskArn": arn(number),
        "lastStatus": last,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }
    return made | ({"startedAt": time.time() - 60} if last == "RUNNING" else {})


def test_each_task_is_listed_with_user_server_and_profile(stack: Stack, aws: Aws) -> None:
    aws.tasks = (
        task(3, "DEPROVISIONING", "cid"),
        task(2, "PENDING", "bob", "gpu"),
        task(1, "RUNNING", "ann"),
    )
    found = status.collect(stack)["servers"]
    assert [(r["user"], r["server"], r["profile"], r["state"], r["task"]) for r in found] == [
        ("ann", "", "small", "running", arn(1)),
        ("bob", "gpu", "small", "starting", arn(2)),
        ("cid", "", "small", "stopping", arn(3)),
    ]
    assert 59 < found[0]["uptime_seconds"] < 90
    assert found[1]["uptime_seconds"] is None


def test_all_pages_are_read_and_no_more_than_100_asked_for_at_once(stack: Stack, aws: Aws) -> None:
    aws.tasks = tuple(task(n, "RUNNING", f"user-{n:03}") for n in range(250))
    found = status.collect(stack)["servers"]
    assert [row["user"] for row in found] == [f"user-{n:03}" for n in range(250)]


def test_tasks_of_another_installation_are_not_listed(stack: Stack, aws: Aws) -> None:
    aws.tasks = (task(1, "RUNNING", "ann"),)
    aws.started_by = "workroom/another"
    assert status.collect(stack)["servers"] == []


def test_a_refusal_leaves_the_rest_of_the_status(stack: Stack, aws: Aws) -> None:
    aws.tasks = (task(1, "RUNNING", "ann"),)
    aws.refuses = "ListTasks"
    facts = status.collect(stack)
    assert facts["servers"] == []
    assert facts["cluster"]["state"] == "running"
