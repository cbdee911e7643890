"""The servers `workroom-start` runs: JupyterHub's single-user server, or JupyterLab by itself."""

from __future__ import annotations

import asyncio
import gc
import random
from typing import Any, ClassVar

from jupyterhub.singleuser.extension import JupyterHubSingleUser

from . import now
from .defaults import EXTENSIONS, server_config
from .monitor import ActivityMonitor

# Seconds after the start, and as many again at random, before the hub hears of activity: it has
# just been told that the server is up, and neighbours may be starting.
FIRST_REPORT = 20.0


class WorkroomSingleUser(JupyterHubSingleUser):
    """JupyterHub's single-user server with what only slows its start moved to later."""

    name = "workroom"
    usage_token: ClassVar[str] = ""  # set by start.py, so that it is in no environment

    @classmethod
    def make_serverapp(cls, **kwargs: Any) -> Any:
        """Make the server with Workroom's defaults; a person's own configuration goes above."""
        kwargs.setdefault("jpserver_extensions", {}).update(EXTENSIONS)
        serverapp = super().make_serverapp(**kwargs)
        serverapp.update_config(server_config())
        serverapp.no_browser_open_file = True  # that file would hold the token
        return serverapp

    def initialize(self, args: Any = None) -> None:
        """Set the server up, with activity measured our way (`monitor.py`)."""
        super().initialize(args)
        monitor = ActivityMonitor(self.serverapp)
        # What the hub is told, and what /api/status says.
        self.serverapp.web_app.last_activity = monitor.last_activity
        self.serverapp.web_app.settings["workroom_activity"] = monitor
        now.add(self.serverapp, monitor, self.usage_token)
        monitor.start()
        gc.freeze()
        gc.enable()

    async def check_hub_version(self) -> None:
        """Nothing before the first report: the start code's swap has just spoken to the hub."""

    async def keep_activity_updated(self) -> None:
        """Report to the hub, but not while the server and its neighbours are still starting."""
        pause = min(FIRST_REPORT, self.hub_activity_interval)
        await asyncio.sleep(pause * (1 + random.random()))  # noqa: S311
        await super().check_hub_version()
        await super().keep_activity_updated()
