"""What a deployment to AWS cannot be, though each value looks right. Pure.

A refusal is a sentence that begins with its field.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from workroom_hub import checks_aws
from workroom_hub.instance_types import KNOWN

if TYPE_CHECKING:
    from workroom_hub.settings_aws import Aws

_PRIVATE = [
    ipaddress.IPv4Network(each)
    for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
]
# China, GovCloud and the isolated partitions have other services, host names and ARNs.
_ELSEWHERE = re.compile(r"cn-|us-gov-|[a-z]+-iso[a-z]*-")
_ROLE = 64
_LONGEST_ROLE = "metastore-start"
_BUCKET = 63


def region(value: str) -> str:
    """Return the name of one of AWS's commercial regions."""
    if not checks_aws.region(value):
        raise ValueError("a region is written like eu-central-1")
    if _ELSEWHERE.match(value):
        raise ValueError(
            "Workroom deploys to AWS's commercial regions; write one, such as eu-central-1"
        )
    return value


def private(value: str) -> str:
    """Return a network of addresses that nobody has on the internet."""
    network = ipaddress.IPv4Network(value)
    if not any(network.subnet_of(each) for each in _PRIVATE):
        raise ValueError(
            "these addresses belong to others on the internet, who could then not be reached; "
            f"write a network in {', '.join(map(str, _PRIVATE))}, such as 10.20.0.0/16"
        )
    return value


def problem(aws: Aws, instance: str) -> str:
    """Return what AWS would refuse after minutes, beginning with the field, or "".

    Args:
        aws: The section.
        instance: The installation's name, which the names of what is made begin with.
    """
    if not aws.domain:
        return "domain: it is empty; write a host name, such as workroom.example.com"
    return _owner(aws) or _machines(aws) or _images(aws) or _names(aws, instance)


def _owner(aws: Aws) -> str:
    owner = aws.certificate.split(":")[4]
    if owner != aws.account:
        return (
            f"certificate: it is of account {owner}, and a load balancer takes one of its own "
            f"account; make one in {aws.account}, or correct account"
        )
    return ""


def _machines(aws: Aws) -> str:
    if aws.warm_machines > aws.max_machines:
        return (
            f"warm_machines: {aws.warm_machines} is more than max_machines, {aws.max_machines}; "
            "raise that or lower this"
        )
    if aws.instance_type and KNOWN[aws.instance_type].gpu:
        return (
            f"instance_type: '{aws.instance_type}' has a GPU, and is for profiles without one; "
            "write it as gpu_instance_type, and here one such as m7i.4xlarge"
        )
    if aws.gpu_instance_type and not KNOWN[aws.gpu_instance_type].gpu:
        return (
            f"gpu_instance_type: '{aws.gpu_instance_type}' has no GPU; write one such as g6.2xlarge"
        )
    return ""


def _images(aws: Aws) -> str:
    # Other accounts and regions are served by their own rights, but only over the internet:
    # the network has an endpoint for the registry of its own region alone.
    for name in type(aws.images).model_fields:
        home = getattr(aws.images, name).split(".")[3]
        if home != aws.region and not aws.nat_gateways:
            return (
                f"images.{name}: it is in {home}, and without nat_gateways only images of "
                f"{aws.region} are reached; copy it there, or write nat_gateways: 1"
            )
    return ""


def _names(aws: Aws, instance: str) -> str:
    """Refuse what makes names too long; the names are `workroom_infra`'s (roles.py, stack.py)."""
    for place, each in enumerate(aws.data_access):
        room = _ROLE - len(f"{instance}-task--{aws.region}")
        if len(each.group) > room:
            return (
                f"data_access[{place}].group: '{each.group}' has {len(each.group)} characters, and "
                f"the role {instance}-task-GROUP-{aws.region} may have {_ROLE}; write {room} "
                "characters at most"
            )
    most = min(
        _ROLE - len(f"-{_LONGEST_ROLE}-{aws.region}"),
        _BUCKET - len(f"-deploy-{aws.account}-{aws.region}"),
    )
    if len(instance) > most:
        return (
            f"instance: '{instance}' has {len(instance)} characters, and names of roles and "
            f"buckets begin with it; write {most} characters at most"
        )
    return ""
