"""What the home page says of ssh: the lines for each server, ready to copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workroom_hub.account import address, store


@dataclass(frozen=True)
class Ssh:
    """The gateway as one user sees it; `has_keys` tells whether she has registered one."""

    user: str
    host: str
    port: int
    has_keys: bool

    def line(self, server: str) -> str:
        """Return the command for a server."""
        return address.ssh_line(self.user, server, self.host, self.port)

    def alias(self, server: str) -> str:
        """Return what the configuration calls a server."""
        return address.alias(server)

    def config(self, server: str) -> str:
        """Return the block for `~/.ssh/config`."""
        return address.config_block(self.user, server, self.host, self.port)

    def vscode(self, server: str) -> str:
        """Return the link that opens Visual Studio Code there; it knows the configuration."""
        return address.vscode_link(server)


def of(handler: Any, user: Any) -> Ssh | None:
    """Return what there is to say to a user, or None where there is no gateway."""
    gateway = handler.settings["template_vars"].get("workroom_ssh")
    if not gateway or not gateway["enabled"]:
        return None
    has_keys = bool(store.of_user(handler.db, user.id))
    return Ssh(user.name, gateway["host"], gateway["port"], has_keys)
