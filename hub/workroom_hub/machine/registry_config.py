"""What this machine's registry is told: two halves with their S3, and the address in front. Pure.

`infra/registry` has the same for AWS; both fill in one template for the front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from workroom_hub.registry.credentials import Credentials

Half = Literal["local", "cache"]
HALVES: tuple[Half, ...] = ("local", "cache")
BUCKET = "workroom-registry"
IDENTITY: dict[Half, str] = {half: f"workroom-registry-{half}" for half in HALVES}
"""Key ids of the two halves in this machine's S3 server."""
SECRET_OF: dict[Half, str] = {half: f"s3-registry-{half}-secret" for half in HALVES}
TEMPLATE = Path(__file__).resolve().parents[3] / "infra" / "registry" / "virtual.conf.template"
_CHUNK = 32 * 2**20
"""Bytes of one part of an upload to S3, all of which are in memory."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


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


def server(
    half: Half,
    *,
    s3: str,
    secret: str,
    region: str,
    http_secret: str,
    upstream: str = "",
    credentials: Credentials | None = None,
) -> str:
    """Return the configuration of one half, secrets included (JSON is YAML too).

    Args:
        half: Which one.
        s3: URL of the S3 server.
        secret: Secret of its identity there.
        region: Region that requests are signed for.
        http_secret: What it signs the state of uploads with.
        upstream: URL of the registry that the cache fetches from.
        credentials: Who the cache is there.
    """
    storage: dict[str, Any] = {
        "s3": {
            "regionendpoint": s3,
            "region": region,
            "bucket": BUCKET,
            "rootdirectory": f"/{half}",
            "accesskey": IDENTITY[half],
            "secretkey": secret,
            "secure": s3.startswith("https:"),
            "v4auth": True,
            "chunksize": _CHUNK,
        },
        # Engines reach the front, not S3.
        "redirect": {"disable": True},
        "delete": {"enabled": False},
    }
    found: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": storage,
        "http": {
            # Relative to the state folder, where it is started: such names may not be long.
            "net": "unix",
            "addr": socket(half),
            "relativeurls": True,
            "secret": http_secret,
        },
    }
    if half == "local":
        storage["cache"] = {"blobdescriptor": "inmemory"}
    else:
        # Without a cache of descriptors, which would outlive what the cache has dropped by age
        # (distribution/distribution #1356).
        found["proxy"] = {"remoteurl": upstream}
        if credentials:
            found["proxy"] |= {
                "username": credentials.username,
                "password": credentials.password,
            }
    return json.dumps(found, indent=1) + "\n"


def socket(half: Half) -> str:
    """Return where a half listens, from the state folder."""
    return f"registry/{half}.sock"


def front(template: str, *, listen: str, repository: str, user: str = "") -> str:
    """Return nginx's whole configuration; it is started in the state folder.

    Args:
        template: Text of `TEMPLATE`.
        listen: Address and port.
        repository: What our images' names begin with.
        user: Who its workers run as, of root's: they read the rights in the state folder.
    """
    values = {
        "REGISTRY_LISTEN": listen,
        "REGISTRY_REPOSITORY": repository.replace(".", "\\."),
        "REGISTRY_RIGHTS": "rights",
        **{f"REGISTRY_{half.upper()}": f"unix:{socket(half)}" for half in HALVES},
    }
    temporary = "\n".join(f"    {name}_temp_path registry/temporary;" for name in _TEMPORARY)
    return (
        f"{f'user {user};' if user else ''}\n"
        "daemon off;\n"
        "worker_processes 2;\n"
        "pid registry/front.pid;\n"
        "error_log stderr warn;\n"
        "events { worker_connections 1024; }\n"
        f"http {{\n    access_log off;\n{temporary}\n{filled(template, values)}}}\n"
    )


def filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with each `${NAME}` replaced; nginx's own variables have no braces.

    Raises:
        KeyError: The template has a name that is not given.
    """
    return re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], template)
