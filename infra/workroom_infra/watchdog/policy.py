"""The rights the watchdog needs, as IAM statements for the role of the cluster's machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def statements(
    *,
    cluster: str,
    groups: Sequence[str],
    region: str,
    account: str,
    partition: str = "aws",
    metrics: str = "",
) -> list[dict[str, Any]]:
    """All of them.

    IAM cannot tie a machine to its own container instance, so a machine may mark any machine of its
    own cluster and its groups, and no other. Servers cannot use the role: they do not reach it.

    Args:
        cluster: Name of the ECS cluster.
        groups: Names of the Auto Scaling groups whose machines have the role.
        region: Region of them.
        account: Account of them.
        partition: Of AWS: `aws`, `aws-cn`, `aws-us-gov`.
        metrics: CloudWatch namespace, as in the setting `metrics`; empty: none.
    """
    ecs = f"arn:{partition}:ecs:{region}:{account}"
    its_cluster = {"ArnEquals": {"ecs:cluster": f"{ecs}:cluster/{cluster}"}}
    found: list[dict[str, Any]] = [
        {
            "Sid": "MountWatchdogMarks",
            "Effect": "Allow",
            "Action": [
                "ecs:DescribeContainerInstances",
                "ecs:UpdateContainerInstancesState",
                "ecs:PutAttributes",
                "ecs:DeleteAttributes",
            ],
            "Resource": f"{ecs}:container-instance/{cluster}/*",
            "Condition": its_cluster,
        },
        {
            "Sid": "MountWatchdogCounts",
            "Effect": "Allow",
            "Action": ["ecs:DescribeClusters", "ecs:ListAttributes"],
            "Resource": f"{ecs}:cluster/{cluster}",
        },
        {
            "Sid": "MountWatchdogReplaces",
            "Effect": "Allow",
            "Action": "autoscaling:SetInstanceHealth",
            "Resource": [
                f"arn:{partition}:autoscaling:{region}:{account}:autoScalingGroup:*"
                f":autoScalingGroupName/{group}"
                for group in groups
            ],
        },
    ]
    if metrics:
        found.append(
            {
                "Sid": "MountWatchdogMeasures",
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                # The action knows no resources; the namespace is what bounds it.
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": metrics}},
            }
        )
    return found
