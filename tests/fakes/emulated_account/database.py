"""PostgreSQL at the addresses of the stack's databases, with the users of their secrets."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from docker.models.containers import Container

from tests.fakes.emulated_account import places
from tests.fakes.emulated_account.emulator import Emulator

_IMAGE = "workroom-test/postgresql:15"
_DOCKERFILE = b"""\
FROM debian:bookworm-slim
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends postgresql-15 ssl-cert >/dev/null && rm -rf /var/lib/apt/lists/* && \
    echo "host all all all scram-sha-256" >>/etc/postgresql/15/main/pg_hba.conf && \
    echo "listen_addresses = '*'" >>/etc/postgresql/15/main/postgresql.conf
USER postgres
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin
CMD ["postgres", "-c", "config_file=/etc/postgresql/15/main/postgresql.conf"]
"""


def start(emulator: Emulator, databases: Mapping[str, Mapping[str, str]]) -> Container:
    """Start it.

    Args:
        emulator: The account.
        databases: Secrets by address: `username`, `password`; the user owns a database of its name.
    """
    engine = emulator.engine
    engine.images.build(fileobj=io.BytesIO(_DOCKERFILE), tag=_IMAGE, rm=True)
    container: Container = engine.containers.run(_IMAGE, detach=True, network=emulator.network)
    places.name(emulator, container, *databases)
    commands = "".join(
        f"CREATE ROLE {each['username']} LOGIN PASSWORD '{each['password']}';\n"
        f"CREATE DATABASE {each['username']} OWNER {each['username']};\n"
        for each in databases.values()
    )
    _told(container, commands)
    return container


def secret(emulator: Emulator, arn: str) -> dict[str, Any]:
    """Return a secret that holds JSON."""
    found = emulator.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    return dict(json.loads(found))


def _told(container: Container, commands: str) -> None:
    script = (
        "for i in $(seq 100); do pg_isready -q && break; sleep 0.1; done; "
        "psql -v ON_ERROR_STOP=1 -q"
    )
    # The commands go by the environment of the process, not by its words, which others see.
    code, output = container.exec_run(
        ["sh", "-c", f"{script} <<END\n$COMMANDS\nEND"], environment={"COMMANDS": commands}
    )
    assert code == 0, output.decode()
