"""What each role may do, as lists of IAM statements. Only `stack` hands them out. Pure.

The hub's and the servers' are those that docs/ecs.md lists and explains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import aws_iam as iam

from workroom_infra.warehouse import FOLDER
from workroom_infra.watchdog import policy


@dataclass(frozen=True)
class Place:
    """The account, and the names that ARNs are made of."""

    partition: str
    region: str
    account: str
    instance: str

    def arn(self, service: str, rest: str, *, region: str | None = None) -> str:
        """Return an ARN in this account."""
        where = self.region if region is None else region
        return f"arn:{self.partition}:{service}:{where}:{self.account}:{rest}"


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    conditions: Mapping[str, Mapping[str, object]] | None = None,
) -> iam.PolicyStatement:
    """Return one statement."""
    return iam.PolicyStatement(
        sid=sid,
        actions=list(actions),
        resources=list(resources),
        conditions=conditions,
    )


def of_hub(
    place: Place,
    *,
    cluster: str,
    file_system: str,
    log_group: str,
    task_roles: Sequence[str],
    execution_role: str,
) -> list[iam.PolicyStatement]:
    """Return what the hub may do: start, find and stop servers, and make homes."""
    of_cluster = {"ArnEquals": {"ecs:cluster": place.arn("ecs", f"cluster/{cluster}")}}
    definitions = place.arn("ecs", f"task-definition/{place.instance}-*")
    tasks = place.arn("ecs", f"task/{cluster}/*")
    access_points = place.arn("elasticfilesystem", "access-point/*")
    homes = place.arn("elasticfilesystem", f"file-system/{file_system}")
    streams = place.arn("logs", f"log-group:{log_group}:log-stream:servers/*")
    made = {"StringEquals": {"ecs:CreateAction": ["RunTask", "RegisterTaskDefinition"]}}
    to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    efs = "elasticfilesystem"
    access_point_made = {"StringEquals": {f"{efs}:CreateAction": "CreateAccessPoint"}}
    return [
        allow("Start", ["ecs:RunTask"], [definitions], of_cluster),
        allow("LookAndStop", ["ecs:DescribeTasks", "ecs:StopTask"], [tasks]),
        allow("List", ["ecs:ListTasks"], ["*"], of_cluster),
        allow("Cluster", ["ecs:DescribeClusters"], [place.arn("ecs", f"cluster/{cluster}")]),
        allow("Definitions", ["ecs:RegisterTaskDefinition"], [definitions]),
        allow("Families", ["ecs:ListTaskDefinitionFamilies"], ["*"]),
        allow("TagsOfWhatItMakes", ["ecs:TagResource"], [tasks, definitions], made),
        allow("RolesOfTasks", ["iam:PassRole"], [*task_roles, execution_role], to_tasks),
        allow(
            "Homes",
            [f"{efs}:CreateAccessPoint", f"{efs}:DescribeAccessPoints"],
            [homes, access_points],
        ),
        allow("TagsOfHomes", [f"{efs}:TagResource"], [access_points], access_point_made),
        allow("CountMachines", ["autoscaling:DescribeAutoScalingGroups"], ["*"]),
        allow("LastLines", ["logs:GetLogEvents"], [streams]),
    ]


def of_home(place: Place, *, file_system: str) -> list[iam.PolicyStatement]:
    """Return what every server's role may do with homes: mount one, through an access point."""
    return [
        allow(
            "Home",
            ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
            [place.arn("elasticfilesystem", f"file-system/{file_system}")],
            {"StringLike": {"elasticfilesystem:AccessPointArn": _access_points(place)}},
        )
    ]


def mounting(place: Place, *, task_roles: Sequence[str]) -> dict[str, object]:
    """Return the file system's policy: those roles, over TLS, through an access point."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Servers",
                "Effect": "Allow",
                "Principal": {"AWS": list(task_roles)},
                "Action": ["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"],
                "Condition": {
                    "Bool": {
                        "aws:SecureTransport": "true",
                        "elasticfilesystem:AccessedViaMountTarget": "true",
                    },
                    "StringLike": {"elasticfilesystem:AccessPointArn": _access_points(place)},
                },
            },
            {
                "Sid": "NothingUnencrypted",
                "Effect": "Deny",
                "Principal": {"AWS": "*"},
                "Action": "*",
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def of_tables(
    bucket: str, *, read: Iterable[str], write: Iterable[str]
) -> list[iam.PolicyStatement]:
    """Return what a server's role may do with tables: read and add, and never remove.

    Args:
        bucket: ARN of the bucket.
        read: Databases; `*` is all.
        write: Databases.
    """
    written = sorted(set(write))
    seen = sorted({*read, *written})
    found = []
    if seen:
        folders = [f"{FOLDER}/*"] if "*" in seen else [f"{FOLDER}/{name}/*" for name in seen]
        found += [
            allow(
                "ListTables",
                ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
                [bucket],
                {"StringLike": {"s3:prefix": [*folders, *(f[:-1] for f in folders)]}},
            ),
            allow(
                "ReadTables",
                ["s3:GetObject", "s3:GetObjectVersion"],
                [f"{bucket}/{folder}" for folder in folders],
            ),
            allow("WhereTablesAre", ["s3:GetBucketLocation"], [bucket]),
        ]
    if written:
        folders = [f"{FOLDER}/*"] if "*" in written else [f"{FOLDER}/{name}/*" for name in written]
        found += [
            allow(
                "AddToTables",
                ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
                [f"{bucket}/{folder}" for folder in folders],
            ),
            # Spark's own half-made files; their versions stay.
            allow(
                "TidyUpAfterSpark",
                ["s3:DeleteObject"],
                [f"{bucket}/{folder}/_temporary/*" for folder in folders],
            ),
        ]
    return found


def keeping_tables(bucket: str, *, task_roles: Sequence[str]) -> list[iam.PolicyStatement]:
    """Return what the tables' bucket refuses servers, whatever their roles are given later."""
    servers: list[iam.IPrincipal] = [iam.ArnPrincipal(role) for role in task_roles]
    return [
        iam.PolicyStatement(
            sid="ServersRemoveNothing",
            effect=iam.Effect.DENY,
            principals=servers,
            actions=["s3:DeleteObject"],
            not_resources=[f"{bucket}/{FOLDER}/*/_temporary/*"],
        ),
        iam.PolicyStatement(
            sid="ServersChangeNoRule",
            effect=iam.Effect.DENY,
            principals=servers,
            actions=[
                *("s3:DeleteObjectVersion", "s3:DeleteBucket", "s3:PutBucketVersioning"),
                *("s3:PutLifecycleConfiguration", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"),
                *("s3:PutBucketAcl", "s3:PutObjectAcl", "s3:PutBucketPublicAccessBlock"),
                *("s3:PutEncryptionConfiguration", "s3:PutReplicationConfiguration"),
                *("s3:BypassGovernanceRetention", "s3:PutObjectVersionAcl"),
            ],
            resources=[bucket, f"{bucket}/*"],
        ),
    ]


def of_server_start(place: Place, *, log_group: str, secret: str) -> list[iam.PolicyStatement]:
    """Return what ECS needs to start a server: the registry's read-only token, and its log."""
    streams = place.arn("logs", f"log-group:{log_group}:log-stream:*")
    return [
        allow("ServersLog", ["logs:CreateLogStream", "logs:PutLogEvents"], [streams]),
        allow("RegistryToken", ["secretsmanager:GetSecretValue"], [secret]),
    ]


def of_service_start(
    place: Place, *, log_group: str, repository: str, secrets: Sequence[str]
) -> list[iam.PolicyStatement]:
    """Return what ECS needs to start one of the platform's services."""
    streams = place.arn("logs", f"log-group:{log_group}:log-stream:*")
    found = [
        allow("RegistryLogIn", ["ecr:GetAuthorizationToken"], ["*"]),
        allow(
            "Image",
            ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"],
            [repository],
        ),
        allow("Log", ["logs:CreateLogStream", "logs:PutLogEvents"], [streams]),
    ]
    if secrets:
        found.append(allow("Secrets", ["secretsmanager:GetSecretValue"], secrets))
    return found


def of_registry(bucket: str) -> list[iam.PolicyStatement]:
    """Return what the registry may do with its bucket: an image that was pushed stays."""
    return [
        allow(
            "Bucket",
            ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
            [bucket],
        ),
        allow(
            "Blobs",
            [
                *("s3:GetObject", "s3:PutObject"),
                *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"),
            ],
            [f"{bucket}/local/*", f"{bucket}/cache/*"],
        ),
        allow(
            "UnfinishedUploadsAndTheCache",
            ["s3:DeleteObject"],
            [f"{bucket}/local/docker/registry/v2/repositories/*/_uploads/*", f"{bucket}/cache/*"],
        ),
    ]


def of_machine(
    place: Place, *, cluster: str, group_names: Sequence[str], log_group: str, metrics: str
) -> list[iam.PolicyStatement]:
    """Return what a machine may do: be one of the cluster, and say when its mounts hang."""
    its_cluster = place.arn("ecs", f"cluster/{cluster}")
    machines = place.arn("ecs", f"container-instance/{cluster}/*")
    of_cluster = {"ArnEquals": {"ecs:cluster": its_cluster}}
    return [
        allow("FindTheAgentsEndpoint", ["ecs:DiscoverPollEndpoint"], ["*"]),
        allow(
            "JoinAndLeave",
            ["ecs:RegisterContainerInstance", "ecs:DeregisterContainerInstance"],
            [its_cluster],
        ),
        allow(
            "Report",
            [
                *("ecs:SubmitTaskStateChange", "ecs:SubmitContainerStateChange"),
                "ecs:SubmitAttachmentStateChanges",
            ],
            [its_cluster],
        ),
        allow("Work", ["ecs:Poll", "ecs:StartTelemetrySession"], [machines], of_cluster),
        allow(
            "TagsAtRegistration",
            ["ecs:TagResource"],
            [machines],
            {"StringEquals": {"ecs:CreateAction": "RegisterContainerInstance"}},
        ),
        *(
            iam.PolicyStatement.from_json(statement)
            for statement in policy.statements(
                cluster=cluster,
                groups=group_names,
                region=place.region,
                account=place.account,
                partition=place.partition,
                metrics=metrics,
            )
        ),
        allow(
            "Logs",
            ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
            [
                place.arn("logs", f"log-group:{log_group}"),
                place.arn("logs", f"log-group:{log_group}:log-stream:*"),
            ],
        ),
    ]


def of_image_build(*, secret: str, archive: str) -> list[iam.PolicyStatement]:
    """Return what the machine that builds the machines' image may do."""
    return [
        allow("RegistryToken", ["secretsmanager:GetSecretValue"], [secret]),
        allow("Watchdog", ["s3:GetObject"], [archive]),
    ]


def _access_points(place: Place) -> str:
    return place.arn("elasticfilesystem", "access-point/*")
