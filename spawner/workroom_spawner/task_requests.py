"""One server as an ECS task: from a small spec to the whole requests. Pure.

A task definition holds what RunTask cannot override, which is the image and the volumes; so there
is one for each user and image, whatever the profile. Everything else is in the RunTask request.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from workroom_spawner import names
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.requests import HOME, UID

CONTAINER = "server"
WEB_PORT = 8888
SSH_PORT = 2222
# Of the definition; every RunTask overrides them. ECS wants some size, and a container's own memory
# for `maxSwap`, which is the swap beyond it.
_CPU, _MEMORY = "256", 512  # CPU units, MiB
# CPU units below which ECS takes no task (API reference, `cpu` of a task definition).
_LEAST_CPU = 128
_MIB = 2**20

Request = dict[str, Any]


@dataclass(frozen=True)
class TaskSpec:
    """Everything ECS has to know of one server.

    Attributes:
        cpu: Limit in cores; ECS counts 1024 units a core, and 128 units are the least.
        memory: Limit in bytes; ECS counts MiB.
        gpu: Whole GPUs.
        home: Access point id (`efs`) or folder of the machine (`host-path`) of the home.
        groups: The user's groups, which choose the roles.
        environment: Readable by everyone who may call DescribeTasks; never a token.
    """

    user: str
    server: str
    profile: str
    image: str
    cpu: float
    memory: int
    home: str
    gpu: int = 0
    groups: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def task_definition(spec: TaskSpec, ecs: EcsSettings) -> Request:
    """Return RegisterTaskDefinition's request; the family's name ends in a hash of the content.

    Two requests of one family are therefore the same request, and a definition registered once is
    found again by its family alone.
    """
    content: Request = {
        "requiresCompatibilities": ["EC2"],
        "networkMode": "awsvpc",
        "cpu": _CPU,
        "memory": str(_MEMORY),
        "containerDefinitions": [_container(spec, ecs)],
        "volumes": [_home_volume(spec, ecs)],
    }
    if ecs.task_role:
        content["taskRoleArn"] = ecs.task_role
    if ecs.execution_role:
        content["executionRoleArn"] = ecs.execution_role
    tags = {
        "workroom:instance": ecs.instance,
        "workroom:installation": ecs.installation,
        "workroom:user": names.tag_value(spec.user),
    }
    return {"family": _family(spec.user, content, ecs), **content, "tags": _tags(tags)}


def family_prefix(ecs: EcsSettings) -> str:
    """Return what the names of all this installation's families begin with."""
    return f"{ecs.instance}-{names.digest('installation', ecs.installation)}-"


def _family(user: str, content: Request, ecs: EcsSettings) -> str:
    exact = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content_hash = hashlib.sha256(exact.encode()).hexdigest()[:20]
    return f"{family_prefix(ecs)}{names.slug(user) or 'user'}-{content_hash}"


def _container(spec: TaskSpec, ecs: EcsSettings) -> Request:
    container: Request = {
        "name": CONTAINER,
        "image": spec.image,
        "essential": True,
        "memory": _MEMORY,
        "user": f"{UID}:{UID}",
        "portMappings": [
            {"containerPort": WEB_PORT, "protocol": "tcp"},
            {"containerPort": SSH_PORT, "protocol": "tcp"},
        ],
        "linuxParameters": {
            "capabilities": {"drop": ["ALL"]},
            "sharedMemorySize": ecs.shared_memory // _MIB,
            "maxSwap": 0,
        },
        "dockerSecurityOptions": ["no-new-privileges"],
        "mountPoints": [{"sourceVolume": "home", "containerPath": HOME, "readOnly": False}],
        "stopTimeout": ecs.stop_seconds,
    }
    if ecs.registry_secret:
        container["repositoryCredentials"] = {"credentialsParameter": ecs.registry_secret}
    if ecs.logs:
        container["logConfiguration"] = {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": ecs.logs.group,
                "awslogs-region": ecs.region,
                "awslogs-stream-prefix": ecs.logs.prefix,
            },
        }
    return container


def _home_volume(spec: TaskSpec, ecs: EcsSettings) -> Request:
    if ecs.homes.kind == "host-path":
        return {"name": "home", "host": {"sourcePath": spec.home}}
    return {
        "name": "home",
        "efsVolumeConfiguration": {
            "fileSystemId": ecs.homes.file_system,
            "transitEncryption": "ENABLED",
            "authorizationConfig": {"accessPointId": spec.home, "iam": "ENABLED"},
        },
    }


def run_task(spec: TaskSpec, ecs: EcsSettings, definition: str, client_token: str) -> Request:
    """Return RunTask's request, without the start code.

    Args:
        definition: Family or ARN of the task definition.
        client_token: Makes RunTask idempotent; at most 64 characters.
    """
    cpu, memory = max(_LEAST_CPU, round(spec.cpu * 1024)), spec.memory // _MIB
    container: Request = {
        "name": CONTAINER,
        "cpu": cpu,
        "memory": memory,
        "environment": _environment(spec.environment),
    }
    if spec.gpu:
        container["resourceRequirements"] = [{"type": "GPU", "value": str(spec.gpu)}]
    task_role, execution_role = ecs.roles(spec.groups)
    overrides: Request = {"containerOverrides": [container], "cpu": str(cpu), "memory": str(memory)}
    # The general roles are in the definition already; overrides have 8,192 characters in all.
    if task_role != ecs.task_role:
        overrides["taskRoleArn"] = task_role
    if execution_role != ecs.execution_role:
        overrides["executionRoleArn"] = execution_role
    providers = (spec.gpu and ecs.gpu_capacity_providers) or ecs.capacity_providers
    request: Request = {
        "cluster": ecs.cluster,
        "taskDefinition": definition,
        "count": 1,
        "clientToken": client_token,
        "startedBy": ecs.started_by,
        "networkConfiguration": {"awsvpcConfiguration": _network(ecs)},
        # Scattered, which is what ECS does unasked, servers would keep every machine from emptying.
        "placementStrategy": [{"type": "binpack", "field": "memory"}],
        "overrides": overrides,
        "enableExecuteCommand": ecs.execute_command,
        "enableECSManagedTags": True,
        "tags": _tags(
            {
                **ecs.tags,
                "workroom:instance": ecs.instance,
                "workroom:installation": ecs.installation,
                "workroom:user": names.tag_value(spec.user),
                "workroom:server": names.tag_value(spec.server),
                "workroom:profile": spec.profile,
                SERVER_ID: server_id(ecs, spec.user, spec.server),
                START: client_token,
            }
        ),
    }
    if providers:
        request["capacityProviderStrategy"] = [
            {"capacityProvider": p.name, "weight": p.weight, "base": p.base} for p in providers
        ]
    if ecs.placement_constraints:
        request["placementConstraints"] = [dict(each) for each in ecs.placement_constraints]
    return request


def _network(ecs: EcsSettings) -> Request:
    network: Request = {"subnets": list(ecs.subnets), "assignPublicIp": "DISABLED"}
    if ecs.security_groups:  # else the VPC's default one
        network["securityGroups"] = list(ecs.security_groups)
    return network


SERVER_ID = "workroom:server-id"
"""Tag that says exactly whose a task is; user names do not survive AWS's rules for tags."""
START = "workroom:start"
"""Tag that says which start a task came from: its `clientToken`."""


def server_id(ecs: EcsSettings, user: str, server: str) -> str:
    """Return the id of one server, the same in every process of this installation."""
    return names.container(ecs.instance, user, server)


def with_environment(request: Request, more: dict[str, str]) -> Request:
    """Return `request` with variables set; how the start code gets in, and only there."""
    overrides = request["overrides"]
    [container] = overrides["containerOverrides"]
    merged = {each["name"]: each["value"] for each in container["environment"]} | more
    container = {**container, "environment": _environment(merged)}
    return {**request, "overrides": {**overrides, "containerOverrides": [container]}}


def _environment(variables: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(variables.items())]


def _tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]
