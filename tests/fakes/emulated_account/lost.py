"""Properties that the emulator's CloudFormation drops, given to the resource through the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Clients = Callable[[str], Any]
Give = Callable[[Clients, str, Any], None]


def _encryption(clients: Clients, bucket: str, given: Any) -> None:
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"],
            "BucketKeyEnabled": rule.get("BucketKeyEnabled", False),
        }
        for rule in given["ServerSideEncryptionConfiguration"]
    ]
    clients("s3").put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules}
    )


def _lifecycle(clients: Clients, bucket: str, given: Any) -> None:
    rules = []
    for rule in given["Rules"]:
        api = {k: v for k, v in rule.items() if k not in ("Id", "Prefix", "ExpirationInDays")}
        if "ExpirationInDays" in rule:
            api["Expiration"] = {"Days": rule["ExpirationInDays"]}
        named = {"ID": rule["Id"]} if "Id" in rule else {}
        rules.append({**named, "Filter": {"Prefix": rule.get("Prefix", "")}, **api})
    clients("s3").put_bucket_lifecycle_configuration(
        Bucket=bucket, LifecycleConfiguration={"Rules": rules}
    )


def _logging(clients: Clients, bucket: str, given: Any) -> None:
    target = {
        "TargetBucket": given["DestinationBucketName"],
        "TargetPrefix": given.get("LogFilePrefix", ""),
    }
    clients("s3").put_bucket_logging(Bucket=bucket, BucketLoggingStatus={"LoggingEnabled": target})


def _ownership(clients: Clients, bucket: str, given: Any) -> None:
    clients("s3").put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=given)


def _warm_up(clients: Clients, group: str, given: Any) -> None:
    clients("autoscaling").update_auto_scaling_group(
        AutoScalingGroupName=group, DefaultInstanceWarmup=int(given)
    )


GIVEN: dict[tuple[str, str], Give] = {
    ("AWS::S3::Bucket", "BucketEncryption"): _encryption,
    ("AWS::S3::Bucket", "LifecycleConfiguration"): _lifecycle,
    ("AWS::S3::Bucket", "LoggingConfiguration"): _logging,
    ("AWS::S3::Bucket", "OwnershipControls"): _ownership,
    ("AWS::AutoScaling::AutoScalingGroup", "DefaultInstanceWarmup"): _warm_up,
}
"""How a property is given, by type and name."""
