"""The ECS spawner's parts on the fake AWS account: settings, and an API without threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from tests.fakes.aws import FakeAws
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.ecs_settings import EcsHomes, EcsSettings

T = TypeVar("T")
INSTALLATION = "0123456789abcdef0123456789abcdef"
ECS = EcsSettings(
    region="eu-west-1",
    cluster="team",
    instance="workroom",
    installation=INSTALLATION,
    subnets=("subnet-1",),
    homes=EcsHomes(file_system="fs-12345678"),
)


def loop_time() -> float:
    """Return the test's time, which begins at 0; in fixtures, where no loop runs yet, 0."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return 0.0


async def inline(call: Callable[[], T]) -> T:
    """Run a call here and now: virtual time does not pass while threads work."""
    return call()


def api_on(fake: FakeAws, settings: EcsSettings = ECS) -> EcsApi:
    """Return what a new hub process has of this account."""
    return EcsApi(settings, clients=fake.client, runner=inline)
