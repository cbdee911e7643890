"""What an account needs before CloudFormation makes anything in it."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workroom_hub.deploy.assembly import Assembly
from workroom_hub.deploy.calls import Clients, asked
from workroom_hub.errors import DeployError
from workroom_hub.settings_aws import Aws

SERVICES = ("ecs", "autoscaling", "elasticloadbalancing", "rds", "imagebuilder")
"""AWS services that act in the account through a role of their own."""
_ROLE_SPREADS = 15.0
"""Seconds until a new role is known everywhere."""


def prepare(clients: Clients, made: Assembly, aws: Aws, *, sleep: Callable[[float], None]) -> None:
    """Make what a stack cannot make for itself, and put its files where it finds them.

    Raises:
        DeployError: AWS refuses.
    """
    if _have_service_roles(clients):
        sleep(_ROLE_SPREADS)
    _have_trunking(clients)
    _have_bucket(clients, made.files[0].bucket, aws)
    _upload(clients, made, aws)


def _have_service_roles(clients: Clients) -> bool:
    """Make the roles that AWS's console makes by itself; tell whether one was missing.

    In an account that never used ECS, its clusters and capacity providers fail without theirs
    (Amazon ECS Developer Guide, "Using service-linked roles").
    """
    iam, made = clients("iam"), False
    for service in SERVICES:
        name = f"{service}.amazonaws.com"
        if asked(lambda name=name: iam.list_roles(PathPrefix=f"/aws-service-role/{name}/"))[  # type: ignore[misc]
            "Roles"
        ]:
            continue
        asked(lambda name=name: iam.create_service_linked_role(AWSServiceName=name))  # type: ignore[misc]
        made = True
    return made


def _have_trunking(clients: Clients) -> None:
    """Let machines hold more servers than they have network cards; a setting of the account."""
    asked(
        lambda: clients("ecs").put_account_setting_default(name="awsvpcTrunking", value="enabled")
    )


def _have_bucket(clients: Clients, bucket: str, aws: Aws) -> None:
    """Make the bucket that templates and files go through, private and encrypted."""
    s3 = clients("s3")
    owner = {"ExpectedBucketOwner": aws.account}
    place = {"LocationConstraint": aws.region}
    more = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": place}
    try:
        asked(lambda: s3.create_bucket(Bucket=bucket, **more))
    except DeployError as error:
        if "BucketAlreadyOwnedByYou" not in error.message:
            raise
    block = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"),
        True,
    )
    asked(
        lambda: s3.put_public_access_block(
            Bucket=bucket, PublicAccessBlockConfiguration=block, **owner
        )
    )
    asked(
        lambda: s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(_tls_only(bucket)), **owner)
    )


def _upload(clients: Clients, made: Assembly, aws: Aws) -> None:
    s3 = clients("s3")
    for file in made.files:
        body = _zipped(file.path) if file.zipped else file.path.read_bytes()
        asked(
            lambda body=body, file=file: s3.put_object(  # type: ignore[misc]
                Bucket=file.bucket,
                Key=file.key,
                Body=body,
                ServerSideEncryption="AES256",
                ExpectedBucketOwner=aws.account,
            )
        )


def _tls_only(bucket: str) -> dict[str, Any]:
    arn = f"arn:aws:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _zipped(folder: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return made.getvalue()
