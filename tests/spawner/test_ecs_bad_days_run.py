"""RunTask and what comes before it: failures, lost answers, refusals."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.fakes.aws import ManagedScaling, bad_days
from tests.fakes.aws.bad_days import BadDay
from tests.fakes.aws.errors import AwsError
from tests.fakes.aws.wire import Call
from tests.spawner.ecs_world import ECS, Opens, World, until
from workroom_spawner.checkpoints import Checkpoints
from workroom_spawner.errors import SpawnProblem, Unexpected
from workroom_spawner.task_errors import (
    AwsDenied,
    AwsRefused,
    AwsUnreachable,
    HomeUnavailable,
    NoCapacity,
)

pytestmark = pytest.mark.looptime


def tokens(world: World) -> list[str]:
    return [request["clientToken"] for request in world.requests.of("RunTask")]


async def assert_nothing_left(world: World, problem: SpawnProblem) -> None:
    """Its owner has a sentence; the account, the table and the line have nothing."""
    await asyncio.sleep(5)
    assert world.living() == []
    assert world.platform.servers == {}
    assert "start" not in world.state()
    assert "task_arn" not in world.state()
    assert world.state()["last_failure"]["message"] == problem.message
    assert [row.reason for row in world.usage()] == [f"failed: {problem.reason}"]
    # And the next start is none the worse for it.
    world.fake.relieve(*(day for day in world.fake.days if day is not world.requests))
    await world.start()


async def test_no_room_is_waited_for_with_a_new_token_each_time(a_world: Opens) -> None:
    """ECS would answer a token it knows with the old failure."""
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskAnswersFailures("RESOURCE:MEMORY", times=3))
        beginning = world.begin()
        await until(lambda: "No machine has room" in beginning.says)
        await beginning.running
        assert len(tokens(world)) == len(set(tokens(world))) == 4
        [task] = world.living()
        # The code belongs to the last token, and so does the tag.
        assert task.tags["workroom:start"] == tokens(world)[-1]


async def test_no_room_for_good_is_given_up(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskAnswersFailures("RESOURCE:CPU"))
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoCapacity, match="within 30 minutes"):
            await world.start()
        assert 1790 < asyncio.get_running_loop().time() - began < 1900
        assert len(tokens(world)) < 180


@pytest.mark.parametrize("reason", ["AGENT", "ATTRIBUTE", "Capacity is unavailable at this time."])
async def test_other_failures_become_a_sentence_at_once(a_world: Opens, reason: str) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskAnswersFailures(reason))
        with pytest.raises(AwsRefused, match="AWS refused to start your server") as raised:
            await world.start()
        assert reason in raised.value.log_message
        assert reason not in raised.value.message
        assert len(tokens(world)) == 1
        await assert_nothing_left(world, raised.value)


@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_answer_makes_no_second_task(a_world: Opens, times: int) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskTimesOutAfterStarting(times))
        beginning = world.begin()
        await until(lambda: "AWS does not answer" in beginning.says)
        await beginning.running
        [task] = world.tasks()
        assert beginning.spawner.task_arn == task.arn
        assert len(tokens(world)) == times + 1
        assert len(set(tokens(world))) == 1
        await asyncio.sleep(1800)
        assert [t.arn for t in world.living()] == [task.arn]


async def test_an_answer_with_its_task_twice(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.RunTaskAnswersTwice())
        await world.start()
        assert len(world.living()) == 1


async def test_of_two_tasks_one_stays_and_the_other_goes_within_the_grace(a_world: Opens) -> None:
    async with a_world() as world:
        world.platform.start()
        world.fake.suffer(bad_days.RunTaskAnswersTwice(two_tasks=True))
        server = await world.start()
        stranger = next(t for t in world.tasks() if t.arn != server.task_arn)
        await asyncio.sleep(ECS.orphan_grace + 130)
        assert stranger.desired == "STOPPED"
        assert await server.poll() is None
        assert [t.arn for t in world.living()] == [server.task_arn]


async def test_an_outage_of_aws_is_waited_for_while_there_is_patience(a_world: Opens) -> None:
    async with a_world() as world:
        await world.stop(await world.start())  # home and definition are known
        world.fake.suffer(bad_days.NetworkGone(300))
        await world.start()
        assert len(world.living()) == 1


async def test_an_outage_before_there_is_a_home_is_told(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.NetworkGone(22))
        world.wire.there = 5.0  # a call that nobody answers takes its time
        beginning = world.begin()
        await asyncio.sleep(9)
        assert beginning.says == "Preparing your home"
        await asyncio.sleep(2)
        assert beginning.says == "AWS takes its time; still preparing your home"
        await beginning.running
        world.wire.there = 0.0
        # Where AWS answers, nobody reads of it.
        world.fake.suffer(bad_days.RunTaskAnswersFailures("RESOURCE:CPU", 1))
        bob = world.begin("bob")
        await asyncio.sleep(12)
        assert "AWS takes its time" not in bob.says
        await bob.running


async def test_an_outage_without_end_becomes_a_sentence(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(bad_days.NetworkGone())
        with pytest.raises(AwsUnreachable, match="AWS does not answer") as raised:
            await world.start()
        await assert_nothing_left(world, raised.value)


@pytest.mark.parametrize("known", [False, True], ids=["new user", "known user"])
async def test_credentials_that_expired_become_a_sentence(a_world: Opens, known: bool) -> None:
    async with a_world() as world:
        if known:
            await world.stop(await world.start("bob"))
        world.fake.suffer(bad_days.CredentialsExpired())
        with pytest.raises(AwsDenied, match="does not let the hub") as raised:
            await world.start("bob" if known else "ada")
        assert "expired" in raised.value.log_message
        assert "expired" not in raised.value.message


async def test_credentials_renewed_in_time_are_no_failure(a_world: Opens) -> None:
    async with a_world() as world:
        await world.stop(await world.start())
        world.fake.suffer(bad_days.CredentialsExpired(6))
        await world.start()


class RunTaskThrottledFor(bad_days.DescribeThrottledFor):
    """RunTask is throttled, whatever the bucket says."""

    operations = ("RunTask",)


async def test_throttled_runtask_waits(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(RunTaskThrottledFor(120))
        await world.start()
        assert len(world.tasks()) == 1
        assert len(tokens(world)) < 60


@pytest.mark.parametrize("there", [0.0, 4.0], ids=["pause", "request under way"])
async def test_cancelled_while_runtask_is_throttled(a_world: Opens, there: float) -> None:
    """It is repeated until it succeeds: not for somebody who has left."""
    async with a_world() as world:
        world.fake.suffer(RunTaskThrottledFor(120))
        beginning = world.begin()
        await asyncio.sleep(20)
        effort = beginning.spawner._launching[0]._effort
        await until(lambda: not effort.calling)
        asked = len(tokens(world))
        world.wire.there = there
        if there:
            await until(lambda: effort.calling)
        await beginning.cancel()
        # One more may begin in the second between JupyterHub giving up and stopping the server;
        # one that is under way reaches AWS later.
        begun = asked + 1 if there else len(tokens(world))
        assert begun <= asked + 1
        await asyncio.sleep(300)
        assert len(tokens(world)) == begun
        assert world.tasks() == []
        world.wire.there = 0.0
        await world.start()


class TokenTaken(BadDay):
    """The first RunTask, or more of them, meets somebody else's token."""

    def __init__(self, times: int = 1) -> None:
        self._left = times

    def before(self, call: Call, now: float) -> None:
        if call.operation == "RunTask" and self._left:
            self._left -= 1
            raise AwsError("ConflictException", "The provided clientToken is already in use")


async def test_a_token_that_is_taken_is_replaced(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.suffer(TokenTaken())
        await world.start()
        assert len(set(tokens(world))) == 2


async def test_tokens_that_are_all_taken_are_given_up(a_world: Opens) -> None:
    """It cannot be; so it is no reason to use up everybody's RunTask."""
    async with a_world() as world:
        world.fake.suffer(TokenTaken(times=1000))
        began = asyncio.get_running_loop().time()
        with pytest.raises(AwsRefused, match="AWS refused to start your server") as raised:
            await world.start()
        assert len(set(tokens(world))) == len(tokens(world)) == 3
        assert asyncio.get_running_loop().time() - began > 6
        await assert_nothing_left(world, raised.value)


async def test_a_definition_deregistered_under_us_is_registered_again(a_world: Opens) -> None:
    async with a_world() as world:
        await world.stop(await world.start())
        [family] = {request["taskDefinition"] for request in world.requests.of("RunTask")}
        world.fake.client("ecs").deregister_task_definition(taskDefinition=f"{family}:1")
        await world.start()
        assert len(world.requests.of("RegisterTaskDefinition")) == 2
        assert world.requests.of("RunTask")[-1]["taskDefinition"] == family


async def test_no_more_access_points(a_world: Opens) -> None:
    async with a_world() as world:
        await world.start("bob")
        world.fake.efs.most = 1
        with pytest.raises(HomeUnavailable, match="home folder") as raised:
            await world.start("ada")
        assert "10,000" in raised.value.log_message
        assert len(world.living()) == 1
        # Who has a home already does not notice.
        await world.start("bob", "second")


async def test_a_checkpoint_that_cannot_be_written_starts_no_task(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that no next hub process would find is not begun."""

    def full(self: Checkpoints, rows: list[dict[str, Any]]) -> None:
        raise OperationalError("UPDATE", {}, Exception("disk full"))

    async with a_world() as world:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "_write", full)
            with pytest.raises(Unexpected, match="Workroom's side") as raised:
                await world.start()
            assert tokens(world) == []
        await assert_nothing_left(world, raised.value)


@pytest.mark.parametrize(("aws", "minutes"), [(1e6, 30), (900, 15)], ids=["our", "AWS's"])
async def test_capacity_that_never_comes(a_world: Opens, aws: float, minutes: int) -> None:
    """Whose patience is over first, ours or that of ECS, is no matter."""
    scaling = ManagedScaling(machines=0, most=0)
    async with a_world(scaling=scaling) as world:
        world.fake.pace.capacity_seconds = aws
        began = asyncio.get_running_loop().time()
        with pytest.raises(NoCapacity, match=rf"within {minutes} minutes.*smaller prof") as raised:
            await asyncio.wait_for(world.start(), 4000)
        assert 60 * minutes <= asyncio.get_running_loop().time() - began < 60 * minutes + 60
        await asyncio.sleep(5)
        assert world.living() == []
        assert world.platform.servers == {}
        assert [row.reason for row in world.usage()] == [f"failed: {raised.value.reason}"]


async def test_waiting_for_a_machine_does_not_count_towards_the_start_time_out(
    a_world: Opens,
) -> None:
    """Ten minutes for a machine, 120 s to start: the latter begin when the machine is there."""
    scaling = ManagedScaling(machine_seconds=600)
    async with a_world(scaling=scaling, boot_seconds=60) as world:
        server = await world.start()
        assert await server.poll() is None
