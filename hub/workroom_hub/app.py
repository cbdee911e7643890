"""WorkroomHub: JupyterHub with our pages and API, that keeps what runs when it starts.

python -m workroom_hub.app -f jupyterhub_config.py
"""

from __future__ import annotations

import asyncio
import gc
import logging
from pathlib import Path
from typing import Any

import aiohttp
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.proxy import ConfigurableHTTPProxy
from jupyterhub.user import User
from tornado.ioloop import PeriodicCallback
from tornado.web import StaticFileHandler

from workroom_hub import accounts, adoption, proxy_watch, start_handler, turnstile
from workroom_hub.account import handlers as account
from workroom_hub.keepers import ContainerKeeper, Keeper, TaskKeeper
from workroom_hub.portal import handlers as portal_handlers
from workroom_hub.portal.home import asker
from workroom_spawner import database

_SWEEP_SECONDS = 300
_TO_DISK_SECONDS = 1.0
"""What a power cut may cost of the hub's own notes; a start's are written to the disk at once."""
_COLLECT = (20_000, 20, 50)
"""How seldom Python looks for garbage (`gc.set_threshold`); the defaults are 700, 10, 10."""
_BACKLOG = 4096
"""Connections that may wait to be taken up; the kernel cuts it to its own limit."""
STATIC = Path(__file__).parent / "static"


class PatientProxy(ConfigurableHTTPProxy):  # type: ignore[misc]
    """Stops a server also while the proxy is away: its route is gone with it anyway."""

    async def delete_route(self, routespec: str) -> None:
        """Delete a route, or leave it to the hub's next look at the proxy's routes."""
        try:
            async with asyncio.timeout(3):
                await super().delete_route(routespec)
        except (TimeoutError, aiohttp.ClientError) as error:
            self.log.warning("route %s could not be deleted: %r", routespec, error)


class WorkroomHub(JupyterHub):  # type: ignore[misc]
    """JupyterHub with Workroom's handlers, and a keeper that leaves nothing lost or left over."""

    name = "workroom-hub"

    def init_logging(self) -> None:
        """Let our modules, alarms above all, write into the hub's log in its form."""
        super().init_logging()
        for ours in ("workroom", "workroom_hub", "workroom_spawner"):
            logging.getLogger(ours).parent = self.log

    def init_handlers(self) -> None:
        """Put our handlers before JupyterHub's catch-all ones."""
        super().init_handlers()
        ours = [
            *start_handler.handlers,
            *accounts.handlers,
            *portal_handlers.handlers,
            *account.handlers,
            (r"/workroom-static/(.*)", StaticFileHandler, {"path": str(STATIC)}),
        ]
        self.handlers[:0] = self.add_url_prefix(self.hub_prefix, ours)

    def init_db(self) -> None:
        """Open the database in a way that does not hold up the event loop."""
        database.use_write_ahead_log()
        if self.db_url.startswith("sqlite"):
            # A question before every other one, in case a database server had gone away.
            orm.register_ping_connection = lambda engine: None  # noqa: ARG005
        super().init_db()

    async def init_spawners(self) -> Any:
        """Adopt running servers, reachable or not."""
        User._wait_up = adoption.keep_unreachable
        turnstile.install()
        ecs = str(self.config.JupyterHub.spawner_class).endswith("EcsSpawner")
        self.keeper: Keeper = TaskKeeper(self) if ecs else ContainerKeeper(self)
        self.keeper.before_spawners()
        # Thousands of servers are made here, and a handful of garbage.
        gc.disable()
        try:
            # As long as this list lives, all these users are in memory.
            users = adoption.users_with_servers(self.db)
            count = await super().init_spawners()
            del users
        finally:
            gc.enable()
        # What is there now stays; to look through all of it takes more than a second each time.
        gc.freeze()
        return count

    async def start(self) -> None:
        """Start, clear away what an earlier hub left half-made, and look again now and then."""
        await super().start()
        self._make_room()
        self._writer = asyncio.create_task(self._write_to_disk())
        await self.keeper.begin()
        await self._sweep()
        found = [s for user in self.users.values() for s in user.spawners.values() if s.active]
        self._roll = asyncio.create_task(adoption.Roll(found).call())
        self._sweeper = PeriodicCallback(self._sweep, _SWEEP_SECONDS * 1000)
        self._sweeper.start()
        self._proxy_watch = asyncio.create_task(self._watch_proxy())

    async def _watch_proxy(self) -> None:
        if "127.0.0.1" in self.proxy.api_url:
            return  # `workroom up` starts both
        await proxy_watch.watch(
            lambda: proxy_watch.knows_us(self.proxy, self.hub.routespec),
            lambda: self.proxy.check_routes(self.users, self._service_map),
        )

    def _make_room(self) -> None:
        """Prepare for a thousand people at once."""
        for listening in self.http_server._sockets.values():
            # Tornado's 128 are soon full, and the kernel then turns people away.
            listening.listen(_BACKLOG)
        gc.set_threshold(*_COLLECT)

    async def _write_to_disk(self) -> None:
        engine = self.db.get_bind()
        while True:
            await asyncio.sleep(_TO_DISK_SECONDS)
            try:
                await asyncio.to_thread(database.to_disk, engine)
            except Exception:
                self.log.exception("the database could not be written to the disk; tried again")

    async def _sweep(self) -> None:
        try:
            await self.keeper.sweep()
        except Exception:
            self.log.exception("the sweep for left-over work failed; tried again later")

    def is_active(self, user_name: str, server: str) -> bool:
        """Tell whether the hub knows this server as running or starting."""
        # UserDict looks up names in the database; `get` would not.
        user = self.users[user_name] if user_name in self.users else None  # noqa: SIM401
        return user is not None and server in user.spawners and user.spawners[server].active

    async def cleanup(self) -> None:
        """End what goes on beside the spawners."""
        if keeper := getattr(self, "keeper", None):
            await keeper.close()
        for beside in ("_writer", "_roll", "_proxy_watch"):
            if task := getattr(self, beside, None):
                task.cancel()
        await asker.close()
        await super().cleanup()


main = WorkroomHub.launch_instance

if __name__ == "__main__":
    main()
