"""New users in a storm, in virtual time: RegisterTaskDefinition's bucket, and prewarming.

A part of `spawn-storm`; AWS registers 20 task definitions at once and one a second after that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass

from virtual_hub import World, fake_account, start, world

STARTS_IN = 2.0
IMAGES = {"workroom/notebook:latest": None}


def bound(users: int) -> float:
    """Return the seconds in which AWS's buckets let so many new users have a server."""
    return max(0.0, users - 20) / 1.0 + STARTS_IN


@dataclass(frozen=True)
class Outcome:
    """What became of some starts: seconds until the last was up, of the slowest, and problems."""

    seconds: float
    slowest: float
    failed: list[BaseException]
    registrations: int


async def all_new(users: int) -> Outcome:
    """Have so many users, whom nobody has seen before, start at once."""
    _be_quiet()
    async with world(fake_account(STARTS_IN)) as hub:
        return await _start_all(hub, [f"user{n}" for n in range(users)])


async def prewarmed(users: int) -> Outcome:
    """The same after the hub has had the time to prepare their starts."""
    _be_quiet()
    async with world(fake_account(STARTS_IN)) as hub:
        names = [f"user{n}" for n in range(users)]
        hub.platform.prewarm(_each(names), IMAGES)
        while hub.fake.calls["RegisterTaskDefinition"] < users:
            await asyncio.sleep(10)
        hub.fake.reset_counters()
        return await _start_all(hub, names)


async def while_prewarming(users: int, clicks: int) -> tuple[Outcome, Outcome]:
    """Return the starts of some new users, without and with a prewarm of `users` others."""
    _be_quiet()
    outcomes = []
    for others in ([], [f"user{n}" for n in range(users)]):
        async with world(fake_account(STARTS_IN)) as hub:
            hub.platform.prewarm(_each(others), IMAGES)
            await asyncio.sleep(60)
            outcomes.append(await _start_all(hub, [f"click{n}" for n in range(clicks)]))
    return outcomes[0], outcomes[1]


async def _start_all(hub: World, names: list[str]) -> Outcome:
    now = asyncio.get_running_loop().time
    spawners = [hub.spawner(name) for name in names]
    before, began = hub.fake.calls["RegisterTaskDefinition"], now()
    took = await asyncio.gather(*map(start, spawners), return_exceptions=True)
    failed = [each for each in took if isinstance(each, BaseException)]
    return Outcome(
        now() - began,
        max((each for each in took if isinstance(each, float)), default=0.0),
        failed,
        hub.fake.calls["RegisterTaskDefinition"] - before,
    )


async def _each(names: list[str]) -> AsyncIterator[str]:
    for name in names:
        yield name


def _be_quiet() -> None:
    """A start a line would be thousands."""
    logging.getLogger("workroom_spawner").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
