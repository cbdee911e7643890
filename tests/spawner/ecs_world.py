"""An EcsSpawner on a real hub database and a fake AWS account; no thread, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from jupyterhub import orm
from sqlalchemy.orm import Session

from tests.fakes.aws import FakeAws, FakeContainers, Pace
from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import CapacityProvider, EcsHomes, EcsSettings, TaskLogs
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.profiles import Catalog
from workroom_spawner.startcode import START_CODES
from workroom_spawner.task_view import TaskView

ECS = EcsSettings(
    region="eu-west-1",
    cluster="data-science",
    instance="test",
    installation="1" * 32,
    subnets=("subnet-0a",),
    security_groups=("sg-0a",),
    capacity_providers=(CapacityProvider("machines"),),
    task_role="arn:aws:iam::123456789012:role/task",
    homes=EcsHomes("efs", "fs-0123456789abcdef0"),
    logs=TaskLogs("servers"),
)


async def inline(call: Callable[[], Any]) -> Any:
    """Run a call to AWS at once: in virtual time nothing may wait for a thread."""
    await asyncio.sleep(0)
    return call()


class HttpServers:
    """Which addresses answer over HTTP: those of containers that swapped their code."""

    def __init__(self, containers: FakeContainers) -> None:
        self._containers = containers
        self.silent = False

    def answers(self, address: str) -> bool:
        fake = self._containers.fake
        up = {fake.tasks[arn].address for arn in self._containers.swapped if arn in fake.tasks}
        return not self.silent and address in up


class WorldSpawner(EcsSpawner):
    """An EcsSpawner in a world without sockets."""

    world: World

    @property
    def platform(self) -> EcsPlatform:
        return self.world.platform

    async def answers(self) -> bool:
        return self.world.http.answers(self.address)

    def get_env(self) -> dict[str, str]:
        return {"JUPYTERHUB_API_TOKEN": "secret-token"}


@dataclass
class World:
    """One hub process with its spawners, on one account.

    `restarted()` is the next hub process on the same database and account.
    """

    db: Session
    catalog: Catalog
    fake: FakeAws
    containers: FakeContainers
    settings: EcsSettings = ECS
    platform: EcsPlatform = field(init=False)
    spawners: dict[tuple[str, str], EcsSpawner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.http = HttpServers(self.containers)
        api = EcsApi(self.settings, clients=self.fake.client, runner=inline)

        async def answers(view: TaskView) -> bool:
            return self.http.answers(view.address)

        self.platform = EcsPlatform.made(self.settings, api, answers)

    def spawner(self, user: str = "ada", server: str = "", **options: str) -> EcsSpawner:
        """Return a server's spawner as the hub makes it, with the state in the database."""
        owner = orm.User.find(self.db, user) or orm.User(name=user)
        self.db.add(owner)
        row = owner.orm_spawners.get(server) or orm.Spawner(name=server, user=owner)
        self.db.add(row)
        self.db.commit()
        spawner = WorldSpawner(
            user=SimpleNamespace(
                name=user, groups=owner.groups, url=f"/user/{user}", id=owner.id, db=self.db
            ),
            orm_spawner=row,
            db=self.db,
            hub=orm.Server(),
            catalog=self.catalog,
            instance=self.settings.instance,
            installation=self.settings.installation,
            start_url="http://10.0.0.1:8081/hub/api/workroom/start",
            start_code_key=b"k" * 32,
            start_deadline=120,
            platform_settings=self.settings,
        )
        spawner.world = self
        spawner.user_options = options or {"profile": "small", "image": "notebook"}
        spawner.load_state(row.state or {})
        self.spawners[user, server] = spawner
        return spawner

    async def start(self, user: str = "ada", server: str = "", **options: str) -> EcsSpawner:
        """Start a server as the hub does; after it its state is in the database."""
        spawner = self.spawner(user, server, **options)
        await self.go(spawner)
        return spawner

    async def go(self, spawner: EcsSpawner) -> None:
        """Start with a spawner that is there."""
        spawner.clear_state()
        try:
            await spawner.start()
        except Exception:
            await self.stop(spawner)
            raise
        spawner.orm_spawner.state = spawner.get_state()
        self.db.commit()

    async def stop(self, spawner: EcsSpawner) -> None:
        """Stop as the hub does."""
        if await spawner.poll() is None:
            await spawner.stop()
        await spawner.run_post_stop_hook()
        spawner.clear_state()
        spawner.orm_spawner.state = spawner.get_state()
        self.db.commit()

    async def restarted(self) -> World:
        """Kill this hub process: nothing of it is told anything; return the next one."""
        await self.platform.close()
        self.db.rollback()
        self.db.expire_all()
        return replace(self)

    def tasks(self, status: str = "") -> list[Any]:
        """Return the account's tasks, of one status or all."""
        self.fake.advance()
        return [t for t in self.fake.tasks.values() if not status or t.status == status]


@asynccontextmanager
async def world_of(
    db: Session, catalog: Catalog, pace: Pace | None = None, **knobs: Any
) -> AsyncIterator[World]:
    """Open a world. In a test, not in a fixture: `looptime` sets the clock back between the two."""
    fake = FakeAws(asyncio.get_running_loop().time, pace=pace, **knobs)
    async with FakeContainers(fake, swap=swap) as containers:
        world = World(db, catalog, fake, containers)
        try:
            yield world
        finally:
            await world.platform.close()


async def swap(code: str, address: str) -> object:
    """Swap a start code as a container does: again while the hub cannot say."""
    from workroom_spawner.startcode import NotYet

    for _ in range(100):
        try:
            return await START_CODES.redeem(code, address, "ssh-ed25519 AAAA")
        except NotYet:
            await asyncio.sleep(1)
    raise TimeoutError("the hub did not say in 100 s")
