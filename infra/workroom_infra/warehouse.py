"""Buckets: the tables', the registry's blobs, and the load balancers' logs."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_s3 as s3
from constructs import Construct

FOLDER = "warehouse"
"""Folder of the tables in their bucket."""


class LogBucket(Construct):
    """Access logs of load balancers and buckets; the only bucket that forgets.

    Args:
        scope: Parent.
        id: Name in the stack.
        days: How long logs are kept.
    """

    def __init__(self, scope: Construct, id: str, *, days: int) -> None:
        super().__init__(scope, id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(days))],
            removal_policy=RemovalPolicy.RETAIN,
        )


class Store(Construct):
    """A bucket that keeps every version and expires nothing but uploads that were never finished.

    Args:
        scope: Parent.
        id: Name in the stack.
        logs: Where access to it is noted.
        folder: Prefix of those notes.
        versioned: Keep what was written over.
    """

    def __init__(
        self, scope: Construct, id: str, *, logs: s3.IBucket, folder: str, versioned: bool = True
    ) -> None:
        super().__init__(scope, id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            versioned=versioned,
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            server_access_logs_bucket=logs,
            server_access_logs_prefix=f"{folder}/",
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="unfinished-uploads",
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )
