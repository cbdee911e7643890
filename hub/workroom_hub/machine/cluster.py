"""The ECS cluster as `workroom`'s commands see it: is it there, and may we use it?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from workroom_hub.errors import CloudError
from workroom_hub.machine.stack import EMULATOR_KEYS
from workroom_spawner.ecs_settings import started_by

if TYPE_CHECKING:
    from workroom_hub.runtime import Emulator
    from workroom_hub.settings_ecs import Ecs

T = TypeVar("T")

_EMULATOR_KEYS = {
    "aws_access_key_id": EMULATOR_KEYS["AWS_ACCESS_KEY_ID"],
    "aws_secret_access_key": EMULATOR_KEYS["AWS_SECRET_ACCESS_KEY"],
}


@dataclass(frozen=True)
class Cluster:
    """A cluster that answers.

    Attributes:
        machines: Container instances in it.
        running: Tasks that run, whoever's.
        pending: Tasks that wait or start.
    """

    name: str
    region: str
    machines: int
    running: int
    pending: int


def look(ecs: Ecs, *, emulated: bool = False) -> Cluster:
    """Return the cluster of the settings in force.

    Args:
        ecs: Where it is.
        emulated: It is the emulator's, which takes made-up keys. Everything else, a VPC's endpoint
            for one, gets the keys that the hub would have, or the answer here says nothing of it.

    Raises:
        CloudError: It is not there, AWS refuses, or AWS is not reached.
    """
    keys = _EMULATOR_KEYS if emulated else {}
    found = _asked(
        ecs.region,
        ecs.endpoint_url,
        keys,
        lambda client: client.describe_clusters(clusters=[ecs.cluster])["clusters"],
    )
    for cluster in found:
        if cluster["status"] != "ACTIVE":
            continue
        return Cluster(
            cluster["clusterName"],
            ecs.region,
            int(cluster.get("registeredContainerInstancesCount", 0)),
            int(cluster.get("runningTasksCount", 0)),
            int(cluster.get("pendingTasksCount", 0)),
        )
    if emulated:
        raise CloudError(f"The AWS emulator has no ECS cluster '{ecs.cluster}'.", "workroom up")
    raise CloudError(
        f"There is no ECS cluster '{ecs.cluster}' in {ecs.region} for this account.",
        "Correct ecs.cluster and ecs.region in workroom.yaml, or make the cluster.",
    )


def make(emulator: Emulator) -> None:
    """Make the emulator's cluster; harmless when it is there.

    Raises:
        CloudError: The emulator refuses.
    """
    _asked(
        emulator.region,
        emulator.endpoint_url,
        _EMULATOR_KEYS,
        lambda client: client.create_cluster(clusterName=emulator.cluster),
    )


def servers(ecs: Ecs, installation: str, *, emulated: bool = False) -> list[dict[str, Any]]:
    """Return the servers of an installation that its tasks' tags tell of, for when no hub does.

    Each is like one of `HubApi.servers`.

    Raises:
        CloudError: AWS refuses, or is not reached.
    """

    def ask(client: Any) -> list[dict[str, Any]]:
        pages = client.get_paginator("list_tasks").paginate(
            cluster=ecs.cluster, startedBy=started_by(installation)
        )
        arns = [arn for page in pages for arn in page["taskArns"]]
        tasks = []
        for first in range(0, len(arns), 100):  # DescribeTasks takes no more
            some = arns[first : first + 100]
            tasks += client.describe_tasks(cluster=ecs.cluster, tasks=some, include=["TAGS"])[
                "tasks"
            ]
        return tasks

    keys = _EMULATOR_KEYS if emulated else {}
    found = [_server(task) for task in _asked(ecs.region, ecs.endpoint_url, keys, ask)]
    return sorted(found, key=lambda row: (row["user"], row["server"]))


def _server(task: dict[str, Any]) -> dict[str, Any]:
    tags = {tag["key"]: tag.get("value", "") for tag in task.get("tags", ())}
    started = task.get("startedAt")
    return {
        "user": tags.get("workroom:user", ""),
        "server": tags.get("workroom:server", ""),
        "profile": tags.get("workroom:profile"),
        "state": _STATES.get(task["lastStatus"], "stopping"),
        "uptime_seconds": round((datetime.now(UTC) - started).total_seconds(), 1)
        if started
        else None,
        "task": task["taskArn"],
    }


# Every other status of a task comes after RUNNING.
_STATES = {
    "PROVISIONING": "starting",
    "PENDING": "starting",
    "ACTIVATING": "starting",
    "RUNNING": "running",
}


def _asked(region: str, endpoint: str, keys: dict[str, str], question: Callable[[Any], T]) -> T:
    """Ask ECS something; its refusals become sentences."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    from workroom_spawner.aws_clients import on_this_machine

    settings = Config(
        connect_timeout=5,
        read_timeout=10,
        retries={"max_attempts": 2, "mode": "standard"},
        proxies={} if on_this_machine(endpoint) else None,
    )
    try:
        client = boto3.Session().client(
            "ecs", region_name=region, endpoint_url=endpoint or None, config=settings, **keys
        )
        return question(client)
    except NoCredentialsError as error:
        raise CloudError(
            "This process has no AWS credentials.",
            "Give the machine an instance profile, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and\n"
            "AWS_SECRET_ACCESS_KEY.",
        ) from error
    except ClientError as error:
        told = error.response.get("Error", {})
        raise CloudError(
            f"AWS refuses {error.operation_name} in {region} ({told.get('Code', 'unknown')}).",
            "The hub's role needs the rights that docs/ecs.md lists.",
            details=str(told.get("Message", "")),
        ) from error
    except BotoCoreError as error:
        if keys is _EMULATOR_KEYS:
            raise CloudError(
                f"The AWS emulator does not answer ({type(error).__name__}; {endpoint}).",
                "workroom up, then workroom logs emulator",
            ) from error
        raise CloudError(
            f"AWS is not reached ({type(error).__name__}; {endpoint or f'region {region}'}).",
            "Check the network, ecs.region and ecs.endpoint_url in workroom.yaml.",
        ) from error
