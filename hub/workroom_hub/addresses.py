"""Where the parts of an installation reach each other."""

from __future__ import annotations

from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings


def hub_url(settings: Settings, runtime: Runtime) -> str:
    """Return where servers and services of this machine reach the hub."""
    if settings.spawner == "ecs":
        return settings.ecs.hub_url
    return f"http://{runtime.gateway}:{settings.local.hub_port}"


def hub_api_url(settings: Settings, runtime: Runtime) -> str:
    """Return where servers and services of this machine reach the hub's API."""
    return f"{hub_url(settings, runtime)}/hub/api"
