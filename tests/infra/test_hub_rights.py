"""The hub's rights against what it asks: its own requests, evaluated as IAM would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from tests.support.policies import ACCOUNT, FILE_SYSTEM, documents, filled, may, resolved
from tests.support.template import Statement, Template
from workroom_hub.configure_ecs import ecs_settings
from workroom_hub.settings import Settings
from workroom_hub.settings_deployed import merged
from workroom_spawner import ecs_api
from workroom_spawner.aws_calls import Call
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.task_requests import TaskSpec, family_prefix, run_task, task_definition

ECS = f"arn:aws:ecs:eu-central-1:{ACCOUNT}"
EFS = f"arn:aws:elasticfilesystem:eu-central-1:{ACCOUNT}"
PAGE = (Path(__file__).parents[2] / "docs/ecs.md").read_text()
CALLS = [each for each in vars(ecs_api).values() if isinstance(each, Call)]
PREFIXES = {"efs": "elasticfilesystem"}
ANSWERS: dict[str, dict[str, Any]] = {
    "run_task": {"tasks": [{"taskArn": f"{ECS}:task/workroom/0123456789abcdef"}]},
    "stop_task": {},
    "describe_tasks": {"tasks": [], "failures": []},
    "list_tasks": {"taskArns": []},
    "register_task_definition": {},
    "list_task_definition_families": {"families": []},
    "describe_access_points": {"AccessPoints": [{"LifeCycleState": "available"}]},
    "create_access_point": {"AccessPointId": "fsap-1", "LifeCycleState": "creating"},
    "get_log_events": {"events": []},
    "describe_auto_scaling_groups": {"AutoScalingGroups": []},
}


class Asked(NamedTuple):
    """What IAM decides on: an action on a resource, with what the request says."""

    action: str
    resource: str
    context: dict[str, str]


@pytest.fixture(scope="module")
def rights(template: Template) -> list[Statement]:
    return resolved(template, template.rights("RolesHub"))


@pytest.fixture(scope="module")
def ecs(template: Template, settings: Settings) -> EcsSettings:
    """The settings of the deployed hub's spawner."""
    outputs = {name: filled(template, value) for name, value in template.outputs().items()}
    runtime: Any = SimpleNamespace(installation="ab" * 16)
    return ecs_settings(Settings.model_validate(merged(settings, outputs)), runtime)


async def requests(ecs: EcsSettings) -> list[tuple[str, str, dict[str, Any]]]:
    """Return service, operation and request of everything the spawner asks AWS."""
    asked = []

    def client(service: str) -> Any:
        def method(name: str) -> Callable[..., dict[str, Any]]:
            def call(**request: Any) -> dict[str, Any]:
                asked.append((service, name, request))
                return ANSWERS[name]

            return call

        return SimpleNamespace(**{name: method(name) for name in ANSWERS})

    async def runner(call: Callable[[], Any]) -> Any:
        return call()

    api = EcsApi(ecs, clients=client, runner=runner)
    for groups, gpu in (((), 0), (("finance",), 0), (("research",), 1)):
        spec = TaskSpec("ann", "", "p", "image", 1, 2**30, "fsap-1", gpu=gpu, groups=groups)
        definition = task_definition(spec, ecs)
        family = await api.register(definition)
        outcome = await api.run_task(run_task(spec, ecs, family, "token"))
    assert outcome.task
    await api.stop_task(outcome.task.arn, "no reason")
    await api.describe_tasks([outcome.task.arn], tags=True)
    await api.list_tasks()
    await api.families(family_prefix(ecs))
    await api.access_points()
    await api.create_access_point("key", "/homes/ann")
    await api.log_lines("0123456789abcdef")
    await api.machines()
    return asked


def asked_of(name: str, request: dict[str, Any]) -> list[Asked]:
    """Return what one request needs to be allowed."""
    cluster = {"ecs:cluster": f"{ECS}:cluster/{request.get('cluster')}"}
    task = f"{ECS}:task/{request.get('cluster')}/0123456789abcdef"
    system = f"{EFS}:file-system/{request.get('FileSystemId')}"
    to_tasks = {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    match name:
        case "run_task":
            roles = [v for k, v in request["overrides"].items() if k.endswith("RoleArn")]
            definition = f"{ECS}:task-definition/{request['taskDefinition']}:1"
            return [
                Asked("ecs:RunTask", definition, cluster),
                Asked("ecs:TagResource", task, {"ecs:CreateAction": "RunTask"}),
                *(Asked("iam:PassRole", role, to_tasks) for role in roles),
            ]
        case "register_task_definition":
            definition = f"{ECS}:task-definition/{request['family']}:1"
            roles = [request["taskRoleArn"], request["executionRoleArn"]]
            made = {"ecs:CreateAction": "RegisterTaskDefinition"}
            return [
                Asked("ecs:RegisterTaskDefinition", definition, {}),
                Asked("ecs:TagResource", definition, made),
                *(Asked("iam:PassRole", role, to_tasks) for role in roles),
            ]
        case "stop_task":
            return [Asked("ecs:StopTask", request["task"], cluster)]
        case "describe_tasks":
            return [Asked("ecs:DescribeTasks", arn, cluster) for arn in request["tasks"]]
        case "list_tasks":
            return [Asked("ecs:ListTasks", "*", cluster)]
        case "list_task_definition_families":
            return [Asked("ecs:ListTaskDefinitionFamilies", "*", {})]
        case "describe_access_points":
            point = f"{EFS}:access-point/{request.get('AccessPointId')}"
            looked_at = system if "FileSystemId" in request else point
            return [Asked("elasticfilesystem:DescribeAccessPoints", looked_at, {})]
        case "create_access_point":
            made = {"elasticfilesystem:CreateAction": "CreateAccessPoint"}
            return [
                Asked("elasticfilesystem:CreateAccessPoint", system, {}),
                Asked("elasticfilesystem:TagResource", f"{EFS}:access-point/fsap-1", made),
            ]
        case "get_log_events":
            stream = f"{request['logGroupName']}:log-stream:{request['logStreamName']}"
            arn = f"arn:aws:logs:eu-central-1:{ACCOUNT}:log-group:{stream}"
            return [Asked("logs:GetLogEvents", arn, {})]
        case "describe_auto_scaling_groups":
            return [Asked("autoscaling:DescribeAutoScalingGroups", "*", {})]
    raise AssertionError(f"{name} is a request that nobody evaluates")


async def test_every_request_of_the_spawner_is_allowed(
    rights: list[Statement], ecs: EcsSettings
) -> None:
    made = await requests(ecs)
    assert len({name for _, name, _ in made}) == len(CALLS)
    for _, name, request in made:
        for asked in asked_of(name, request):
            assert may(rights, *asked), asked


async def test_none_is_allowed_elsewhere(rights: list[Statement], ecs: EcsSettings) -> None:
    elsewhere = {
        "cluster": "elsewhere",
        "family": "elsewhere-1",
        "taskDefinition": "elsewhere-1",
        "FileSystemId": "fs-00000000000000000",
        "task": f"{ECS}:task/elsewhere/0123456789abcdef",
        "tasks": [f"{ECS}:task/elsewhere/0123456789abcdef"],
        "logGroupName": "/elsewhere/servers",
        "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/elsewhere",
    }
    changed = set()
    for _, name, request in await requests(ecs):
        for key in elsewhere.keys() & request.keys():
            if key == "cluster" and name in ("stop_task", "describe_tasks"):
                continue  # the task's ARN names it
            moved = asked_of(name, {**request, key: elsewhere[key]})
            assert not all(may(rights, *asked) for asked in moved), (name, key)
            changed.add(key)
    assert changed == set(elsewhere)


def test_it_may_do_what_it_asks_and_nothing_else(rights: list[Statement]) -> None:
    asked = {f"{PREFIXES.get(each.service, each.service)}:{each.operation}" for each in CALLS}
    # Tags and roles are parts of requests; `workroom up` looks at the cluster.
    parts = {"ecs:TagResource", "elasticfilesystem:TagResource", "iam:PassRole"}
    given = {action for each in rights for action in each.actions}
    assert given == asked | parts | {"ecs:DescribeClusters"}


def test_they_are_those_that_docs_ecs_lists(rights: list[Statement]) -> None:
    [listed] = [each for each in documents(PAGE) if "RolesOfTasks" in each]
    given = {each.sid: each for each in rights}
    assert set(given) == set(listed)
    for sid, statement in given.items():
        assert list(statement.actions) == _listed(listed[sid]["Action"]), sid
        assert statement.conditions == listed[sid].get("Condition", {}), sid
        if sid != "RolesOfTasks":  # a deployment has more of them, under longer names
            assert list(statement.resources) == _listed(listed[sid]["Resource"]), sid


def test_servers_mount_what_docs_ecs_lists(template: Template) -> None:
    file_systems, servers = (
        each
        for each in documents(PAGE)
        if "elasticfilesystem:ClientMount" in str(each) and "RolesOfTasks" not in each
    )
    policy = filled(template, template.one("AWS::EFS::FileSystem")["FileSystemPolicy"])
    [allow] = [each for each in policy["Statement"] if each["Effect"] == "Allow"]
    assert allow["Condition"] == file_systems["0"]["Condition"]
    assert allow["Action"] == file_systems["0"]["Action"]
    for role in (id for id in template.of("AWS::IAM::Role") if id.startswith("RolesServers")):
        [home] = [each for each in resolved(template, template.rights(role)) if each.sid == "Home"]
        assert list(home.resources) == _listed(servers["0"]["Resource"])
        assert home.conditions == servers["0"]["Condition"]
        assert FILE_SYSTEM in home.resources[0]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
