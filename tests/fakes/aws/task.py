"""One task, as the fake keeps it and as ECS describes it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fakes.aws.machines import Machine

Request = dict[str, Any]


class Described(dict[str, Any]):
    """A description of a task, which is read often and changes seldom: its JSON is kept."""

    @cached_property
    def json(self) -> str:
        """The description as JSON."""
        return json.dumps(self, separators=(",", ":"))


@dataclass(frozen=True)
class Ending:
    """Why a task stops.

    Attributes:
        code: `stopCode`.
        reason: `stoppedReason`.
        exit_code: Of the container; None if it never ran or nobody could tell.
        container_reason: `reason` of the container.
        graceful: The container gets SIGTERM and its time; otherwise it has ended already.
    """

    code: str
    reason: str
    exit_code: int | None = None
    container_reason: str = ""
    graceful: bool = False


@dataclass(eq=False)
class Task:
    """A task. `request` is RunTask's, `definition` the task definition's.

    Attributes:
        status: `lastStatus`.
        process: The container's process: "", "running" or "ended"; ahead of `status`, because
            ECS learns of it later.
        serial: Number of the task in the account, in order of creation.
        at: Times of what has happened, on the fake's clock, by the name ECS gives them.
    """

    arn: str
    serial: int
    cluster: str
    request: Request
    definition: Request
    address: str
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    process: str = ""
    machine: Machine | None = None
    interface: str = "PRECREATED"
    provider: str = ""
    ending: Ending | None = None
    exit_code: int | None = None
    at: dict[str, float] = field(default_factory=dict)
    lines: list[tuple[float, str]] = field(default_factory=list)
    version: int = 1
    _described: dict[tuple[Any, ...], Described] = field(default_factory=dict)

    @cached_property
    def id(self) -> str:
        """Last part of the ARN."""
        return self.arn.rpartition("/")[2]

    @cached_property
    def started_by(self) -> str:
        """RunTask's `startedBy`."""
        return str(self.request.get("startedBy", ""))

    @property
    def tags(self) -> dict[str, str]:
        """Tags by key."""
        return {tag["key"]: tag["value"] for tag in self.request.get("tags", [])}

    @property
    def environment(self) -> dict[str, str]:
        """What the first container gets: the definition's, then the overrides'."""
        pairs = list(self.definition["containerDefinitions"][0].get("environment", []))
        for container in self._overrides.get("containerOverrides", []):
            pairs += container.get("environment", [])
        return {pair["name"]: pair["value"] for pair in pairs}

    @property
    def _overrides(self) -> Request:
        overrides: Request = self.request.get("overrides", {})
        return overrides

    @cached_property
    def cpu(self) -> int:
        """CPU units reserved on a machine."""
        return int(self._size("cpu"))

    @cached_property
    def memory(self) -> int:
        """MiB reserved on a machine."""
        return int(self._size("memory"))

    def _size(self, what: str) -> Any:
        container = self.definition["containerDefinitions"][0]
        return self._overrides.get(what) or self.definition.get(what) or container.get(what) or 0

    @property
    def image(self) -> str:
        """Image of the first container."""
        return str(self.definition["containerDefinitions"][0]["image"])

    @property
    def stop_timeout(self) -> float:
        """Seconds between SIGTERM and SIGKILL."""
        return float(self.definition["containerDefinitions"][0].get("stopTimeout", 30))

    def describe(self, wall: float, account: str, with_tags: bool = False) -> Described:
        """Return the task as ECS describes it; not to be changed.

        Args:
            wall: What to add to the clock for seconds since 1970.
            account: First part of ARNs: `arn:aws:ecs:REGION:ACCOUNT`.
        """
        connected = self.machine is None or self.machine.connected
        state = (self.version, self.process, self.interface, len(self.at), connected, with_tags)
        if state not in self._described:
            for old in [each for each in self._described if each[:-1] != state[:-1]]:
                del self._described[old]
            self._described[state] = self._describe(wall, account, with_tags)
        return self._described[state]

    def _describe(self, wall: float, account: str, with_tags: bool) -> Described:
        family = self.definition["family"]
        answer: Request = {
            "taskArn": self.arn,
            "clusterArn": f"{account}:cluster/{self.cluster}",
            "taskDefinitionArn": self.definition["taskDefinitionArn"],
            "group": self.request.get("group", f"family:{family}"),
            "launchType": "EC2",
            "lastStatus": self.status,
            "desiredStatus": self.desired,
            "cpu": str(self.cpu),
            "memory": str(self.memory),
            "overrides": self._overrides,
            "attachments": [self._attachment()],
            "attributes": [],
            "containers": [self._container(name) for name in self._container_names()],
            "enableExecuteCommand": bool(self.request.get("enableExecuteCommand")),
            "healthStatus": "UNKNOWN",
            "inferenceAccelerators": [],
            "tags": self._described_tags() if with_tags else [],
            "version": self.version,
            **{name: round(when + wall, 3) for name, when in self.at.items()},
        }
        if self.started_by:
            answer["startedBy"] = self.started_by
        if self.provider:
            answer["capacityProviderName"] = self.provider
        if self.machine:
            answer["containerInstanceArn"] = self.machine.arn(account, self.cluster)
            answer["availabilityZone"] = "eu-west-1a"
            answer["connectivity"] = "CONNECTED" if self.machine.connected else "DISCONNECTED"
        if self.ending:
            answer["stopCode"] = self.ending.code
            answer["stoppedReason"] = self.ending.reason
        return Described(answer)

    def _described_tags(self) -> list[Request]:
        tags: list[Request] = list(self.request.get("tags", []))
        if self.request.get("enableECSManagedTags"):
            tags.append({"key": "aws:ecs:clusterName", "value": self.cluster})
        return tags

    def _container_names(self) -> list[str]:
        return [container["name"] for container in self.definition["containerDefinitions"]]

    def _container(self, name: str) -> Request:
        status = {"": "PENDING", "running": "RUNNING", "ended": "STOPPED"}[self.process]
        if self.process == "running" and self.status == "PENDING":
            status = "PENDING"  # the agent has not told ECS yet
        answer: Request = {
            "containerArn": f"{self.arn.replace(':task/', ':container/')}/{self.serial:08x}",
            "taskArn": self.arn,
            "name": name,
            "image": self.image,
            "lastStatus": "STOPPED" if self.status == "STOPPED" else status,
            "networkInterfaces": [],
            "healthStatus": "UNKNOWN",
            "cpu": str(self.cpu),
            "memory": str(self.memory),
        }
        if self.interface == "ATTACHED":
            answer["networkInterfaces"] = [
                {"attachmentId": self._interface_id, "privateIpv4Address": self.address}
            ]
        if self.exit_code is not None:
            answer["exitCode"] = self.exit_code
        if self.ending and self.ending.container_reason:
            answer["reason"] = self.ending.container_reason
        return answer

    @property
    def _interface_id(self) -> str:
        return f"00000000-0000-4000-8000-{self.serial:012x}"

    def _attachment(self) -> Request:
        network = self.request.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        details = [{"name": "subnetId", "value": (network.get("subnets") or ["subnet-0"])[0]}]
        if self.interface != "PRECREATED":
            details += [
                {"name": "networkInterfaceId", "value": f"eni-{self.serial:017x}"},
                {"name": "macAddress", "value": "0a:00:00:00:00:01"},
                {
                    "name": "privateDnsName",
                    "value": f"ip-{self.address.replace('.', '-')}.internal",
                },
                {"name": "privateIPv4Address", "value": self.address},
            ]
        return {
            "id": self._interface_id,
            "type": "ElasticNetworkInterface",
            "status": self.interface,
            "details": details,
        }
