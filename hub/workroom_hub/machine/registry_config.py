"""This machine's registry in this machine's S3 server: its bucket, its identities, their rights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workroom_hub.registry.server_config import HALVES, Half

BUCKET = "workroom-registry"
IDENTITY: dict[Half, str] = {half: f"workroom-registry-{half}" for half in HALVES}
"""Key ids of the two halves in this machine's S3 server."""
SECRET_OF: dict[Half, str] = {half: f"s3-registry-{half}-secret" for half in HALVES}
TEMPLATE = Path(__file__).resolve().parents[3] / "infra" / "registry" / "virtual.conf.template"


def policy(half: Half) -> dict[str, Any]:
    """Return what a half may do in S3: read and write its own folder, and tidy up.

    The local one removes unfinished uploads only. No image that was pushed can be removed with its
    key, so a promotion can always be rolled back. The cache removes what it keeps, by age.
    """
    bucket = f"arn:aws:s3:::{BUCKET}"
    removable = {
        "local": f"{bucket}/local/docker/registry/v2/repositories/*/_uploads/*",
        "cache": f"{bucket}/cache/*",
    }
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "s3:ListBucket",
                    "s3:GetBucketLocation",
                    "s3:ListBucketMultipartUploads",
                ],
                "Resource": bucket,
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:GetObject",
                    "s3:PutObject",
                    "s3:AbortMultipartUpload",
                    "s3:ListMultipartUploadParts",
                ],
                "Resource": f"{bucket}/{half}/*",
            },
            {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": removable[half]},
        ],
    }
