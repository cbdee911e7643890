"""Whole ECS requests, compared as wholes; and what AWS's own model and documents say of them."""

import json
import re
import unicodedata
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from workroom_spawner import names
from workroom_spawner.ecs_settings import (
    CapacityProvider,
    EcsHomes,
    EcsSettings,
    GroupRoles,
    TaskLogs,
)
from workroom_spawner.task_requests import (
    SERVER_ID,
    START,
    TaskSpec,
    family_prefix,
    run_task,
    server_id,
    task_definition,
    with_environment,
)

GIB = 2**30
TOKEN = "7d0f5a4e2b1c4f7c9d2f3a6b8e0c1d2e"
INSTALLATION = "0123456789abcdef0123456789abcdef"
ECS = EcsSettings(
    region="eu-central-1",
    cluster="team",
    instance="workroom",
    installation=INSTALLATION,
    subnets=("subnet-1", "subnet-2"),
    security_groups=("sg-1",),
    homes=EcsHomes(file_system="fs-12345678"),
)
SPEC = TaskSpec(
    user="ada@example.com",
    server="gpu",
    profile="large",
    image="registry.example/notebook:1",
    cpu=1.5,
    memory=2 * GIB,
    home="fsap-1",
    environment={"WORKROOM_START_URL": "http://10.0.0.5:8081/start", "A": "b"},
)
FULL = replace(
    ECS,
    task_role="arn:aws:iam::1:role/task",
    execution_role="arn:aws:iam::1:role/execution",
    group_roles=(
        GroupRoles("vision", task_role="arn:aws:iam::1:role/vision"),
        GroupRoles("finance", execution_role="arn:aws:iam::1:role/finance-execution"),
    ),
    capacity_providers=(CapacityProvider("general", weight=2, base=1),),
    gpu_capacity_providers=(CapacityProvider("gpu"),),
    logs=TaskLogs("workroom"),
    registry_secret="arn:aws:secretsmanager:eu-central-1:1:secret:registry",
    placement_constraints=({"type": "memberOf", "expression": "attribute:zone == a"},),
    tags={"cost-centre": "42", "workroom:user": "somebody else"},
    execute_command=True,
)
HOSTILE = [
    "ada",
    "Ada",
    "ada ",
    " ada",
    " ",
    "",
    "aws:ada",
    "AWS:ada",
    "a_da",
    "a<da",
    "Zoë",
    "Zoe\u0308",
    "张伟",
    "🙂",
    "\ud800",
    "𐎠" * 200,
    "é" * 300,
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "'; DROP TABLE users; --",
    "a\nb",
    "a\x00b",
    "a" * 200,
    "a" * 257,
    "a" * 256 + "b",
]


def definition_of(spec: TaskSpec = SPEC, ecs: EcsSettings = ECS) -> dict[str, Any]:
    return task_definition(spec, ecs)


def tags_of(request: dict[str, Any]) -> dict[str, str]:
    tags = {tag["key"]: tag["value"] for tag in request["tags"]}
    assert len(tags) == len(request["tags"])
    return tags


# -- the task definition -----------------------------------------------------------

CONTAINER = {
    "name": "server",
    "image": "registry.example/notebook:1",
    "essential": True,
    "memory": 512,
    "user": "59000:59000",
    "portMappings": [
        {"containerPort": 8888, "protocol": "tcp"},
        {"containerPort": 2222, "protocol": "tcp"},
    ],
    "linuxParameters": {
        "capabilities": {"drop": ["ALL"]},
        "sharedMemorySize": 2048,
        "maxSwap": 0,
    },
    "dockerSecurityOptions": ["no-new-privileges"],
    "mountPoints": [{"sourceVolume": "home", "containerPath": "/home/workroom", "readOnly": False}],
    "stopTimeout": 30,
}
PLAIN = {
    "family": "workroom-c4aowyhn3hex-ada-example-com-9bda7ffc5bace0f75216",
    "requiresCompatibilities": ["EC2"],
    "networkMode": "awsvpc",
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [CONTAINER],
    "volumes": [
        {
            "name": "home",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-12345678",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-1", "iam": "ENABLED"},
            },
        }
    ],
    "tags": [
        {"key": "workroom:instance", "value": "workroom"},
        {"key": "workroom:installation", "value": INSTALLATION},
        {"key": "workroom:user", "value": "ada@example.com"},
    ],
}


def test_definition_with_a_home_on_efs() -> None:
    """The family is in it, too: another hash would register everybody's definition again."""
    assert definition_of() == PLAIN


def test_definition_with_a_folder_as_home() -> None:
    ecs = replace(ECS, homes=EcsHomes("host-path", root="/srv/homes"))
    request = definition_of(replace(SPEC, home="/srv/homes/ada"), ecs)
    assert request == {
        **PLAIN,
        "family": request["family"],
        "volumes": [{"name": "home", "host": {"sourcePath": "/srv/homes/ada"}}],
    }


def test_definition_with_roles_private_registry_and_logs() -> None:
    request = definition_of(SPEC, replace(FULL, shared_memory=64 * 2**20, stop_seconds=120))
    assert request == {
        **PLAIN,
        "family": request["family"],
        "taskRoleArn": "arn:aws:iam::1:role/task",
        "executionRoleArn": "arn:aws:iam::1:role/execution",
        "containerDefinitions": [
            {
                **CONTAINER,
                "linuxParameters": {
                    "capabilities": {"drop": ["ALL"]},
                    "sharedMemorySize": 64,
                    "maxSwap": 0,
                },
                "stopTimeout": 120,
                "repositoryCredentials": {
                    "credentialsParameter": (
                        "arn:aws:secretsmanager:eu-central-1:1:secret:registry"
                    )
                },
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": "workroom",
                        "awslogs-region": "eu-central-1",
                        "awslogs-stream-prefix": "servers",
                    },
                },
            }
        ],
    }


@pytest.mark.parametrize(
    "spec",
    [
        replace(SPEC, server="", profile="small", cpu=8, memory=GIB, gpu=2),
        replace(SPEC, groups=("vision",), environment={"B": "c"}),
    ],
)
def test_what_runtask_overrides_does_not_change_the_definition(spec: TaskSpec) -> None:
    assert definition_of(spec, FULL) == definition_of(SPEC, FULL)


@pytest.mark.parametrize(
    "ecs",
    [
        replace(ECS, tags={"cost-centre": "42"}, subnets=("subnet-9",), execute_command=True),
        replace(ECS, orphan_grace=1, capacity_timeout=1, endpoint_url="http://127.0.0.1:1"),
    ],
)
def test_settings_that_are_not_in_a_definition_do_not_change_its_family(ecs: EcsSettings) -> None:
    assert definition_of(SPEC, ecs)["family"] == PLAIN["family"]


def test_every_change_of_content_is_another_family() -> None:
    specs = [
        SPEC,
        replace(SPEC, image="registry.example/notebook:2"),
        replace(SPEC, home="fsap-2"),
        replace(SPEC, user="ada", home="fsap-3"),
    ]
    settings = [
        ECS,
        replace(ECS, task_role="r"),
        replace(ECS, execution_role="r"),
        replace(ECS, registry_secret="s"),
        replace(ECS, logs=TaskLogs("a")),
        replace(ECS, logs=TaskLogs("a", "b")),
        replace(ECS, shared_memory=GIB),
        replace(ECS, stop_seconds=31),
        replace(ECS, homes=EcsHomes(file_system="fs-2")),
        replace(ECS, installation="f" * 32),
        replace(ECS, instance="other"),
    ]
    requests = [definition_of(spec, ecs) for spec in specs for ecs in settings]
    assert len({request["family"] for request in requests}) == len(specs) * len(settings)


def test_families_are_found_by_the_prefix_of_their_installation_only() -> None:
    assert str(PLAIN["family"]).startswith(family_prefix(ECS))
    for other in (replace(ECS, installation="f" * 32), replace(ECS, instance="work")):
        assert not str(PLAIN["family"]).startswith(family_prefix(other))


@pytest.mark.parametrize("user", HOSTILE)
def test_family_is_legal_whoever_it_is_for(user: str) -> None:
    ecs = replace(ECS, instance="a" * 32)
    family = definition_of(replace(SPEC, user=user), ecs)["family"]
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,255}", family)
    assert family.startswith(family_prefix(ecs))


# -- RunTask -------------------------------------------------------------------------

RUN = {
    "cluster": "team",
    "taskDefinition": "family",
    "count": 1,
    "clientToken": TOKEN,
    "startedBy": f"workroom/{INSTALLATION}",
    "networkConfiguration": {
        "awsvpcConfiguration": {
            "subnets": ["subnet-1", "subnet-2"],
            "securityGroups": ["sg-1"],
            "assignPublicIp": "DISABLED",
        }
    },
    "placementStrategy": [{"type": "binpack", "field": "memory"}],
    "overrides": {
        "cpu": "1536",
        "memory": "2048",
        "containerOverrides": [
            {
                "name": "server",
                "cpu": 1536,
                "memory": 2048,
                "environment": [
                    {"name": "A", "value": "b"},
                    {"name": "WORKROOM_START_URL", "value": "http://10.0.0.5:8081/start"},
                ],
            }
        ],
    },
    "enableExecuteCommand": False,
    "enableECSManagedTags": True,
    "tags": [
        {"key": "workroom:instance", "value": "workroom"},
        {"key": "workroom:installation", "value": INSTALLATION},
        {"key": "workroom:user", "value": "ada@example.com"},
        {"key": "workroom:server", "value": "gpu"},
        {"key": "workroom:profile", "value": "large"},
        {"key": SERVER_ID, "value": "workroom-ada-example-gpu-gilujs6r3uc7"},
        {"key": START, "value": TOKEN},
    ],
}


def run(spec: TaskSpec = SPEC, ecs: EcsSettings = ECS) -> dict[str, Any]:
    return run_task(spec, ecs, "family", TOKEN)


def test_plain_server() -> None:
    assert run() == RUN


def test_everything_asked_for() -> None:
    spec = replace(SPEC, gpu=2, groups=("people", "vision", "finance"))
    assert run(spec, FULL) == {
        **RUN,
        "overrides": {
            **RUN["overrides"],  # type: ignore[dict-item]
            "containerOverrides": [
                {
                    **RUN["overrides"]["containerOverrides"][0],  # type: ignore[index]
                    "resourceRequirements": [{"type": "GPU", "value": "2"}],
                }
            ],
            "taskRoleArn": "arn:aws:iam::1:role/vision",
        },
        "capacityProviderStrategy": [{"capacityProvider": "gpu", "weight": 1, "base": 0}],
        "placementConstraints": [{"type": "memberOf", "expression": "attribute:zone == a"}],
        "enableExecuteCommand": True,
        "tags": [{"key": "cost-centre", "value": "42"}, *_reordered(RUN["tags"])],
    }


def _reordered(tags: Any) -> list[dict[str, str]]:
    # A tag of the settings with one of our keys loses, but keeps its place.
    by_key = {tag["key"]: tag for tag in tags}
    return [by_key.pop("workroom:user"), *by_key.values()]


def test_without_gpu_the_general_machines_are_used() -> None:
    assert run(SPEC, FULL)["capacityProviderStrategy"] == [
        {"capacityProvider": "general", "weight": 2, "base": 1}
    ]
    without = replace(FULL, gpu_capacity_providers=())
    assert run(replace(SPEC, gpu=1), without)["capacityProviderStrategy"] == [
        {"capacityProvider": "general", "weight": 2, "base": 1}
    ]


def test_no_security_group_means_the_networks_default_one() -> None:
    request = run(SPEC, replace(ECS, security_groups=()))
    assert request["networkConfiguration"] == {
        "awsvpcConfiguration": {
            "subnets": ["subnet-1", "subnet-2"],
            "assignPublicIp": "DISABLED",
        }
    }


@pytest.mark.parametrize(
    ("groups", "changed"),
    [
        ((), {}),
        (("people",), {}),
        (("vision",), {"taskRoleArn": "arn:aws:iam::1:role/vision"}),
        (("finance",), {"executionRoleArn": "arn:aws:iam::1:role/finance-execution"}),
        (("finance", "vision"), {"taskRoleArn": "arn:aws:iam::1:role/vision"}),
    ],
)
def test_roles_follow_the_first_group_that_has_some(
    groups: tuple[str, ...], changed: dict[str, str]
) -> None:
    overrides = run(replace(SPEC, groups=groups), FULL)["overrides"]
    assert {key: overrides[key] for key in overrides if key.endswith("Arn")} == changed


@pytest.mark.parametrize(
    ("cores", "units"), [(0.01, 128), (0.125, 128), (0.5, 512), (1 / 3, 341), (64, 65536)]
)
def test_cores_become_units_and_ecs_takes_no_less_than_128(cores: float, units: int) -> None:
    overrides = run(replace(SPEC, cpu=cores))["overrides"]
    assert overrides["cpu"] == str(units)
    assert overrides["containerOverrides"][0]["cpu"] == units


def test_start_code_gets_in_and_the_request_itself_stays_free_of_it() -> None:
    request = run()
    complete = with_environment(request, {"WORKROOM_START_CODE": "code", "A": "changed"})
    assert request == RUN
    [container] = complete["overrides"]["containerOverrides"]
    assert container["environment"] == [
        {"name": "A", "value": "changed"},
        {"name": "WORKROOM_START_CODE", "value": "code"},
        {"name": "WORKROOM_START_URL", "value": "http://10.0.0.5:8081/start"},
    ]
    container["environment"] = RUN["overrides"]["containerOverrides"][0]["environment"]  # type: ignore[index]
    assert complete == RUN


def test_a_server_id_is_one_servers() -> None:
    pairs = [(user, server) for user in HOSTILE for server in ("", "gpu", "x" * 200)]
    assert len({server_id(ECS, *pair) for pair in pairs}) == len(pairs)


# -- what AWS takes ------------------------------------------------------------------


def _arn(kind: str, length: int) -> str:
    start = f"arn:aws:iam::123456789012:{kind}/"
    return start + "r" * (length - len(start))


LONGEST = replace(
    FULL,
    instance="a" * 32,
    task_role=_arn("role", 600),
    execution_role=_arn("role", 600),
    # 64 characters of name below a path of 512, IAM's longest.
    group_roles=(GroupRoles("g", _arn("role", 607), _arn("role", 608)),),
)
LONGEST_SPEC = replace(
    SPEC,
    user="张" * 200,
    server="é" * 200,
    profile="p" * 64,
    image="r" * 255 + "@sha256:" + "0" * 64,
    cpu=1024,
    memory=24 * 2**40,
    gpu=16,
    groups=("g",),
    environment={
        "WORKROOM_START_URL": f"https://{'h' * 253}:65535/{'p' * 200}/hub/api/workroom/start",
        **{f"WORKROOM_{'N' * 40}_{number}": "v" * 100 for number in range(8)},
    },
)


def test_overrides_stay_within_ecs_limit_at_their_longest() -> None:
    """ECS: 8,192 characters in all, those of the JSON included."""
    request = with_environment(run(LONGEST_SPEC, LONGEST), {"WORKROOM_START_CODE": "c" * 64})
    assert len(json.dumps(request["overrides"])) <= 8192 // 2  # room for what is yet to come


def _shape_errors(service: str, operation: str, request: dict[str, Any]) -> str:
    client = boto3.client(
        service, region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    shape = client.meta.service_model.operation_model(operation).input_shape
    report: str = ParamValidator().validate(request, shape).generate_report()
    return report


HOST_PATH = replace(FULL, homes=EcsHomes("host-path", root="/srv/homes"))


@pytest.mark.parametrize("ecs", [ECS, FULL, HOST_PATH, LONGEST, replace(ECS, security_groups=())])
@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, gpu=1, groups=("vision",)), LONGEST_SPEC])
def test_botocore_takes_every_request(spec: TaskSpec, ecs: EcsSettings) -> None:
    assert _shape_errors("ecs", "RegisterTaskDefinition", task_definition(spec, ecs)) == ""
    assert _shape_errors("ecs", "RunTask", with_environment(run(spec, ecs), {"A": "b"})) == ""


def test_the_validator_would_have_said_so() -> None:
    assert "Unknown parameter" in _shape_errors("ecs", "RunTask", {**RUN, "start": "code"})
    assert "Invalid type" in _shape_errors("ecs", "RunTask", {**RUN, "count": "1"})


def _legal_tag_value(value: str) -> bool:
    """AWS: `[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*`, 256 UTF-16 units, never beginning with aws:."""
    return (
        all(c in "_.:/=+-@" or unicodedata.category(c)[0] in "LZN" for c in value)
        and len(value.encode("utf-16-le")) <= 2 * 256
        and not value.lower().startswith("aws:")
        and value == value.strip()
    )


@pytest.mark.parametrize("user", HOSTILE)
@pytest.mark.parametrize("server", ["", "gpu", "Été <2026>", "🙂" * 200])
def test_tags_are_legal_whoever_it_is(user: str, server: str) -> None:
    spec = replace(SPEC, user=user, server=server)
    for request in (run(spec), task_definition(spec, ECS)):
        for key, value in tags_of(request).items():
            assert _legal_tag_value(value), (key, value)
            assert re.fullmatch(r"[a-z:-]{1,128}", key)
        assert len(request["tags"]) <= 50


def test_tag_values_stay_readable_and_are_never_anothers() -> None:
    for plain in ("ada", "ada@example.com", "Zoë", "张伟", "a" * 200, "with space"):
        assert names.tag_value(plain) == plain
    assert names.tag_value("a<b>").startswith("a_b_ ")
    assert names.tag_value("aws:ada").startswith("aws_ada ")
    values = [names.tag_value(user) for user in HOSTILE]
    assert len(set(values)) == len(HOSTILE)


def test_identifiers_are_within_their_limits() -> None:
    assert re.fullmatch(r"[A-Za-z0-9/_-]{1,128}", ECS.started_by)
    assert ECS.started_by != replace(ECS, installation="f" * 32).started_by
