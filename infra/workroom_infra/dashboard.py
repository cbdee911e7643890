"""The dashboard: one page of what is measured."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from workroom_infra import measures


class Dashboard(Construct):
    """One page: starts, machines, throttling, homes, services, and where costs are.

    Args:
        scope: Parent.
        id: Name in the stack.
        parts: What is watched.
        alarms: The alarms, shown first.
    """

    def __init__(
        self, scope: Construct, id: str, *, parts: measures.Parts, alarms: list[cloudwatch.Alarm]
    ) -> None:
        super().__init__(scope, id)
        dashboard = cloudwatch.Dashboard(
            self,
            "Dashboard",
            dashboard_name=parts.instance,
            default_interval=Duration.hours(6),
        )
        phases = ("queued", "machine", "pulling", "starting", "answering")
        dashboard.add_widgets(
            cloudwatch.AlarmStatusWidget(title="Alarms", alarms=list(alarms), width=24, height=4)
        )
        dashboard.add_widgets(
            _graph("Servers", measures.ours(parts, "running_servers", "Maximum")),
            _graph(
                "Starts: 90th percentile of each stage, seconds",
                *(measures.ours(parts, f"spawn_phase_{phase}_p90", "Maximum") for phase in phases),
            ),
            _graph(
                "Starts in line; longest wait for a machine, seconds",
                measures.ours(parts, "spawn_queue_length", "Maximum"),
                measures.ours(parts, "machine_wait_seconds", "Maximum"),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Machines",
                measures.group(parts, "GroupInServiceInstances"),
                measures.group(parts, "GroupDesiredCapacity"),
                measures.group(parts, "WarmPoolTotalCapacity"),
            ),
            _graph(
                "Cluster: reserved, percent",
                measures.cluster(parts, "CPUReservation"),
                measures.cluster(parts, "MemoryReservation"),
            ),
            _graph(
                "AWS: throttled, denied, not reached",
                *(
                    measures.ours(parts, f"ecs_{how}", "Sum")
                    for how in ("throttled", "denied", "unreachable")
                ),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Homes: bytes a minute",
                measures.homes(parts, "DataReadIOBytes", "Sum"),
                measures.homes(parts, "DataWriteIOBytes", "Sum"),
            ),
            _graph(
                "Homes: share of the limit, connections",
                measures.homes(parts, "PercentIOLimit", "Maximum"),
                measures.homes(parts, "ClientConnections", "Sum"),
            ),
            _graph(
                "Mounts: hung, machines out or held back for it",
                measures.mounts(parts, "HungMounts"),
                measures.mounts(parts, "HeldBack"),
                measures.mounts(parts, "Drained"),
            ),
        )
        dashboard.add_widgets(cloudwatch.TextWidget(markdown=_costs(parts), width=24, height=4))


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8, height=6)


def _costs(parts: measures.Parts) -> str:
    explorer = "https://console.aws.amazon.com/cost-management/home#/cost-explorer"
    return (
        "### Costs by person\n"
        "Every server carries the tags `workroom:user`, `workroom:profile` and "
        f"`workroom:instance` (here `{parts.instance}`). Once activated as cost allocation tags, "
        "with split cost allocation data for Amazon ECS, "
        f"[Cost Explorer]({explorer}) groups by `workroom:user`. Hours by person are in the hub's "
        "table `usage` (docs/monitoring.md)."
    )
