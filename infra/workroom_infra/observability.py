"""What is measured: the metrics behind the alarms, and the dashboard."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_logs as logs
from constructs import Construct

from workroom_infra.alarms import MINUTE, Alarm
from workroom_infra.machine_image import watchdog_metrics

NAMESPACE = "Workroom"
"""Where the hub's own metrics go (docs/monitoring.md)."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Names and metrics of what is watched."""

    instance: str
    region: str
    cluster: str
    platform: str
    group: str
    least_machines: int
    most_machines: int
    capacity_timeout: float
    file_system: str
    proxy_healthy: cloudwatch.IMetric
    gateway_healthy: cloudwatch.IMetric
    registry_healthy: cloudwatch.IMetric
    balancer_errors: cloudwatch.IMetric
    hub_disk_free: cloudwatch.IMetric
    hub_cpu: cloudwatch.IMetric
    metastore_disk_free: cloudwatch.IMetric


class LogAlarms(Construct):
    """Counts the lines of a log that are alarms.

    Args:
        scope: Parent.
        id: Name in the stack.
        instance: Name of the installation.
        log_group: The log of hub and gateway.
    """

    def __init__(
        self, scope: Construct, id: str, *, instance: str, log_group: logs.ILogGroup
    ) -> None:
        super().__init__(scope, id)
        patterns = {
            "StartCodesRefused": '"ALARM start code refused"',
            "WrongHostKeys": '"ALARM something else than the server"',
        }
        for name, pattern in patterns.items():
            logs.MetricFilter(
                self,
                name,
                log_group=log_group,
                filter_pattern=logs.FilterPattern.literal(pattern),
                metric_namespace=f"{NAMESPACE}/Logs",
                metric_name=f"{instance}-{name}",
                metric_value="1",
                default_value=0,
            )


def alarms(parts: Parts) -> list[Alarm]:
    """Return every alarm; each has a page of its own."""
    return [*_of_services(parts), *_of_starts(parts), *_of_mounts(parts), *_of_stores(parts)]


def _of_services(parts: Parts) -> list[Alarm]:
    return [
        Alarm(
            name="hub-down",
            says="The hub does not answer: nobody logs in or starts a server; who works, works on.",
            # Its line of the minute: one that hangs or starts again and again has none.
            metric=ours(parts, "running_servers", "SampleCount"),
            at=1,
            below=True,
            of=10,
            silence=True,
        ),
        Alarm(
            name="web-down",
            says="No web proxy answers: nobody reaches a page.",
            metric=parts.proxy_healthy,
            at=1,
            below=True,
            minutes=3,
            silence=True,
        ),
        Alarm(
            name="ssh-down",
            says="No SSH gateway answers.",
            metric=parts.gateway_healthy,
            at=1,
            below=True,
            minutes=3,
            silence=True,
        ),
        Alarm(
            name="web-errors",
            says="The load balancer answers with errors of its own.",
            metric=parts.balancer_errors,
            at=50,
            minutes=5,
        ),
        Alarm(
            name="registry-down",
            says="The image registry does not answer: new images cannot be fetched.",
            metric=parts.registry_healthy,
            at=1,
            below=True,
            silence=True,
        ),
        Alarm(
            name="metastore-down",
            says="The Hive Metastore does not run, or not for long: tables cannot be found.",
            metric=_tasks(parts, "metastore"),
            at=1,
            below=True,
            # One whose check fails runs for three minutes, and is away for one.
            minutes=3,
            of=15,
            silence=True,
        ),
    ]


def _of_starts(parts: Parts) -> list[Alarm]:
    return [
        Alarm(
            name="start-code-refused",
            says="A start code was refused: somebody may have read a code that was not theirs.",
            metric=_logged(parts, "StartCodesRefused"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="wrong-host-key",
            says="Something else than the person's server answered at its address over ssh.",
            metric=_logged(parts, "WrongHostKeys"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="machines-at-maximum",
            says="Every machine that may be added is there: starts will wait.",
            metric=_group(parts, "GroupInServiceInstances"),
            at=parts.most_machines,
            minutes=10,
        ),
        Alarm(
            name="machines-come-slowly",
            says="A start waits longer than ten minutes for a machine, or than half its patience.",
            metric=ours(parts, "machine_wait_seconds", "Maximum"),
            # Else starts would give up before anybody hears of it.
            at=min(600, parts.capacity_timeout / 2),
            minutes=1,
        ),
        Alarm(
            name="aws-throttles",
            says="AWS throttles calls that our own line let pass.",
            metric=ours(parts, "ecs_throttled", "Sum"),
            at=5,
            minutes=5,
        ),
        Alarm(
            name="aws-denies",
            says="AWS denies the hub a call: a role or a policy is wrong.",
            metric=ours(parts, "ecs_denied", "Sum"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="cannot-ask-aws",
            says="The hub has not seen its servers for five minutes; nobody's is stopped for it.",
            metric=ours(parts, "watcher_age_seconds", "Maximum"),
            at=300,
            minutes=1,
        ),
    ]


def _of_mounts(parts: Parts) -> list[Alarm]:
    found = [
        Alarm(
            name="mount-hangs",
            says="A home's mount hangs on a machine; it takes no new servers.",
            metric=mounts(parts, "HungMounts"),
            at=1,
            minutes=1,
        ),
        Alarm(
            name="mounts-held-back",
            says="So many mounts hang at once that machines with one still take new servers.",
            metric=mounts(parts, "HeldBack"),
            at=1,
            minutes=1,
            runbook="mount-hangs",
        ),
    ]
    if parts.least_machines:
        # Without a machine there is no watchdog either.
        found.append(
            Alarm(
                name="mount-watchdog-silent",
                says="No machine's mount watchdog says anything: no hang would be noticed.",
                metric=mounts(parts, "HungMounts", "SampleCount"),
                at=1,
                below=True,
                minutes=15,
                silence=True,
            )
        )
    return found


def _of_stores(parts: Parts) -> list[Alarm]:
    return [
        Alarm(
            name="hub-database-full",
            says="The hub's database has less than 2 GiB left.",
            metric=parts.hub_disk_free,
            at=2 * 2**30,
            below=True,
        ),
        Alarm(
            name="hub-database-busy",
            says="The hub's database works at its limit.",
            metric=parts.hub_cpu,
            at=90,
            minutes=15,
        ),
        Alarm(
            name="metastore-database-full",
            says="The Hive Metastore's database has less than 2 GiB left.",
            metric=parts.metastore_disk_free,
            at=2 * 2**30,
            below=True,
        ),
        Alarm(
            name="homes-busy",
            says="The homes' file system works at its limit: files open slowly for everybody.",
            metric=_homes(parts, "PercentIOLimit", "Maximum"),
            at=90,
            minutes=15,
        ),
    ]


class Dashboard(Construct):
    """One page: starts, machines, throttling, homes, services, and where costs are.

    Args:
        scope: Parent.
        id: Name in the stack.
        parts: What is watched.
        alarms: The alarms, shown first.
    """

    def __init__(
        self, scope: Construct, id: str, *, parts: Parts, alarms: list[cloudwatch.Alarm]
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
            _graph("Servers", ours(parts, "running_servers", "Maximum")),
            _graph(
                "Starts: 90th percentile of each stage, seconds",
                *(ours(parts, f"spawn_phase_{phase}_p90", "Maximum") for phase in phases),
            ),
            _graph(
                "Starts in line; longest wait for a machine, seconds",
                ours(parts, "spawn_queue_length", "Maximum"),
                ours(parts, "machine_wait_seconds", "Maximum"),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Machines",
                _group(parts, "GroupInServiceInstances"),
                _group(parts, "GroupDesiredCapacity"),
                _group(parts, "WarmPoolTotalCapacity"),
            ),
            _graph(
                "Cluster: reserved, percent",
                _cluster(parts, "CPUReservation"),
                _cluster(parts, "MemoryReservation"),
            ),
            _graph(
                "AWS: throttled, denied, not reached",
                *(
                    ours(parts, f"ecs_{how}", "Sum")
                    for how in ("throttled", "denied", "unreachable")
                ),
            ),
        )
        dashboard.add_widgets(
            _graph(
                "Homes: bytes a minute",
                _homes(parts, "DataReadIOBytes", "Sum"),
                _homes(parts, "DataWriteIOBytes", "Sum"),
            ),
            _graph(
                "Homes: share of the limit, connections",
                _homes(parts, "PercentIOLimit", "Maximum"),
                _homes(parts, "ClientConnections", "Sum"),
            ),
            _graph(
                "Mounts: hung, machines out or held back for it",
                mounts(parts, "HungMounts"),
                mounts(parts, "HeldBack"),
                mounts(parts, "Drained"),
            ),
        )
        dashboard.add_widgets(cloudwatch.TextWidget(markdown=_costs(parts), width=24, height=4))


def ours(parts: Parts, name: str, statistic: str) -> cloudwatch.Metric:
    """Return one of the hub's own metrics."""
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map={"Installation": parts.instance},
        statistic=statistic,
        period=MINUTE,
    )


def mounts(parts: Parts, name: str, statistic: str = "Maximum") -> cloudwatch.Metric:
    """Return one of the mount watchdog's metrics, of all machines together."""
    return cloudwatch.Metric(
        namespace=watchdog_metrics(parts.instance),
        metric_name=name,
        statistic=statistic,
        period=MINUTE,
    )


def _logged(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=f"{NAMESPACE}/Logs",
        metric_name=f"{parts.instance}-{name}",
        statistic="Sum",
        period=MINUTE,
    )


def _tasks(parts: Parts, service: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name="RunningTaskCount",
        dimensions_map={"ClusterName": parts.platform, "ServiceName": service},
        statistic="Minimum",
        period=MINUTE,
    )


def _group(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/AutoScaling",
        metric_name=name,
        dimensions_map={"AutoScalingGroupName": parts.group},
        statistic="Maximum",
        period=MINUTE,
    )


def _cluster(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ECS",
        metric_name=name,
        dimensions_map={"ClusterName": parts.cluster},
        statistic="Average",
        period=MINUTE,
    )


def _homes(parts: Parts, name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/EFS",
        metric_name=name,
        dimensions_map={"FileSystemId": parts.file_system},
        statistic=statistic,
        period=MINUTE,
    )


def _graph(title: str, *metrics: cloudwatch.IMetric) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=list(metrics), width=8, height=6)


def _costs(parts: Parts) -> str:
    explorer = "https://console.aws.amazon.com/cost-management/home#/cost-explorer"
    return (
        "### Costs by person\n"
        "Every server carries the tags `workroom:user`, `workroom:profile` and "
        f"`workroom:instance` (here `{parts.instance}`). Once activated as cost allocation tags, "
        "with split cost allocation data for Amazon ECS, "
        f"[Cost Explorer]({explorer}) groups by `workroom:user`. Hours by person are in the hub's "
        "table `usage` (docs/monitoring.md)."
    )
