"""What a deployment to AWS made → the sections of `workroom.yaml` with which the hub uses it.

`workroom deploy` writes them into the file from the stack's outputs, and the stack itself gives the
same sections to its hub, with references where there are no values yet. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from workroom_hub.settings import Settings

STATE = "/var/lib/workroom"
"""The state folder in the containers of the platform's own services."""
OIDC_SECRET = f"{STATE}/secrets/oidc-client-secret"

OUTPUTS: dict[str, str] = {
    "Cluster": "Name of the ECS cluster that servers run on",
    "Subnets": "Subnets of the servers, with commas between",
    "ServersSecurityGroup": "Security group of the servers",
    "HubUrl": "Where servers reach the hub's API",
    "ProxyApiUrl": "Where the hub reaches the proxy's API",
    "CapacityProvider": "Capacity provider of the machines",
    "GpuCapacityProvider": "Capacity provider of the machines with GPUs, or 'none'",
    "AutoScalingGroup": "Auto Scaling group of the machines",
    "TaskRole": "Role of people's code",
    "GroupRoles": "Roles of people's code by group, as JSON",
    "ExecutionRole": "Role with which ECS starts servers",
    "LogGroup": "Log group of the servers",
    "RegistrySecret": "Secret with the registry's read-only token",
    "FileSystem": "EFS file system of the homes",
    "Warehouse": "Folder of the tables",
    "Metastore": "Address of the Hive Metastore",
    "Web": "Address of the web page",
    "SshHost": "Host name for ssh",
    "Registry": "Address of the image registry",
    "FirstPassword": "Secret with the first admin's password, or 'none'",
    "WebLoadBalancer": "DNS name that the web page's names point to",
    "SshLoadBalancer": "DNS name that the name for ssh points to",
    "ImagePipeline": "EC2 Image Builder pipeline of the machines",
    "GpuImagePipeline": "EC2 Image Builder pipeline of the machines with GPUs, or 'none'",
    "PlatformCluster": "Name of the ECS cluster that hub, proxy and gateway run on",
}
"""Every output of the stack, and what it is."""
NOT_THERE = "none"
"""An output cannot be empty."""


def sections(settings: Settings, outputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the sections of `workroom.yaml` that a deployment decides, as plain data.

    Args:
        settings: What the deployment was made from; `aws` is given.
        outputs: The stack's outputs, or references to what they will be.

    Raises:
        KeyError: An output is missing.
    """
    aws = settings.aws
    assert aws is not None
    ecs: dict[str, Any] = {
        "region": aws.region,
        "cluster": outputs["Cluster"],
        "subnets": _listed(outputs["Subnets"]),
        "security_groups": [outputs["ServersSecurityGroup"]],
        "hub_url": outputs["HubUrl"],
        "hub_host": "0.0.0.0",  # noqa: S104  (in a container of its own, behind its security group)
        "capacity_providers": [{"name": outputs["CapacityProvider"]}],
        "auto_scaling_group": outputs["AutoScalingGroup"],
        "task_role": outputs["TaskRole"],
        "execution_role": outputs["ExecutionRole"],
        "roles": _roles(outputs["GroupRoles"]),
        "logs": {"group": outputs["LogGroup"]},
        "registry_secret": outputs["RegistrySecret"],
    }
    if outputs["GpuCapacityProvider"] != NOT_THERE:
        ecs["gpu_capacity_providers"] = [{"name": outputs["GpuCapacityProvider"]}]
    return {
        "spawner": "ecs",
        "web": {
            "host": "0.0.0.0",  # noqa: S104
            "port": 8000,
            "public_url": f"https://{aws.domain}",
            "isolation": "subdomain",
            "proxy_api_port": 8001,
            "proxy_api_url": outputs["ProxyApiUrl"],
        },
        "ssh": {
            "host": "0.0.0.0",  # noqa: S104
            "port": 2222,
            "public_host": outputs["SshHost"],
            "public_port": 22,
        },
        "local": {"hub_port": 8081},
        "ecs": ecs,
        "homes": {"kind": "efs", "file_system": outputs["FileSystem"]},
        "data": {"warehouse": outputs["Warehouse"], "metastore": outputs["Metastore"]},
    }


def merged(settings: Settings, outputs: Mapping[str, str]) -> dict[str, Any]:
    """Return the whole file for the hub of a deployment: what is written, and what was made."""
    whole = settings.model_dump(
        mode="json",
        exclude_unset=True,
        exclude={"aws": True, "build": True, "homes": {"shared_data"}},
    )
    for name, made in sections(settings, outputs).items():
        written = whole.get(name)
        whole[name] = {**written, **made} if isinstance(written, dict) else made
    if settings.auth.oidc:
        whole["auth"]["oidc"]["client_secret_file"] = OIDC_SECRET
    return dict(_ordered(whole))


def for_proxy(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the proxy needs of the whole file.

    It is told nothing else, so that a new image or profile does not replace it under everybody's
    open pages.
    """
    return {"web": whole["web"], "ecs": _chosen(whole["ecs"], "hub_url", "hub_host")}


def for_gateway(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the SSH gateway needs of the whole file; anything else would end sessions."""
    return {
        **_chosen(whole, "spawner", "web", "ssh", "local", "homes"),
        "ecs": _chosen(
            whole["ecs"],
            *("region", "cluster", "subnets", "security_groups", "hub_url", "hub_host"),
            *("capacity_providers", "task_role", "execution_role"),
        ),
    }


def _chosen(section: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: section[name] for name in names if name in section}


def _ordered(value: Any) -> Any:
    """Return data in one order, however the file was written: else tasks are started again."""
    if isinstance(value, dict):
        return {name: _ordered(value[name]) for name in sorted(value)}
    return [_ordered(each) for each in value] if isinstance(value, list) else value


def _listed(value: str) -> list[str]:
    return [part for part in value.split(",") if part]


def _roles(value: str) -> list[dict[str, str]]:
    return [{"group": group, "task_role": role} for group, role in json.loads(value).items()]
