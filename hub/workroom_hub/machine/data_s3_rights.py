"""Who may do what in this machine's S3 server: its identities, and the files that say so.

The platform may do everything. Users have one identity together: their code is their own, and a
notebook can read its environment. What holds against it is in docs/security.md, and each line of
it in tests/hub/test_machine_data_rights.py, against the real server.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

from workroom_hub.data_environment import BUCKET, PLATFORM, SECRET_OF, USERS
from workroom_hub.machine import registry_config
from workroom_hub.registry.server_config import HALVES
from workroom_hub.runtime import read_secret, write_private

_PARTS = ("master", "volume", "filer", "s3", "client")
_CENTURY = datetime.timedelta(days=36500)


def policy() -> dict[str, Any]:
    """Return what users' identity may do; what is not allowed is refused.

    Objects are made, never removed: not even a version of one. Spark removes what it wrote below
    `_temporary/`, which leaves a marker, so that also this can be undone.
    """
    bucket = f"arn:aws:s3:::{BUCKET}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [
                    "s3:ListBucket",
                    "s3:ListBucketVersions",
                    "s3:ListBucketMultipartUploads",
                    "s3:GetBucketLocation",
                    "s3:GetBucketVersioning",
                ],
                "Resource": bucket,
            },
            {
                "Effect": "Allow",
                "Action": [
                    "s3:GetObject",
                    "s3:GetObjectVersion",
                    "s3:PutObject",
                    "s3:AbortMultipartUpload",
                    "s3:ListMultipartUploadParts",
                ],
                "Resource": f"{bucket}/*",
            },
            {
                "Effect": "Allow",
                "Action": "s3:DeleteObject",
                "Resource": f"{bucket}/*/_temporary/*",
            },
            {
                "Effect": "Deny",
                "Action": ["s3:DeleteObject", "s3:DeleteObjectVersion"],
                "Resource": f"{bucket}/*/_workroom/*",
            },
            {
                # The server keeps versions and parts in folders of these names, beside the objects.
                # What is below a commit's name makes that a folder, and the commit impossible.
                "Effect": "Deny",
                "Action": "s3:PutObject",
                "Resource": [
                    f"{bucket}/*.versions",
                    f"{bucket}/*.versions/*",
                    f"{bucket}/.uploads/*",
                    f"{bucket}/*/_workroom/*/",
                    f"{bucket}/*/_workroom/????????.json/*",
                    f"{bucket}/*/_workroom/anchors/*/????????.json/*",
                ],
            },
        ],
    }


def identities(home: Path, *, registry: bool = False) -> dict[str, Any]:
    """Return the server's `-s3.config`, secrets included; with a registry, its two halves' too."""

    secrets = {
        **SECRET_OF,
        **{registry_config.IDENTITY[half]: registry_config.SECRET_OF[half] for half in HALVES},
    }

    def key(name: str) -> list[dict[str, str]]:
        return [{"accessKey": name, "secretKey": read_secret(home, secrets[name])}]

    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    halves = [(registry_config.IDENTITY[half], half) for half in HALVES if registry]
    return {
        "identities": [
            {"name": "platform", "credentials": key(PLATFORM), "actions": everything},
            {"name": "users", "credentials": key(USERS), "policyNames": ["users"]},
            *({"name": n, "credentials": key(n), "policyNames": [n]} for n, _ in halves),
        ],
        "policies": [
            {"name": "users", "content": json.dumps(policy())},
            *({"name": n, "content": json.dumps(registry_config.policy(h))} for n, h in halves),
        ],
    }


def write(home: Path, folder: Path, *, registry: bool = False) -> None:
    """Write the server's configuration into `folder`, mode 0700.

    Its parts prove themselves to each other: else every process that reaches one of its ports,
    those of other accounts of this machine too, could read and remove everything.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    known = identities(home, registry=registry)
    write_private(folder / "identities.json", json.dumps(known, indent=1) + "\n")
    if not (folder / "part.key").exists():
        _make_certificates(folder)
    signed = {
        name: read_secret(home, f"s3-{name.replace('.', '-')}-key")
        for name in (
            "jwt.signing",
            "jwt.signing.read",
            "jwt.filer_signing",
            "jwt.filer_signing.read",
        )
    }
    lines = []
    for name, value in signed.items():
        lines += [f"[{name}]", f'key = "{value}"', "expires_after_seconds = 600"]
    lines += ["[grpc]", f"ca = {json.dumps(str(folder / 'ca.pem'))}"]
    for part in _PARTS:
        lines += [
            f"[grpc.{part}]",
            f"cert = {json.dumps(str(folder / 'part.pem'))}",
            f"key = {json.dumps(str(folder / 'part.key'))}",
        ]
    write_private(folder / "security.toml", "\n".join(lines) + "\n")


def _make_certificates(folder: Path) -> None:
    """Make an authority, forget its key, and keep the one certificate that it signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def named(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    now = datetime.datetime.now(datetime.UTC)
    authority, part = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def certificate(name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + _CENTURY)
        )

    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    made = {
        "ca": certificate("authority", authority).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        ),
        "part": certificate("part", part).add_extension(both, critical=False),
    }
    for name, builder in made.items():
        signed = builder.sign(authority, hashes.SHA256())
        pem = signed.public_bytes(serialization.Encoding.PEM).decode()
        write_private(folder / f"{name}.pem", pem)
    key = part.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # Last: it is what says that all of them are there.
    write_private(folder / "part.key", key.decode())
