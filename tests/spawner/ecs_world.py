"""An EcsSpawner on a real hub database and a fake AWS account; no thread, no socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from jupyterhub import orm
from sqlalchemy.orm import Session

from tests.fakes.aws import FakeAws, FakeContainers, Pace
from tests.spawner import hub_double
from tests.spawner.ecs_wire import Requests, Wire
from tests.spawner.hub_double import TOKEN, HubDouble, swap, until
from workroom_spawner import metrics
from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import CapacityProvider, EcsHomes, EcsSettings, TaskLogs
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.profiles import Catalog
from workroom_spawner.progress import Progress
from workroom_spawner.startcode import START_CODES
from workroom_spawner.task_view import TaskView

__all__ = ["ECS", "TOKEN", "Beginning", "Opens", "World", "swap", "until", "world_of"]

Beginning = hub_double.Beginning[EcsSpawner]
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


class HttpServers:
    """Which addresses answer over HTTP: those of containers that run and have their code swapped.

    Attributes:
        silent: None of them answers, though they run.
    """

    def __init__(self, containers: FakeContainers) -> None:
        self._containers = containers
        self.silent = False

    def answers(self, address: str) -> bool:
        return not self.silent and address in self._containers.answering


class WorldSpawner(EcsSpawner):
    """An EcsSpawner in a world without sockets."""

    world: World

    @property
    def platform(self) -> EcsPlatform:
        return self.world.platform

    async def answers(self) -> bool:
        return self.world.http.answers(self.address)

    def begin_progress(self) -> Progress:
        if self._progress is None:
            self._progress = Progress(self.stages, asyncio.get_running_loop().time)
        return self._progress

    def get_env(self) -> dict[str, str]:
        return {"JUPYTERHUB_API_TOKEN": TOKEN}


@dataclass
class World(HubDouble[EcsSpawner]):
    """One hub process with its spawners, on one account.

    `restarted()` is the next hub process on the same database and account.

    Attributes:
        wire: How long calls to AWS take.
        requests: What AWS was asked.
    """

    db: Session
    catalog: Catalog
    fake: FakeAws
    containers: FakeContainers
    settings: EcsSettings = ECS
    wire: Wire = field(default_factory=Wire)
    requests: Requests = field(default_factory=Requests)
    platform: EcsPlatform = field(init=False)
    spawners: dict[tuple[str, str], EcsSpawner] = field(default_factory=dict)

    def __post_init__(self) -> None:
        metrics._ages.clear()  # of an earlier process
        self.http = HttpServers(self.containers)
        api = EcsApi(self.settings, clients=self.fake.client, runner=self.wire)
        self.platform = EcsPlatform.made(self.settings, api, self._port_answers)

    async def _port_answers(self, view: TaskView) -> bool:
        return self.http.answers(view.address)

    def spawner(self, user: str = "ada", server: str = "", **options: str) -> EcsSpawner:
        """Return a server's spawner as the hub makes it, with the state in the database."""
        person, row = self.row(user, server)
        spawner = WorldSpawner(
            user=person,
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

    def living(self) -> list[Any]:
        """Return the tasks that nobody has told to stop."""
        self.fake.advance()
        return [t for t in self.fake.tasks.values() if t.desired == "RUNNING"]


@asynccontextmanager
async def world_of(
    db: Session,
    catalog: Catalog,
    pace: Pace | None = None,
    *,
    settings: EcsSettings = ECS,
    boot_seconds: float = 0.0,
    **knobs: Any,
) -> AsyncIterator[World]:
    """Open a world. In a test, not in a fixture: `looptime` sets the clock back between the two."""
    clock = asyncio.get_running_loop().time
    fake = FakeAws(clock, pace=pace, **knobs)
    # The one clock of the process that is not the loop's.
    real, START_CODES._clock = START_CODES._clock, clock
    try:
        async with FakeContainers(fake, swap=swap, boot_seconds=boot_seconds) as containers:
            world = World(db, catalog, fake, containers, settings)
            fake.suffer(world.requests)
            try:
                yield world
            finally:
                await world.platform.close()
    finally:
        START_CODES._clock = real
        START_CODES._guesses.clear()


Opens = Callable[..., AbstractAsyncContextManager[World]]
