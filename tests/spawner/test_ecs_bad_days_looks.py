"""AWS throttles, fails, lies or is away while servers run: none is stopped, no death is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.fakes.aws import Task, bad_days
from tests.fakes.aws.bad_days import BadDay
from tests.spawner.ecs_world import Opens, World, until
from workroom_spawner import metrics
from workroom_spawner.ecs import EcsSpawner

pytestmark = pytest.mark.looptime

TEN_MINUTES = 600.0
OUTAGES: list[Callable[[float], BadDay]] = [
    bad_days.DescribeThrottledFor,
    bad_days.DescribeAnswers500,
    bad_days.CredentialsExpired,
    bad_days.NetworkGone,
]


def shown_age() -> float:
    """What `/metrics` says."""
    [family] = metrics.WATCHER_AGE.collect()
    return family.samples[0].value


async def three(world: World) -> list[EcsSpawner]:
    servers = [await world.start(user) for user in ("ada", "bob", "eve")]
    await asyncio.sleep(120)
    return servers


@pytest.mark.parametrize("outage", OUTAGES)
async def test_ten_minutes_without_answers_stop_nothing(
    a_world: Opens, outage: Callable[[float], BadDay]
) -> None:
    async with a_world() as world:
        servers = await three(world)
        assert shown_age() < 60
        world.fake.suffer(outage(TEN_MINUTES))
        ages = []
        for _ in range(10):
            await asyncio.sleep(59.9)
            ages.append(shown_age())
            assert [await server.poll() for server in servers] == [None, None, None]
            # A hub that starts now sees the same.
            assert await world.spawner("ada").poll() is None
        assert ages == sorted(ages)
        assert ages[-1] > 500
        await asyncio.sleep(90)
        assert shown_age() < 60
        assert len(world.living()) == 3
        assert world.requests.of("StopTask") == []
        # And looks go on: a server that dies now is noticed.
        world.fake.end(servers[0].task_arn, bad_days.CONTAINER_EXITED)
        await asyncio.sleep(60)
        assert [await server.poll() for server in servers] == [1, None, None]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_death_during_an_outage_is_noticed_after_it(
    a_world: Opens, outage: Callable[[float], BadDay]
) -> None:
    async with a_world() as world:
        servers = await three(world)
        world.fake.suffer(outage(TEN_MINUTES))
        await asyncio.sleep(60)
        world.fake.end(servers[1].task_arn, bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(TEN_MINUTES - 70)
        assert await servers[1].poll() is None
        await asyncio.sleep(100)
        assert [await server.poll() for server in servers] == [None, 137, None]
        assert servers[1].last_failure
        assert "out of memory" in servers[1].last_failure["message"]


@pytest.mark.parametrize("outage", OUTAGES[:2])
async def test_a_start_during_an_outage_of_looks_waits_for_its_end(
    a_world: Opens, outage: Callable[[float], BadDay]
) -> None:
    """The swap needs the task's address from AWS; the container asks again for five minutes."""
    async with a_world() as world:
        world.fake.suffer(outage(200))
        beginning = world.begin()
        await asyncio.sleep(190)
        assert not beginning.running.done()
        await beginning.running
        assert len(world.living()) == 1


async def test_a_live_task_called_missing_is_kept(a_world: Opens) -> None:
    async with a_world() as world:
        servers = await three(world)
        lie = bad_days.DescribeLiesMissing(servers[0].task_arn)
        with world.fake.suffering(lie):
            for _ in range(60):
                await asyncio.sleep(60)
                assert await servers[0].poll() is None
        assert len(world.living()) == 3


async def test_a_task_missing_everywhere_is_kept_while_its_port_answers(a_world: Opens) -> None:
    async with a_world() as world:
        servers = await three(world)
        lie = bad_days.DescribeLiesMissing(servers[0].task_arn, lists=True)
        with world.fake.suffering(lie):
            for _ in range(60):
                await asyncio.sleep(60)
                assert await servers[0].poll() is None
        assert len(world.living()) == 3


async def test_a_silent_task_that_is_listed_is_kept(a_world: Opens) -> None:
    async with a_world() as world:
        servers = await three(world)
        world.http.silent = True
        with world.fake.suffering(bad_days.DescribeLiesMissing(servers[0].task_arn)):
            await asyncio.sleep(3600)
            assert await servers[0].poll() is None


async def test_a_task_that_vanished_is_noticed_by_the_rule_and_not_sooner(
    a_world: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    """Three times MISSING, 60 s apart, not listed, older than five minutes, its port silent."""
    async with a_world() as world:
        began = asyncio.get_running_loop().time()
        server = await world.start()
        vanish(world, world.fake.tasks[server.task_arn])
        await asyncio.sleep(began + 299 - asyncio.get_running_loop().time())
        assert await server.poll() is None  # too young
        async with asyncio.timeout(150):
            while await server.poll() is None:
                await asyncio.sleep(1)
        assert server.last_failure
        assert "AWS does not know it any more" in server.last_failure["message"]
        assert "ended: the task is not known to AWS any more" in caplog.text
        await world.stop(server)
        assert [row.reason for row in world.usage()] == ["died: task gone"]


async def test_an_old_task_that_vanished_takes_three_looks(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        await asyncio.sleep(3600)
        vanish(world, world.fake.tasks[server.task_arn])
        await asyncio.sleep(119)
        assert await server.poll() is None
        await asyncio.sleep(120)
        assert await server.poll() == 0


async def test_missing_answers_before_an_outage_do_not_ripen_in_it(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        await asyncio.sleep(3600)
        vanish(world, world.fake.tasks[server.task_arn])
        await asyncio.sleep(100)
        with world.fake.suffering(bad_days.NetworkGone(TEN_MINUTES)):
            await asyncio.sleep(TEN_MINUTES)
            assert await server.poll() is None
        async with asyncio.timeout(300):
            while await server.poll() is None:
                await asyncio.sleep(1)


async def test_tasks_whose_agent_is_cut_off_are_kept(a_world: Opens) -> None:
    async with a_world() as world:
        servers = await three(world)
        with world.fake.suffering(bad_days.AgentDisconnected()):
            await asyncio.sleep(3600)
            assert [await server.poll() for server in servers] == [None, None, None]
        assert world.requests.of("StopTask") == []


async def test_servers_unreachable_for_a_hub_that_starts_are_kept(a_world: Opens) -> None:
    """What `poll` says while AWS and every server are away; the hub's own part: test_app.py."""
    async with a_world() as first:
        servers = await three(first)
        first.fake.suffer(bad_days.NetworkGone(TEN_MINUTES))
        second = await first.restarted()
        second.http.silent = True
        again = [second.spawner(server.user.name) for server in servers]
        for _ in range(9):
            await asyncio.sleep(60)
            assert [await server.poll() for server in again] == [None, None, None]
        await asyncio.sleep(120)
        assert [await server.poll() for server in again] == [None, None, None]
        assert [server.address for server in again] == [server.address for server in servers]
        await second.platform.close()


def vanish(world: World, task: Task) -> None:
    """Let a task be gone without a word: its machine burnt, and AWS has forgotten it."""
    del world.fake.tasks[task.arn]
    world.containers.answering.pop(task.address, None)


async def test_a_look_for_the_swap_is_not_a_verdict(a_world: Opens) -> None:
    """The container is quicker than AWS's records: MISSING then is nothing to act on."""
    async with a_world() as world:
        world.fake.pace.visible_after = 20.0
        beginning = world.begin()
        await until(lambda: beginning.running.done(), 60)
        await beginning.running
        assert await beginning.spawner.poll() is None
