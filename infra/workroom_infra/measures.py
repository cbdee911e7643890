"""What is measured, and under which names: metrics of the hub, the mounts and AWS's services."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import aws_cloudwatch as cloudwatch

from workroom_infra.alarms import MINUTE
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


def logged(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace=f"{NAMESPACE}/Logs",
        metric_name=f"{parts.instance}-{name}",
        statistic="Sum",
        period=MINUTE,
    )


def tasks(parts: Parts, service: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="ECS/ContainerInsights",
        metric_name="RunningTaskCount",
        dimensions_map={"ClusterName": parts.platform, "ServiceName": service},
        statistic="Minimum",
        period=MINUTE,
    )


def group(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/AutoScaling",
        metric_name=name,
        dimensions_map={"AutoScalingGroupName": parts.group},
        statistic="Maximum",
        period=MINUTE,
    )


def cluster(parts: Parts, name: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/ECS",
        metric_name=name,
        dimensions_map={"ClusterName": parts.cluster},
        statistic="Average",
        period=MINUTE,
    )


def homes(parts: Parts, name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/EFS",
        metric_name=name,
        dimensions_map={"FileSystemId": parts.file_system},
        statistic=statistic,
        period=MINUTE,
    )
