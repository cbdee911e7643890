"""Days on which AWS does not answer: through boto3, our API and the fake account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Any, TypeVar

import pytest
from prometheus_client import REGISTRY

from tests.fakes.aws import FakeAws, bad_days
from tests.fakes.scripted_ecs import SETTINGS
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.outage import Outage
from workroom_spawner.task_requests import TaskSpec, run_task, task_definition
from workroom_spawner.task_view import TaskView
from workroom_spawner.verdicts import Death
from workroom_spawner.watcher import Watcher

pytestmark = pytest.mark.looptime
T = TypeVar("T")
PERIOD = SETTINGS.sweep_seconds


async def inline(call: Callable[[], T]) -> T:
    """Run a call to AWS where it is; virtual time cannot wait for threads."""
    return call()


async def silent(view: TaskView) -> bool:
    return False


class Cluster:
    """A fake account with our watcher on it, whose ports are all silent."""

    def __init__(self) -> None:
        self.spec = TaskSpec("ada", "", "small", "image", 1, 2**30, "fsap-1")

    # Made by the test and not by its fixture, because virtual time begins with the test.
    @cached_property
    def fake(self) -> FakeAws:
        return FakeAws(asyncio.get_running_loop().time)

    @cached_property
    def api(self) -> EcsApi:
        return EcsApi(SETTINGS, clients=self.fake.client, runner=inline)

    @cached_property
    def watcher(self) -> Watcher:
        return Watcher(self.api, answers=silent)

    async def start(self, count: int, settle: float = 400) -> list[str]:
        """Run tasks, follow them, and wait until they are looked at in sweeps.

        Args:
            count: A multiple of ten, of which one RunTask starts as many.
            settle: Seconds to wait; a task is doubted only after 300.
        """
        definition = task_definition(self.spec, SETTINGS)
        await self.api.register(definition)
        arns: list[str] = []
        for number in range(count // 10):
            request = run_task(self.spec, SETTINGS, definition["family"], f"token-{number}")
            answer = self.fake.client("ecs").run_task(**{**request, "count": 10})
            arns += [task["taskArn"] for task in answer["tasks"]]
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
        for arn in arns:
            self.watcher.follow(arn).started()
        await asyncio.sleep(settle)
        assert len(arns) == count
        assert {self.view(arn).status for arn in arns} == {"RUNNING"}
        self.fake.reset_counters()
        return arns

    def view(self, arn: str) -> TaskView:
        view = self.watcher.view(arn)
        assert view is not None
        return view

    def dead(self, arns: list[str]) -> list[str]:
        return [arn for arn in arns if self.watcher.verdict(arn).dead]


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    cluster = Cluster()
    yield cluster
    await cluster.watcher.close()


def age() -> float:
    """Return what the hub's /metrics says."""
    value = REGISTRY.get_sample_value("workroom_watcher_age_seconds")
    assert value is not None
    return value


@pytest.mark.parametrize(
    ("day", "seconds"),
    [
        (bad_days.DescribeThrottledFor, 600),
        (bad_days.DescribeAnswers500, 600),
        (bad_days.CredentialsExpired, 600),
        (bad_days.NetworkGone, 2 * 3600),
    ],
)
async def test_no_answer_stops_nobody_and_the_watcher_recovers(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, day: type[bad_days.BadDay], seconds: float
) -> None:
    arns = await cluster.start(210, settle=40)
    caplog.clear()
    with cluster.fake.suffering(day()):
        await asyncio.sleep(seconds)
        assert age() >= seconds
        cluster.fake.end(arns[77], bad_days.OUT_OF_MEMORY)
        assert not cluster.dead(arns)
        tries = cluster.fake.calls["DescribeTasks"]
        assert seconds / 60 / 2 < tries < seconds / 5, "it goes on, and waits between its tries"
    # A period, and the second in which the three calls of a sweep are spread.
    await asyncio.sleep(PERIOD + 1)
    assert age() <= PERIOD + 1
    assert cluster.dead(arns) == [arns[77]]
    assert cluster.watcher.verdict(arns[77]).death is Death.STOPPED
    assert cluster.view(arns[77]).exit_code == 137
    await asyncio.sleep(PERIOD)
    log = [record.getMessage() for record in caplog.records if "ECS " in record.getMessage()]
    assert len(log) == 2
    assert log[0].startswith("ECS cannot be asked how the servers are: DescribeTasks: ")
    assert log[1].startswith("ECS answers again, after ")


async def test_throttled_every_other_time_a_sweep_gets_to_its_end(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    class EveryOtherThrottled(bad_days.DescribeThrottledFor):
        def before(self, call: Any, now: float) -> None:
            if cluster.fake.calls["DescribeTasks"] % 2:
                super().before(call, now)

    arns = await cluster.start(210, settle=40)
    with cluster.fake.suffering(EveryOtherThrottled()):
        await asyncio.sleep(600)
        assert age() < 4 * PERIOD
        cluster.fake.end(arns[-1], bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(2 * PERIOD)
        assert cluster.dead(arns) == [arns[-1]]
        assert caplog.text.count("ECS cannot be asked") == 1, "one outage, not one a sweep"
        assert "ECS answers again" not in caplog.text
    await asyncio.sleep(2 * PERIOD + 1)
    assert caplog.text.count("ECS answers again") == 1


async def test_the_calls_of_a_thousand_servers(cluster: Cluster) -> None:
    await cluster.start(1_000, settle=40)
    await asyncio.sleep(PERIOD)
    assert cluster.fake.calls == {"DescribeTasks": 10}
    assert not cluster.fake.throttled


async def test_a_lie_about_a_live_task_is_believed_by_nobody_while_it_is_listed(
    cluster: Cluster,
) -> None:
    arns = await cluster.start(10)
    with cluster.fake.suffering(bad_days.DescribeLiesMissing(arns[0])):
        await asyncio.sleep(3600)
    assert not cluster.dead(arns)
    assert cluster.fake.calls["ListTasks"] >= 1


async def test_gone_for_describe_and_list_and_silent_is_gone(cluster: Cluster) -> None:
    arns = await cluster.start(10)
    cluster.fake.suffer(bad_days.DescribeLiesMissing(arns[0], lists=True))
    await asyncio.sleep(119)
    assert not cluster.dead(arns)
    await asyncio.sleep(35)
    assert cluster.dead(arns) == [arns[0]]
    assert cluster.watcher.verdict(arns[0]).death is Death.VANISHED


async def test_an_agent_that_lost_its_connection_ends_nothing(cluster: Cluster) -> None:
    arns = await cluster.start(10)
    with cluster.fake.suffering(bad_days.AgentDisconnected()):
        await asyncio.sleep(3600)
        assert not cluster.dead(arns)


async def test_a_task_on_its_way_to_stop_is_dead_when_it_has_stopped(cluster: Cluster) -> None:
    arns = await cluster.start(10, settle=40)
    cluster.fake.pace.exit_seconds = 25
    await cluster.api.stop_task(arns[0], "test")
    view = await cluster.watcher.look(arns[0])
    assert view is not None
    assert (view.desired, cluster.dead(arns)) == ("STOPPED", [])
    await asyncio.sleep(60)
    assert cluster.dead(arns) == [arns[0]]


async def test_a_task_just_run_may_be_missing(cluster: Cluster) -> None:
    cluster.fake.pace.visible_after = 15
    definition = task_definition(cluster.spec, SETTINGS)
    await cluster.api.register(definition)
    request = run_task(cluster.spec, SETTINGS, definition["family"], "token")
    task = (await cluster.api.run_task(request)).task
    assert task is not None
    cluster.watcher.follow(task.arn)
    assert await cluster.watcher.look(task.arn) is None
    news = await cluster.watcher.changed(task.arn, 60)
    assert news is not None
    assert news.status == "RUNNING"


async def test_a_look_that_failed_is_tried_again_soon(cluster: Cluster) -> None:
    cluster.watcher.follow("a")
    with cluster.fake.suffering(bad_days.DescribeAnswers500(15)):
        await asyncio.sleep(23)
    first, *others = [at for at, operation in cluster.fake.history if operation == "DescribeTasks"]
    assert first == pytest.approx(10)
    assert others
    assert others[0] <= first + 2 + 1  # a jitter of at most 2 s, and DUE_TOGETHER


async def test_waits_have_full_jitter_and_a_limit() -> None:
    waits = []
    for _ in range(300):
        outage = Outage(60)
        waits.append([outage.failed(RuntimeError()) for _ in range(20)])
    for attempt, limit in ((0, 2), (1, 4), (4, 32), (5, 60), (19, 60)):
        tried = [wait[attempt] for wait in waits]
        assert max(tried) <= limit
        assert max(tried) > 0.9 * limit
        assert min(tried) < 0.1 * limit


async def test_the_age_is_nothing_while_nothing_is_followed(cluster: Cluster) -> None:
    assert cluster.watcher.age == 0
    cluster.watcher.follow("a")
    await asyncio.sleep(10)
    assert cluster.watcher.age > 0
    cluster.watcher.forget("a")
    assert cluster.watcher.age == 0
    cluster.watcher.follow("b")
    await cluster.watcher.close()
    assert cluster.watcher.age == 0


async def test_an_outage_met_by_looks_alone_shows_in_the_age(cluster: Cluster) -> None:
    cluster.fake.suffer(bad_days.NetworkGone())
    cluster.watcher.follow("a")
    await asyncio.sleep(600)
    assert cluster.watcher.age > 500
    cluster.fake.relieve()
    await asyncio.sleep(2 * PERIOD + 1)
    assert cluster.watcher.age <= PERIOD + 1
