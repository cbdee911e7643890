"""What goes on beside the spawners: everybody's next start is prepared, whatever AWS does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.aws.bad_days import CredentialsExpired, NetworkGone
from tests.support.ecs import api_on, loop_time
from workroom_spawner.platform import EcsPlatform

pytestmark = pytest.mark.looptime
IMAGES = {"registry/notebook:1": None}


async def people(count: int) -> AsyncIterator[str]:
    for number in range(count):
        yield f"user-{number:03}"


@pytest.fixture
def fake() -> FakeAws:
    return FakeAws(loop_time)


@pytest.fixture
def platform(fake: FakeAws) -> EcsPlatform:
    api = api_on(fake)
    return EcsPlatform.made(api.settings, api)


async def prepared(platform: EcsPlatform, users: int) -> None:
    """Prepare `users` as a hub does that starts, until all that goes on by itself has ended."""
    work = (platform.homes.load(), platform.definitions.load())
    platform.prewarm(people(users), IMAGES)
    await asyncio.gather(*work, *platform._begun)


@pytest.mark.parametrize("day", [CredentialsExpired, NetworkGone])
async def test_an_outage_leaves_nobody_out(
    fake: FakeAws, platform: EcsPlatform, day: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fake.suffer(day(600))
    await asyncio.wait_for(prepared(platform, 500), 3600)
    assert fake.calls["RegisterTaskDefinition"] >= 500
    assert len(fake.efs.points) == 500
    # Of homes, of access points there are, and of families there are: each at the beginning, and
    # the first at the end.
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert 3 <= len(told) <= 4
    await platform.close()


async def test_a_full_file_system_is_told_once_and_who_has_a_home_is_prepared(
    fake: FakeAws, platform: EcsPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    fake.efs.most = 20
    await asyncio.wait_for(prepared(platform, 60), 3600)
    assert fake.calls["RegisterTaskDefinition"] == 20
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    await platform.close()


async def test_homes_made_ahead_do_not_keep_a_person_waiting(
    fake: FakeAws, platform: EcsPlatform
) -> None:
    async def thirty_new_ones(first: int) -> float:
        began = loop_time()
        await asyncio.gather(*(platform.homes.ensure(f"new-{n}") for n in range(first, first + 30)))
        return loop_time() - began

    await platform.homes.load()
    await asyncio.sleep(60)  # the bucket is full
    alone = await thirty_new_ones(0)
    await asyncio.sleep(60)
    platform.prewarm(people(500), IMAGES)
    ahead = asyncio.create_task(platform.homes.ahead("late"))
    beside = await thirty_new_ones(30)
    assert beside < alone + 1.5  # two homes were begun before
    await asyncio.sleep(0.5)
    assert not ahead.done()
    # Whoever is being prepared and clicks goes to the front.
    await asyncio.wait_for(platform.homes.ensure("late"), 2)
    await asyncio.wait_for(ahead, 0.1)
    await platform.close()
