"""The section `ssh` of `workroom.yaml`: the SSH gateway."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from workroom_hub.fields import Port, Section, Span

Cipher = Literal[
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
    "aes256-ctr",
    "aes192-ctr",
    "aes128-ctr",
]


def _fast_ciphers() -> list[Cipher]:
    return ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com"]


class Ssh(Section):
    """Plain `ssh` into people's servers."""

    enabled: bool = Field(True, description="Run the SSH gateway.")
    host: str = Field(
        "127.0.0.1", description="Address the gateway listens on. Loopback by default."
    )
    port: Port = Field(2222, description="Port of the gateway; `WORKROOM_SSH_PORT` overrides it.")
    public_host: str | None = Field(
        None,
        description="Host name people type after `NAME@`; default: that of the web page's address.",
    )
    public_port: Port | None = Field(
        None, description="Port people type, where something forwards it; default: `port`."
    )
    host_key_files: list[Path] = Field(
        default_factory=list,
        description="Private host keys of the gateway, such as files mounted from a secret store; default: made once and kept in the state folder.",
    )
    ca_key_file: Path | None = Field(
        None,
        description="Private key that signs the gateway's certificates, such as a file mounted from a secret store; default: made once and kept in the state folder.",
    )
    ciphers: list[Cipher] = Field(
        default_factory=_fast_ciphers,
        min_length=1,
        description="Ciphers offered, best first. AES-GCM alone is twice as fast as what clients choose otherwise; add others for clients older than OpenSSH 6.2.",
    )
    certificate_lifetime: Span = Field(
        120, ge=30, le=3600, description="Life of the certificate that opens one connection."
    )
    login_timeout: Span = Field(
        30, ge=5, le=600, description="Longest time from connecting to being logged in."
    )
    idle_timeout: Span = Field(
        43200,
        ge=0,
        description="A connection without any traffic but keep-alives is closed after this; 0: never.",
    )
    max_connections: int = Field(1000, ge=1, description="Logged-in connections, all users.")
    max_connections_per_user: int = Field(50, ge=1, description="Logged-in connections of a user.")
    max_logging_in: int = Field(
        100, ge=1, description="Connections that have not logged in yet, all addresses."
    )
    logins_per_minute: int = Field(
        60,
        ge=1,
        description="Connection attempts a minute from one address, after a burst of as many.",
    )
    drain: Span = Field(
        43200,
        ge=0,
        description="How long a gateway that was restarted keeps the connections it has.",
    )
    browser_login_within: Span | None = Field(
        None,
        ge=0,
        description="Keys work for this long after their owner's last log-in in a browser; 0: for ever. The default is 30 days with `auth.kind: oidc`, so that people who left the company are locked out, and 0 with passwords.",
    )

    @field_validator("public_host")
    @classmethod
    def _host_name(cls, value: str | None) -> str | None:
        # It is a word of a command line that people copy.
        if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,252}", value):
            raise ValueError("write a host name or address alone, such as ssh.example.com")
        return value

    @field_validator("max_connections_per_user")
    @classmethod
    def _a_user_is_not_more_than_all(cls, value: int, others: ValidationInfo) -> int:
        # Of what is written only: fewer for all than the default for a user hold without it.
        most = others.data.get("max_connections", value)
        if value > most:
            raise ValueError(
                f"`max_connections`, which is for all users, is {most}; write at most as many, "
                "or raise that"
            )
        return value
