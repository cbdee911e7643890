"""cdk-nag's findings that stay, each with the reason in one line.

Everything else it finds ends the synthesis. A wildcard in a statement is explained under the
statement's name (`Sid`), so a new statement with one is found until somebody says why.
"""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_iam as iam

WILDCARDS = {
    "Start": "Task definitions are a family for each content; all begin with the instance's name.",
    "LookAndStop": "Tasks get their ids when they start; the cluster has nothing but servers.",
    "List": "ListTasks knows no resource; the condition names the cluster.",
    "Definitions": "A family for each content; all begin with the instance's name.",
    "Families": "The action knows no resource, and reads names only.",
    "TagsOfWhatItMakes": "Tags at the making of tasks and definitions only, by the condition.",
    "Homes": "Access points get their ids when they are made; it names the file system.",
    "TagsOfHomes": "Tags at the making of access points only, by the condition.",
    "CountMachines": "DescribeAutoScalingGroups knows no resource, and only reads.",
    "LastLines": "Log streams are named after tasks.",
    "ReadTables": "Tables are folders below their database's.",
    "AddToTables": "Tables are folders below their database's.",
    "TidyUpAfterSpark": "Spark's half-made files only; their versions stay.",
    "ServersLog": "Log streams are named after tasks.",
    "RegistryLogIn": "GetAuthorizationToken knows no resource.",
    "Log": "Log streams are named after tasks.",
    "Blobs": "Blobs are named by their content.",
    "UnfinishedUploadsAndTheCache": "Uploads that were not finished, and copies of others' images.",
    "FindTheAgentsEndpoint": "DiscoverPollEndpoint knows no resource, and only reads.",
    "Work": "A machine gets its id when it registers; the condition names the cluster.",
    "TagsAtRegistration": "Tags at registration only, by the condition.",
    "MountWatchdogMarks": "IAM ties no machine to its own id; the condition names the cluster.",
    "MountWatchdogReplaces": "AWS makes up a part of a group's ARN; its name is written out.",
    "MountWatchdogMeasures": "PutMetricData knows no resource; it names the namespace.",
    "Logs": "Log streams are named after machines.",
    "Watchdog": "Files are named by their content, in a bucket that holds nothing but deployments.",
}
"""Why a statement has a wildcard, by its name."""

_MANAGED = "arn:<AWS::Partition>:iam::aws:policy"
EVERYWHERE = {
    "AwsSolutions-SMG4": "Rotated by hand, with the services restarted: docs/deploy-aws.md.",
    "AwsSolutions-RDS11": "The port is no secret; only one security group reaches it.",
    "AwsSolutions-AS3": "Machines come and go by the hour; metrics and alarms say what matters.",
    "AwsSolutions-ECS2": "Names and addresses; secrets are under 'secrets', as a test checks.",
    f"AwsSolutions-IAM4[Policy::{_MANAGED}/AmazonSSMManagedInstanceCore]": (
        "AWS keeps up what Session Manager needs; there is no ssh to machines."
    ),
    f"AwsSolutions-IAM4[Policy::{_MANAGED}/EC2InstanceProfileForImageBuilder]": (
        "AWS keeps up what Image Builder needs; the machine lives while it builds an image."
    ),
}
"""Findings of the whole stack."""

DOORS = {
    "AwsSolutions-EC23": "The web page and ssh are for people: aws.reachable_from says from where.",
    "CloudFormation-Validate::W2508": "Ssh of people ends in the gateway, which takes keys only.",
}
"""Findings of the load balancers' security groups."""

SERVERS = {
    "AwsSolutions-ECS4": "A family of tasks for each person, each with metrics that are paid for.",
}
"""Findings of the servers' cluster."""


def acknowledge(stack: cdk.Stack) -> None:
    """Say to cdk-nag why these findings are as they must be."""
    _say(stack, EVERYWHERE)
    _say(stack.node.find_child("Cluster"), SERVERS)
    walls = stack.node.find_child("Walls")
    for door in ("WebDoor", "SshDoor"):
        _say(walls.node.find_child(door), DOORS)
    for construct in stack.node.find_all():
        if isinstance(construct, iam.Policy):
            _say(construct, _wildcards(stack, construct))


def _wildcards(stack: cdk.Stack, policy: iam.Policy) -> dict[str, str]:
    """Return the findings of one policy that its statements' names explain."""
    found = {}
    for statement in stack.resolve(policy.document.to_json())["Statement"]:
        reason = WILDCARDS.get(statement.get("Sid", ""))
        resources = statement["Resource"]
        for resource in resources if isinstance(resources, list) else [resources]:
            written = _written(resource)
            if reason and "*" in written:
                found[f"AwsSolutions-IAM5[Resource::{written}]"] = reason
    return found


def _written(value: Any) -> str:
    """Return a resource as cdk-nag writes it: references in angle brackets."""
    if isinstance(value, str):
        return value
    if "Ref" in value:
        return f"<{value['Ref']}>"
    if "Fn::GetAtt" in value:
        return f"<{'.'.join(value['Fn::GetAtt'])}>"
    separator, parts = value["Fn::Join"]
    return str(separator).join(_written(part) for part in parts)


def _say(construct: Any, reasons: dict[str, str]) -> None:
    cdk.Validations.of(construct).acknowledge(
        *(cdk.Acknowledgment(id=finding, reason=reason) for finding, reason in reasons.items())
    )
