"""Finding our tasks again, and stopping what nobody needs, on the fake account's clock."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.fakes.aws import FakeAws
from tests.fakes.aws.bad_days import (
    CONTAINER_EXITED,
    BadDay,
    CredentialsExpired,
    DescribeAnswers500,
    DescribeLiesMissing,
    DescribeThrottledFor,
    NetworkGone,
    RunTaskAnswersTwice,
    StopTaskFails,
)
from tests.fakes.aws.errors import AwsError
from tests.fakes.aws.task import Described
from tests.fakes.aws.wire import Call
from tests.support.ecs import ECS, api_on, loop_time
from workroom_spawner import metrics
from workroom_spawner.aws_errors import Unreachable
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.reconcile import Known, Reconciler
from workroom_spawner.stopper import Stopper
from workroom_spawner.task_requests import TaskSpec, run_task, server_id, task_definition
from workroom_spawner.watcher import Watcher

pytestmark = pytest.mark.looptime
GRACE = ECS.orphan_grace
LONG = 3 * GRACE


class TagsComeLate(BadDay):
    """DescribeTasks shows no tags yet."""

    def after(self, call: Call, result: Any, now: float) -> Any:
        if call.operation == "DescribeTasks":
            bare = [Described({**task, "tags": []}) for task in result["tasks"]]
            return {**result, "tasks": bare}
        return result


class ListsWhatHasEnded(BadDay):
    """ListTasks still has a task that stopped."""

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def after(self, call: Call, result: Any, now: float) -> Any:
        if call.operation == "ListTasks":
            return {**result, "taskArns": [*result["taskArns"], self._arn]}
        return result


class RefusesToStop(BadDay):
    """StopTask is refused for one task, for ever."""

    def __init__(self, arn: str) -> None:
        self._arn = arn

    def before(self, call: Call, now: float) -> None:
        if call.operation == "StopTask" and call.params["task"] == self._arn:
            raise AwsError("ClientException", "This task cannot be stopped now.")


@dataclass
class Cluster:
    """A hub process on the account, and what its spawners would tell the reconciler."""

    fake: FakeAws
    settings: EcsSettings = ECS
    servers: dict[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = api_on(self.fake, self.settings)
        self.watcher = Watcher(self.api, answers=self._silent)
        self.reconciler = Reconciler(self.api, self.watcher, lambda: self.servers)

    async def _silent(self, _: Any) -> bool:
        return False

    def id(self, user: str, server: str = "") -> str:
        return server_id(self.settings, user, server)

    def run(self, user: str, token: str = "", **changes: Any) -> str:
        """Start a task as a spawner would; `changes` are made to the RunTask request."""
        spec = TaskSpec(user, "", "small", "notebook:1", 1, 2**30, "fsap-1")
        definition = task_definition(spec, self.settings)
        ecs = self.fake.client("ecs")
        ecs.register_task_definition(**definition)
        token = token or f"start-of-{user}"
        request = {**run_task(spec, self.settings, definition["family"], token), **changes}
        arn: str = ecs.run_task(**request)["tasks"][0]["taskArn"]
        return arn

    def wanted(self, arn: str) -> bool:
        self.fake.advance()
        return self.fake.tasks[arn].desired == "RUNNING"

    def know(self, user: str, arn: str | None, token: str | None = None) -> None:
        self.servers[self.id(user)] = Known(arn, token)


@asynccontextmanager
async def looking(cluster: Cluster) -> AsyncIterator[None]:
    """Have the rounds go on."""
    rounds = asyncio.create_task(cluster.reconciler.run())
    try:
        yield
    finally:
        await cluster.reconciler.close()
        assert rounds.done()


@pytest.fixture
def cluster() -> Cluster:
    fake = FakeAws(loop_time)
    fake.buckets.on = False  # tests start hundreds of tasks at once; two switch it on again
    return Cluster(fake)


@pytest.fixture(autouse=True)
def mistakes_of_ours_are_not_swallowed(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Rounds and stops go on whatever happens; here that must not hide anything."""
    yield
    assert not [record for record in caplog.get_records("call") if record.exc_info]


def orphans_stopped() -> float:
    return metrics.ORPHANS_STOPPED._value.get()  # type: ignore[no-any-return]


# -- orphans -------------------------------------------------------------------------


async def test_orphan_is_stopped_after_the_grace_period_and_not_before(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    arn, mine = cluster.run("ada"), cluster.run("bob")
    cluster.know("bob", mine)
    before = orphans_stopped()
    async with looking(cluster):
        await asyncio.sleep(GRACE)
        assert cluster.wanted(arn)
        await asyncio.sleep(61)
        assert not cluster.wanted(arn)
        await asyncio.sleep(LONG)
    assert cluster.wanted(mine)
    assert cluster.fake.calls["StopTask"] == 1
    assert orphans_stopped() - before == 1
    ending = cluster.fake.tasks[arn].ending
    assert ending is not None
    assert "no server of the hub has known this task for 300 s" in ending.reason
    [line] = [r.message for r in caplog.records if "orphan stopped" in r.message]
    assert arn.rpartition("/")[2] in line
    assert cluster.id("ada") in line


async def test_seen_once_is_not_enough_however_long_ago(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    await asyncio.sleep(1)
    await cluster.reconciler.look_for_orphans()
    await asyncio.sleep(LONG)
    assert cluster.wanted(arn)
    # Somebody claimed it between the two looks.
    cluster.know("ada", arn)
    await cluster.reconciler.look_for_orphans()
    del cluster.servers[cluster.id("ada")]
    await cluster.reconciler.look_for_orphans()
    await asyncio.sleep(LONG)
    assert cluster.wanted(arn)


async def test_without_grace_two_rounds_are_still_needed() -> None:
    cluster = Cluster(FakeAws(loop_time), replace(ECS, orphan_grace=0))
    arn = cluster.run("ada")
    await asyncio.sleep(1)
    await cluster.reconciler.look_for_orphans()
    await asyncio.sleep(1)
    assert cluster.wanted(arn)
    await cluster.reconciler.look_for_orphans()
    await asyncio.sleep(1)
    assert not cluster.wanted(arn)


async def test_a_start_whose_task_nobody_knows_yet_is_left_alone(cluster: Cluster) -> None:
    arn = cluster.run("ada", "token-1")
    cluster.know("ada", None, "token-1")
    async with looking(cluster):
        await asyncio.sleep(LONG)
        assert cluster.wanted(arn)
        # Its start was given up, and begun again as another one.
        cluster.know("ada", None, "token-2")
        await asyncio.sleep(GRACE + 130)
        assert not cluster.wanted(arn)


async def test_of_two_tasks_of_one_server_the_known_one_stays(cluster: Cluster) -> None:
    cluster.fake.suffer(RunTaskAnswersTwice(two_tasks=True))
    known = cluster.run("ada", "token")
    [other] = cluster.fake.tasks.keys() - {known}
    cluster.know("ada", known, "token")
    async with looking(cluster):
        await asyncio.sleep(GRACE + 130)
    assert cluster.wanted(known)
    assert not cluster.wanted(other)


async def test_of_two_tasks_of_one_start_neither_is_judged_before_it_knows_which(
    cluster: Cluster,
) -> None:
    cluster.fake.suffer(RunTaskAnswersTwice(two_tasks=True))
    cluster.run("ada", "token")
    cluster.know("ada", None, "token")
    async with looking(cluster):
        await asyncio.sleep(LONG)
    assert all(cluster.wanted(arn) for arn in cluster.fake.tasks)
    assert len(cluster.fake.tasks) == 2


async def test_claimed_again_in_the_last_moment_is_not_stopped(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    async with looking(cluster):
        await asyncio.sleep(GRACE - 1)
        with cluster.fake.suffering(StopTaskFails(1000)):
            await asyncio.sleep(130)
            assert cluster.fake.calls["StopTask"] > 1
            cluster.know("ada", arn)
            await asyncio.sleep(61)
        stops = cluster.fake.calls["StopTask"]
        await asyncio.sleep(LONG)
        assert cluster.wanted(arn)
        assert cluster.fake.calls["StopTask"] == stops


def without_tag(request: list[dict[str, str]], key: str) -> list[dict[str, str]]:
    return [tag for tag in request if tag["key"] != key]


@pytest.mark.parametrize("other", ["startedBy", "installation", "no tags", "no server", "cluster"])
async def test_what_is_not_ours_is_never_touched(cluster: Cluster, other: str) -> None:
    tags = run_task(TaskSpec("ada", "", "small", "notebook:1", 1, 2**30, "fsap-1"), ECS, "f", "t")[
        "tags"
    ]
    foreign = [{"key": "workroom:installation", "value": "f" * 32}]
    changes: dict[str, Any] = {
        "startedBy": {"startedBy": f"workroom/{'f' * 32}"},
        "installation": {"tags": without_tag(tags, "workroom:installation") + foreign},
        "no tags": {"tags": []},
        "no server": {"tags": without_tag(tags, "workroom:server-id")},
        "cluster": {"cluster": "others"},
    }[other]
    arn = cluster.run("ada", **changes)
    ours = cluster.run("bob")
    async with looking(cluster):
        await asyncio.sleep(LONG)
    assert cluster.wanted(arn)
    assert not cluster.wanted(ours)
    assert cluster.fake.calls["StopTask"] == 1


async def test_tags_that_come_later_than_their_task_are_waited_for(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    async with looking(cluster):
        with cluster.fake.suffering(TagsComeLate()):
            await asyncio.sleep(LONG)
            assert cluster.wanted(arn)
        await asyncio.sleep(GRACE + 130)
        assert not cluster.wanted(arn)


async def test_two_hubs_share_a_cluster(cluster: Cluster) -> None:
    theirs = Cluster(cluster.fake, replace(ECS, installation="f" * 32))
    arns = [cluster.run("ada"), theirs.run("ada", "their-start")]
    theirs.know("ada", arns[1])
    async with looking(cluster), looking(theirs):
        await asyncio.sleep(LONG)
    assert [cluster.wanted(arn) for arn in arns] == [False, True]


# -- bad days ------------------------------------------------------------------------

OUTAGES: list[Callable[[float], BadDay]] = [
    DescribeThrottledFor,
    DescribeAnswers500,
    CredentialsExpired,
    NetworkGone,
]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_while_aws_does_not_say_nothing_is_stopped(
    cluster: Cluster, outage: Callable[[float], BadDay], caplog: pytest.LogCaptureFixture
) -> None:
    arn = cluster.run("ada")
    cluster.fake.suffer(outage(1800))
    async with looking(cluster):
        await asyncio.sleep(1800)
        assert cluster.wanted(arn)
        assert cluster.fake.calls["StopTask"] == 0
        await asyncio.sleep(GRACE + 130)
        assert not cluster.wanted(arn)
    lines = [record.message for record in caplog.records]
    assert len([line for line in lines if "cannot be looked for" in line]) == 1
    assert len([line for line in lines if "looked for again" in line]) == 1


async def test_a_task_that_ecs_denies_for_a_while_is_judged_when_it_is_seen(
    cluster: Cluster,
) -> None:
    arn = cluster.run("ada")
    async with looking(cluster):
        with cluster.fake.suffering(DescribeLiesMissing(arn)):
            await asyncio.sleep(LONG)
            assert cluster.wanted(arn)
        with cluster.fake.suffering(DescribeLiesMissing(arn, lists=True)):
            await asyncio.sleep(LONG)
            assert cluster.wanted(arn)
        await asyncio.sleep(GRACE + 130)
        assert not cluster.wanted(arn)


async def test_a_hub_that_cannot_say_what_it_knows_stops_nothing(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    arn = cluster.run("ada")

    def broken() -> dict[str, Known]:
        raise RuntimeError("mistake")

    cluster.reconciler = Reconciler(cluster.api, cluster.watcher, broken)
    async with looking(cluster):
        await asyncio.sleep(LONG)
        assert cluster.wanted(arn)
    assert any(record.exc_info for record in caplog.records)
    caplog.clear()


# -- stopping ------------------------------------------------------------------------


@pytest.mark.parametrize("outage", [CredentialsExpired, NetworkGone])
async def test_a_stop_survives_an_outage(
    cluster: Cluster, outage: Callable[[float], BadDay]
) -> None:
    arns = [cluster.run(f"user-{number}") for number in range(20)]
    await asyncio.sleep(1)
    cluster.fake.suffer(outage(3600))
    for arn in arns:
        cluster.reconciler.stop_later(arn, "workroom: stopped by its user")
    await asyncio.sleep(3600)
    # However many there are, AWS is asked about once a minute.
    assert 60 < cluster.fake.calls["StopTask"] < 180
    assert all(cluster.wanted(arn) for arn in arns)
    await asyncio.sleep(180)
    assert not any(cluster.wanted(arn) for arn in arns)
    ending = cluster.fake.tasks[arns[0]].ending
    assert ending is not None
    assert ending.reason == "workroom: stopped by its user"
    await cluster.reconciler.close()


async def test_stops_are_throttled_and_all_are_done(cluster: Cluster) -> None:
    arns = [cluster.run(f"user-{number}") for number in range(300)]
    await asyncio.sleep(1)
    cluster.fake.buckets.on = True
    cluster.fake.buckets.set("run", 10, 2, ["RunTask", "StopTask"], loop_time())
    for arn in arns:
        cluster.reconciler.stop_later(arn, "workroom: stopped")
    await asyncio.sleep(300)
    assert not any(cluster.wanted(arn) for arn in arns)
    await cluster.reconciler.close()


async def test_one_that_cannot_be_stopped_does_not_keep_the_others(cluster: Cluster) -> None:
    stuck, *others = (cluster.run(f"user-{number}") for number in range(10))
    await asyncio.sleep(1)
    day = RefusesToStop(stuck)
    cluster.fake.suffer(day)
    for arn in (stuck, *others):
        cluster.reconciler.stop_later(arn, "workroom: stopped")
    await asyncio.sleep(1)
    assert not any(cluster.wanted(arn) for arn in others)
    await asyncio.sleep(3600)
    assert 60 <= cluster.fake.calls["StopTask"] - 9 < 140
    cluster.fake.relieve(day)
    await asyncio.sleep(61)
    assert not cluster.wanted(stuck)


async def test_a_task_too_new_for_stoptask_is_stopped_all_the_same() -> None:
    """RunTask answered, the user cancelled, and ECS does not find the task yet."""
    cluster = Cluster(FakeAws(loop_time))
    cluster.fake.pace.visible_after = 5
    arn = cluster.run("ada")
    cluster.reconciler.stop_later(arn, "workroom: cancelled")
    await asyncio.sleep(4)
    assert cluster.wanted(arn)
    await asyncio.sleep(10)
    assert not cluster.wanted(arn)


async def test_a_task_that_is_gone_is_not_asked_for_for_ever(cluster: Cluster) -> None:
    cluster.reconciler.stop_later("arn:aws:ecs:eu-west-1:1:task/team/0", "workroom: stopped")
    await asyncio.sleep(3600)
    assert cluster.fake.calls == {"StopTask": 3}


async def test_a_task_seen_stopped_is_not_stopped_again(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    cluster.watcher.follow(arn)
    await asyncio.sleep(20)
    cluster.fake.suffer(StopTaskFails(1000))
    cluster.reconciler.stop_later(arn, "workroom: stopped")
    await asyncio.sleep(1)
    cluster.fake.end(arn, CONTAINER_EXITED)
    await asyncio.sleep(120)
    calls = cluster.fake.calls["StopTask"]
    await asyncio.sleep(600)
    assert cluster.fake.calls["StopTask"] == calls
    await cluster.watcher.close()


async def test_an_explicit_stop_is_not_lost_to_an_orphan_that_was_claimed(
    cluster: Cluster,
) -> None:
    arn = cluster.run("ada")
    async with looking(cluster):
        with cluster.fake.suffering(StopTaskFails(10_000)):
            await asyncio.sleep(GRACE + 130)
            cluster.know("ada", arn)  # resumed
            cluster.reconciler.stop_later(arn, "workroom: stopped by its user")
            await asyncio.sleep(300)
        await asyncio.sleep(61)
        assert not cluster.wanted(arn)


async def test_waiting_orphans_are_not_tried_more_often_with_every_round(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    cluster.fake.suffer(RefusesToStop(arn))
    async with looking(cluster):
        await asyncio.sleep(GRACE + 61)
        await asyncio.sleep(1800)
        before = cluster.fake.calls["StopTask"]
        await asyncio.sleep(3600)
    assert 55 <= cluster.fake.calls["StopTask"] - before <= 120


async def test_an_order_that_comes_while_the_task_is_being_stopped_is_kept(
    cluster: Cluster,
) -> None:
    """The earlier order's StopTask may not have found the task; the new one asks again."""
    arn = cluster.run("ada")
    await asyncio.sleep(1)
    stopper = Stopper(cluster.api)
    told: list[str] = []

    def order(which: str) -> None:
        stopper.order(arn, which, needless=lambda: False, stopped=lambda: told.append(which))

    answer = cluster.api.stop_task

    async def slow(task: str, reason: str) -> bool:
        if reason == "first":
            order("second")
        return await answer(task, reason)

    cluster.api.stop_task = slow  # type: ignore[method-assign]
    order("first")
    await asyncio.sleep(1)
    assert told == ["first", "second"]


async def test_a_task_that_ended_by_itself_is_no_orphan(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """ListTasks may still have it when DescribeTasks says that it has ended."""
    caplog.set_level(logging.INFO)
    arn = cluster.run("ada")
    await asyncio.sleep(1)
    cluster.fake.end(arn, CONTAINER_EXITED)
    await asyncio.sleep(60)
    cluster.fake.suffer(ListsWhatHasEnded(arn))
    async with looking(cluster):
        await asyncio.sleep(LONG)
    assert not cluster.fake.calls["StopTask"]
    assert not [record for record in caplog.records if "no server here" in record.message]


async def test_closed_means_nothing_goes_on(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    with cluster.fake.suffering(StopTaskFails(10_000)):
        async with looking(cluster):
            cluster.reconciler.stop_later(arn, "workroom: stopped")
            await asyncio.sleep(600)
    calls = cluster.fake.calls.copy()
    cluster.reconciler.stop_later(arn, "workroom: stopped")
    await asyncio.sleep(LONG)
    assert cluster.fake.calls == calls
    assert cluster.wanted(arn)


# -- taking over ---------------------------------------------------------------------


async def test_the_task_of_a_start_is_found(cluster: Cluster) -> None:
    first, second = cluster.run("ada", "token-1"), cluster.run("ada", "token-2")
    await asyncio.sleep(1)
    for token, arn in (("token-1", first), ("token-2", second)):
        found = await cluster.reconciler.find(token)
        assert found is not None
        assert (found.arn, found.server_id, found.start) == (arn, cluster.id("ada"), token)
    assert await cluster.reconciler.find("token-3") is None


async def test_a_thousand_starts_look_together(cluster: Cluster) -> None:
    for number in range(150):
        cluster.run(f"user-{number}")
    await asyncio.sleep(1)
    found = await asyncio.gather(
        *(cluster.reconciler.find(f"start-of-user-{number}") for number in range(1000))
    )
    assert sum(owned is not None for owned in found) == 150
    assert cluster.fake.calls["ListTasks"] == 2
    assert cluster.fake.calls["DescribeTasks"] == 2


async def test_a_start_that_was_listed_is_found_without_a_call(cluster: Cluster) -> None:
    arn = cluster.run("ada")
    await asyncio.sleep(1)
    await cluster.reconciler.look_for_orphans()
    cluster.fake.reset_counters()
    found = await cluster.reconciler.find("start-of-ada")
    assert found is not None
    assert found.arn == arn
    assert not cluster.fake.calls


async def test_finding_says_when_aws_does_not(cluster: Cluster) -> None:
    cluster.fake.suffer(NetworkGone())
    with pytest.raises(Unreachable):
        await cluster.reconciler.find("start-of-ada")


async def test_finding_waits_out_a_short_throttling(cluster: Cluster) -> None:
    cluster.run("ada")
    cluster.fake.suffer(DescribeThrottledFor(2))
    assert await cluster.reconciler.find("start-of-ada") is not None


# -- cost ----------------------------------------------------------------------------


async def test_a_round_lists_and_describes_nothing_that_is_known(cluster: Cluster) -> None:
    for number in range(250):
        cluster.know(f"user-{number}", cluster.run(f"user-{number}"))
    await asyncio.sleep(1)
    cluster.fake.reset_counters()
    await cluster.reconciler.look_for_orphans()
    assert cluster.fake.calls == {"ListTasks": 3}


async def test_strangers_are_described_once(cluster: Cluster) -> None:
    for number in range(120):
        cluster.run(f"user-{number}")
    cluster.run("foreign", tags=[{"key": "workroom:installation", "value": "f" * 32}])
    await asyncio.sleep(1)
    cluster.fake.reset_counters()
    for _ in range(4):
        await cluster.reconciler.look_for_orphans()
    assert cluster.fake.calls == {"ListTasks": 8, "DescribeTasks": 2}


async def test_first_round_leaves_a_starting_hub_its_calls(cluster: Cluster) -> None:
    cluster.run("ada")
    async with looking(cluster):
        await asyncio.sleep(30)
        assert not cluster.fake.calls["ListTasks"]
        await asyncio.sleep(31)
        assert cluster.fake.calls["ListTasks"] == 1


async def test_log_lines_have_no_secret(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spec = TaskSpec("ada", "", "small", "notebook:1", 1, 2**30, "fsap-1")
    overrides = run_task(spec, ECS, "f", "t")["overrides"]
    overrides["containerOverrides"][0]["environment"] = [
        {"name": "WORKROOM_START_CODE", "value": "do-not-tell"}
    ]
    cluster.run("ada", overrides=overrides)
    async with looking(cluster):
        with cluster.fake.suffering(StopTaskFails(3)):
            await asyncio.sleep(LONG)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("workroom")]
    assert ours
    assert "do-not-tell" not in "".join(ours)
