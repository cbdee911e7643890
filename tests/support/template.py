"""A CloudFormation template as tests ask it: by type, with references written out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Statement:
    """One statement of a policy.

    Attributes:
        owner: Logical id of the role, bucket or file system that it belongs to.
        sid: Its name.
        effect: Allow or Deny.
        actions: Actions.
        resources: Resources, references written in angle brackets.
        conditions: Conditions.
    """

    owner: str
    sid: str
    effect: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A template."""

    path: Path
    data: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Template:
        """Return the template of a file."""
        return cls(path, json.loads(path.read_text()))

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of every resource of a type, by logical id; there are some."""
        found = {
            id: resource.get("Properties", {})
            for id, resource in self.data["Resources"].items()
            if resource["Type"] == kind
        }
        assert found, f"there is no {kind} in the template"
        return found

    def one(self, kind: str) -> dict[str, Any]:
        """Return the properties of the only resource of a type."""
        [found] = self.of(kind).values()
        return found

    def id_of(self, kind: str, part: str) -> str:
        """Return the logical id of the only resource of a type that is called so.

        CDK adds words and eight hexadecimal digits to a construct's name; the name alone counts
        before what only begins so.
        """
        named = re.compile(rf"{part}(Resource|FileSystem)?[0-9A-F]{{8}}")
        beginning = [id for id in self.of(kind) if id.startswith(part)]
        [found] = [id for id in beginning if named.fullmatch(id)] or beginning
        return found

    def named(self, kind: str, part: str) -> dict[str, Any]:
        """Return the properties of the resource whose logical id begins so."""
        return self.of(kind)[self.id_of(kind, part)]

    def outputs(self) -> dict[str, str]:
        """Return the outputs, references written out."""
        return {
            name.removeprefix("Output"): written(output["Value"])
            for name, output in self.data["Outputs"].items()
        }

    def policies(self) -> Iterator[Statement]:
        """Yield every statement of every role's policies."""
        for policy in self.of("AWS::IAM::Policy").values():
            for role in policy["Roles"]:
                yield from _statements(written(role).strip("<>"), policy["PolicyDocument"])
        for id, role in self.of("AWS::IAM::Role").items():
            for policy in role.get("Policies", []):
                yield from _statements(id, policy["PolicyDocument"])

    def rights(self, role: str) -> list[Statement]:
        """Return the statements of one role, by the beginning of its logical id."""
        id = self.id_of("AWS::IAM::Role", role)
        return [each for each in self.policies() if each.owner == id]

    def container(self, service: str) -> dict[str, Any]:
        """Return the container of one of the platform's services."""
        [container] = self.named("AWS::ECS::TaskDefinition", service)["ContainerDefinitions"]
        return dict(container)


def written(value: Any) -> str:
    """Return a value with its references in angle brackets."""
    if isinstance(value, dict):
        if "Ref" in value:
            return f"<{value['Ref']}>"
        if "Fn::GetAtt" in value:
            return f"<{'.'.join(value['Fn::GetAtt'])}>"
        if "Fn::Join" in value:
            separator, parts = value["Fn::Join"]
            return str(separator).join(written(part) for part in parts)
    return str(value)


def _statements(owner: str, document: dict[str, Any]) -> Iterator[Statement]:
    for each in document["Statement"]:
        yield Statement(
            owner,
            each.get("Sid", ""),
            each["Effect"],
            tuple(_listed(each["Action"])),
            tuple(written(resource) for resource in _listed(each.get("Resource", []))),
            each.get("Condition", {}),
        )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
