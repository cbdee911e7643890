"""What each of the platform's services runs. Pure: names in, programs out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from workroom_hub.settings_aws import Aws
from workroom_hub.settings_deployed import STATE
from workroom_infra import walls
from workroom_infra.secret_store import HUB, SEEDS
from workroom_infra.services import Program

_TEMPORARY = "/tmp"  # noqa: S108  (in the container)
_PYTHON_THERE = "/opt/workroom/bin/python"
_CONNECTS = f"import socket; socket.create_connection(('127.0.0.1', {walls.METASTORE}), 5).close()"
_PARTS = ("username", "password")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the programs are told.

    Attributes:
        aws: Settings of the deployment.
        common: Variables of hub, proxy and gateway.
        settings: The settings of hub, proxy and gateway, as JSON by name.
        hexadecimal: ARNs of the secrets by name.
        first_password: ARN of the first admin's; "" with OpenID Connect.
        pull: ARN of the registry's read-only token.
        push: ARN of the token that may push.
        blobs: Bucket of the registry.
        repository: What names of our own images begin with.
        hub_database: Host, name and ARN of the secret of the hub's database.
        metastore_database: The same of the metastore's.
        warehouse: Folder of the tables.
    """

    aws: Aws
    common: Mapping[str, str]
    settings: Mapping[str, str]
    hexadecimal: Mapping[str, str]
    first_password: str
    pull: str
    push: str
    blobs: str
    repository: str
    hub_database: tuple[str, str, str]
    metastore_database: tuple[str, str, str]
    warehouse: str


def all_of(facts: Facts) -> dict[str, Program]:
    """Return every program, by the name of its construct."""
    return {
        "Hub": hub(facts),
        "Proxy": proxy(facts),
        "Gateway": gateway(facts),
        "Registry": registry(facts),
        "Metastore": metastore(facts),
    }


def hub(facts: Facts) -> Program:
    """Return the hub: one at a time, because it is the only writer of its database."""
    host, name, secret = facts.hub_database
    secrets = _state(facts, *HUB, *SEEDS) | _log_in("WORKROOM_DATABASE", secret)
    if facts.first_password:
        secrets |= _log_in("WORKROOM_FIRST_ADMIN", facts.first_password)
    if facts.aws.oidc_secret:
        secrets["WORKROOM_OIDC_CLIENT_SECRET"] = facts.aws.oidc_secret
    return Program(
        name="hub",
        image=facts.aws.images.hub,
        command=["hub"],
        ports=[walls.HUB_API],
        environment={
            **_told(facts, "hub"),
            "WORKROOM_DATABASE_HOST": host,
            "WORKROOM_DATABASE_NAME": name,
        },
        secrets=secrets,
        check=["workroom-service", "check", "hub"],
        cpu=2048,
        memory=4096,
        folders=(STATE, _TEMPORARY),
        replace=True,
        stop_seconds=30,
    )


def proxy(facts: Facts) -> Program:
    """Return the web proxy: one at a time, because the hub tells routes to one."""
    return Program(
        name="proxy",
        image=facts.aws.images.hub,
        command=["proxy"],
        ports=[walls.WEB, walls.PROXY_API],
        environment=_told(facts, "proxy"),
        secrets=_state(facts, "proxy-token"),
        check=["workroom-service", "check", "proxy"],
        folders=(STATE, _TEMPORARY),
        replace=True,
        stop_seconds=30,
    )


def gateway(facts: Facts) -> Program:
    """Return the SSH gateway; an old one keeps its connections while the new one takes more."""
    return Program(
        name="gateway",
        image=facts.aws.images.hub,
        command=["ssh"],
        ports=[walls.SSH],
        environment=_told(facts, "gateway"),
        secrets=_state(facts, "ssh-token", *SEEDS),
        folders=(STATE, _TEMPORARY),
    )


def registry(facts: Facts) -> Program:
    """Return the image registry; everything it keeps is in its bucket."""
    return Program(
        name="registry",
        image=facts.aws.images.registry,
        command=[],
        ports=[walls.REGISTRY],
        environment={
            "REGISTRY_BUCKET": facts.blobs,
            "REGISTRY_REGION": facts.aws.region,
            "REGISTRY_REPOSITORY": facts.repository,
        },
        secrets={
            "REGISTRY_PULL": facts.pull,
            "REGISTRY_PUSH": facts.push,
            "REGISTRY_HTTP_SECRET": facts.hexadecimal["registry-http-secret"],
        },
        folders=(_TEMPORARY, "/run"),
    )


def metastore(facts: Facts) -> Program:
    """Return the Hive Metastore; it has no right to any table's file."""
    host, name, secret = facts.metastore_database
    return Program(
        name="metastore",
        image=facts.aws.images.metastore,
        command=[],
        ports=[walls.METASTORE],
        environment={
            "WORKROOM_METASTORE_DATABASE_HOST": host,
            "WORKROOM_METASTORE_DATABASE_NAME": name,
            "WORKROOM_METASTORE_FOLDER": "/var/lib/metastore",
            "WORKROOM_DATA_WAREHOUSE": facts.warehouse,
        },
        secrets=_log_in("WORKROOM_METASTORE_DATABASE", secret),
        check=[_PYTHON_THERE, "-c", _CONNECTS],
        folders=(_TEMPORARY, "/var/lib/metastore"),
    )


def arns_of(secrets: Mapping[str, str]) -> list[str]:
    """Return the ARNs of the secrets that a program is given, without the names of their parts."""
    found = set()
    for value in secrets.values():
        for part in _PARTS:
            value = value.removesuffix(f":{part}::")
        found.add(value)
    return sorted(found)


def _told(facts: Facts, service: str) -> dict[str, str]:
    return {**facts.common, "WORKROOM_SETTINGS": facts.settings[service]}


def _state(facts: Facts, *names: str) -> dict[str, str]:
    return {
        f"WORKROOM_SECRET_{name.upper().replace('-', '_')}": facts.hexadecimal[name]
        for name in names
    }


def _log_in(variable: str, secret: str) -> dict[str, str]:
    return {f"{variable}_{part.upper()}": f"{secret}:{part}::" for part in _PARTS}
