"""EcsSpawner's life on a fake account: start, poll, stop."""

from __future__ import annotations

import asyncio

import pytest

from tests.spawner.ecs_world import Opens

pytestmark = pytest.mark.looptime


async def test_a_server_starts_runs_and_stops(a_world: Opens) -> None:
    async with a_world() as world:
        spawner = await world.start()
        [task] = world.tasks("RUNNING")
        assert spawner.address == task.address
        assert await spawner.poll() is None
        await world.stop(spawner)
        await asyncio.sleep(60)
        assert world.tasks("RUNNING") == []
