"""Alarms and dashboard: about metrics that somebody sends, and with a page for each alarm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jupyterhub import metrics as hub_metrics
from prometheus_client import generate_latest

from tests.support.template import Template, written
from workroom_hub.service import measure
from workroom_infra.watchdog.program import Watchdog
from workroom_infra.watchdog.settings import Settings as WatchdogSettings
from workroom_infra.watchdog.watch import Seen
from workroom_spawner import metrics as spawner_metrics
from workroom_spawner.progress import ECS_STAGES

RUNBOOKS = Path(__file__).parents[2] / "docs/runbooks"


def test_each_alarm_names_a_page_that_is_there(template: Template) -> None:
    pages = set()
    for alarm in template.of("AWS::CloudWatch::Alarm").values():
        page = alarm["AlarmDescription"].partition("What to do: ")[2]
        assert (RUNBOOKS.parents[1] / page).is_file(), alarm["AlarmName"]
        assert alarm["AlarmActions"], alarm["AlarmName"]
        pages.add(Path(page).name)
    assert pages == {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}


def test_each_page_says_what_it_means_where_to_look_and_what_to_do() -> None:
    for page in RUNBOOKS.glob("*.md"):
        if page.name != "README.md":
            headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
            assert headings == ["What it means", "Look here", "Do this"], page.name


def test_alarms_and_dashboard_show_what_is_measured(template: Template, tmp_path: Path) -> None:
    """A metric that nobody sends is no data, which most alarms take for good."""
    hub = json.loads(measure.line(_hub_figures(), "workroom", 0))
    [directive] = hub["_aws"]["CloudWatchMetrics"]
    hubs = {
        (directive["Namespace"], each["Name"], ("Installation", "workroom"))
        for each in directive["Metrics"]
    }
    chosen = replace(WatchdogSettings(), state_folder=str(tmp_path))
    watchdogs = {("Workroom/Mounts/workroom", name) for name in Watchdog(chosen)._metrics(Seen())}
    logged = {
        (change["MetricNamespace"], change["MetricName"])
        for found in template.of("AWS::Logs::MetricFilter").values()
        for change in found["MetricTransformations"]
    }
    shown = {*_alarmed(template), *_drawn(template)}
    ours = {each for each in shown if each[0].startswith("Workroom")}
    assert ours <= hubs | watchdogs | logged
    assert {*_alarmed(template)} >= logged, "a line that is counted for nothing"


def test_alarms_and_dashboard_are_about_parts_of_the_stack(template: Template) -> None:
    there = {
        "ClusterName": {each["ClusterName"] for each in template.of("AWS::ECS::Cluster").values()},
        "ServiceName": {each["ServiceName"] for each in template.of("AWS::ECS::Service").values()},
        "AutoScalingGroupName": {
            each["AutoScalingGroupName"]
            for each in template.of("AWS::AutoScaling::AutoScalingGroup").values()
        },
        "FileSystemId": {f"<{id}>" for id in template.of("AWS::EFS::FileSystem")},
        "DBInstanceIdentifier": {f"<{id}>" for id in template.of("AWS::RDS::DBInstance")},
        "TargetGroup": {
            f"<{id}.TargetGroupFullName>"
            for id in template.of("AWS::ElasticLoadBalancingV2::TargetGroup")
        },
    }
    seen = set()
    for each in {*_alarmed(template), *_drawn(template)}:
        for name, value in each[2:]:
            if name in there:
                assert value in there[name], each
                seen.add(name)
    assert seen == set(there)


def test_each_alarm_counts_as_it_says(template: Template) -> None:
    """Statistic, threshold, minutes of minutes; and whether silence is one, too."""
    found = {
        alarm["AlarmName"].removeprefix("workroom-"): (
            alarm["Statistic"],
            "<" if alarm["ComparisonOperator"] == "LessThanThreshold" else ">=",
            alarm["Threshold"],
            f"{alarm['DatapointsToAlarm']} of {alarm['EvaluationPeriods']}",
            alarm["TreatMissingData"],
        )
        for alarm in template.of("AWS::CloudWatch::Alarm").values()
    }
    silent, bad = "notBreaching", "breaching"
    assert found == {
        "hub-down": ("SampleCount", "<", 1, "5 of 10", bad),
        "web-down": ("Maximum", "<", 1, "3 of 3", bad),
        "ssh-down": ("Maximum", "<", 1, "3 of 3", bad),
        "web-errors": ("Sum", ">=", 50, "5 of 5", silent),
        "registry-down": ("Maximum", "<", 1, "5 of 5", bad),
        "metastore-down": ("Minimum", "<", 1, "3 of 15", bad),
        "start-code-refused": ("Sum", ">=", 1, "1 of 1", silent),
        "wrong-host-key": ("Sum", ">=", 1, "1 of 1", silent),
        "machines-at-maximum": ("Maximum", ">=", 30, "10 of 10", silent),
        "machines-come-slowly": ("Maximum", ">=", 600, "1 of 1", silent),
        "aws-throttles": ("Sum", ">=", 5, "5 of 5", silent),
        "aws-denies": ("Sum", ">=", 1, "1 of 1", silent),
        "cannot-ask-aws": ("Maximum", ">=", 300, "1 of 1", silent),
        "mount-hangs": ("Maximum", ">=", 1, "1 of 1", silent),
        "mounts-held-back": ("Maximum", ">=", 1, "1 of 1", silent),
        "mount-watchdog-silent": ("SampleCount", "<", 1, "15 of 15", bad),
        "hub-database-full": ("Average", "<", 2 * 2**30, "5 of 5", silent),
        "hub-database-busy": ("Average", ">=", 90, "15 of 15", silent),
        "metastore-database-full": ("Average", "<", 2 * 2**30, "5 of 5", silent),
        "homes-busy": ("Maximum", ">=", 90, "15 of 15", silent),
    }
    periods = {alarm["Period"] for alarm in template.of("AWS::CloudWatch::Alarm").values()}
    assert periods == {measure.EVERY}, "a count of lines needs one in each period"


@pytest.mark.parametrize(
    ("least", "timeout", "watched", "at"), [(0, 1800, False, 600), (1, 300, True, 150)]
)
def test_alarms_that_depend_on_settings(
    least: int, timeout: float, watched: bool, at: float
) -> None:
    """No machine, no watchdog; and starts that give up soon wait no ten minutes."""
    from aws_cdk import aws_cloudwatch as cloudwatch

    from workroom_infra import measures, observability

    metric = cloudwatch.Metric(namespace="N", metric_name="M")
    names = ("instance", "region", "cluster", "platform", "group", "file_system")
    metrics = {
        name: metric
        for name in measures.Parts.__dataclass_fields__
        if re.search(r"healthy|errors|free|cpu", name)
    }
    parts = measures.Parts(
        **dict.fromkeys(names, "x"),
        **metrics,
        least_machines=least,
        most_machines=9,
        capacity_timeout=timeout,
    )
    made = {alarm.name: alarm for alarm in observability.alarms(parts)}
    assert ("mount-watchdog-silent" in made) == watched
    assert made["machines-come-slowly"].at == at


def test_people_hear_of_alarms(template: Template) -> None:
    assert template.one("AWS::SNS::Subscription")["Endpoint"] == "platform@example.com"


def test_the_dashboard_shows_what_was_asked_for(template: Template) -> None:
    body = written(template.one("AWS::CloudWatch::Dashboard")["DashboardBody"])
    for part in (
        "spawn_phase_machine_p90",
        "GroupInServiceInstances",
        "ecs_throttled",
        "AWS/EFS",
        "workroom:user",
    ):
        assert part in body, part


def _hub_figures() -> dict[str, float]:
    """Return what the hub prints in a minute in which everything happened."""
    assert hub_metrics.RUNNING_SERVERS
    spawner_metrics.count_call("RunTask", "throttled")
    for stage in ECS_STAGES:
        spawner_metrics.SPAWN_PHASE.labels(stage.id).observe(1)
    return measure.Meter().measure(generate_latest().decode())


def _alarmed(template: Template) -> Iterator[Any]:
    """Yield namespace, name and dimensions of each alarm's metric."""
    for alarm in template.of("AWS::CloudWatch::Alarm").values():
        dimensions = sorted(
            (each["Name"], written(each["Value"])) for each in alarm.get("Dimensions", [])
        )
        yield alarm["Namespace"], alarm["MetricName"], *dimensions


def _drawn(template: Template) -> Iterator[Any]:
    """Yield the same of each metric on the dashboard."""
    body = json.loads(written(template.one("AWS::CloudWatch::Dashboard")["DashboardBody"]))
    for widget in body["widgets"]:
        for namespace, name, *rest in widget["properties"].get("metrics", []):
            words = [each for each in rest if isinstance(each, str)]
            yield namespace, name, *sorted(zip(words[::2], words[1::2], strict=True))
