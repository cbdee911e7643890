"""Secrets that the platform keeps for itself, made once in Secrets Manager and never printed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

_NOT_HEXADECIMAL = "ghijklmnopqrstuvwxyz"
HUB = (
    *("proxy-token", "cli-token", "metrics-token", "ssh-token"),
    *("cookie-secret", "start-code-key", "usage-key"),
)
"""Secrets of the hub's state folder."""
SEEDS = ("ssh-host-seed", "ssh-user-ca-seed")
"""What the SSH gateway's Ed25519 keys are made from: 32 bytes each."""


class Secrets(Construct):
    """Every secret of the hub, the proxy, the gateway and the registry.

    Args:
        scope: Parent.
        id: Name in the stack.
        instance: First part of their names.
        first_admin: Name of the admin whose first password is one of them; "": with OpenID Connect.
        shared: More secrets of 64 hexadecimal digits.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        instance: str,
        first_admin: str,
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__(scope, id)
        self._instance = instance
        self.hexadecimal = {name: self._hex(name) for name in (*HUB, *SEEDS, *shared)}
        self.pull = self._log_in("registry-pull", "cluster", "the cluster's, which reads images")
        self.push = self._log_in("registry-push", "push", "of whoever pushes images")
        self.first_password = (
            self._log_in("first-admin", first_admin, "the first admin's first")
            if first_admin
            else None
        )

    def _hex(self, name: str) -> secretsmanager.Secret:
        made = secretsmanager.SecretStringGenerator(
            password_length=64,
            exclude_punctuation=True,
            exclude_uppercase=True,
            exclude_characters=_NOT_HEXADECIMAL,
            require_each_included_type=False,
        )
        return self._secret(name, f"Workroom: {name}, 64 hexadecimal digits", made)

    def _log_in(self, name: str, user: str, whose: str) -> secretsmanager.Secret:
        made = secretsmanager.SecretStringGenerator(
            secret_string_template=json.dumps({"username": user}),
            generate_string_key="password",
            password_length=32,
            exclude_punctuation=True,
        )
        return self._secret(name, f"Workroom: password, {whose}", made)

    def _secret(
        self, name: str, description: str, made: secretsmanager.SecretStringGenerator
    ) -> secretsmanager.Secret:
        secret = secretsmanager.Secret(
            self,
            name,
            secret_name=f"{self._instance}/{name}",
            description=description,
            generate_secret_string=made,
        )
        secret.apply_removal_policy(RemovalPolicy.RETAIN)
        return secret
