"""New machines for old ones, without ending anybody's server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workroom_hub.deploy.calls import Clients, asked

_AT_ONCE = 10  # UpdateContainerInstancesState takes no more
_UNDER_WAY = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")


@dataclass(frozen=True)
class Machine:
    """A machine of an older template that is in ECS.

    Attributes:
        id: Its id in EC2.
        arn: Its ARN in ECS.
        active: It takes new servers.
        servers: Tasks on it.
    """

    id: str
    arn: str
    active: bool
    servers: int


def roll_out(clients: Clients, cluster: str, name: str) -> str:
    """Have a group's old machines take no new servers, and replace those without servers.

    As many machines with servers are drained as the group may have new ones beside them: were all
    of a full group drained at once, nobody could start a server until people leave. The next call
    goes on.

    Args:
        clients: Clients of AWS's services by name.
        cluster: Cluster of the servers.
        name: Name of the group, and of its capacity provider.

    Returns:
        What was done, in a sentence.
    """
    scaling, ecs = clients("autoscaling"), clients("ecs")
    [group] = asked(lambda: scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name]))[
        "AutoScalingGroups"
    ]
    current = group["LaunchTemplate"]["Version"]
    old, warm = _older(group["Instances"], current), _older(_warm(scaling, name), current)
    if not old and not warm:
        return f"{name}: every machine is of the current image."
    there = [each for each in _container_instances(ecs, cluster) if each.id in old]
    empty = [each for each in there if not each.servers]
    busy = [each for each in there if each.servers and each.active]
    room = group["MaxSize"] - len(group["Instances"]) + len(empty)
    now, later = busy[: max(room, 0)], busy[max(room, 0) :]
    _drain(ecs, cluster, [each.arn for each in (*empty, *now) if each.active])
    # Between the look and the drain somebody may have come.
    still = [
        each.id
        for each in _container_instances(ecs, cluster)
        if each.id in old and not each.active and not each.servers
    ]
    _give_free(scaling, name, still)
    _refresh(scaling, name)
    free = len(still) + len(warm)
    said = (
        f"{name}: of the machines with an older image {free} without servers are replaced now, "
        f"{len(there) - len(still) - len(later)} take no new servers and are replaced when their "
        "last one has ended"
    )
    if later:
        most = group["MaxSize"]
        said += f", {len(later)} go on as they are, since the group may have {most} machines"
    return f"{said}. Run it again until every machine is of the current image."


def _older(instances: Sequence[dict[str, Any]], current: str) -> set[str]:
    return {
        machine["InstanceId"]
        for machine in instances
        if machine.get("LaunchTemplate", {}).get("Version") != current
    }


def _warm(scaling: Any, name: str) -> list[dict[str, Any]]:
    """Return the machines of the group's warm pool; a refresh replaces them, too."""
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        page = asked(
            lambda more=more: scaling.describe_warm_pool(  # type: ignore[misc]
                AutoScalingGroupName=name, **more
            )
        )
        found += page["Instances"]
        if not page.get("NextToken"):
            return found
        more = {"NextToken": page["NextToken"]}


def _drain(ecs: Any, cluster: str, arns: list[str]) -> None:
    for first in range(0, len(arns), _AT_ONCE):
        some = arns[first : first + _AT_ONCE]
        asked(
            lambda some=some: ecs.update_container_instances_state(  # type: ignore[misc]
                cluster=cluster, containerInstances=some, status="DRAINING"
            )
        )


def _give_free(scaling: Any, name: str, ids: list[str]) -> None:
    """Take the protection away from machines that are empty and stay so.

    ECS takes it away when it scales in, which a drained machine may not live to see.
    """
    for first in range(0, len(ids), 50):  # SetInstanceProtection takes no more
        some = ids[first : first + 50]
        asked(
            lambda some=some: scaling.set_instance_protection(  # type: ignore[misc]
                AutoScalingGroupName=name, InstanceIds=some, ProtectedFromScaleIn=False
            )
        )


def _refresh(scaling: Any, name: str) -> None:
    """Start an instance refresh, unless one is under way; protected machines are left alone."""
    found = asked(lambda: scaling.describe_instance_refreshes(AutoScalingGroupName=name))
    if any(each["Status"] in _UNDER_WAY for each in found["InstanceRefreshes"]):
        return
    asked(
        lambda: scaling.start_instance_refresh(
            AutoScalingGroupName=name,
            Preferences={
                "ScaleInProtectedInstances": "Ignore",
                "MinHealthyPercentage": 100,
                "MaxHealthyPercentage": 110,
                "SkipMatching": True,
            },
        )
    )


def _container_instances(ecs: Any, cluster: str) -> Iterator[Machine]:
    more: dict[str, str] = {}
    while True:
        page = asked(
            lambda more=more: ecs.list_container_instances(  # type: ignore[misc]
                cluster=cluster, **more
            )
        )
        arns = page["containerInstanceArns"]
        if arns:
            found = asked(
                lambda arns=arns: ecs.describe_container_instances(  # type: ignore[misc]
                    cluster=cluster, containerInstances=arns
                )
            )["containerInstances"]
            for each in found:
                yield Machine(
                    each["ec2InstanceId"],
                    each["containerInstanceArn"],
                    each["status"] == "ACTIVE",
                    each["runningTasksCount"] + each["pendingTasksCount"],
                )
        if not page.get("nextToken"):
            return
        more = {"nextToken": page["nextToken"]}
