"""The ECS cluster as `workroom`'s commands see it: is it there, and may we use it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workroom_hub.errors import CloudError
from workroom_hub.machine.stack import EMULATOR_KEYS

if TYPE_CHECKING:
    from workroom_hub.runtime import Emulator
    from workroom_hub.settings_ecs import Ecs

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
    found = _asked(ecs.region, ecs.endpoint_url, keys, "describe_clusters", clusters=[ecs.cluster])
    for cluster in found["clusters"]:
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
    name = emulator.cluster
    _asked(
        emulator.region, emulator.endpoint_url, _EMULATOR_KEYS, "create_cluster", clusterName=name
    )


def _asked(
    region: str, endpoint: str, keys: dict[str, str], operation: str, **request: Any
) -> dict[str, Any]:
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
        answer: dict[str, Any] = getattr(client, operation)(**request)
    except NoCredentialsError as error:
        raise CloudError(
            "This process has no AWS credentials.",
            "Give the machine an instance profile, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and\n"
            "AWS_SECRET_ACCESS_KEY.",
        ) from error
    except ClientError as error:
        told = error.response.get("Error", {})
        raise CloudError(
            f"AWS refuses {operation} in {region} ({told.get('Code', 'unknown')}).",
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
    return answer
