"""A LocalSpawner on a real hub database and a fake engine whose containers report in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jupyterhub import orm
from sqlalchemy.orm import Session

from tests.fakes.engines import Engine
from tests.spawner.hub_double import TOKEN, HubDouble, swap
from workroom_spawner.local import LocalSpawner
from workroom_spawner.profiles import Catalog

NETWORK = "test-users"


class HereSpawner(LocalSpawner):
    """A LocalSpawner in a world without sockets."""

    world: LocalWorld

    @property
    def client(self) -> Any:
        return self.world.engine

    async def answers(self) -> bool:
        return self.world.running(self.object_id)

    def get_env(self) -> dict[str, str]:
        return {"JUPYTERHUB_API_TOKEN": TOKEN}


class EngineWithMortals(Engine):
    """Containers may die of memory as they begin, while `deadly` is true."""

    deadly = False

    def start(self, container: str) -> None:
        super().start(container)
        if self.deadly:
            self.die(container, 137, oom=True)


class LocalWorld(HubDouble[LocalSpawner]):
    """One hub process with its spawners, on one engine.

    Attributes:
        silent: Containers do not report in.
    """

    def __init__(self, db: Session, catalog: Catalog) -> None:
        self.db, self.catalog = db, catalog
        self.engine = EngineWithMortals(NETWORK)
        self.spawners: dict[tuple[str, str], LocalSpawner] = {}
        self.silent = False
        self._seen = 0

    def spawner(self, user: str = "ada", server: str = "", **options: str) -> LocalSpawner:
        person, row = self.row(user, server)
        spawner = HereSpawner(
            user=person,
            orm_spawner=row,
            db=self.db,
            hub=orm.Server(),
            catalog=self.catalog,
            instance="test",
            network_name=NETWORK,
            start_url="http://10.0.0.1:8081/hub/api/workroom/start",
            start_deadline=20,
        )
        spawner.world = self
        spawner.user_options = options or {"profile": "small", "image": "notebook"}
        spawner.load_state(row.state or {})
        self.spawners[user, server] = spawner
        return spawner

    def running(self, container: str) -> bool:
        """Tell whether a container's process runs."""
        found = self.engine.containers.get(container)
        return bool(found and found["State"]["Running"])

    def codes(self) -> list[str]:
        """Return the start codes that containers were given, oldest first."""
        return [r["environment"]["WORKROOM_START_CODE"] for r in self.engine.requests]

    async def play(self) -> None:
        """Do what the containers' start scripts do."""
        swaps: list[asyncio.Task[object]] = []
        while True:
            await asyncio.sleep(0.01)
            up = sum(c["State"]["Running"] for c in list(self.engine.containers.values()))
            if up and not self.silent and self._seen < len(self.codes()):
                code = self.codes()[self._seen]
                self._seen += 1
                swaps.append(asyncio.create_task(swap(code, Engine.ADDRESS)))


@asynccontextmanager
async def local_world_of(db: Session, catalog: Catalog) -> AsyncIterator[LocalWorld]:
    """Open a world."""
    world = LocalWorld(db, catalog)
    playing = asyncio.create_task(world.play())
    try:
        yield world
    finally:
        playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing
