"""WorkroomHub with `spawner: ecs` on a fake AWS account; everything from the environment.

    HUB_SETTINGS='{}' HUB_URL=http://127.0.0.1:8081 WORKROOM_HOME=… HUB_HOLDS='{}' WEB_PORT=8888 \
        python -m tests.support.ecs_hub

It is the product's own configuration, with a proxy that carries nothing, short pauses unless
`REAL_TIME` is set, and users for whom the hub stops at one line of its work (`HUB_HOLDS`), so that
it can be killed there.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from traitlets.config import Config

from tests.fakes.slow_stage_spawner import NoProxy
from workroom_hub import configure
from workroom_hub.app import WorkroomHub
from workroom_hub.keepers import TaskKeeper
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_spawner import platform, reconcile, task_memory
from workroom_spawner.ecs import EcsSpawner

INSTALLATION = "1" * 32
HOLDS: dict[str, list[str]] = json.loads(os.environ.get("HUB_HOLDS", "{}"))
"""Users by line: `redeemed`, `started`, `stopped`, `cleared`; `resume` for some seconds only."""
RESUME_LATER = 3.0


async def _held(line: str, user: str) -> None:
    if user in HOLDS.get(line, []):
        await asyncio.Event().wait()


class HeldEcsSpawner(EcsSpawner):
    """An EcsSpawner whose results reach the hub never, for some users."""

    async def start(self) -> tuple[str, int]:
        """The server is there, and the hub has not heard of it yet."""
        address = await super().start()
        await _held("started", self.user.name)
        return address

    async def _redeemed(self, ssh_host_key: str | None) -> None:
        """It is written that the container has its environment, which it never gets."""
        await super()._redeemed(ssh_host_key)
        await _held("redeemed", self.user.name)

    async def stop(self, now: bool = False) -> None:
        """The task is stopped, and nothing is written."""
        await super().stop(now)
        await _held("stopped", self.user.name)

    async def run_post_stop_hook(self) -> None:
        """The hub has written that there is no server, and not the state."""
        await _held("cleared", self.user.name)
        await super().run_post_stop_hook()


class EcsHub(WorkroomHub):
    """The hub under test."""

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Take the configuration from `configure` instead of a file."""
        config = Config()
        build(config)
        self.update_config(config)


def build(c: Any) -> None:
    """Set the hub as `workroom up` does."""
    settings = Settings.model_validate_json(os.environ["HUB_SETTINGS"])
    home = Path(os.environ["WORKROOM_HOME"])
    configure.build(settings, Runtime(home, "127.0.0.1", "", 4, 2**34, {}, INSTALLATION), c)
    del c.JupyterHub["config_file"]  # there is none, and this command line is not a file's
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.spawner_class = "tests.support.ecs_hub.HeldEcsSpawner"
    c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0.05, "slow_stop_timeout": 0.05}
    if "REAL_TIME" not in os.environ:
        _hurry(c)
    platform.WEB_PORT = task_memory.WEB_PORT = int(os.environ["WEB_PORT"])
    resume = TaskKeeper._resume

    async def resume_later(self: TaskKeeper, spawner: Any, *args: Any) -> None:
        if spawner.user.name in HOLDS.get("resume", []):
            await asyncio.sleep(RESUME_LATER)
        await resume(self, spawner, *args)

    TaskKeeper._resume = resume_later  # type: ignore[method-assign]


def _hurry(c: Any) -> None:
    c.EcsSpawner.platform_settings = replace(
        c.EcsSpawner.platform_settings, orphan_grace=3.0, sweep_seconds=2.0
    )
    c.EcsSpawner.poll_interval = 1
    reconcile.ROUND = 1.0


if __name__ == "__main__":
    EcsHub.launch_instance(argv=[])
