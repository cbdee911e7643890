"""Where the portal's pages and questions are, below the hub's prefix."""

from __future__ import annotations

from typing import Any

from workroom_hub.portal.actions import (
    CarefulSpawnHandler,
    PendingHandler,
    ServersHandler,
    StoppingHandler,
)
from workroom_hub.portal.everyone import EveryoneHandler
from workroom_hub.portal.home import HomeHandler, ServersNowHandler

handlers: list[tuple[str, Any]] = [
    (r"/home", HomeHandler),
    (r"/everyone", EveryoneHandler),
    (r"/servers", ServersHandler),
    (r"/servers/stopping", StoppingHandler),
    (r"/spawn", CarefulSpawnHandler),
    (r"/spawn/([^/]+)", CarefulSpawnHandler),
    (r"/spawn/([^/]+)/([^/]+)", CarefulSpawnHandler),
    (r"/spawn-pending/([^/]+)", PendingHandler),
    (r"/spawn-pending/([^/]+)/([^/]+)", PendingHandler),
    (r"/api/workroom/servers-now", ServersNowHandler),
]
