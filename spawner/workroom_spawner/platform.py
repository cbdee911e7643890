"""One ECS cluster as this hub process uses it: API, watcher, definitions, homes, reconciler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workroom_spawner.definitions import Definitions
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.endings import Endings
from workroom_spawner.homes import Homes
from workroom_spawner.reconcile import Known, Reconciler
from workroom_spawner.task_requests import WEB_PORT, Request, TaskSpec, task_definition
from workroom_spawner.task_view import Machines, TaskView
from workroom_spawner.watcher import Watcher

log = logging.getLogger(__name__)
_MACHINES_FOR = 20.0
"""Seconds for which a look at the group of machines is good enough."""

Answers = Callable[[TaskView], Awaitable[bool]]


@dataclass
class EcsPlatform:
    """Everything that servers on one cluster share; `of` gives the process's only one.

    Attributes:
        servers: What is known of every server that runs or starts, by its server id.
    """

    settings: EcsSettings
    api: EcsApi
    watcher: Watcher
    definitions: Definitions
    homes: Homes
    reconciler: Reconciler
    endings: Endings
    servers: dict[str, Known] = field(default_factory=dict)
    _machines: Machines | None = None
    _machines_old: float = 0.0
    """Loop time from which `_machines` is not good enough; none while they are looked at."""
    _begun: set[asyncio.Task[None]] = field(default_factory=set)

    _all: ClassVar[dict[tuple[str, str, str, str], EcsPlatform]] = {}

    @classmethod
    def of(cls, settings: EcsSettings) -> EcsPlatform:
        """Return the platform of this cluster, region and installation; made at the first call."""
        key = (settings.endpoint_url, settings.region, settings.cluster, settings.installation)
        if key not in cls._all:
            cls._all[key] = cls.made(settings, EcsApi(settings))
        return cls._all[key]

    @classmethod
    def made(
        cls, settings: EcsSettings, api: EcsApi, answers: Answers | None = None
    ) -> EcsPlatform:
        """Put a platform together around `api`."""
        watcher = Watcher(api, answers=answers or port_answers)
        servers: dict[str, Known] = {}
        return cls(
            settings,
            api,
            watcher,
            Definitions(api),
            Homes(api),
            Reconciler(api, watcher, lambda: servers),
            Endings(watcher, settings.stop_seconds),
            servers,
        )

    def start(self) -> None:
        """Begin what goes on beside the spawners: knowing what exists, finding orphans."""
        for work in (
            self.api.warm_up,
            self.definitions.load,
            self.homes.load,
            self.reconciler.run,
        ):
            self.beside(work())

    def prewarm(self, users: AsyncIterable[str], images: Mapping[str, None]) -> None:
        """Make homes and task definitions of these users ahead of their next start.

        AWS registers one definition a second, so a thousand people must not need one at once. Live
        starts always go first.

        Args:
            users: Names.
            images: References of the images on offer.
        """
        self.beside(self.definitions.prewarm(self._definitions(users, images)))

    async def _definitions(
        self, users: AsyncIterable[str], images: Mapping[str, None]
    ) -> AsyncIterable[Request]:
        async for user in users:
            home = await self.homes.ahead(user)
            if home is None:
                continue
            for image in images:
                yield task_definition(TaskSpec(user, "", "", image, 1, 0, home), self.settings)

    def machines_now(self) -> Machines | None:
        """Return how many machines there were and will be at the last look; None: not known.

        Never waits: a look that is due is begun, and its answer is there for who asks later. It may
        stand in line behind a thousand new homes.
        """
        if asyncio.get_running_loop().time() >= self._machines_old:
            self._machines_old = float("inf")
            self.beside(self._look_at_machines())
        return self._machines

    async def _look_at_machines(self) -> None:
        try:
            self._machines = await self.api.machines()
        except Exception as error:
            log.warning("the group of machines cannot be looked at: %s", error)
            self._machines = None
        finally:
            self._machines_old = asyncio.get_running_loop().time() + _MACHINES_FOR

    def beside(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something done beside the spawners, until it is done or the hub ends."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._begun.discard(task)
        if not task.cancelled() and task.exception():
            log.error("background work on the cluster ended", exc_info=task.exception())

    async def close(self) -> None:
        """End what goes on beside the spawners; tasks run on."""
        for task in list(self._begun):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.reconciler.close()
        await self.watcher.close()
        self.api.close()


async def port_answers(view: TaskView) -> bool:
    """Tell whether something accepts connections where the task's server should be."""
    if not view.address:
        return False
    try:
        async with asyncio.timeout(5):
            _, writer = await asyncio.open_connection(view.address, WEB_PORT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
