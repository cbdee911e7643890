"""A spawner that starts nothing, one slow stage after the other, and a proxy that routes nothing.

With them a real hub process shows every page on loopback, without engine and proxy.
Everything but `start`, `stop` and `poll` is the spawner package's own.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner

from workroom_spawner.errors import ServerDied
from workroom_spawner.profiles import Catalog, Image, Profile
from workroom_spawner.progress import ECS_STAGES, LOCAL_STAGES
from workroom_spawner.server import WorkroomServer

GIB = 2**30
STAGE_SECONDS = float(os.environ.get("STAGE_SECONDS", "0.3"))
ON_ECS = os.environ.get("STAGES") == "ecs"
NEWS = {
    "queued": "Many servers are starting: you are number 7 in line",
    "machine": "Adding 2 machines, waiting for 1 min 20 s; it takes a few minutes",
}
"""What is told in the middle of a stage."""

CATALOG = Catalog(
    profiles=(
        Profile("small", "Small", "Explore, write, plot.", 1, 2 * GIB, 0, ("notebook", "lean")),
        Profile("medium", "Medium", "Joins and models.", 2, 8 * GIB, 0, ("notebook", "lean")),
        Profile("large", "Large", "Wide data, local Spark.", 4, 22 * GIB, 1, ("notebook",)),
        Profile("broken", "Broken", "Always fails to start.", 0.5, GIB, 0, ("notebook",)),
    ),
    images=(
        Image("notebook", "n:1", "Data science", "Python, PySpark and R.", "2026.09.1"),
        Image(
            "lean", "l:1", "Lean", "Python only.", None,
            "its package could not be had; add it with RSTUDIO=required workroom build",
        ),
    ),
    cpus=4,
    memory=24 * GIB,
    default="small",
)  # fmt: skip


class SlowStageSpawner(WorkroomServer, Spawner):  # type: ignore[misc]
    """Takes `STAGE_SECONDS` for each stage; the profile `broken` dies in the third."""

    stages = ECS_STAGES if ON_ECS else LOCAL_STAGES
    catalog = CATALOG
    starts: ClassVar[int] = 0
    up = False

    async def start(self) -> tuple[str, int]:
        """Walk through the stages."""
        profile = self.choose().profile.name
        progress = self.begin_progress()
        for stage in self.stages[1:]:
            await asyncio.sleep(STAGE_SECONDS)
            progress.enter(stage.id)
            if stage.id in NEWS:
                await asyncio.sleep(STAGE_SECONDS)
                progress.tell(NEWS[stage.id])
            if profile == "broken" and stage.id == "starting":
                message = "It ran out of memory. Start it again with a larger profile."
                self.remember_failure(message, "MemoryError: 512 MiB\nKilled")
                progress.fail(message)
                raise ServerDied(message)
        await asyncio.sleep(STAGE_SECONDS)
        self.up = True
        return "127.0.0.1", int(os.environ["ANSWERING_PORT"])

    async def stop(self, now: bool = False) -> None:
        """Take a moment to stop."""
        await asyncio.sleep(0.3)
        self.up = False

    async def poll(self) -> int | None:
        """Tell whether it was started."""
        return None if self.up else 0


class NoProxy(Proxy):  # type: ignore[misc]
    """Remembers routes and carries nothing; the test's browser talks to the hub itself."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, Any] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Remember a route."""
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget a route."""
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, Any]:
        """Return what is remembered."""
        return dict(self.routes)
