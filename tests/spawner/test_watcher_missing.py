"""A task that ECS calls MISSING: what keeps it alive, and when it counts as gone."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.fakes.scripted_ecs import ScriptedEcs
from workroom_spawner.aws_errors import Throttled, Unreachable
from workroom_spawner.task_view import TaskView
from workroom_spawner.verdicts import Death, Verdict
from workroom_spawner.watcher import Watcher

pytestmark = pytest.mark.looptime
THROTTLED = Throttled("ListTasks", "ThrottlingException", "Rate exceeded")
Answers = Callable[[TaskView], Awaitable[bool]]


def now() -> float:
    return asyncio.get_running_loop().time()


class Port:
    """A server's port, or what is left of it."""

    def __init__(self, answer: bool | Exception | None) -> None:
        self.answer = answer
        self.tried: list[TaskView] = []

    async def __call__(self, view: TaskView) -> bool:
        self.tried.append(view)
        if self.answer is None:  # packets go nowhere
            await asyncio.sleep(3600)
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)


def watch(ecs: ScriptedEcs, port: Answers) -> Watcher:
    return Watcher(ecs, answers=port)  # type: ignore[arg-type]


async def followed_for_ten_minutes(ecs: ScriptedEcs, watcher: Watcher) -> None:
    ecs.show("a")
    ecs.show("b")
    ecs.listed = {"b"}
    for arn in ("a", "b"):
        watcher.follow(arn).started()
    await asyncio.sleep(600)


async def died_at(watcher: Watcher, arn: str = "a") -> float:
    async with asyncio.timeout(7200):
        while not watcher.verdict(arn).dead:
            await watcher.changed(arn, 7200)
    return now()


async def test_gone_is_gone_after_three_times_missing_a_minute_apart() -> None:
    ecs, port = ScriptedEcs(), Port(False)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    last = ecs.tasks.pop("a")
    missing_since = now()
    assert 120 <= await died_at(watcher) - missing_since <= 150 + 1
    assert watcher.verdict("a") == Verdict(Death.VANISHED, last)
    assert not watcher.verdict("b").dead
    assert len(ecs.lists) == 1, "ListTasks is asked only about a suspect"
    assert port.tried == [last]
    await watcher.close()


async def test_a_port_that_swallows_packets_is_silent() -> None:
    ecs, port = ScriptedEcs(), Port(None)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    missing_since = now()
    assert 130 <= await died_at(watcher) - missing_since <= 161
    await watcher.close()


async def test_not_within_five_minutes_of_being_followed() -> None:
    ecs = ScriptedEcs()
    watcher = watch(ecs, Port(False))
    watcher.follow("a").started()
    assert 300 < await died_at(watcher) < 335
    await watcher.close()


async def test_a_start_that_vanishes_is_noticed_too() -> None:
    ecs = ScriptedEcs()
    watcher = watch(ecs, Port(False))
    watcher.follow("a")
    assert 300 < await died_at(watcher) < 330
    await watcher.close()


async def alive_for_an_hour(ecs: ScriptedEcs, port: Port) -> Watcher:
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    await asyncio.sleep(3600)
    assert not watcher.verdict("a").dead
    return watcher


async def test_a_port_that_answers_keeps_it() -> None:
    ecs, port = ScriptedEcs(), Port(True)
    watcher = await alive_for_an_hour(ecs, port)
    assert len(ecs.lists) <= 3600 / 120, "it is not asked about at every sweep"
    port.answer = False
    await died_at(watcher)
    await watcher.close()


async def test_who_got_its_address_since_does_not_keep_it() -> None:
    ecs, port = ScriptedEcs(), Port(True)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    address = ecs.tasks.pop("a").address
    missing_since = now()
    ecs.show("c", address=address)
    watcher.follow("c").started()
    assert 120 <= await died_at(watcher) - missing_since <= 150 + 1
    assert not watcher.verdict("c").dead
    assert port.tried == []
    await watcher.close()


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("a mistake")])
async def test_a_port_that_cannot_be_tried_proves_nothing(error: Exception) -> None:
    ecs, port = ScriptedEcs(), Port(error)
    watcher = await alive_for_an_hour(ecs, port)
    port.answer = False
    await died_at(watcher)
    await watcher.close()


async def test_a_task_that_is_listed_is_kept() -> None:
    ecs, port = ScriptedEcs(), Port(False)

    async def also_listed() -> set[str]:
        return {"a", "b"}

    ecs.list_tasks = also_listed  # type: ignore[method-assign]
    watcher = await alive_for_an_hour(ecs, port)
    assert not port.tried
    await watcher.close()


@pytest.mark.parametrize("error", [THROTTLED, RuntimeError("a mistake")])
async def test_without_list_tasks_nothing_is_decided(error: Exception) -> None:
    ecs, port = ScriptedEcs(), Port(False)

    async def no_list() -> set[str]:
        raise error

    ask, ecs.list_tasks = ecs.list_tasks, no_list  # type: ignore[method-assign]
    watcher = await alive_for_an_hour(ecs, port)
    assert not port.tried
    ecs.list_tasks = ask  # type: ignore[method-assign]
    await died_at(watcher)
    await watcher.close()


async def test_an_answer_that_leaves_a_task_out_is_no_answer() -> None:
    ecs, port = ScriptedEcs(), Port(False)
    ecs.left_out = {"a"}
    watcher = await alive_for_an_hour(ecs, port)
    assert not ecs.lists
    await watcher.close()


async def test_a_sighting_now_and_then_is_enough() -> None:
    ecs, port = ScriptedEcs(), Port(False)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    view = ecs.tasks["a"]
    for _ in range(20):
        del ecs.tasks["a"]
        await asyncio.sleep(115)
        ecs.tasks["a"] = view
        await asyncio.sleep(35)
    assert not watcher.verdict("a").dead
    assert not ecs.lists
    await watcher.close()


async def test_asking_often_makes_it_no_sooner() -> None:
    ecs, port = ScriptedEcs(), Port(False)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    missing_since = now()
    while not watcher.verdict("a").dead:
        await watcher.look("a")
        await asyncio.sleep(0.5)
    assert now() - missing_since > 120
    await watcher.close()


async def test_outages_between_two_answers_count_for_nothing() -> None:
    ecs, port = ScriptedEcs(), Port(False)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    await asyncio.sleep(31)  # MISSING once
    ecs.problem = Unreachable("DescribeTasks", "EndpointConnectionError", "")
    await asyncio.sleep(3600)
    assert not ecs.lists
    ecs.problem = None
    back = now()
    assert await died_at(watcher) - back > 60, "three answers are needed, not an hour"
    await watcher.close()


async def test_a_clock_that_jumps_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs, port = ScriptedEcs(), Port(False)
    watcher = watch(ecs, port)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    jumps = itertools.cycle([1e6, -1e6, 1e9])
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + next(jumps))
    missing_since = now()
    assert 120 <= await died_at(watcher) - missing_since <= 151
    assert not watcher.verdict("b").dead
    await watcher.close()


async def test_the_address_of_an_earlier_process_is_tried() -> None:
    ecs, port = ScriptedEcs(), Port(True)
    watcher = watch(ecs, port)
    watcher.follow("a", address="10.0.0.9").started()
    await asyncio.sleep(600)
    assert not watcher.verdict("a").dead
    assert {view.address for view in port.tried} == {"10.0.0.9"}
    await watcher.close()


async def test_where_no_address_was_ever_known_the_rest_decides(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ecs, port = ScriptedEcs(), Port(True)
    watcher = watch(ecs, port)
    watcher.follow("a").started()
    await died_at(watcher)
    assert not port.tried
    assert "its address was never known" in caplog.text
    await watcher.close()


async def test_shown_again_while_its_port_is_tried_it_lives() -> None:
    ecs = ScriptedEcs()

    async def shown_meanwhile(view: TaskView) -> bool:
        ecs.tasks["a"] = view
        await watcher.look("a")
        return False

    watcher = watch(ecs, shown_meanwhile)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    await asyncio.sleep(300)
    assert ecs.lists
    assert not watcher.verdict("a").dead
    await watcher.close()


async def test_forgotten_while_its_port_is_tried_it_is_no_death() -> None:
    ecs = ScriptedEcs()

    async def forgotten_meanwhile(view: TaskView) -> bool:
        watcher.forget(view.arn)
        watcher.follow(view.arn)
        return False

    watcher = watch(ecs, forgotten_meanwhile)
    await followed_for_ten_minutes(ecs, watcher)
    del ecs.tasks["a"]
    await asyncio.sleep(200)
    assert ecs.lists
    assert not watcher.verdict("a").dead
    await watcher.close()


async def test_a_whole_cluster_missing_does_not_stop_the_sweeps() -> None:
    ecs, port = ScriptedEcs(), Port(None)
    watcher = watch(ecs, port)
    arns = [f"task-{number}" for number in range(1_000)]
    for arn in arns:
        ecs.show(arn)
        watcher.follow(arn).started()
    await asyncio.sleep(600)
    stays = ecs.tasks.pop("task-0")
    ecs.tasks.clear()
    ecs.tasks["task-0"] = stays
    await asyncio.sleep(155)
    ecs.show("task-0", "STOPPED")
    await asyncio.sleep(31)
    assert watcher.verdict("task-0").death is Death.STOPPED
    assert watcher.age < 31
    await asyncio.sleep(600)
    assert all(watcher.verdict(arn).dead for arn in arns)
    assert len(ecs.lists) <= 3
    await watcher.close()
