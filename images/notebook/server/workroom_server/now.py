"""`GET api/workroom/now`: what the hub's pages show of a running server.

The hub asks with a token of its own that no kernel has (`WORKROOM_USAGE_TOKEN`). Jupyter's
log-in takes no part: the hub has no user's token, and no user may ask for another's figures.
"""

from __future__ import annotations

import hmac
import os
import pwd
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.utils import url_path_join
from tornado import web

from . import figures, limits
from .home_size import HomeSize
from .monitor import ActivityMonitor

HEADER = "X-Workroom-Token"


class Figures:
    """Everything the answer is made of.

    Args:
        monitor: Knows when the server was last used, and shares its CPU samples.
        environment: The server's, for its limits.
    """

    def __init__(self, monitor: ActivityMonitor, environment: Mapping[str, str]) -> None:
        self.monitor = monitor
        self.cpu_limit = limits.granted_cores(environment)
        self.memory_limit = limits.granted_memory(environment)
        # Not $HOME, which is elsewhere when the home cannot be entered.
        home = Path(pwd.getpwuid(os.getuid()).pw_dir)
        self.room = figures.RoomGauge(home)
        self.size = HomeSize(home, lambda why: monitor.log.warning("Home not counted: %s", why))

    async def now(self) -> dict[str, Any]:
        """Return the answer."""
        room, counted = await self.room.look(), self.size.known
        cpu = self.monitor.cpu.look()
        last = self.monitor.last_activity()
        return {
            "cpu": None if cpu is None else round(cpu, 3),
            "cpu_limit": self.cpu_limit,
            "memory": figures.memory_used(),
            "memory_limit": self.memory_limit,
            "home": room
            and {"used": counted.used, **room, "counted_at": counted.at and _text(counted.at)},
            "idle": {"last_activity": _text(last), "reason": self.monitor.reason},
        }


def _text(moment: datetime) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


class NowHandler(web.RequestHandler):
    """Answers whoever shows the token; it is compared in constant time and never logged."""

    def initialize(self, figures: Figures, token: str) -> None:
        """Take what the answer is made of, and the token to expect; "" lets nobody in."""
        self.figures, self.token = figures, token

    @allow_unauthenticated  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """Answer with the figures of this moment."""
        self.set_header("Cache-Control", "no-store")
        shown = self.request.headers.get(HEADER, "")
        if not self.token or not hmac.compare_digest(shown.encode(), self.token.encode()):
            self.set_status(403)
            self.finish({"message": f"Only the hub may ask, with its token in {HEADER}."})
            return
        self.finish(await self.figures.now())


def add(serverapp: Any, monitor: ActivityMonitor, token: str) -> None:
    """Serve the figures, and count the home from time to time."""
    found = Figures(monitor, os.environ)
    path = url_path_join(serverapp.web_app.settings["base_url"], "api/workroom/now")
    options = {"figures": found, "token": token}
    serverapp.web_app.add_handlers(".*", [(path, NowHandler, options)])
    found.size.start()
