"""What the behaviour suite asks of a spawner's world, whichever spawner it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sqlalchemy.orm import Session

from tests.fakes.aws import Ending, bad_days
from tests.fakes.aws.bad_days import TaskStopsAt
from tests.spawner.ecs_world import World, world_of
from tests.spawner.hub_double import HubDouble, until
from tests.spawner.local_world import LocalWorld, local_world_of
from workroom_spawner.profiles import Catalog


class Installation(Protocol):
    """One platform with one hub.

    Attributes:
        hub: Starts and stops as JupyterHub does.
    """

    hub: HubDouble[Any]

    def living(self) -> int:
        """Return how many servers' containers or tasks there are that nobody told to end."""

    def codes(self) -> list[tuple[str, str]]:
        """Return start codes with the address of who got them, oldest first."""

    async def out_of_memory(self, spawner: Any) -> None:
        """End a server as the kernel does; returns when the platform may be expected to know."""

    async def wiped_out(self, spawner: Any) -> None:
        """Let a server be gone without a trace."""

    def next_start_dies(self) -> None:
        """Let the next server die of memory before it has reported in."""

    def next_start_hangs(self) -> None:
        """Let containers not report in from now on."""

    async def under_way(self, spawner: Any) -> None:
        """Wait until a start has its container or task."""

    async def next_hub(self) -> HubDouble[Any]:
        """Kill the hub, and return the next one."""


class OnEngine:
    """LocalSpawner."""

    def __init__(self, world: LocalWorld) -> None:
        self.hub = self.world = world

    def living(self) -> int:
        return len(self.world.engine.containers)

    def codes(self) -> list[tuple[str, str]]:
        return [(code, self.world.engine.ADDRESS) for code in self.world.codes()]

    async def out_of_memory(self, spawner: Any) -> None:
        self.world.engine.die(spawner.object_id, 137, oom=True)

    async def wiped_out(self, spawner: Any) -> None:
        del self.world.engine.containers[spawner.object_id]

    def next_start_dies(self) -> None:
        self.world.engine.deadly = True

    def next_start_hangs(self) -> None:
        self.world.silent = True

    async def under_way(self, spawner: Any) -> None:
        await until(lambda: self.world.running(spawner.object_id))

    async def next_hub(self) -> HubDouble[Any]:
        self.world.spawners.clear()
        return self.world


class OnEcs:
    """EcsSpawner, in virtual time."""

    def __init__(self, world: World) -> None:
        self.hub = self.world = world

    def living(self) -> int:
        return len(self.world.living())

    def codes(self) -> list[tuple[str, str]]:
        tasks = self.world.tasks()
        return [(t.environment["WORKROOM_START_CODE"], t.address) for t in tasks]

    async def out_of_memory(self, spawner: Any) -> None:
        self.world.fake.end(spawner.task_arn, bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(75)  # two sweeps

    async def wiped_out(self, spawner: Any) -> None:
        task = self.world.fake.tasks.pop(spawner.task_arn)
        self.world.containers.answering.pop(task.address)
        await asyncio.sleep(900)  # what the rule for vanished tasks takes

    def next_start_dies(self) -> None:
        dies: Ending = bad_days.OUT_OF_MEMORY
        self.world.containers.boot_seconds = 20
        self.world.fake.suffer(TaskStopsAt("process", dies, after=5, times=1))

    def next_start_hangs(self) -> None:
        self.world.containers.boot_seconds = 1e6

    async def under_way(self, spawner: Any) -> None:
        await until(lambda: spawner.task_arn)
        await asyncio.sleep(5)

    async def next_hub(self) -> HubDouble[Any]:
        return await self.world.restarted()


@asynccontextmanager
async def on_engine(db: Session, catalog: Catalog) -> AsyncIterator[Installation]:
    """Open an installation on one machine."""
    async with local_world_of(db, catalog) as world:
        yield OnEngine(world)


@asynccontextmanager
async def on_ecs(db: Session, catalog: Catalog) -> AsyncIterator[Installation]:
    """Open an installation on ECS."""
    async with world_of(db, catalog) as world:
        yield OnEcs(world)


Opens = Callable[[], AbstractAsyncContextManager[Installation]]
INSTALLATIONS = {"local": on_engine, "ecs": on_ecs}
