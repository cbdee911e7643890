"""Policies of a template, evaluated as IAM would: references filled in, conditions heeded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.support.template import Statement, Template, written

ACCOUNT = "123456789012"
FILE_SYSTEM = "fs-0123456789abcdef0"
_FIXED = {"AWS::Partition": "aws", "AWS::Region": "eu-central-1", "AWS::AccountId": ACCOUNT}
_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": fnmatchcase,
    "ArnEquals": fnmatchcase,
    "ArnLike": fnmatchcase,
    "Bool": str.__eq__,
}


def filled(template: Template, value: Any) -> Any:
    """Return a value with a plausible id in place of each reference, another one for each."""
    if isinstance(value, dict) and not {"Ref", "Fn::GetAtt", "Fn::Join"} & set(value):
        return {name: filled(template, each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [filled(template, each) for each in value]
    return re.sub(r"<([^<>]+)>", lambda found: _id(template, found[1]), written(value))


def _id(template: Template, reference: str) -> str:
    if reference in _FIXED:
        return _FIXED[reference]
    resource = template.data["Resources"][reference.partition(".")[0]]
    given = resource.get("Properties", {})
    kind = resource["Type"]
    if kind == "AWS::IAM::Role":
        return f"arn:aws:iam::{ACCOUNT}:role/{given['RoleName']}"
    if kind == "AWS::SecretsManager::Secret":
        name = given.get("Name", "unnamed")
        return f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:{name}-ab1"
    if kind == "AWS::EFS::FileSystem":
        return FILE_SYSTEM
    plain = {
        "AWS::ECS::Cluster": "ClusterName",
        "AWS::ECS::CapacityProvider": "Name",
        "AWS::Logs::LogGroup": "LogGroupName",
        "AWS::AutoScaling::AutoScalingGroup": "AutoScalingGroupName",
    }
    if kind in plain:
        return str(given[plain[kind]])
    number = f"{sum(map(ord, reference)):017x}"
    prefixes = {"AWS::EC2::Subnet": "subnet-", "AWS::EC2::SecurityGroup": "sg-"}
    return prefixes.get(kind, "some-") + number


def resolved(template: Template, rights: Iterable[Statement]) -> list[Statement]:
    """Return statements with their references filled in."""
    return [
        Statement(
            each.owner,
            each.sid,
            each.effect,
            each.actions,
            tuple(filled(template, each.resources)),
            filled(template, each.conditions),
        )
        for each in rights
    ]


def may(
    rights: Iterable[Statement],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Tell whether statements allow an action, in a request with these condition keys."""
    return any(
        each.effect == "Allow"
        and action in each.actions
        and any(fnmatchcase(resource, allowed) for allowed in each.resources)
        and _holds(each.conditions, context or {})
        for each in rights
    )


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Mapping[str, str]) -> bool:
    return all(
        key in context
        and any(_OPERATORS[operator](context[key], wanted) for wanted in _listed(value))
        for operator, keys in conditions.items()
        for key, value in keys.items()
    )


def documents(page: str) -> list[dict[str, dict[str, Any]]]:
    """Return the policies on a page: of each its statements by name, or by number without one."""
    return [
        {each.get("Sid", str(number)): each for number, each in enumerate(read["Statement"])}
        for read in map(json.loads, re.findall(r"```json\n(.*?)```", page, re.DOTALL))
        if "Statement" in read
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
