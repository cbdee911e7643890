"""What a registry's two halves and the front before them are told. Pure, the standard library only.

`workroom up` uses it on one machine, and the container of `infra/registry` has a copy of this file:
both start the same programs in a folder of theirs, below which everything is in `registry/`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Half = Literal["local", "cache"]
HALVES: tuple[Half, ...] = ("local", "cache")
FOLDER = "registry"
"""Folder with the configuration and the sockets; names are relative, for sockets' must be short."""
_CHUNK = 32 * 2**20
"""Bytes of one part of an upload to S3, all of which are in memory."""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def socket(half: Half) -> str:
    """Return where a half listens."""
    return f"{FOLDER}/{half}.sock"


def server(
    half: Half,
    *,
    bucket: str,
    region: str,
    http_secret: str,
    endpoint: str = "",
    key: tuple[str, str] | None = None,
    upstream: str = "",
    login: tuple[str, str] | None = None,
) -> str:
    """Return the configuration of one half, secrets included (JSON is YAML too).

    Args:
        half: Which one.
        bucket: Bucket of both; each has a folder in it.
        region: Region that requests are signed for.
        http_secret: What it signs the state of uploads with.
        endpoint: URL of an S3 server that is not AWS's. Engines cannot be sent there.
        key: Id and secret of its identity in S3; None for the role of the task.
        upstream: URL of the registry that the cache fetches from.
        login: User name and token there.
    """
    s3: dict[str, Any] = {
        "region": region,
        "bucket": bucket,
        "rootdirectory": f"/{half}",
        "v4auth": True,
        "chunksize": _CHUNK,
    }
    if endpoint:
        s3 |= {"regionendpoint": endpoint, "secure": endpoint.startswith("https:")}
    if key:
        s3 |= {"accesskey": key[0], "secretkey": key[1]}
    storage: dict[str, Any] = {
        "s3": s3,
        # From AWS's S3 engines fetch layers themselves, by a signed address that lasts minutes.
        "redirect": {"disable": bool(endpoint)},
        "delete": {"enabled": False},
        # Its purge of unfinished uploads ends the whole process on S3, at a minute of its own
        # choice (distribution/distribution #4590, #4713).
        "maintenance": {"uploadpurging": {"enabled": False}},
    }
    found: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": storage,
        "http": {
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
        if login:
            found["proxy"] |= {"username": login[0], "password": login[1]}
    return json.dumps(found, indent=1) + "\n"


def front(template: str, *, listen: str, repository: str, user: str = "") -> str:
    """Return nginx's whole configuration.

    Args:
        template: Text of `infra/registry/virtual.conf.template`.
        listen: Address and port.
        repository: What our images' names begin with.
        user: Who its workers run as, where root starts it: they read the rights in its folder.
    """
    values = {
        "REGISTRY_LISTEN": listen,
        "REGISTRY_REPOSITORY": repository.replace(".", "\\."),
        **{f"REGISTRY_{half.upper()}": f"unix:{socket(half)}" for half in HALVES},
    }
    temporary = "\n".join(f"    {name}_temp_path {FOLDER}/temporary;" for name in _TEMPORARY)
    return (
        f"{f'user {user};' if user else ''}\n"
        "daemon off;\n"
        "worker_processes 2;\n"
        f"pid {FOLDER}/front.pid;\n"
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


def htpasswd(who: Iterable[tuple[str, str]]) -> str:
    """Return the lines that nginx checks user names and tokens against.

    Tokens are long and random, so the hash need not be slow to be safe; it is checked at every
    request.
    """
    import bcrypt

    salted = [(n, bcrypt.hashpw(t.encode(), bcrypt.gensalt(5)).decode()) for n, t in who]
    return "".join(f"{name}:{hashed}\n" for name, hashed in salted)
