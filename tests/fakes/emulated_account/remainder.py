"""Makes through the API what the emulator's CloudFormation does not make, and says what it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tests.fakes.emulated_account import lost
from tests.fakes.emulated_account.split import Split, references

Clients = Callable[[str], Any]
Made = dict[str, str]
"""Attributes of a resource by name; `Ref` is its reference."""
NO_API = (
    "AWS::AutoScaling::WarmPool",
    "AWS::ImageBuilder::Component",
    "AWS::ImageBuilder::ImagePipeline",
    "AWS::ImageBuilder::ImageRecipe",
    "AWS::ImageBuilder::InfrastructureConfiguration",
)
"""What is not made at all: the emulator does not have these APIs either."""
DEFINITION, SERVICE = "AWS::ECS::TaskDefinition", "AWS::ECS::Service"


class Remainder:
    """What is left of a stack.

    Args:
        parts: The divided template.
        answers: Outputs of the stack that was made of the kept part.
        clients: The emulator's clients by service.
        keys: Variables that a task gets instead of its role.
        images: What the engine calls the platform's images, by the template's name for them.
        say: Where it is said what is made.
    """

    def __init__(
        self,
        parts: Split,
        answers: Mapping[str, str],
        clients: Clients,
        *,
        keys: Mapping[str, str],
        images: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        self._clients, self._say = clients, say
        self._keys = keys
        self._images = images
        self._parts = parts
        self._made: dict[str, Made] = {}
        self._know(answers)

    def update(self, parts: Split, answers: Mapping[str, str]) -> None:
        """Go on with a changed stack; what changed is made again."""
        before, self._parts = self._parts, parts
        for id in [id for id in self._made if before.left.get(id) != parts.left.get(id)]:
            del self._made[id]
        self._know(answers)

    def _know(self, answers: Mapping[str, str]) -> None:
        for (id, attribute), output in self._parts.asked.items():
            self._made.setdefault(id, {})[attribute] = answers[output]

    def report(self) -> list[str]:
        """Say of every type that is left what becomes of it; return the types."""
        for kind, count in self._parts.types().items():
            how = "not made: there is no such API" if kind in NO_API else "made through the API"
            self._say(f"  CloudFormation of the emulator leaves out {kind} ({count}): {how}")
        for kind, name in sorted({(kind, name) for _, kind, name, _ in self._parts.lost}):
            how = "given through the API" if (kind, name) in lost.GIVEN else "not given"
            self._say(f"  CloudFormation of the emulator drops {kind} {name}: {how}")
        return list(self._parts.types())

    def give(self) -> None:
        """Give what is made the properties that were dropped of it and that the API takes."""
        for id, kind, name, value in self._parts.lost:
            if give := lost.GIVEN.get((kind, name)):
                give(self._clients, self._made[id]["Ref"], self._resolved(value))

    def make(self, kinds: Collection[str] = (), only: str = "") -> None:
        """Make what is not made yet and has an API.

        Args:
            kinds: Types to make; none: every type but the platform's services.
            only: Beginning of the logical ids to make.
        """
        waiting = {
            id: each
            for id, each in self._parts.left.items()
            if id not in self._made
            and each["Type"] not in NO_API
            and (each["Type"] in kinds if kinds else each["Type"] != SERVICE)
            and id.startswith(only)
        }
        while waiting:
            ready = [
                id
                for id, each in waiting.items()
                if not any(to in waiting for to in _needed(each) - {id})
            ]
            assert ready, f"these wait for each other: {sorted(waiting)}"
            for id in ready:
                resource = waiting.pop(id)
                given = self._resolved(resource.get("Properties", {}))
                self._made[id] = _MAKERS[resource["Type"]](self, given)

    def outputs(self) -> dict[str, str]:
        """Return the outputs that refer to what is left, of what was made."""
        return {
            name: self._resolved(output["Value"])
            for name, output in self._parts.outputs.items()
            if all(to in self._made for to, _ in references(output))
        }

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._resolved(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        for function, calculate in _FUNCTIONS.items():
            if function in value:
                return calculate(self._resolved(value[function]))
        for to, attribute in references(value) if len(value) == 1 else ():
            if value.keys() <= {"Ref", "Fn::GetAtt"}:
                return self._made[to][attribute]
        return {key: self._resolved(inner) for key, inner in value.items()}

    # One maker a type.

    def _address(self, given: dict[str, Any]) -> Made:
        made = self._clients("ec2").allocate_address(Domain=given["Domain"])
        return {"Ref": made["PublicIp"], "AllocationId": made["AllocationId"]}

    def _nat(self, given: dict[str, Any]) -> Made:
        asked = {name: given[name] for name in ("AllocationId", "SubnetId")}
        made = self._clients("ec2").create_nat_gateway(**asked)
        return {"Ref": made["NatGateway"]["NatGatewayId"]}

    def _route(self, given: dict[str, Any]) -> Made:
        self._clients("ec2").create_route(**given)
        return {"Ref": given["RouteTableId"]}

    def _flow_log(self, given: dict[str, Any]) -> Made:
        asked = {k: v for k, v in given.items() if k not in ("ResourceId", "Tags")}
        made = self._clients("ec2").create_flow_logs(ResourceIds=[given["ResourceId"]], **asked)
        assert not made.get("Unsuccessful"), made
        return {"Ref": made["FlowLogIds"][0]}

    def _ingress(self, given: dict[str, Any]) -> Made:
        return self._rule("authorize_security_group_ingress", "Source", given)

    def _egress(self, given: dict[str, Any]) -> Made:
        return self._rule("authorize_security_group_egress", "Destination", given)

    def _rule(self, call: str, other: str, given: dict[str, Any]) -> Made:
        rule = {k: given[k] for k in ("IpProtocol", "FromPort", "ToPort") if k in given}
        said = {"Description": given["Description"]} if "Description" in given else {}
        for name, plural, key in (
            (f"{other}SecurityGroupId", "UserIdGroupPairs", "GroupId"),
            (f"{other}PrefixListId", "PrefixListIds", "PrefixListId"),
            ("CidrIp", "IpRanges", "CidrIp"),
            ("CidrIpv6", "Ipv6Ranges", "CidrIpv6"),
        ):
            if name in given:
                rule[plural] = [{key: given[name], **said}]
        getattr(self._clients("ec2"), call)(GroupId=given["GroupId"], IpPermissions=[rule])
        return {"Ref": given["GroupId"]}

    def _provider(self, given: dict[str, Any]) -> Made:
        self._clients("ecs").create_capacity_provider(**_camel(given))
        return {"Ref": given["Name"]}

    def _providers(self, given: dict[str, Any]) -> Made:
        self._clients("ecs").put_cluster_capacity_providers(**_camel(given))
        return {"Ref": given["Cluster"]}

    def _definition(self, given: dict[str, Any]) -> Made:
        asked = _camel(given)
        for container in asked["containerDefinitions"]:
            keys = [{"name": name, "value": value} for name, value in self._keys.items()]
            container["environment"] = container.get("environment", []) + keys
            container["image"] = self._images[container["image"]]
        made = self._clients("ecs").register_task_definition(**asked)["taskDefinition"]
        # Or a service starts without its secrets, and says that they are missing.
        kept = made["containerDefinitions"][0]
        assert kept.get("secrets") == asked["containerDefinitions"][0].get("secrets"), kept
        return {"Ref": made["taskDefinitionArn"], "Family": made["family"]}

    def _service(self, given: dict[str, Any]) -> Made:
        made = self._clients("ecs").create_service(**_camel(given))["service"]
        return {"Ref": made["serviceArn"], "Name": made["serviceName"]}


_MAKERS: dict[str, Callable[[Remainder, dict[str, Any]], Made]] = {
    "AWS::EC2::EIP": Remainder._address,
    "AWS::EC2::NatGateway": Remainder._nat,
    "AWS::EC2::Route": Remainder._route,
    "AWS::EC2::FlowLog": Remainder._flow_log,
    "AWS::EC2::SecurityGroupIngress": Remainder._ingress,
    "AWS::EC2::SecurityGroupEgress": Remainder._egress,
    "AWS::ECS::CapacityProvider": Remainder._provider,
    "AWS::ECS::ClusterCapacityProviderAssociations": Remainder._providers,
    "AWS::ECS::TaskDefinition": Remainder._definition,
    "AWS::ECS::Service": Remainder._service,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "Fn::Join": lambda given: given[0].join(given[1]),
    "Fn::Select": lambda given: given[1][int(given[0])],
    "Fn::Split": lambda given: given[1].split(given[0]),
}


def write_secrets(template: Mapping[str, Any], clients: Clients) -> int:
    """Write every generated secret again, of the characters that the template asks for.

    Returns:
        How many there are.
    """
    store, count = clients("secretsmanager"), 0
    for resource in template["Resources"].values():
        given = resource.get("Properties", {})
        if resource["Type"] != "AWS::SecretsManager::Secret" or "Name" not in given:
            continue
        how = given["GenerateSecretString"]
        options = {
            name: value
            for name, value in how.items()
            if name not in ("SecretStringTemplate", "GenerateStringKey")
        }
        value = store.get_random_password(**options)["RandomPassword"]
        if "SecretStringTemplate" in how:
            around = json.loads(how["SecretStringTemplate"])
            value = json.dumps({**around, how["GenerateStringKey"]: value})
        store.put_secret_value(SecretId=given["Name"], SecretString=value)
        count += 1
    return count


def _needed(resource: dict[str, Any]) -> set[str]:
    listed = resource.get("DependsOn", [])
    first = set(listed) if isinstance(listed, list) else {listed}
    return first | {to for to, _ in references(resource)}


def _camel(value: Any, *, inside: str = "") -> Any:
    """Return a value as ECS's API spells it; what people chose (log options) stays."""
    if isinstance(value, list):
        return [_camel(inner) for inner in value]
    if not isinstance(value, dict) or inside == "Options":
        return value
    return {_first_small(key): _camel(inner, inside=key) for key, inner in value.items()}


def _first_small(key: str) -> str:
    return key[0].lower() + key[1:]
