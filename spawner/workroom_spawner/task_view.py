"""What AWS says of a task, as values of our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from workroom_spawner.task_requests import CONTAINER


@dataclass(frozen=True, slots=True)
class TaskView:
    """One task as DescribeTasks or RunTask showed it.

    Attributes:
        status: `lastStatus`: PROVISIONING, PENDING, ACTIVATING, RUNNING, … STOPPED.
        desired: `desiredStatus`: RUNNING or STOPPED.
        address: Private IPv4 address of the task's network interface; "" while it has none.
        exit_code: The server container's; None while it runs, or if it never did.
        container_reason: Why the server container could not be started or was ended.
        tags: Filled only if tags were asked for.
    """

    arn: str
    status: str
    desired: str = "RUNNING"
    address: str = ""
    stop_code: str = ""
    stopped_reason: str = ""
    exit_code: int | None = None
    container_reason: str = ""
    created_at: datetime | None = None
    pull_started_at: datetime | None = None
    pull_stopped_at: datetime | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Mapping[str, Any]) -> TaskView:
        """Return the view of a task as boto3 answers it; fields that are absent stay empty."""
        container = _server_container(task)
        return cls(
            arn=task["taskArn"],
            status=task.get("lastStatus", ""),
            desired=task.get("desiredStatus", ""),
            address=_address(task),
            stop_code=task.get("stopCode", ""),
            stopped_reason=task.get("stoppedReason", ""),
            exit_code=container.get("exitCode"),
            container_reason=container.get("reason", ""),
            created_at=task.get("createdAt"),
            pull_started_at=task.get("pullStartedAt"),
            pull_stopped_at=task.get("pullStoppedAt"),
            started_at=task.get("startedAt"),
            stopped_at=task.get("stoppedAt"),
            tags={tag["key"]: tag.get("value", "") for tag in task.get("tags", ())},
        )


class TaskViews(dict[str, TaskView]):
    """Views by ARN. An ARN that is neither here nor in `missing` was not answered.

    Attributes:
        missing: ARNs that ECS says it does not know.
    """

    def __init__(
        self, views: Mapping[str, TaskView] | None = None, missing: Iterable[str] = ()
    ) -> None:
        super().__init__(views or {})
        self.missing = set(missing)


@dataclass(frozen=True)
class RunOutcome:
    """What RunTask answered: a task, or the reasons why there is none.

    Attributes:
        failures: Reasons as ECS words them, such as `RESOURCE:MEMORY` or `AGENT`.
    """

    task: TaskView | None
    failures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machines:
    """The machines of the cluster's group: how many are wanted, and how many are there."""

    wanted: int
    in_service: int


def _server_container(task: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in task.get("containers", ()):
        if container.get("name") == CONTAINER:
            return container  # type: ignore[no-any-return]
    return {}


def _address(task: Mapping[str, Any]) -> str:
    for attachment in task.get("attachments", ()):
        if attachment.get("type") == "ElasticNetworkInterface":
            for detail in attachment.get("details", ()):
                if detail.get("name") == "privateIPv4Address":
                    return str(detail.get("value", ""))
    return ""
