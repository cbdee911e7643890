"""Our spawners in this process, in virtual time, on a fake account: for benchmarks that wait long.

No socket and no thread, for virtual time jumps over whatever waits for one: boto3's requests are
handed to the fake inline, and the database is in memory.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import looptime
from ecs_peer import database, ours, settings
from sqlalchemy.orm import Session

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fakes.aws import FakeAws, FakeContainers, Pace
from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.startcode import START_CODES, NotYet


def in_virtual_time(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run `work` on a loop whose time stands still while something runs, and jumps otherwise."""
    loop = looptime.patch_event_loop(asyncio.new_event_loop(), start=0)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work())


def fake_account(wait: float = 2.0) -> FakeAws:
    """Return an account whose containers are up `wait` seconds after RunTask."""
    pace = Pace(provision_seconds=0.3, pull_seconds=0.2, start_seconds=wait - 0.5)
    return FakeAws(asyncio.get_running_loop().time, pace=pace)


@dataclass
class World:
    """One hub process's spawners."""

    fake: FakeAws
    containers: FakeContainers
    db: Session
    platform: EcsPlatform

    def spawner(self, name: str) -> EcsSpawner:
        """Return a new user's spawner."""
        spawner = ours(self.db, self.platform.settings, name, kind=_Spawner)
        spawner.world = self
        self.db.commit()
        return spawner


@asynccontextmanager
async def world(fake: FakeAws) -> AsyncIterator[World]:
    """Run a hub process's share of the work on `fake`."""
    ecs = settings("")
    platform = EcsPlatform.made(ecs, EcsApi(ecs, clients=fake.client, runner=_inline), _silent)
    with database() as db:
        async with FakeContainers(fake, swap=_swap) as containers:
            yield World(fake, containers, db, platform)
            await platform.close()


async def start(spawner: Any) -> float:
    """Start as the hub does; return the seconds it took."""
    now = asyncio.get_running_loop().time
    began = now()
    spawner.clear_state()
    await spawner.start()
    return now() - began


async def stop(spawner: Any) -> None:
    """Stop as the hub does."""
    if await spawner.poll() is not None:
        raise RuntimeError("poll said that a running server is not")
    await spawner.stop()
    await spawner.run_post_stop_hook()


class _Spawner(EcsSpawner):
    """Without the hub that would make its token, and without sockets."""

    world: World

    @property
    def platform(self) -> EcsPlatform:
        return self.world.platform

    async def answers(self) -> bool:
        return self.address in self.world.containers.answering

    def get_env(self) -> dict[str, str]:
        return {"JUPYTERHUB_API_TOKEN": "secret"}


async def _inline(call: Callable[[], Any]) -> Any:
    await asyncio.sleep(0)
    return call()


async def _silent(_: object) -> bool:
    return False


async def _swap(code: str, address: str) -> object:
    for _ in range(100):
        try:
            return await START_CODES.redeem(code, address, "ssh-ed25519 AAAA")
        except NotYet:
            await asyncio.sleep(1)
    raise TimeoutError("the hub did not say in 100 s")
