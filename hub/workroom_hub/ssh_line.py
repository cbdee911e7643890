"""Where people reach their server over ssh."""

from __future__ import annotations

from urllib.parse import urlsplit

from workroom_hub.settings import Settings


def host(settings: Settings) -> str:
    """Return the host name people type."""
    return settings.ssh.public_host or urlsplit(settings.web.address).hostname or "localhost"


def port(settings: Settings) -> int:
    """Return the port people type."""
    return settings.ssh.public_port or settings.ssh.port


def page(settings: Settings) -> str:
    """Return the address of the page on which people register their keys."""
    return f"{settings.web.address}/hub/account/ssh"
