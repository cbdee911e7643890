"""User names and tokens for the registry: this machine's own, or those of a file."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workroom_hub.errors import ConfigError
from workroom_hub.registry.server_config import htpasswd
from workroom_hub.runtime import read_secret, write_private
from workroom_hub.settings_registry import Registry

Right = Literal["push", "pull"]
PUSHER, PULLER = "workroom-push", "workroom-pull"
"""User names in this machine's registry."""
SECRET_OF: dict[Right, str] = {"push": "registry-push-token", "pull": "registry-pull-token"}
"""Where the state folder has their tokens."""


@dataclass(frozen=True)
class Credentials:
    """Who we are for a registry; its text never shows the token."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r})"

    @property
    def pair(self) -> tuple[str, str]:
        """Both."""
        return self.username, self.password

    @property
    def auth_config(self) -> dict[str, str]:
        """What docker-py hands to the engine in a header of the request."""
        return {"username": self.username, "password": self.password}


def of(registry: Registry, home: Path, right: Right) -> Credentials | None:
    """Return the credentials for a right; who may push may pull too.

    Returns:
        None where the settings name no file, and the registry may ask for nothing.

    Raises:
        ConfigError: The file cannot be used.
    """
    if registry.kind == "machine":
        name = PUSHER if right == "push" else PULLER
        return Credentials(name, read_secret(home, SECRET_OF[right]))
    file, field = registry.push_credentials_file, "registry.push_credentials_file"
    if right == "pull" and registry.pull_credentials_file:
        file, field = registry.pull_credentials_file, "registry.pull_credentials_file"
    return read(file, field) if file else None


def read(file: Path, field: str) -> Credentials:
    """Read a file of credentials.

    Args:
        file: JSON with `username` and `password`, the form that Amazon ECS takes too.
        field: The setting that names it, for the error.

    Raises:
        ConfigError: It is missing, can be read by others, or holds something else.
    """
    try:
        mode = file.stat().st_mode & 0o777
        text = file.read_text()
    except OSError as error:
        raise ConfigError(
            f"{field} names '{file}', which cannot be read: {error.strerror}.",
            "Correct the path, or make the file (docs/registry.md, Tokens).",
        ) from error
    if mode & 0o077:
        raise ConfigError(
            f"{field} names '{file}', which others can read (mode {mode:o}).",
            f"chmod 600 {file}",
        )
    try:
        found = json.loads(text)
        given = Credentials(found["username"], found["password"])
        good = all(isinstance(v, str) and v for v in (given.username, given.password))
    except (ValueError, TypeError, KeyError):
        good = False
    if not good or ":" in given.username:
        raise ConfigError(
            f"{field} names '{file}', which does not hold a user name and a token.",
            'Its text must be {"username": "NAME", "password": "TOKEN"}.',
        )
    return given


def make_files(folder: Path) -> list[Path]:
    """Make both tokens, each in the form of who needs it; return the files, all of mode 0600."""
    pusher, puller = (Credentials(name, secrets.token_hex(32)) for name in (PUSHER, PULLER))
    files = {
        "push.json": json.dumps(pusher.auth_config) + "\n",
        "pull.json": json.dumps(puller.auth_config) + "\n",
        "push.htpasswd": htpasswd([pusher.pair]),
        "read.htpasswd": htpasswd([pusher.pair, puller.pair]),
    }
    folder.mkdir(parents=True, mode=0o700)
    for name, text in files.items():
        write_private(folder / name, text)
    return [folder / name for name in files]
