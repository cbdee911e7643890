"""EcsSpawner's life on a fake account: start, poll, death, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from sqlalchemy.orm import Session

from tests.spawner.ecs_world import World, world_of
from workroom_spawner.profiles import Catalog

Opens = Callable[..., AbstractAsyncContextManager[World]]
pytestmark = pytest.mark.looptime


@pytest.fixture
def a_world(db: Session, catalog: Catalog) -> Callable[..., AbstractAsyncContextManager[World]]:
    """Return what opens a world within a test, whose loop's time is virtual there only."""
    return partial(world_of, db, catalog)


async def test_a_server_starts_runs_and_stops(a_world: Opens) -> None:
    async with a_world() as world:
        spawner = await world.start()
        [task] = world.tasks("RUNNING")
        assert spawner.address == task.address
        assert await spawner.poll() is None
        await world.stop(spawner)
        await asyncio.sleep(60)
        assert world.tasks("RUNNING") == []
