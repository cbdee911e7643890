"""A template → what the emulator's CloudFormation can make, and what is left for the API. Pure."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

HALF_DONE = {"AWS::ECS::TaskDefinition", "AWS::ECS::Service"}
"""Types of which it drops parts of properties: secrets, volumes, health checks."""
_ASKED = "Asked"


@dataclass(frozen=True)
class Split:
    """A template in two parts.

    Attributes:
        kept: A template for the emulator. Its outputs also answer what `left` refers to.
        left: Resources that the emulator's CloudFormation does not make, by logical id.
        lost: Properties that it drops of what it makes: logical id, type, name and value.
        outputs: Outputs that refer to `left`.
        asked: Name of the output that answers a reference: logical id and attribute.
    """

    kept: dict[str, Any]
    left: dict[str, dict[str, Any]]
    lost: list[tuple[str, str, str, Any]]
    outputs: dict[str, Any]
    asked: dict[tuple[str, str], str]

    def types(self) -> dict[str, int]:
        """Return how many there are left of each type."""
        found: dict[str, int] = {}
        for resource in self.left.values():
            found[resource["Type"]] = found.get(resource["Type"], 0) + 1
        return dict(sorted(found.items()))


def split(
    template: Mapping[str, Any], unknown: Collection[str], dropped: Mapping[str, Collection[str]]
) -> Split:
    """Divide a template; what refers to something that is left is left, too.

    Args:
        template: The template.
        unknown: Types that the emulator refuses.
        dropped: Properties that it drops, by type.
    """
    resources = template["Resources"]
    left = {
        id for id, each in resources.items() if each["Type"] in unknown or each["Type"] in HALF_DONE
    }
    while more := {
        id
        for id, each in resources.items()
        if id not in left and any(to in left for to, _ in references(each))
    }:
        left |= more
    kept = copy.deepcopy({**template, "Resources": _without(resources, left)})
    for resource in kept["Resources"].values():
        if "DependsOn" in resource:
            resource["DependsOn"] = [id for id in _listed(resource["DependsOn"]) if id not in left]
    outputs = {
        name: output
        for name, output in template["Outputs"].items()
        if any(to in left for to, _ in references(output))
    }
    kept["Outputs"] = _without(kept["Outputs"], set(outputs))
    lost = [
        (id, each["Type"], name, each["Properties"][name])
        for id, each in resources.items()
        for name in dropped.get(each["Type"], ())
        if id not in left and name in each.get("Properties", {})
    ]
    wanted = {each for id in left for each in references(resources[id])}
    wanted |= {(id, "Ref") for id, _, _, _ in lost}
    wanted |= {each for _, _, _, value in lost for each in references(value)}
    asked = _ask(kept, {each for each in wanted if each[0] not in left})
    _secrets_by_arn(kept)
    return Split(kept, {id: resources[id] for id in resources if id in left}, lost, outputs, asked)


def references(value: Any) -> Iterator[tuple[str, str]]:
    """Yield logical id and attribute of every reference in a value; `Ref` for a plain one."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "Ref":
                yield inner, "Ref"
            elif key == "Fn::GetAtt":
                yield inner[0], inner[1]
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def _ask(kept: dict[str, Any], wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Have the kept template answer what the rest refers to."""
    asked = {}
    for number, (id, attribute) in enumerate(sorted(wanted)):
        name = asked[id, attribute] = f"{_ASKED}{number}"
        value = {"Ref": id} if attribute == "Ref" else {"Fn::GetAtt": [id, attribute]}
        kept["Outputs"][name] = {"Value": value}
    return asked


def _secrets_by_arn(kept: dict[str, Any]) -> None:
    secrets = {
        id
        for id, each in kept["Resources"].items()
        if each["Type"] == "AWS::SecretsManager::Secret"
    }

    def written(value: Any) -> Any:
        if isinstance(value, list):
            return [written(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if value.get("Ref") in secrets:
            return {"Fn::GetAtt": [value["Ref"], "Id"]}
        return {key: written(inner) for key, inner in value.items()}

    kept.update(written(kept))


def _without(mapping: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in names}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
