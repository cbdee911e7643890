"""What the watcher asks ECS, when, and whom it wakes."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tests.fakes.scripted_ecs import ScriptedEcs
from workroom_spawner.aws_errors import Denied, Refused, Throttled, Unreachable
from workroom_spawner.task_view import TaskView
from workroom_spawner.watched import Watched
from workroom_spawner.watcher import Watcher

pytestmark = pytest.mark.looptime
THROTTLED = Throttled("DescribeTasks", "ThrottlingException", "Rate exceeded")


def now() -> float:
    return asyncio.get_running_loop().time()


async def silent(view: TaskView) -> bool:
    return False


@pytest.fixture
def ecs() -> ScriptedEcs:
    return ScriptedEcs()


@pytest.fixture
async def watcher(ecs: ScriptedEcs) -> AsyncIterator[Watcher]:
    watcher = Watcher(ecs, answers=silent)  # type: ignore[arg-type]
    yield watcher
    await watcher.close()


def run(ecs: ScriptedEcs, watcher: Watcher, count: int) -> list[str]:
    """Follow tasks that run already, as a hub that starts does."""
    arns = [f"task-{number}" for number in range(count)]
    for arn in arns:
        ecs.show(arn)
        watcher.follow(arn).started()
    return arns


async def test_the_longest_wait_for_a_machine_is_told_while_it_lasts(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    """Also of a start that gets none: whoever waits for a success never hears of it."""
    assert watcher.machine_wait == 0
    for arn in ("first", "second"):
        ecs.show(arn, status="PROVISIONING")
        watcher.follow(arn)
        await asyncio.sleep(700)
    assert watcher.machine_wait == pytest.approx(1400)
    assert REGISTRY.get_sample_value("workroom_machine_wait_seconds") == pytest.approx(1400)
    # Whoever reads metrics need not be the hub's loop.
    read = await asyncio.to_thread(REGISTRY.get_sample_value, "workroom_machine_wait_seconds")
    assert read == pytest.approx(1400)
    ecs.show("first", status="PENDING")
    await asyncio.sleep(60)
    assert watcher.machine_wait == pytest.approx(760)
    watcher.forget("second")
    assert watcher.machine_wait == 0


# -- how many calls ---------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 100, 101, 1_000])
async def test_a_sweep_is_one_call_a_hundred(
    ecs: ScriptedEcs, watcher: Watcher, count: int
) -> None:
    run(ecs, watcher, count)
    await asyncio.sleep(20)
    assert len(ecs.calls) == math.ceil(count / 100), "each is looked at once, when adopted"
    for _ in range(5):
        ecs.calls.clear()
        await asyncio.sleep(30)
        assert len(ecs.calls) == math.ceil(count / 100)
        assert Counter(arn for _, arns in ecs.calls for arn in arns).total() == count
    assert not ecs.lists


async def test_a_big_sweep_leaves_half_of_the_bucket_to_others(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    run(ecs, watcher, 10_000)
    await asyncio.sleep(29)
    ecs.calls.clear()
    await asyncio.sleep(30)
    assert len(ecs.calls) == 100
    seconds = Counter(int(at) for at, _ in ecs.calls)
    assert max(seconds.values()) <= ecs.settings.quotas.describe.rate / 2


async def test_a_start_is_looked_at_after_10_seconds_and_then_every_25(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    ecs.show("a", "PENDING")
    watcher.follow("a")
    await asyncio.sleep(90)
    assert [at for at, _ in ecs.calls] == pytest.approx([10, 35, 60, 85], abs=0.5)


async def test_a_wanted_look_is_as_good_as_the_scheduled_one(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    ecs.show("a", "PENDING")
    watcher.follow("a")
    await asyncio.sleep(8)
    await watcher.look("a")
    await asyncio.sleep(40)
    assert [at for at, _ in ecs.calls] == pytest.approx([8.2, 33.2], abs=0.5)


@pytest.mark.parametrize("beginning", [0, 3, 17, 29])
@pytest.mark.parametrize("wait", [0.5, 2, 9.9, 10.1, 12, 25, 30])
async def test_one_lone_start_costs_two_looks(
    ecs: ScriptedEcs, watcher: Watcher, wait: float, beginning: float
) -> None:
    watcher.follow("before")
    watcher.forget("before")
    await asyncio.sleep(beginning)
    ecs.show("a", "PENDING")
    watched = watcher.follow("a")
    await asyncio.sleep(wait)
    await watcher.look("a")  # its start code was swapped
    await asyncio.sleep(1)
    watched.started()
    await asyncio.sleep(20)
    watcher.forget("a")
    await asyncio.sleep(120)
    assert len(ecs.calls) <= 2


@pytest.mark.parametrize("wait", [2, 30])
async def test_a_storm_shares_its_calls(ecs: ScriptedEcs, watcher: Watcher, wait: float) -> None:
    async def start(number: int) -> None:
        await asyncio.sleep(max(0, number - 100) / 40)  # as the bucket of RunTask lets them
        arn = f"task-{number}"
        ecs.show(arn)
        watched = watcher.follow(arn)
        await asyncio.sleep(wait)
        assert await watcher.look(arn) == ecs.tasks[arn]
        watched.started()

    await asyncio.gather(*(start(number) for number in range(1_000)))
    assert len(ecs.calls) <= 300


async def test_following_thousands_makes_no_task_or_timer_for_each(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    run(ecs, watcher, 5_000)
    await asyncio.sleep(45)
    assert len(asyncio.all_tasks()) < 10
    assert len(asyncio.get_running_loop()._scheduled) < 20  # type: ignore[attr-defined]


async def test_no_turn_of_the_loop_is_long_with_ten_thousand(
    ecs: ScriptedEcs, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = []
    turn = asyncio.Handle._run  # type: ignore[attr-defined]

    def timed(handle: Any) -> None:
        before = time.thread_time()
        turn(handle)
        turns.append(time.thread_time() - before)

    for arn in run(ecs, watcher, 10_000):
        ecs.show(arn, "PENDING")
    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    await asyncio.sleep(130)
    monkeypatch.undo()
    assert len(turns) > 300
    assert max(turns) < 0.02


# -- looks ------------------------------------------------------------------------


async def test_looks_wanted_at_one_moment_share_calls(ecs: ScriptedEcs, watcher: Watcher) -> None:
    views = [ecs.show(f"task-{number}") for number in range(150)]
    assert await asyncio.gather(*(watcher.look(view.arn) for view in views)) == views
    assert len(ecs.calls) == 2
    assert now() < 0.5


async def test_two_who_want_the_same_look_share_it(ecs: ScriptedEcs, watcher: Watcher) -> None:
    view = ecs.show("a")
    assert await asyncio.gather(watcher.look("a"), watcher.look("a")) == [view, view]
    assert [arns for _, arns in ecs.calls] == [["a"]]


@pytest.mark.parametrize(
    "problem",
    [
        THROTTLED,
        Unreachable("DescribeTasks", "ReadTimeoutError", ""),
        Denied("DescribeTasks", "ExpiredToken", ""),
        Refused("DescribeTasks", "ClusterNotFoundException", ""),
        RuntimeError("a mistake"),
    ],
)
async def test_a_look_that_fails_gives_what_was_known(
    ecs: ScriptedEcs, watcher: Watcher, problem: Exception
) -> None:
    watcher.follow("a")
    ecs.problem = problem
    assert await watcher.look("a") is None
    ecs.problem = None
    view = ecs.show("a")
    await watcher.look("a")
    ecs.problem = problem
    ecs.show("a", "STOPPED")
    assert await watcher.look("a") == view
    ecs.problem = None
    del ecs.tasks["a"]
    assert await watcher.look("a") == view


async def test_one_look_that_hangs_does_not_hold_up_the_others(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    ecs.hangs = asyncio.Event()
    ecs.show("a")
    ecs.show("b")
    hanging = asyncio.ensure_future(watcher.look("a"))
    await asyncio.sleep(1)
    async with asyncio.timeout(5):
        assert await watcher.look("b") == ecs.tasks["b"]
    assert not hanging.done()
    await watcher.close()
    assert await hanging is None


async def test_who_gave_up_is_not_looked_for(ecs: ScriptedEcs, watcher: Watcher) -> None:
    look = asyncio.ensure_future(watcher.look("a"))
    await asyncio.sleep(0.1)
    look.cancel()
    await asyncio.sleep(5)
    assert not ecs.calls
    assert await watcher.look("a") is None


# -- changes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wakes"),
    [
        ({"status": "RUNNING"}, True),
        ({"address": "10.0.0.2"}, True),
        ({"pull_started_at": datetime.now(UTC)}, True),
        ({"pull_stopped_at": datetime.now(UTC)}, True),
        ({"started_at": datetime.now(UTC)}, False),
        ({"desired": "STOPPED"}, False),
        ({}, False),
    ],
)
async def test_only_a_change_somebody_waits_for_wakes(
    ecs: ScriptedEcs, watcher: Watcher, fields: dict[str, Any], wakes: bool
) -> None:
    ecs.show("a", "PENDING")
    watcher.follow("a")
    await watcher.look("a")
    changed = asyncio.ensure_future(watcher.changed("a", 60))
    await asyncio.sleep(1)
    after = ecs.show("a", **{"status": "PENDING", **fields})
    await watcher.look("a")
    await asyncio.sleep(0)
    assert changed.done() == wakes
    assert await changed == (after if wakes else None)
    assert now() == pytest.approx(1.4 if wakes else 60.2, abs=0.1)


async def test_waiting_for_news_ends_with_death_and_with_forgetting(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    for arn in ("a", "b"):
        ecs.show(arn)
        watcher.follow(arn)
    await watcher.look("a")
    death, forgotten = (asyncio.ensure_future(watcher.changed(arn, 60)) for arn in ("a", "b"))
    await asyncio.sleep(0)
    watcher.forget("b")
    assert await forgotten is None
    stopped = ecs.show("a", "STOPPED")
    await watcher.look("a")
    assert await death == stopped
    assert await watcher.changed("a", 60) == stopped
    assert now() < 1
    assert await watcher.changed("nobody", 3) is None
    assert now() == pytest.approx(3.4, abs=0.1)


# -- the end ----------------------------------------------------------------------


async def test_a_stopped_task_is_dead_and_looked_at_no_more(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    run(ecs, watcher, 3)
    watcher.follow("a")
    watcher.follow("b")
    await asyncio.sleep(20)
    assert not watcher.verdict("a").dead
    stopped = ecs.show("a", "STOPPED", exit_code=137)
    await asyncio.sleep(20)
    assert watcher.verdict("a").view == stopped
    assert not watcher.verdict("b").dead
    watcher.forget("b")
    ecs.calls.clear()
    await watcher.look("a")
    await asyncio.sleep(120)
    assert sum("a" in arns for _, arns in ecs.calls) == 1, "the dead are not looked at any more"
    assert not any("b" in arns for _, arns in ecs.calls)


async def test_unknown_and_forgotten_tasks_are_alive(ecs: ScriptedEcs, watcher: Watcher) -> None:
    assert not watcher.verdict("nobody").dead
    assert not watcher.verdict("").dead
    assert watcher.view("nobody") is None
    ecs.show("a", "STOPPED")
    watcher.follow("a")
    await watcher.look("a")
    assert watcher.verdict("a").dead
    watcher.forget("a")
    watcher.forget("a")
    assert not watcher.verdict("a").dead


async def test_nothing_is_kept_of_the_forgotten(ecs: ScriptedEcs, watcher: Watcher) -> None:
    others = {id(each) for each in gc.get_objects() if isinstance(each, Watched)}
    arns = run(ecs, watcher, 50)
    waiting = [asyncio.ensure_future(watcher.changed(arn, 1000)) for arn in arns]
    for number in range(50):
        arns.append(f"start-{number}")
        watcher.follow(arns[-1])
    await asyncio.sleep(400)
    for arn in arns:
        await watcher.look(arn)
        watcher.forget(arn)
    await asyncio.gather(*waiting)
    await asyncio.sleep(30)
    ecs.calls.clear()
    await asyncio.sleep(300)
    assert not ecs.calls
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, Watched)]
    assert not [each for each in left if id(each) not in others]


async def test_a_watcher_that_was_closed_is_not_kept(ecs: ScriptedEcs) -> None:
    watcher: Watcher | None = Watcher(ecs, answers=silent)  # type: ignore[arg-type]
    assert watcher
    run(ecs, watcher, 10)
    await asyncio.sleep(100)
    await watcher.close()
    kept = weakref.ref(watcher)
    watcher = None
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None


async def test_follow_twice_is_follow_once(ecs: ScriptedEcs, watcher: Watcher) -> None:
    watched = watcher.follow("a")
    await asyncio.sleep(5)
    watched.started()
    assert watcher.follow("a") is watched
    assert not watched.starting


# -- what must not spoil the rest -----------------------------------------------------


async def test_an_arn_that_ecs_cannot_read_does_not_blind_the_others(
    ecs: ScriptedEcs, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    arns = run(ecs, watcher, 250)
    await asyncio.sleep(20)
    ecs.cannot_be_read = {arns[7], arns[123]}
    await asyncio.sleep(30)
    ecs.calls.clear()
    ecs.show(arns[8], "STOPPED")
    await asyncio.sleep(30)
    assert len(ecs.calls) == 3
    assert watcher.verdict(arns[8]).dead
    assert not watcher.verdict(arns[7]).dead
    assert await watcher.look(arns[7]) is not None
    assert [arn for arn in arns if f"how the task {arn} is" in caplog.text] == [arns[7], arns[123]]
    assert watcher.age < 60


async def test_a_missing_cluster_is_not_looked_for_task_by_task(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    run(ecs, watcher, 100)
    await asyncio.sleep(20)
    ecs.calls.clear()
    ecs.problem = Refused("DescribeTasks", "ClusterNotFoundException", "Cluster not found.")
    await asyncio.sleep(600)
    assert all(len(arns) == 100 for _, arns in ecs.calls)


async def test_a_mistake_of_ours_is_logged_and_looks_go_on(
    ecs: ScriptedEcs, watcher: Watcher, caplog: pytest.LogCaptureFixture
) -> None:
    arns = run(ecs, watcher, 350)
    watcher.follow("start")
    await asyncio.sleep(20)
    ecs.problem = ZeroDivisionError("the mistake")
    await asyncio.sleep(40)
    assert watcher.age > 40
    assert caplog.text.count("ZeroDivisionError: the mistake") == 2, "one a sweep, one a look"
    ecs.problem = None
    stopped = ecs.show(arns[349], "STOPPED")
    ecs.show("start")
    await asyncio.sleep(31)
    assert watcher.verdict(arns[349]).view == stopped
    assert watcher.view("start") is not None
    assert watcher.age < 31


async def test_even_a_broken_roster_stops_nothing(
    ecs: ScriptedEcs, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("broken")

    arns = run(ecs, watcher, 10)
    await asyncio.sleep(20)
    for name in ("due_in_sweep", "next_look", "take_in"):
        monkeypatch.setattr(watcher._roster, name, broken)
    await asyncio.sleep(300)
    assert not any(watcher.verdict(arn).dead for arn in arns)
    monkeypatch.undo()
    ecs.show(arns[0], "STOPPED")
    await asyncio.sleep(60)
    assert watcher.verdict(arns[0]).dead


async def test_a_watcher_that_was_closed_can_be_used_again(
    ecs: ScriptedEcs, watcher: Watcher
) -> None:
    watcher.follow("before")
    await watcher.close()
    ecs.show("a")
    watcher.follow("a").started()
    await asyncio.sleep(5)
    assert watcher.view("a") == ecs.tasks["a"]
