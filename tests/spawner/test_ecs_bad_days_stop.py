"""Stops and cancelled starts, whatever AWS does: no task runs on, and the next start works."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.fakes.aws import ManagedScaling, Pace, bad_days
from tests.spawner.ecs_world import ECS, Beginning, Opens, World, until
from workroom_spawner.checkpoints import Checkpoints
from workroom_spawner.ecs_settings import Bucket, Quotas
from workroom_spawner.waiting_room import waiting_room

pytestmark = pytest.mark.looptime

# Each stage lasts, so that a test can meet it.
SLOW = Pace(provision_seconds=20, pull_seconds=20, start_seconds=20, report_seconds=1)
SOON = 30.0
"""Seconds in which a cancelled start's task is to be told to stop; orphans get ten times that."""


async def assert_over(world: World, user: str = "ada") -> None:
    """Nothing runs, nothing is remembered, and the user can start at once."""
    server = await asyncio.wait_for(world.start(user), 300)
    assert await server.poll() is None
    await until(lambda: [t.arn for t in world.living()] == [server.task_arn], SOON)
    await world.stop(server)
    await asyncio.sleep(60)
    assert world.living() == []
    assert world.platform.servers == {}


async def warmed_up(world: World) -> None:
    """Have the user's home and task definition there, and nothing of her that still ends."""
    await world.stop(await world.start())
    await asyncio.sleep(ECS.stop_seconds + 10)


# -- StopTask ----------------------------------------------------------------------


async def test_a_stop_that_aws_fails_is_done_for_the_user_and_repeated(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        world.fake.suffer(bad_days.StopTaskFails(5))
        await world.stop(server)
        assert await server.poll() == 0
        assert len(world.living()) == 1
        await until(lambda: not world.living(), 120)
        assert [row.reason for row in world.usage()] == ["stopped"]


async def test_a_stop_in_an_outage_does_not_keep_its_owner_waiting(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        world.fake.suffer(bad_days.NetworkGone(600))
        world.wire.there = 60  # until the connection fails
        began = asyncio.get_running_loop().time()
        await world.stop(server)
        assert asyncio.get_running_loop().time() - began < 25
        world.wire.there = 0
        await asyncio.sleep(800)
        assert world.living() == []


class StopTaskThrottled(bad_days.DescribeThrottledFor):
    """StopTask is throttled, whatever the bucket says."""

    operations = ("StopTask",)


async def test_a_throttled_stop_goes_on_in_the_background(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        world.fake.suffer(StopTaskThrottled(300))
        await world.stop(server)
        await asyncio.sleep(400)
        assert world.living() == []


async def test_stopping_what_aws_has_forgotten(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        world.fake.tasks.clear()
        await world.stop(server)
        assert [row.reason for row in world.usage()] == ["stopped"]
        await asyncio.sleep(120)
        assert len(world.requests.of("StopTask")) < 10


async def test_stops_go_before_starts(a_world: Opens) -> None:
    """In a storm that empties RunTask's bucket, a stop does not wait for a thousand starts."""
    slow = replace(ECS, quotas=Quotas(run=Bucket(1, 1), register=Bucket(100, 100)))
    async with a_world(settings=slow) as world:
        world.fake.buckets.set("register", 100, 100, ["RegisterTaskDefinition"], 0.0)
        server = await world.start("eve")
        beginnings = [world.begin(f"user-{n}") for n in range(40)]
        await asyncio.sleep(12)
        began = asyncio.get_running_loop().time()
        await world.stop(server)
        assert asyncio.get_running_loop().time() - began < 2
        await asyncio.gather(*(each.running for each in beginnings))


async def test_the_server_gets_its_time_to_end_by_itself(a_world: Opens) -> None:
    async with a_world(pace=Pace(exit_seconds=20)) as world:
        server = await world.start()
        await world.stop(server)
        await asyncio.sleep(40)
        [task] = world.tasks("STOPPED")
        assert task.exit_code == 143  # SIGTERM, not SIGKILL


async def test_a_locked_database_holds_up_no_stop(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world() as world:
        server = await world.start()
        clock = asyncio.get_running_loop().time
        began = clock()
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_soon", lambda *_: asyncio.sleep(3600))
            stopped = asyncio.create_task(until(lambda: not world.living(), 6))
            await world.stop(server)
            assert clock() - began < 12
            await stopped
        assert [row.reason for row in world.usage()] == ["stopped"]


# -- the next start of the same server --------------------------------------------------


async def test_the_next_start_waits_until_the_last_server_has_ended(a_world: Opens) -> None:
    """Or two Jupyters would write the same files. Nobody else waits, and it costs two looks."""
    async with a_world(pace=Pace(exit_seconds=20)) as world:
        await world.stop(await world.start("bob"))
        server = await world.start()
        await asyncio.sleep(60)
        await world.stop(server)
        world.fake.reset_counters()
        beginning = world.begin()
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3)
        assert (beginning.stage, beginning.says) == ("queued", "Your last server is ending")
        await world.start("bob")
        assert asyncio.get_running_loop().time() - began < 10
        assert world.fake.calls["DescribeTasks"] <= 2  # one was bob's
        await beginning.running
        old, new = [task for task in world.tasks() if task.tags["workroom:user"] == "ada"]
        assert old.at["executionStoppedAt"] < new.at["createdAt"]
        assert new.at["createdAt"] - began < ECS.stop_seconds + 10


async def test_a_server_that_has_ended_is_not_waited_for(a_world: Opens) -> None:
    async with a_world() as world:
        await world.stop(await world.start())
        await asyncio.sleep(10)
        world.fake.reset_counters()
        beginning = world.begin()
        await until(lambda: world.fake.calls["RunTask"], 1)
        assert world.fake.calls["DescribeTasks"] == 1
        await beginning.running
        await world.stop(beginning.spawner)
        await asyncio.sleep(ECS.stop_seconds + 10)
        world.fake.reset_counters()
        await world.start()
        assert world.fake.calls["DescribeTasks"] == 1  # for its address


@pytest.mark.parametrize("day", [bad_days.DescribeThrottledFor(900), bad_days.NetworkGone(28)])
async def test_the_last_server_is_not_waited_for_longer_than_it_may_take(
    a_world: Opens, day: bad_days.BadDay
) -> None:
    async with a_world() as world:
        await world.stop(await world.start())
        world.fake.suffer(day)
        beginning = world.begin()
        await asyncio.sleep(ECS.stop_seconds)
        assert beginning.says == "Your last server is ending"
        await until(lambda: len(world.tasks()) == 2, 8)
        beginning.running.cancel()


async def test_who_cancels_while_the_last_server_ends_does_not_forget_it(a_world: Opens) -> None:
    async with a_world(pace=Pace(exit_seconds=12)) as world:
        await world.stop(await world.start())
        for _ in range(2):
            beginning = world.begin()
            await asyncio.sleep(2)
            await beginning.cancel()
        assert len(world.tasks()) == 1
        await world.start()
        old, _ = world.tasks()
        assert old.status == "STOPPED"


async def test_a_task_that_never_had_a_server_is_not_waited_for(a_world: Opens) -> None:
    async with a_world(boot_seconds=1000) as world:
        beginning = world.begin()
        await until(lambda: world.tasks("RUNNING"))
        world.fake.pace.exit_seconds = 25
        await beginning.cancel()
        again = world.begin()
        await until(lambda: len(world.tasks()) == 2, 3)
        again.running.cancel()


# -- cancelled by the user ------------------------------------------------------------


async def test_cancelled_while_the_home_is_made(a_world: Opens) -> None:
    async with a_world(pace=Pace(access_point_seconds=30)) as world:
        beginning = world.begin()
        await asyncio.sleep(5)
        await beginning.cancel()
        assert world.requests.of("RunTask") == []
        assert [row.reason for row in world.usage()] == ["cancelled"]
        await assert_over(world)


async def test_cancelled_in_our_own_line(a_world: Opens) -> None:
    """Her place goes to the next."""
    slow = replace(ECS, quotas=Quotas(run=Bucket(1, 0.1), register=Bucket(100, 100)))
    async with a_world(settings=slow) as world:
        beginnings = [world.begin(user) for user in ("ada", "bob", "eve")]
        await asyncio.sleep(5)
        queued = [each for each in beginnings if "in line" in each.says]
        assert len(queued) == 2
        assert "number 1 in line" in queued[0].says
        await queued[0].cancel()
        await until(lambda: queued[1].stage != "queued", 12)
        await beginnings[0].running
        await queued[1].running
        assert len(world.requests.of("RunTask")) == 2
        assert len(world.living()) == 2
        assert world.usage()[-1].reason == "cancelled"


async def test_cancelled_in_the_waiting_room(a_world: Opens) -> None:
    """Neither the first, who asks AWS, nor another keeps a place."""
    full = bad_days.ProvisioningQuotaFull()
    async with a_world() as world:
        world.fake.suffer(full)
        beginnings = [world.begin(user) for user in ("ada", "bob", "eve")]
        room = waiting_room(world.platform.api)
        await until(lambda: room.waiting == 3)
        await asyncio.sleep(7)
        in_order = sorted(beginnings, key=lambda each: each.says)
        await in_order[0].cancel()
        await in_order[1].cancel()
        await until(lambda: room.waiting == 1, 1)
        world.fake.relieve(full)
        await asyncio.wait_for(in_order[2].running, 30)
        assert room.waiting == 0
        assert len(world.living()) == 1


@pytest.mark.parametrize("there", [4.0, 0.0], ids=["request under way", "answer under way"])
async def test_cancelled_while_runtask_is_under_way(a_world: Opens, there: float) -> None:
    """The task is there a moment later, and unknown to StopTask at first: it is stopped soon."""
    async with a_world(pace=Pace(visible_after=3.0)) as world:
        await warmed_up(world)
        world.containers.boot_seconds = 1000  # or its code would be refused, and it would exit
        world.fake.reset_counters()
        beginning = world.begin()
        world.wire.there, world.wire.back = there, 4.0 - there
        await asyncio.sleep(1)
        assert beginning.stage == "queued"
        await beginning.cancel()
        world.wire.there = world.wire.back = 0.0
        await asyncio.sleep(5)
        assert world.fake.calls["RunTask"] == 1
        await until(lambda: not world.living(), SOON)
        assert world.usage()[-1].reason == "cancelled"
        world.containers.boot_seconds = 0
        await assert_over(world)


async def test_cancelled_before_aws_shows_the_task(a_world: Opens) -> None:
    """StopTask says "not found" of a task just run; taking that for an answer would leak it."""
    async with a_world(pace=Pace(visible_after=6.0, provision_seconds=60)) as world:
        beginning = world.begin()
        await until(lambda: beginning.spawner.task_arn)
        await beginning.cancel()
        assert len(world.living()) == 1
        await until(lambda: not world.living(), SOON)


async def test_cancelled_when_runtask_s_answer_was_lost(a_world: Opens) -> None:
    """Nobody knows the task; its tags tell, and the grace period ends it."""
    async with a_world(boot_seconds=10_000) as world:
        world.platform.start()
        world.fake.suffer(bad_days.RunTaskTimesOutAfterStarting(1))
        beginning = world.begin()
        await until(lambda: "AWS does not answer" in beginning.says)
        await beginning.cancel()
        await asyncio.sleep(ECS.orphan_grace + 130)
        assert world.living() == []


STAGES = {
    "PROVISIONING": lambda world: world.tasks("PROVISIONING"),
    "pulling": lambda world: world.tasks("PENDING"),
    "starting": lambda world: any("pullStoppedAt" in t.at for t in world.tasks()),
    "before the swap": lambda world: any(t.process == "running" for t in world.tasks()),
    "answering": lambda world: world.containers.swapped,
}


@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled_at_a_stage_of_its_task(a_world: Opens, stage: str) -> None:
    async with a_world(pace=SLOW, boot_seconds=20) as world:
        world.http.silent = True
        beginning = world.begin()
        await until(lambda: STAGES[stage](world), 100)
        await asyncio.sleep(2)
        await beginning.cancel()
        world.http.silent = False
        await until(lambda: not world.living(), SOON)
        assert [row.reason for row in world.usage()] == ["cancelled"]
        assert beginning.spawner.last_failure is None
        assert await beginning.spawner.poll() == 0
        await assert_over(world)


async def test_cancelled_while_a_machine_is_added(a_world: Opens) -> None:
    async with a_world(scaling=ManagedScaling()) as world:
        beginning = world.begin()
        await asyncio.sleep(40)
        await beginning.cancel()
        await until(lambda: not world.living(), SOON)
        await assert_over(world)


async def test_a_stop_ends_a_start_that_nobody_cancelled(a_world: Opens) -> None:
    """As at the hub's own shutdown of a server whose start is under way."""
    async with a_world(pace=SLOW) as world:
        beginning: Beginning = world.begin()
        await asyncio.sleep(30)
        await world.stop(beginning.spawner)
        with pytest.raises(asyncio.CancelledError):
            await beginning.running
        await until(lambda: not world.living(), SOON)
        assert [row.reason for row in world.usage()] == ["cancelled"]


async def test_the_next_start_does_not_wait_for_the_last_call_of_the_cancelled_one(
    a_world: Opens,
) -> None:
    async with a_world() as world:
        await warmed_up(world)
        beginning = world.begin()
        world.wire.back = 100.0
        await asyncio.sleep(1)
        await beginning.cancel()
        world.wire.back = 0.0
        server = await asyncio.wait_for(world.start(), 20)
        await asyncio.sleep(110)
        assert [t.arn for t in world.living()] == [server.task_arn]
