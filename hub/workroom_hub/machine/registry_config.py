"""This machine's registry in this machine's S3 server: its bucket, its identities, their rights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workroom_hub.errors import RegistryError
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


def blob_key(digest: str) -> str:
    """Return where the local half keeps a blob in the bucket."""
    algorithm, _, text = digest.partition(":")
    return f"local/docker/registry/v2/blobs/{algorithm}/{text[:2]}/{text}/data"


def tagged(s3: Any, repository: str, tag: str) -> str:
    """Return the digest that the bucket has for a tag of our images, "" if it has none.

    Raises:
        RegistryError: It could not be read.
    """
    link = f"local/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
    return b"".join(_chunks(s3, link) or ()).decode(errors="replace").strip()


def is_whole(s3: Any, digest: str) -> bool | None:
    """Return whether a blob of our images is in the bucket as its digest says; None: not at all.

    Raises:
        RegistryError: It could not be read to its end, which says nothing of its bytes.
    """
    chunks = _chunks(s3, blob_key(digest))
    if chunks is None:
        return None
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return f"sha256:{found.hexdigest()}" == digest


def _chunks(s3: Any, key: str) -> Iterator[bytes] | None:
    """Return an object's bytes as they come, None if there is no such object."""
    with _readable(key):
        try:
            body = s3.get_object(Bucket=BUCKET, Key=key)["Body"]
        except s3.exceptions.NoSuchKey:
            return None

    def read() -> Iterator[bytes]:
        with _readable(key):
            yield from body.iter_chunks(2**20)

    return read()


@contextmanager
def _readable(key: str) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise RegistryError(
            f"{key} in the bucket {BUCKET} could not be read to its end ({type(error).__name__}), "
            "so it was left alone.",
            "Run it again. The log of the S3 server: workroom logs s3",
        ) from error
