"""What a hub does beside its spawners so that nothing is lost and nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.httpclient import fetch
from sqlalchemy import select

from workroom_hub.configure import CLI_SERVICE
from workroom_spawner.local import engine_client
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.requests import LABEL

if TYPE_CHECKING:
    from workroom_hub.app import WorkroomHub

_RESUMED_AT_ONCE = 20


class Keeper(Protocol):
    """What the hub calls; one implementation a spawner."""

    def before_spawners(self) -> None:
        """Called when the database is there and no spawner is yet."""

    async def begin(self) -> None:
        """Called once the hub serves."""

    async def sweep(self) -> None:
        """Called now and then; what it raises is logged."""

    async def close(self) -> None:
        """Called when the hub ends."""


class ContainerKeeper:
    """Removes this installation's containers that no server owns.

    An engine that was away when a server had to stop may leave its container running.
    """

    def __init__(self, app: WorkroomHub) -> None:
        self.app = app

    def before_spawners(self) -> None:
        """Nothing: the engine knows its containers by name."""

    async def begin(self) -> None:
        """Nothing: the first sweep follows at once."""

    async def sweep(self) -> None:
        """Remove containers whose server the hub does not know as active."""
        instance, log = self.app.config.LocalSpawner.instance, self.app.log
        client = engine_client()
        found = await asyncio.to_thread(
            client.containers, all=True, filters={"label": f"{LABEL}.instance={instance}"}
        )
        for container in found:
            labels = container["Labels"]
            user, server = labels.get(f"{LABEL}.user", ""), labels.get(f"{LABEL}.server", "")
            if self.app.is_active(user, server):
                continue
            log.warning("removing orphaned container %s", container["Names"][0])
            try:
                await asyncio.to_thread(client.remove_container, container["Id"], force=True)
            except Exception:
                log.exception("%s could not be removed; tried again later", container["Id"])

    async def close(self) -> None:
        """Nothing goes on in the background."""


class TaskKeeper:
    """Adopts the tasks of an earlier hub process, resumes its starts, stops orphans."""

    def __init__(self, app: WorkroomHub) -> None:
        self.app = app
        self.platform = EcsPlatform.of(app.config.EcsSpawner.platform_settings)
        self._starting: list[tuple[str, str]] = []
        self._warm: set[str] = set()

    def before_spawners(self) -> None:
        """Set aside starts that were under way when the hub died.

        JupyterHub takes every server in its table for one that runs. A start whose container has
        not reported in yet is none: it is started once more, and goes on where it was.
        """
        db = self.app.db
        for spawner in db.scalars(select(orm.Spawner).where(orm.Spawner.server_id.is_not(None))):
            start = (spawner.state or {}).get("start")
            if start and not start.get("redeemed"):
                self._starting.append((spawner.user.name, spawner.name))
                db.delete(spawner.server)
                spawner.server = None
        db.commit()
        for user, server in self._starting:
            # Made now, so that the reconciler knows its task and the start code is not refused.
            self.app.users[user].spawners[server].expect_code()

    async def begin(self) -> None:
        """Begin to watch over the cluster, and let the starts go on."""
        self.platform.start()
        if self._starting:
            self.app.log.warning("%d starts were under way; going on", len(self._starting))
        turns = asyncio.Semaphore(_RESUMED_AT_ONCE)
        self._resuming = asyncio.gather(
            *(self._resume(user, server, turns) for user, server in self._starting)
        )

    async def _resume(self, user: str, server: str, turns: asyncio.Semaphore) -> None:
        """Start a server as a click would, so that the hub's own rules hold for it."""
        path = f"users/{quote(user, safe='')}/servers/{quote(server, safe='')}"
        [token] = [s["api_token"] for s in self.app.services if s["name"] == CLI_SERVICE]
        async with turns:
            try:
                answer = await fetch(
                    f"{self.app.hub.api_url}{path}",
                    method="POST",
                    headers={"Authorization": f"token {token}"},
                    raise_for_status=False,
                )
                if answer.status >= 400:
                    self.app.log.error("%s/%s could not go on: %d", user, server, answer.status)
            except Exception:
                self.app.log.exception("the start of %s/%s could not go on", user, server)

    async def sweep(self) -> None:
        """Prepare the next start of everybody who has come since the last time."""
        names = set(self.app.db.scalars(select(orm.User.name)))
        new, self._warm = sorted(names - self._warm), names
        images = {i.ref: None for i in self.app.config.EcsSpawner.catalog.images}
        if new:
            self.platform.prewarm(_each(new), images)

    async def close(self) -> None:
        """End what goes on in the background; tasks run on."""
        await self.platform.close()


async def _each(names: list[str]) -> AsyncIterator[str]:
    for name in names:
        yield name
