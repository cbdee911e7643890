"""EFS, Auto Scaling and CloudWatch Logs, as far as a spawner meets them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fakes.aws.errors import AwsError
from tests.fakes.aws.paging import offset, token

if TYPE_CHECKING:
    from tests.fakes.aws.account import FakeAws
    from tests.fakes.aws.task import Task

Request = dict[str, Any]
Operations = dict[str, Callable[[Request, float], Request]]


class Efs:
    """Access points.

    Attributes:
        most: Access points of a file system; AWS's default is 10,000.
        points: By id; each has its `createdAt`.
    """

    def __init__(self, fake: FakeAws) -> None:
        self.most = 10_000
        self.points: dict[str, Request] = {}
        self._created: dict[str, float] = {}
        self._by_token: dict[str, str] = {}
        self._fake = fake

    def operations(self) -> Operations:
        """Return what answers each operation."""
        return {
            "CreateAccessPoint": self._create,
            "DescribeAccessPoints": self._describe,
        }

    def _create(self, request: Request, now: float) -> Request:
        client_token, file_system = request["ClientToken"], request["FileSystemId"]
        if not 1 <= len(client_token) <= 64:
            raise AwsError("BadRequest", "ClientToken must have 1 to 64 characters")
        if not re.fullmatch(r"(arn:.*/)?fs-[0-9a-f]{8,40}", file_system):
            raise AwsError("FileSystemNotFound", f"File system {file_system} does not exist.", 404)
        if client_token in self._by_token:
            raise AwsError(
                "AccessPointAlreadyExists",
                f"Access point already exists with creation token {client_token}",
                409,
                AccessPointId=self._by_token[client_token],
            )
        if sum(p["FileSystemId"] == file_system for p in self.points.values()) >= self.most:
            raise AwsError(
                "AccessPointLimitExceeded",
                f"You have reached the maximum of {self.most} access points.",
                403,
            )
        point_id = f"fsap-{len(self.points) + 1:017x}"
        tags = request.get("Tags", [])
        name = next((tag["Value"] for tag in tags if tag["Key"] == "Name"), "")
        self.points[point_id] = {
            "AccessPointId": point_id,
            "AccessPointArn": (
                self._fake.account.replace(":ecs:", ":elasticfilesystem:")
                + f":access-point/{point_id}"
            ),
            "ClientToken": client_token,
            "FileSystemId": file_system,
            "Name": name,
            "OwnerId": self._fake.account.rpartition(":")[2],
            "PosixUser": request.get("PosixUser", {}),
            "RootDirectory": request.get("RootDirectory", {"Path": "/"}),
            "Tags": tags,
        }
        self._created[point_id] = now
        self._by_token[client_token] = point_id
        return self._view(point_id, now)

    def _view(self, point_id: str, now: float) -> Request:
        age = now - self._created[point_id]
        ready = age >= self._fake.pace.access_point_seconds
        return {**self.points[point_id], "LifeCycleState": "available" if ready else "creating"}

    def _describe(self, request: Request, now: float) -> Request:
        wanted = request.get("AccessPointId")
        if wanted is not None and wanted not in self.points:
            raise AwsError("AccessPointNotFound", f"Access point '{wanted}' does not exist.", 404)
        found = [
            point_id
            for point_id, point in self.points.items()
            if wanted in (None, point_id)
            and request.get("FileSystemId") in (None, point["FileSystemId"])
        ]
        begin = offset(request.get("NextToken"))
        size = min(int(request.get("MaxResults", 100)), 1000)
        answer: Request = {
            "AccessPoints": [self._view(p, now) for p in found[begin : begin + size]]
        }
        if begin + size < len(found):
            answer["NextToken"] = token(begin + size)
        return answer


class AutoScaling:
    """One group, whatever it is called: the machines of the fake's fleet."""

    def __init__(self, fake: FakeAws) -> None:
        self._fake = fake

    def operations(self) -> Operations:
        """Return what answers each operation."""
        return {"DescribeAutoScalingGroups": self._describe}

    def _describe(self, request: Request, now: float) -> Request:
        machines = self._fake.fleet.machines
        scaling = self._fake.fleet.scaling
        name = request.get("AutoScalingGroupNames.member.1", "workroom")
        return {
            "AutoScalingGroups": [
                {
                    "AutoScalingGroupName": name,
                    "MinSize": 0,
                    "MaxSize": scaling.most if scaling else len(machines),
                    "DesiredCapacity": len(machines),
                    "DefaultCooldown": 300,
                    "AvailabilityZones": ["eu-west-1a"],
                    "HealthCheckType": "EC2",
                    "CreatedTime": "2026-01-01T00:00:00Z",
                    "Instances": [
                        {
                            "InstanceId": machine.id,
                            "AvailabilityZone": "eu-west-1a",
                            "LifecycleState": "InService" if machine.in_service else "Pending",
                            "HealthStatus": "Healthy",
                            "ProtectedFromScaleIn": False,
                        }
                        for machine in machines
                    ],
                }
            ]
        }


class Logs:
    """Streams `PREFIX/CONTAINER/TASK-ID` of tasks whose definition says `awslogs`."""

    def __init__(self, fake: FakeAws) -> None:
        self._fake = fake

    def operations(self) -> Operations:
        """Return what answers each operation."""
        return {"GetLogEvents": self._get}

    def _get(self, request: Request, now: float) -> Request:
        task = self._task(request.get("logGroupName", ""), request["logStreamName"])
        if task is None or not task.lines:
            raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")
        limit = request.get("limit", 10_000)
        lines = task.lines[:limit] if request.get("startFromHead") else task.lines[-limit:]
        events = [
            {
                "timestamp": int((when + self._fake.wall) * 1000),
                "ingestionTime": int((when + self._fake.wall) * 1000),
                "message": line,
            }
            for when, line in lines
        ]
        return {"events": events, "nextForwardToken": "f/0", "nextBackwardToken": "b/0"}

    def _task(self, group: str, stream: str) -> Task | None:
        task_id = stream.rpartition("/")[2]
        for task in self._fake.tasks.values():
            container = task.definition["containerDefinitions"][0]
            logging = container.get("logConfiguration", {})
            options = logging.get("options", {})
            path = f"{options.get('awslogs-stream-prefix')}/{container['name']}/{task.id}"
            if task.id == task_id and options.get("awslogs-group") == group and path == stream:
                return task
        return None
