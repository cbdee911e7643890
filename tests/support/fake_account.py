"""A fake AWS account with one task definition and a clock of its own, for tests of the fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes.aws import FakeAws

GROUP, PREFIX = "workroom", "servers"
LOGS = {
    "logDriver": "awslogs",
    "options": {
        "awslogs-group": GROUP,
        "awslogs-region": "eu-west-1",
        "awslogs-stream-prefix": PREFIX,
    },
}


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Account:
    """A fake account, its clock, and the calls that tests make most."""

    fake: FakeAws
    clock: Any
    ecs: Any

    def run(self, **more: Any) -> dict[str, Any]:
        request = {
            "cluster": "people",
            "taskDefinition": "notebook",
            "startedBy": "workroom/one",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        }
        answer: dict[str, Any] = self.ecs.run_task(**{**request, **more})
        return answer

    def start(self, **more: Any) -> str:
        return str(self.run(**more)["tasks"][0]["taskArn"])

    def running(self, **more: Any) -> str:
        arn = self.start(**more)
        self.wait(5)
        assert self.look(arn)["lastStatus"] == "RUNNING"
        return arn

    def look(self, arn: str, **more: Any) -> dict[str, Any]:
        [task] = self.ecs.describe_tasks(cluster="people", tasks=[arn], **more)["tasks"]
        return dict(task)

    def listed(self, **more: Any) -> list[str]:
        return list(self.ecs.list_tasks(cluster="people", **more)["taskArns"])

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds


def account(clock: Callable[[], float] | None = None, **options: Any) -> Account:
    clock = clock or Clock()
    fake = FakeAws(clock, **options)
    ecs = fake.client("ecs")
    ecs.register_task_definition(
        family="notebook",
        networkMode="awsvpc",
        cpu="1024",
        memory="2048",
        containerDefinitions=[
            {"name": "server", "image": "notebook:1", "stopTimeout": 10, "logConfiguration": LOGS}
        ],
    )
    return Account(fake, clock, ecs)


def refused(call: Callable[[], object]) -> tuple[str, str, int]:
    """Return code, message and HTTP status of the error that a call must end in."""
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response
    status = error["ResponseMetadata"]["HTTPStatusCode"]
    return error["Error"]["Code"], error["Error"]["Message"], status


def arns(answer: dict[str, Any]) -> list[str]:
    """Return the ARNs of the tasks in RunTask's answer."""
    return [task["taskArn"] for task in answer["tasks"]]
