"""A cluster that takes no more tasks for now: who waits, in which order, and how it goes on."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.fakes.aws import ManagedScaling, bad_days
from tests.fakes.aws.bad_days import BadDay
from tests.fakes.aws.errors import AwsError, Instead, Unreachable
from tests.fakes.aws.wire import Call
from tests.spawner.ecs_world import ECS, Beginning, Opens, World, until
from workroom_spawner.ecs_settings import Bucket, Quotas
from workroom_spawner.waiting_room import waiting_room

pytestmark = pytest.mark.looptime


def tokens(world: World) -> list[str]:
    return [request["clientToken"] for request in world.requests.of("RunTask")]


@asynccontextmanager
async def quick(a_world: Opens, scaling: ManagedScaling | None = None) -> AsyncIterator[World]:
    """Open a world in which homes and definitions take no time: that is other tests' business."""
    quotas = Quotas(register=Bucket(6000, 6000), other=Bucket(6000, 6000))
    async with a_world(scaling=scaling, settings=replace(ECS, quotas=quotas)) as world:
        world.fake.buckets.set("register", 6000, 6000, ["RegisterTaskDefinition"], 0.0)
        yield world


async def test_many_at_once_meet_a_full_quota(a_world: Opens) -> None:
    """50 of 150 may be PROVISIONING: none fails, order is kept, only the first in line asks AWS."""
    scaling = ManagedScaling(machines=0, most=100, machine_seconds=200)
    async with quick(a_world, scaling) as world:
        world.fake.ecs.provisioning_most = 50  # AWS's is 500
        beginnings = [world.begin(f"user-{n:03}") for n in range(150)]
        await until(lambda: len(world.tasks()) == 50, 60)
        await asyncio.sleep(30)
        asked = len(tokens(world))
        waiting = sorted(
            (before(each), each.spawner.user.name) for each in beginnings if inside(each)
        )
        assert [place for place, _ in waiting] == list(range(100))
        late = world.begin("who comes later")
        await asyncio.sleep(60)
        assert before(late) == 100
        names = {
            request["clientToken"]: request["tags"] for request in world.requests.of("RunTask")
        }
        assert "who comes later" not in str(names), "she asked AWS out of turn"
        assert len(tokens(world)) - asked <= 15
        await asyncio.gather(*(each.running for each in [*beginnings, late]))
        assert len(world.living()) == 151
        got_in = [task.tags["workroom:user"] for task in world.tasks()[50:]]
        assert got_in == [*(user for _, user in waiting), "who comes later"]


async def test_the_line_moves_as_fast_as_aws_lets_it(a_world: Opens) -> None:
    """A RunTask takes 0.7 s; one after the other, 400 would take five minutes. AWS allows 8 s."""
    async with quick(a_world) as world:
        room = waiting_room(world.platform.api)
        world.wire.there = world.wire.back = 0.35
        full = bad_days.ProvisioningQuotaFull()
        world.fake.suffer(full)
        beginnings = [world.begin(f"user-{n:03}") for n in range(400)]
        await asyncio.sleep(20)
        assert room.waiting == 400
        in_line = sorted(beginnings, key=before)
        asked = len(tokens(world))
        world.fake.relieve(full)
        began = asyncio.get_running_loop().time()
        await until(lambda: len(world.tasks()) == 400)
        took = asyncio.get_running_loop().time() - began
        assert 6 < took < 20  # with up to 6 s until the first asks again
        assert len(tokens(world)) - asked <= 401, "each asked once"
        await asyncio.gather(*(each.running for each in beginnings))
        assert room.waiting == 0
        got_in = [task.tags["workroom:user"] for task in world.tasks()]
        places = {each.spawner.user.name: n for n, each in enumerate(in_line)}
        # Calls under way at the same time may arrive in any order.
        assert all(abs(places[user] - n) < 100 for n, user in enumerate(got_in))


async def test_the_line_ends_while_people_come(a_world: Opens) -> None:
    """Five a second come and a RunTask takes 0.7 s: more than one after the other can be served."""
    async with quick(a_world) as world:
        room = waiting_room(world.platform.api)
        world.wire.there = world.wire.back = 0.35
        full = bad_days.ProvisioningQuotaFull()
        world.fake.suffer(full)
        beginnings = []
        for n in range(200):
            beginnings.append(world.begin(f"user-{n:03}"))
            await asyncio.sleep(0.2)
            if n == 100:
                world.fake.relieve(full)
        # Twenty seconds after it: up to 7 until the first asks again, and seven rounds of 0.7.
        assert room.waiting < 10
        await asyncio.gather(*(each.running for each in beginnings))


async def test_a_refusal_narrows_the_door(a_world: Opens) -> None:
    """Each time there is room for 20: a few are refused, not all who wait."""
    async with quick(a_world) as world:
        world.fake.ecs.provisioning_most = 0
        world.fake.pace.provision_seconds = 10_000
        world.wire.there = world.wire.back = 0.35
        beginnings = [world.begin(f"user-{n:03}") for n in range(200)]
        await asyncio.sleep(20)
        for most in (20, 40, 60):
            asked, world.fake.ecs.provisioning_most = len(tokens(world)), most
            await asyncio.sleep(30)
            assert len(world.tasks()) == most
            assert len(tokens(world)) - asked <= 20 + 30
        for each in beginnings:
            each.running.cancel()


class Unlucky(BadDay):
    """RunTask goes wrong for one user only."""

    def __init__(self, user: str, problem: Exception) -> None:
        self._user = user
        self._problem = problem

    def before(self, call: Call, now: float) -> None:
        if call.operation == "RunTask":
            tags = {tag["key"]: tag["value"] for tag in call.params["tags"]}
            if tags["workroom:user"] == self._user:
                raise self._problem


PROBLEMS = {
    "no room": Instead({"tasks": [], "failures": [{"arn": "", "reason": "RESOURCE:GPU"}]}),
    "no answer": Unreachable("Connection reset"),
    "denied": AwsError("AccessDeniedException", "not authorized to perform: iam:PassRole"),
    "token taken": AwsError("ConflictException", "The provided clientToken is already in use"),
}


@pytest.mark.parametrize("name", PROBLEMS)
async def test_who_is_first_and_cannot_start_holds_up_nobody(a_world: Opens, name: str) -> None:
    """Only a full quota keeps a place."""
    async with quick(a_world) as world:
        full = bad_days.ProvisioningQuotaFull()
        world.fake.suffer(full)
        first = world.begin("ada")
        await until(lambda: inside(first))
        others = [world.begin(user) for user in ("bob", "eve")]
        await asyncio.sleep(10)
        assert [before(each) for each in (first, *others)] == [0, 1, 2]
        world.fake.suffer(Unlucky("ada", PROBLEMS[name]))
        world.fake.relieve(full)
        async with asyncio.timeout(20):
            await asyncio.gather(*(each.running for each in others))
        first.running.cancel()
        await asyncio.wait([first.running])
        assert waiting_room(world.platform.api).waiting == 0


def inside(beginning: Beginning) -> bool:
    """Tell whether a start is in the waiting room."""
    return "All machines are busy and more are on their way" in beginning.says


def before(beginning: Beginning) -> int:
    """Return how many a person reads are before her."""
    found = re.search(r"(\d+) before you", beginning.says)
    return int(found[1]) if found else 0
