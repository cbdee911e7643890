"""A container's environment → a state folder, as `workroom up` would have made it.

| variable | holds |
|---|---|
| `WORKROOM_SETTINGS` | the settings file, as JSON |
| `WORKROOM_INSTALLATION` | id by which servers are known, 32 hexadecimal digits |
| `WORKROOM_SECRET_NAME` | a secret of the state folder, such as `WORKROOM_SECRET_CLI_TOKEN` |
| `WORKROOM_SECRET_SSH_HOST_SEED`, `…_SSH_USER_CA_SEED` | what the gateway's keys are made from |
| `WORKROOM_DATABASE_HOST`, `…_NAME`, `…_USERNAME`, `…_PASSWORD` | the hub's PostgreSQL |
| `WORKROOM_FIRST_ADMIN_USERNAME`, `…_PASSWORD` | the account made when there is none |
| `WORKROOM_OIDC_CLIENT_SECRET` | the secret of `auth.oidc` |
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from workroom_hub import config_file
from workroom_hub.errors import ConfigError
from workroom_hub.initial_password import save_initial_password
from workroom_hub.runtime import DATABASE_URL, SECRETS, Runtime, write_private
from workroom_hub.settings import Settings
from workroom_hub.settings_deployed import OIDC_SECRET

_SEEDS = {"SSH_HOST_SEED": "ssh-host-ed25519", "SSH_USER_CA_SEED": "ssh-user-ca"}
_OURS = re.compile(r"WORKROOM_(SECRET|DATABASE|FIRST_ADMIN|OIDC)_|WORKROOM_SETTINGS$")
_HEXADECIMAL = re.compile(r"[0-9a-f]{64}")


def prepare(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Fill the state folder; return the environment without what is in it now.

    Raises:
        ConfigError: A variable is missing or cannot be used; no secret is shown.
    """
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings_file = home / "workroom.yaml"
    write_private(settings_file, _given(environment, "WORKROOM_SETTINGS"))
    secrets = _secrets(home, environment)
    if url := _database(environment):
        write_private(home / "secrets" / DATABASE_URL, url)
    settings = config_file.load(settings_file)
    _runtime(home, environment, settings, with_keys=_SEEDS.keys() <= secrets).save()
    if name := environment.get("WORKROOM_FIRST_ADMIN_USERNAME"):
        save_initial_password(name, _given(environment, "WORKROOM_FIRST_ADMIN_PASSWORD"), home)
    rest = {name: value for name, value in environment.items() if not _OURS.match(name)}
    return {**rest, "WORKROOM_HOME": str(home), "WORKROOM_CONFIG": str(settings_file)}


def _secrets(home: Path, environment: Mapping[str, str]) -> set[str]:
    """Write the secrets that are given; return their names in the environment."""
    prefix = "WORKROOM_SECRET_"
    given = {n.removeprefix(prefix): v for n, v in environment.items() if n.startswith(prefix)}
    for name, value in given.items():
        if not _HEXADECIMAL.fullmatch(value):
            raise ConfigError(
                f"{prefix}{name} is not 64 hexadecimal digits.",
                "Put such a value into its secret: openssl rand -hex 32",
            )
        file = name.lower().replace("_", "-")
        if name in _SEEDS:
            write_private(home / "secrets" / _SEEDS[name], _private_key(value))
        elif file in SECRETS:
            write_private(home / "secrets" / file, value)
        else:
            raise ConfigError(
                f"{prefix}{name}: there is no such secret.",
                f"Choose from {', '.join(sorted(SECRETS))}.",
            )
    if secret := environment.get("WORKROOM_OIDC_CLIENT_SECRET"):
        write_private(home / "secrets" / Path(OIDC_SECRET).name, secret)
    return set(given)


def _private_key(seed: str) -> str:
    """Return the Ed25519 key of 32 bytes, the same at every start."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def _database(environment: Mapping[str, str]) -> str:
    host = environment.get("WORKROOM_DATABASE_HOST")
    if not host:
        return ""
    user = quote(_given(environment, "WORKROOM_DATABASE_USERNAME"), safe="")
    password = quote(_given(environment, "WORKROOM_DATABASE_PASSWORD"), safe="")
    name = _given(environment, "WORKROOM_DATABASE_NAME")
    encryption = environment.get("WORKROOM_DATABASE_SSLMODE", "require")
    return f"postgresql+psycopg://{user}:{password}@{host}/{name}?sslmode={encryption}"


def _runtime(
    home: Path, environment: Mapping[str, str], settings: Settings, *, with_keys: bool
) -> Runtime:
    keys: dict[str, object] = {"ssh_user_ca": "", "ssh_host_keys": ()}
    if settings.ssh.enabled and with_keys:
        from workroom_hub.ssh import authority

        keys["ssh_user_ca"] = authority.user_ca_public(settings, home)
        keys["ssh_host_keys"] = authority.host_keys_public(settings, home)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Runtime(
        home,
        settings.ecs.host,
        "",
        os.cpu_count() or 1,
        memory,
        {},
        _given(environment, "WORKROOM_INSTALLATION"),
        **keys,  # type: ignore[arg-type]
    )


def _given(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise ConfigError(
            f"The variable {name} is missing.",
            "workroom deploy deploy sets it; docs/deploy-aws.md.",
        )
    return value
