"""What a person reads while a server on ECS starts."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.aws import ManagedScaling, Pace, bad_days
from tests.spawner.ecs_world import ECS, Beginning, Opens, World, until
from workroom_spawner import metrics
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_settings import Bucket, Quotas
from workroom_spawner.errors import ServerDied, StartTimeout
from workroom_spawner.progress import ECS_STAGES
from workroom_spawner.task_errors import AwsRefused, NoCapacity

pytestmark = pytest.mark.looptime

ORDER = [stage.id for stage in ECS_STAGES]
COLD = replace(ECS, auto_scaling_group="machines")


@asynccontextmanager
async def told(beginning: Beginning) -> AsyncIterator[list[dict[str, Any]]]:
    """Follow a start as its page does."""
    events: list[dict[str, Any]] = []

    async def follow() -> None:
        async for event in beginning.spawner.progress():
            events.append(event)

    await asyncio.sleep(0)  # the start forgets the story of the one before
    following = asyncio.ensure_future(follow())
    try:
        yield events
    finally:
        await asyncio.sleep(0)
        following.cancel()


def assert_in_order(events: list[dict[str, Any]]) -> None:
    """A bar that only grows, stages that do not come back, times that add up."""
    places = [ORDER.index(event["stage"]) for event in events]
    assert places == sorted(places)
    assert [e["progress"] for e in events] == sorted(e["progress"] for e in events)
    for event in events:
        assert set(event) == {"progress", "message", "stage", "elapsed", "stages"}
        assert [stage["id"] for stage in event["stages"]] == ORDER
        states = [stage["state"] for stage in event["stages"]]
        assert states.count("active") == 1
        spent = sum(stage["seconds"] or 0.0 for stage in event["stages"])
        assert spent == pytest.approx(event["elapsed"], abs=0.1)


def seconds(events: list[dict[str, Any]]) -> dict[str, float]:
    return {stage["id"]: stage["seconds"] for stage in events[-1]["stages"]}


async def test_a_cold_scale_out(a_world: Opens) -> None:
    """From nothing: ECS decides within a minute, machines take 85 s, then the image is fetched."""
    scaling = ManagedScaling(machine_seconds=85)
    pace = Pace(pull_seconds=20, start_seconds=2)
    async with a_world(pace, scaling=scaling, settings=COLD) as world:
        beginning = world.begin()
        async with told(beginning) as events:
            await beginning.running
        assert_in_order(events)
        sentences = [event["message"] for event in events]
        adding = [s for s in sentences if s.startswith("Adding 2 machines, waiting for ")]
        assert len(adding) > 5
        assert adding[-1].endswith("; it takes a few minutes")
        assert re.search(r"waiting for 2 min \d+ s", adding[-1])
        assert "Fetching the image" in sentences
        assert all(stage["state"] in ("done", "active") for stage in events[-1]["stages"])
        assert sentences[-1] == "Your server is getting ready"
        assert 145 <= seconds(events)["machine"] <= 180
        # Nothing is made up before it is known.
        assert not any("waiting for" in e["message"] for e in events if e["elapsed"] < 30)


async def test_one_machine_that_comes_is_one_machine(a_world: Opens) -> None:
    scaling = ManagedScaling(machines=1, cpu=1024, memory=4000)
    async with a_world(scaling=scaling, settings=COLD) as world:
        await world.start("bob")
        beginning = world.begin()
        async with told(beginning) as events:
            await beginning.running
        assert any(e["message"].startswith("Adding a machine, waiting for") for e in events)


async def test_without_a_group_to_count_nothing_is_claimed(a_world: Opens) -> None:
    async with a_world(scaling=ManagedScaling()) as world:
        beginning = world.begin()
        async with told(beginning) as events:
            await beginning.running
        assert_in_order(events)
        assert any(e["message"].startswith("Finding a machine, waiting for") for e in events)
        assert not any("Adding" in e["message"] for e in events)
        assert world.fake.calls["DescribeAutoScalingGroups"] == 0


async def test_a_group_that_cannot_be_counted_stops_nobody(a_world: Opens) -> None:
    class NoGroups(bad_days.CredentialsExpired):
        operations = ("DescribeAutoScalingGroups",)

    async with a_world(scaling=ManagedScaling(), settings=COLD) as world:
        world.fake.suffer(NoGroups())
        beginning = world.begin()
        async with told(beginning) as events:
            await beginning.running
        assert any(e["message"].startswith("Finding a machine, waiting for") for e in events)


async def in_a_long_line(world: World) -> Beginning:
    """Begin a start that waits for its machine, and whose looks at the group stand behind 5,000."""
    await world.platform.homes.ensure("ada")
    bucket = world.platform.api._caller.buckets["other"]
    line = [bucket.line_up(Priority.LIVE) for _ in range(5000)]
    assert line[-1].place > 4000
    return world.begin()


async def test_a_look_at_the_group_that_is_not_answered_holds_up_nobody(a_world: Opens) -> None:
    """Neither the swap nor the telling."""
    scaling = ManagedScaling(machines=0, machine_seconds=85)
    async with a_world(scaling=scaling, settings=COLD, boot_seconds=10) as world:
        beginning = await in_a_long_line(world)
        async with told(beginning) as events:
            await until(lambda: world.containers.swapped, 200)
            await asyncio.wait_for(beginning.running, 10)
        assert world.fake.calls["DescribeAutoScalingGroups"] == 0
        sentences = [e["message"] for e in events]
        assert sum(s.startswith("Finding a machine, waiting for") for s in sentences) > 5


async def test_a_death_is_told_while_the_group_is_not_answered(a_world: Opens) -> None:
    async with a_world(scaling=ManagedScaling(machines=0, most=0), settings=COLD) as world:
        beginning = await in_a_long_line(world)
        world.fake.suffer(bad_days.TaskStopsAt("PROVISIONING", bad_days.SPOT_RECLAIMED, after=60))
        with pytest.raises(ServerDied, match="spot"):
            await asyncio.wait_for(beginning.running, 100)


@pytest.mark.parametrize("there", [False, True], ids=["machine", "container"])
async def test_deadlines_hold_while_the_group_is_not_answered(a_world: Opens, there: bool) -> None:
    scaling = ManagedScaling(machines=0, most=2 if there else 0, machine_seconds=60)
    settings = replace(COLD, capacity_timeout=200)
    async with a_world(scaling=scaling, settings=settings, boot_seconds=1e6) as world:
        beginning = await in_a_long_line(world)
        with pytest.raises(StartTimeout if there else NoCapacity):
            await asyncio.wait_for(beginning.running, 270)


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(a_world: Opens) -> None:
    async with a_world(scaling=ManagedScaling(machines=0, most=0)) as world:
        beginning = world.begin()
        await asyncio.sleep(40)
        beginning.running.cancel()
        await asyncio.wait([beginning.running])
        await asyncio.sleep(0)
        assert not [t for t in asyncio.all_tasks() if "Watcher.changed" in repr(t.get_coro())]
        await world.stop(beginning.spawner)


async def test_the_group_is_counted_for_all_who_wait_at_once(a_world: Opens) -> None:
    async with a_world(scaling=ManagedScaling(), settings=COLD) as world:
        beginnings = [world.begin(f"user-{n}") for n in range(20)]
        await asyncio.gather(*(each.running for each in beginnings))
        assert world.fake.calls["DescribeAutoScalingGroups"] <= 10


async def test_a_warm_start_is_told_in_order(a_world: Opens) -> None:
    async with a_world() as world:
        beginning = world.begin()
        async with told(beginning) as events:
            await beginning.running
        assert_in_order(events)
        assert events[-1]["stage"] == "answering"
        assert "Preparing your home" in [event["message"] for event in events]
        # A second page that comes late sees where it is.
        async with told(beginning) as later:
            pass
        assert later[0]["stage"] == "answering"


async def test_the_place_in_line_counts_down(a_world: Opens) -> None:
    slow = replace(ECS, quotas=Quotas(run=Bucket(1, 0.1), register=Bucket(100, 100)))
    async with a_world(settings=slow) as world:
        beginnings = [world.begin(f"user-{n}") for n in range(8)]
        async with AsyncExitStack() as pages:
            stories = [await pages.enter_async_context(told(each)) for each in beginnings]
            await asyncio.gather(*(each.running for each in beginnings))
        for events in stories:
            assert_in_order(events)
        read = [places(events) for events in stories]
        assert all(each == sorted(each, reverse=True) for each in read)
        # One found the bucket full; the others count down from where they came in.
        assert sorted(each[-1] for each in read if each) == [1] * 7
        assert max(each[0] for each in read if each) >= 6


def places(events: list[dict[str, Any]]) -> list[int]:
    """Return the places in line that a page showed."""
    found = (re.search(r"you are number (\d+) in line", event["message"]) for event in events)
    return [int(each[1]) for each in found if each]


async def test_a_failed_start_marks_its_stage(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskAnswersFailures("AGENT"))
        spawner = world.spawner()
        spawner.clear_state()
        with pytest.raises(AwsRefused) as raised:
            await spawner.start()
        event = spawner.begin_progress().event()
        assert event["message"] == raised.value.message
        assert [s["id"] for s in event["stages"] if s["state"] == "failed"] == ["queued"]


async def test_phases_are_measured(a_world: Opens) -> None:
    def count(phase: str) -> float:
        for family in metrics.SPAWN_PHASE.collect():
            for sample in family.samples:
                if sample.name.endswith("_count") and sample.labels == {"phase": phase}:
                    return float(sample.value)
        return 0.0

    async with a_world() as world:
        before = {phase: count(phase) for phase in ORDER}
        await world.start()
        grown = {phase for phase in ORDER if count(phase) == before[phase] + 1}
        assert {"requested", "queued", "machine", "answering"} <= grown
