"""docs/ecs.md: its settings load, and its policies allow what the code calls."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from workroom_hub import config_file
from workroom_spawner import ecs_api
from workroom_spawner.aws_calls import Call

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "ecs.md").read_text()
POLICIES = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
# IAM's names of services are not always the SDK's.
PREFIX = {"ecs": "ecs", "efs": "elasticfilesystem", "logs": "logs", "autoscaling": "autoscaling"}
# Rights that go with a call: tags and roles are handed over with others' requests.
BESIDE = {
    "ecs:TagResource",
    "elasticfilesystem:TagResource",
    "iam:PassRole",
    "ecs:DescribeClusters",
}


def hub_policy() -> list[dict[str, Any]]:
    [policy] = [p for p in POLICIES if any(s.get("Sid") == "Start" for s in p["Statement"])]
    statements: list[dict[str, Any]] = policy["Statement"]
    return statements


def actions(statement: dict[str, Any]) -> list[str]:
    action = statement["Action"]
    return [action] if isinstance(action, str) else list(action)


def test_the_settings_load(tmp_path: Path) -> None:
    samples = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    path = tmp_path / "workroom.yaml"
    path.write_text("".join(samples))
    settings = config_file.load(path, {})
    assert settings.spawner == "ecs"
    assert settings.web.isolation == "subdomain"


def test_the_hub_may_do_what_it_does_and_no_more() -> None:
    calls = [value for value in vars(ecs_api).values() if isinstance(value, Call)]
    needed = {f"{PREFIX[call.service]}:{call.operation}" for call in calls} | BESIDE
    given = [action for statement in hub_policy() for action in actions(statement)]
    assert sorted(given) == sorted(needed)


@pytest.mark.parametrize("statement", hub_policy(), ids=lambda statement: statement["Sid"])
def test_everything_is_allowed_for_something_only(statement: dict[str, Any]) -> None:
    """But for the calls that IAM cannot narrow down (Service Authorization Reference)."""
    unbounded = {
        "ecs:ListTasks", "ecs:ListTaskDefinitionFamilies", "autoscaling:DescribeAutoScalingGroups"
    }  # fmt: skip
    if statement["Resource"] == "*":
        assert set(actions(statement)) <= unbounded
    for action in actions(statement):
        if action in ("ecs:RunTask", "ecs:ListTasks", "iam:PassRole") or "Tag" in action:
            assert statement["Condition"]
