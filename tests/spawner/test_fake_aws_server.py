"""The fake account as a process: the same rules over HTTPS, and containers that speak HTTP."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

ROOT = Path(__file__).parents[2]
NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}


class Process:
    """A fake account in a process of its own."""

    def __init__(self, where: dict[str, Any]) -> None:
        self.url: str = where["url"]
        self.web_port: int = where["web_port"]
        self._certificate: str = where["certificate"]
        self._trust = ssl.create_default_context(cafile=self._certificate)

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            verify=self._certificate,
            region_name="eu-west-1",
            aws_access_key_id="fake",
            aws_secret_access_key="fake",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=1),
        )

    def control(self, **order: Any) -> dict[str, Any]:
        """Turn knobs, or without any only read the state."""
        body = json.dumps(order).encode() if order else None
        request = urllib.request.Request(f"{self.url}/_fake", data=body)
        with urllib.request.urlopen(request, context=self._trust, timeout=10) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def until(self, name: str, value: Any) -> None:
        """Wait until the state says so."""
        deadline = time.monotonic() + 10
        while self.control()[name] != value:
            assert time.monotonic() < deadline, self.control()
            time.sleep(0.05)

    def answers(self, address: str) -> bool:
        try:
            url = f"http://{address}:{self.web_port}/user/ada/api"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def _process(*options: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "tests.fakes.aws.server", "--port", "0", *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield Process(json.loads(process.stdout.readline()))
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.fixture(scope="module")
def one() -> Iterator[Process]:
    with _process("--tls", "--web-port", "0", "--visible-after", "0") as process:
        yield process


@pytest.fixture
def fake(one: Process) -> Process:
    pace = {"provision_seconds": 0, "pull_seconds": 0, "start_seconds": 0, "exit_seconds": 0}
    one.control(relieve=True, reset=True, pace=pace, buckets={"scale": 1})
    return one


def _register(fake: Process) -> Any:
    ecs = fake.client("ecs")
    ecs.register_task_definition(
        family="notebook",
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "server", "image": "notebook:1"}],
    )
    return ecs


async def test_a_container_swaps_its_code_from_its_own_address_and_answers(fake: Process) -> None:
    swaps: list[tuple[str, str]] = []

    async def redeem(request: web.BaseRequest) -> web.Response:
        assert request.transport
        if not swaps:
            swaps.append(("unavailable", ""))
            return web.Response(status=503)
        peer = request.transport.get_extra_info("peername")[0]
        swaps.append(((await request.json())["code"], peer))
        return web.json_response({"env": {}})

    hub = web.ServerRunner(web.Server(redeem))
    await hub.setup()
    await web.TCPSite(hub, "127.0.0.1", 0).start()
    environment = [
        {"name": "WORKROOM_START_URL", "value": f"http://127.0.0.1:{hub.addresses[0][1]}/start"},
        {"name": "WORKROOM_START_CODE", "value": "secret"},
    ]

    def start_and_stop() -> str:
        ecs = _register(fake)
        overrides = {"containerOverrides": [{"name": "server", "environment": environment}]}
        started = ecs.run_task(
            cluster="people",
            taskDefinition="notebook",
            networkConfiguration=NETWORK,
            overrides=overrides,
        )
        arn = started["tasks"][0]["taskArn"]
        fake.until("answering", 1)
        [task] = ecs.describe_tasks(cluster="people", tasks=[arn])["tasks"]
        assert task["lastStatus"] == "RUNNING"
        address = task["containers"][0]["networkInterfaces"][0]["privateIpv4Address"]
        assert fake.answers(address)
        assert not fake.answers("127.16.200.200")
        ecs.stop_task(cluster="people", task=arn)
        fake.until("answering", 0)
        assert not fake.answers(address)
        return str(address)

    address = await asyncio.to_thread(start_and_stop)
    await hub.cleanup()
    assert swaps[1:] == [("secret", address)]


def test_every_service_speaks_its_own_protocol(fake: Process) -> None:
    efs = fake.client("efs")
    made = efs.create_access_point(ClientToken="ada", FileSystemId="fs-01234567")
    with pytest.raises(efs.exceptions.AccessPointAlreadyExists) as caught:
        efs.create_access_point(ClientToken="ada", FileSystemId="fs-01234567")
    assert caught.value.response["AccessPointId"] == made["AccessPointId"]
    groups = fake.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["g"])
    assert groups["AutoScalingGroups"][0]["Instances"][0]["LifecycleState"] == "InService"
    logs = fake.client("logs")
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.get_log_events(logGroupName="workroom", logStreamName="a/b/c")


def test_running_tasks_can_be_made_beforehand(fake: Process) -> None:
    tags = [{"key": f"workroom:{n}", "value": "v" * 200} for n in range(40)]  # over a MiB in all
    order = {"cluster": "restart", "startedBy": "workroom/one", "tags": tags}
    chosen = {**order, "address": "127.200.0.1"}
    preloaded = fake.control(preload=[order] * 149 + [chosen])["preloaded"]
    assert preloaded[149]["address"] == "127.200.0.1"
    ecs = fake.client("ecs")
    arns = [
        arn
        for page in ecs.get_paginator("list_tasks").paginate(cluster="restart")
        for arn in page["taskArns"]
    ]
    assert arns == [each["taskArn"] for each in preloaded]
    answer = ecs.describe_tasks(cluster="restart", tasks=arns[:100], include=["TAGS"])
    assert {task["lastStatus"] for task in answer["tasks"]} == {"RUNNING"}
    assert answer["tasks"][7]["tags"] == tags
    assert fake.answers(preloaded[149]["address"])
    assert fake.control()["calls"] == {"ListTasks": 2, "DescribeTasks": 1}


def test_bad_days_and_knobs_over_http(fake: Process) -> None:
    ecs = _register(fake)
    request = {
        "cluster": "bad",
        "taskDefinition": "notebook",
        "networkConfiguration": NETWORK,
        "clientToken": "same",
    }
    fake.control(suffer={"name": "RunTaskTimesOutAfterStarting"})
    with pytest.raises(ReadTimeoutError):
        ecs.run_task(**request)
    [arn] = ecs.list_tasks(cluster="bad")["taskArns"]
    assert ecs.run_task(**request)["tasks"][0]["taskArn"] == arn
    fake.control(end={"arn": arn, "ending": "OUT_OF_MEMORY"})
    [task] = ecs.describe_tasks(cluster="bad", tasks=[arn])["tasks"]
    assert task["containers"][0]["reason"].startswith("OutOfMemoryError")

    fake.control(suffer={"name": "NetworkGone"})
    with pytest.raises(ConnectionClosedError):
        ecs.list_tasks(cluster="bad")
    assert fake.control(relieve=True)["bad_days"] == []
    fake.control(buckets={"scale": 0.01})
    ecs.list_tasks(cluster="bad")
    with pytest.raises(ClientError, match="ThrottlingException"):
        ecs.list_tasks(cluster="bad")
    assert fake.control()["throttled"] == {"ListTasks": 1}
    for wrong in ({"pace": {"speed": 1}}, {"suffer": {"name": "Ending"}}, {"knob": 1}):
        with pytest.raises(urllib.error.HTTPError, match="400"):
            fake.control(**wrong)


@pytest.mark.parametrize("each", [True, False])
def test_a_container_that_ended_refuses_connections_where_each_listens(each: bool) -> None:
    options = ["--each-listens"] if each else []
    with _process("--tls", "--web-port", "0", *options) as fake:
        request = {"cluster": "team", "startedBy": "us"}
        answer = fake.control(preload=[request])
        [task] = answer["preloaded"]
        fake.until("answering", 1)
        assert fake.answers(task["address"])
        fake.control(end={"arn": task["taskArn"], "ending": "OUT_OF_MEMORY"})
        fake.until("answering", 0)
        with socket.socket() as probe:
            refused = probe.connect_ex((task["address"], fake.web_port))
        assert bool(refused) == each
