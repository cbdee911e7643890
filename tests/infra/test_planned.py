"""`workroom plan` and the stack: machines come as was simulated."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.template import Template
from workroom_hub.settings import Settings
from workroom_hub.settings_aws import Aws
from workroom_hub.settings_plan import Assumptions, Policy

PAGE = Path(__file__).resolve().parents[2] / "docs/capacity.md"


def test_machines_come_as_the_planner_assumes(template: Template) -> None:
    assumed = Assumptions()
    for provider in template.of("AWS::ECS::CapacityProvider").values():
        scaling = provider["AutoScalingGroupProvider"]["ManagedScaling"]
        assert scaling["InstanceWarmupPeriod"] == assumed.instance_warmup
        assert scaling["MaximumScalingStepSize"] == assumed.max_step
        assert scaling["MinimumScalingStepSize"] == 1


def test_headroom_is_the_planners_target(template: Template, settings: Settings) -> None:
    assert settings.aws
    [target] = {
        each["AutoScalingGroupProvider"]["ManagedScaling"]["TargetCapacity"]
        for each in template.of("AWS::ECS::CapacityProvider").values()
    }
    assert Policy(name="deployed", target=100 - settings.aws.headroom).target == target


def test_every_headroom_that_may_be_set_can_be_planned() -> None:
    bounds = [bound for bound in Aws.model_fields["headroom"].metadata if hasattr(bound, "le")]
    assert Policy(name="most", target=100 - bounds[0].le)


def test_the_warm_pool_holds_what_the_planner_calls_prepared(
    template: Template, settings: Settings
) -> None:
    assert settings.aws
    pool = template.one("AWS::AutoScaling::WarmPool")
    assert pool["MaxGroupPreparedCapacity"] == settings.aws.warm_machines
    assert pool["MinSize"] == 0, "else it is filled beyond that number"


def test_disks_are_as_large_as_the_planner_counts() -> None:
    assert Aws.model_fields["machine_disk"].default == Assumptions().disk


def test_the_page_says_which_setting_each_field_is() -> None:
    page = PAGE.read_text()
    rows = re.findall(r"^\| `(\w+)` \|.*`aws\.(\w+)`", page, re.MULTILINE)
    assert dict(rows) == {
        "target": "headroom",
        "minimum": "min_machines",
        "warm_pool": "warm_machines",
    }
