"""boto3's real clients, built as in production, with a script of answers.

Only the socket is missing: `before-send` answers instead, so botocore serialises, parses and maps.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import parse_qs

from botocore.awsrequest import AWSPreparedRequest, AWSResponse

from workroom_spawner import task_requests
from workroom_spawner.aws_clients import Client, boto3_clients
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import (
    CapacityProvider,
    EcsHomes,
    EcsSettings,
    TaskLogs,
)

T = TypeVar("T")
# A client signs with some, which nobody checks here.
os.environ |= {"AWS_ACCESS_KEY_ID": "scripted", "AWS_SECRET_ACCESS_KEY": "scripted"}
SETTINGS = EcsSettings(
    region="eu-west-1",
    cluster="notebooks",
    instance="wr",
    installation="0123abcd",
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    capacity_providers=(CapacityProvider("machines"),),
    homes=EcsHomes(file_system="fs-1"),
    logs=TaskLogs("/workroom"),
    auto_scaling_group="machines",
    endpoint_url="http://127.0.0.1:1",
)
ARN = "arn:aws:ecs:eu-west-1:123456789012:task/notebooks/{:032x}"
CODE = "s3cret-start-code-that-nobody-may-read"
SPEC = task_requests.TaskSpec("ada", "", "small", "image:1", 1, 2**31, "fsap-1")
RUN = task_requests.with_environment(
    task_requests.run_task(SPEC, SETTINGS, "wr-ada", "token-1"), {"WORKROOM_START_CODE": CODE}
)
TASK = {
    "taskArn": ARN.format(1),
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "cpu": "1024",
    "createdAt": 1.5e9,
    "startedAt": 1.5e9 + 2.5,
    "connectivity": "CONNECTED",
    "capacityProviderName": "machines",
    "attachments": [
        {"type": "elastic-inference", "details": []},
        {
            "type": "ElasticNetworkInterface",
            "details": [
                {"name": "subnetId", "value": "subnet-1"},
                {"name": "privateIPv4Address", "value": "10.0.0.7"},
            ],
        },
    ],
    "containers": [
        {"name": "ecs-agent-sidecar", "exitCode": 3, "reason": "not ours"},
        {"name": "server", "lastStatus": "RUNNING"},
    ],
    "tags": [{"key": "workroom:start", "value": "token-1"}],
}
STARTED = {"tasks": [TASK], "failures": []}

Answer = dict[str, Any] | Exception | tuple[int, dict[str, Any]] | bytes


def refusal(code: str, message: str = "", status: int = 400, **more: Any) -> Answer:
    return status, {"__type": code, "message": message, **more}


THROTTLED = refusal("ThrottlingException", "Rate exceeded")


class ScriptedAws:
    """Answers boto3's clients with the next answer of the script, the last one for ever."""

    def __init__(self, *script: Answer) -> None:
        self.script = deque(script)
        self.asked: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.times: list[float] = []
        self.threads: set[str] = set()
        self.made: list[str] = []
        self.clock: Callable[[], float] = lambda: 0.0

    def clients(self, service: str) -> Client:
        self.made.append(service)
        client = boto3_clients(SETTINGS)(service)
        client.meta.events.register("before-send", self._before_send)
        return client

    def _before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = request.body or b""
        text = body.decode() if isinstance(body, bytes) else body
        target = request.headers.get("X-Amz-Target", b"")
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        self.operations.append(operation or f"{request.method} {request.url.partition('1:1')[2]}")
        self.asked.append(json.loads(text) if text[:1] == "{" else dict(parse_qs(text)))
        self.times.append(self.clock())
        self.threads.add(threading.current_thread().name)
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        if status >= 400 and isinstance(content, dict):
            headers["x-amzn-errortype"] = content["__type"]
        return AWSResponse(request.url, status, headers, _Body(raw))


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


async def inline(call: Callable[[], T], /) -> T:
    """Run a call at once, in the loop's own thread: virtual time cannot wait for threads."""
    await asyncio.sleep(0)
    return call()


def api_of(aws: ScriptedAws, settings: EcsSettings = SETTINGS) -> EcsApi:
    aws.clock = asyncio.get_running_loop().time
    return EcsApi(settings, clients=aws.clients, runner=inline)
