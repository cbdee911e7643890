"""What the ECS spawner must know of its AWS account: one frozen value, made by the hub."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class CapacityProvider:
    """One entry of a capacity provider strategy; see RunTask's reference for weight and base."""

    name: str
    weight: int = 1
    base: int = 0


@dataclass(frozen=True)
class GroupRoles:
    """The roles of tasks whose user is in `group`; "" leaves the general one."""

    group: str
    task_role: str = ""
    execution_role: str = ""


@dataclass(frozen=True)
class EcsHomes:
    """Where homes are.

    Attributes:
        kind: `efs`: an access point a user on `file_system`. `host-path`: a folder a user below
            `root`, which every machine of the cluster has mounted itself.
        root: Folder that holds the homes; on EFS the access points' root directories.
        prepare: With `host-path`: the hub makes each folder itself, because it sees the same
            `root`. Otherwise whoever mounts it does.
    """

    kind: Literal["efs", "host-path"] = "efs"
    file_system: str = ""
    root: str = "/homes"
    prepare: bool = False


@dataclass(frozen=True)
class TaskLogs:
    """CloudWatch log group of the tasks; streams are `prefix/CONTAINER/TASK-ID`."""

    group: str
    prefix: str = "servers"


@dataclass(frozen=True)
class Bucket:
    """One of AWS's token buckets: calls at once, and calls a second after that."""

    burst: float
    rate: float


@dataclass(frozen=True)
class Quotas:
    """Token buckets of the account and region; the defaults are those AWS documents.

    Source: Amazon ECS API reference, "Request throttling for the Amazon ECS API". EFS and the
    other services publish no figures; theirs are modest guesses of ours.
    """

    run: Bucket = Bucket(100, 40)  # RunTask, StopTask
    describe: Bucket = Bucket(100, 20)  # DescribeTasks, ListTasks
    register: Bucket = Bucket(20, 1)  # RegisterTaskDefinition, DeregisterTaskDefinition
    definitions: Bucket = Bucket(50, 20)  # DescribeTaskDefinition, ListTaskDefinitionFamilies
    other: Bucket = Bucket(10, 5)  # EFS, Auto Scaling, CloudWatch Logs


def started_by(installation: str) -> str:
    """Return what `startedBy` of an installation's tasks says, by which ListTasks finds them."""
    return f"workroom/{installation}"


@dataclass(frozen=True)
class EcsSettings:
    """One cluster in one region, and what tasks there get.

    Attributes:
        installation: Id of this installation; with it `startedBy` tells our tasks from others'.
        endpoint_url: Address of an emulator for every service; "" means AWS itself.
        region: AWS region.
        subnets: Subnet ids for the tasks' network interfaces.
        gpu_capacity_providers: Used instead by profiles with a GPU, if not empty.
        shared_memory: Bytes of `/dev/shm`; cannot be overridden by a profile.
        registry_secret: ARN of the secret with a private registry's credentials, or "".
        placement_constraints: RunTask's, as they are.
        tags: More tags for tasks, for cost allocation.
        stop_seconds: Seconds a server gets to end by itself before it is killed (at most 120).
        sweep_seconds: Seconds between two looks at the running tasks.
        orphan_grace: Seconds a task of ours may run without a server that knows it.
        capacity_timeout: Seconds a task may wait for a machine.
        auto_scaling_group: Group that "adding a machine" counts; "" counts nothing.
    """

    region: str
    cluster: str
    instance: str
    installation: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...] = ()
    capacity_providers: tuple[CapacityProvider, ...] = ()
    gpu_capacity_providers: tuple[CapacityProvider, ...] = ()
    task_role: str = ""
    execution_role: str = ""
    group_roles: tuple[GroupRoles, ...] = ()
    homes: EcsHomes = EcsHomes()
    logs: TaskLogs | None = None
    registry_secret: str = ""
    placement_constraints: tuple[dict[str, Any], ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    execute_command: bool = False
    shared_memory: int = 2 * 2**30
    stop_seconds: int = 30
    sweep_seconds: float = 30.0
    orphan_grace: float = 300.0
    capacity_timeout: float = 1800.0
    auto_scaling_group: str = ""
    endpoint_url: str = ""
    quotas: Quotas = Quotas()

    def __deepcopy__(self, memo: object) -> EcsSettings:
        """Return itself: it never changes, and traitlets copies it for every server."""
        return self

    @property
    def started_by(self) -> str:
        """What RunTask's `startedBy` says of our tasks (at most 128 characters)."""
        return started_by(self.installation)

    def roles(self, groups: Iterable[str]) -> tuple[str, str]:
        """Return the task role and execution role of a user in `groups`; the first match wins."""
        member = set(groups)
        for mapped in self.group_roles:
            if mapped.group in member:
                return (
                    mapped.task_role or self.task_role,
                    mapped.execution_role or self.execution_role,
                )
        return self.task_role, self.execution_role
