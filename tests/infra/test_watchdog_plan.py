"""What the watchdog decides: pure, on a clock of the test's own."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workroom_infra.watchdog import fleet
from workroom_infra.watchdog.mounts import Mount
from workroom_infra.watchdog.plan import Do, Memory, Phase, Plan
from workroom_infra.watchdog.settings import Settings
from workroom_infra.watchdog.watch import Seen, Watch

DEFAULTS = Settings()
HANGS, WELL = Seen(("/home",), 1), Seen()
TICK = 0.5


class Cluster:
    """AWS as the plan sees it, with a clock. Claims of one machine are seen by others late."""

    def __init__(self, machines: int = 10, lag: float = 0.0) -> None:
        self.now, self.machines, self.lag = 1000.0, machines, lag
        self.claims: dict[str, float] = {}
        self.drained: set[str] = set()
        self.most = 0
        self.done: list[tuple[float, str, Do]] = []
        self.tasks: dict[str, int] = {}
        self.fails: float = 0.0
        self.dice = random.Random(1)  # noqa: S311

    def ask(self, name: str, plan: Plan, seen: Seen) -> Do | None:
        do = plan.next(seen, self.now)
        if do is None:
            return None
        lost = self.dice.random() < self.fails
        if lost and self.dice.random() < 0.5:
            plan.failed(self.now)
            return do
        answer = self.carry_out(name, do)
        self.done.append((self.now, name, do))
        # An answer may be lost after it was done.
        plan.failed(self.now) if lost else plan.answered(do, answer, self.now)
        return do

    def carry_out(self, name: str, do: Do) -> dict[str, Any]:
        if do is Do.LOOK:
            status = "DRAINING" if name in self.drained else "ACTIVE"
            claim = "1" if name in self.claims else ""
            return {"status": status, "tasks": self.tasks.get(name, 0), "claim": claim}
        if do is Do.CLAIM:
            self.claims.setdefault(name, self.now)
            return {"claim": "1"}
        if do is Do.UNCLAIM:
            self.claims.pop(name, None)
        if do is Do.COUNT:
            seen = [n for n, at in self.claims.items() if n != name and at + self.lag <= self.now]
            return {"machines": self.machines, "others": len(seen)}
        if do is Do.DRAIN:
            self.drained.add(name)
            self.most = max(self.most, len(self.drained))
        if do is Do.ACTIVATE:
            self.drained.discard(name)
        return {}

    def run(self, plan: Plan, seen: Seen, seconds: float, name: str = "me") -> list[Do]:
        done, end = [], self.now + seconds
        while self.now < end:
            done.append(self.ask(name, plan, seen))
            self.now += TICK
        return [do for do in done if do]


def test_a_hang_is_claimed_counted_and_drained_within_seconds() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 3
    assert aws.run(plan, WELL, 5) == [Do.LOOK]
    assert aws.run(plan, HANGS, 6)[:4] == [Do.CLAIM, Do.COUNT, Do.LOOK, Do.DRAIN]
    assert plan.phase is Phase.DRAINED
    # The limit of a probe, its pause and this are the half minute that is promised.
    drained = next(at for at, _, do in aws.done if do is Do.DRAIN) - 1005
    assert DEFAULTS.probe_every + DEFAULTS.hang_after + drained <= 25


def test_an_empty_machine_is_replaced_after_two_minutes_of_its_hang() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    done = aws.run(plan, HANGS, 115)
    assert Do.REPLACE not in done
    assert aws.run(plan, HANGS, 40)[-2:] == [Do.COUNT, Do.REPLACE]
    assert plan.phase is Phase.REPLACED
    # Said again, in case somebody set it healthy.
    assert aws.run(plan, HANGS, 301) == [Do.REPLACE]


def test_a_machine_with_servers_waits_for_them_until_the_deadline() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 4
    assert Do.REPLACE not in aws.run(plan, HANGS, DEFAULTS.deadline)
    assert Do.REPLACE in aws.run(plan, HANGS, 60)


def test_it_is_replaced_as_soon_as_the_last_server_is_off() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 600)
    aws.tasks["me"] = 0
    assert Do.REPLACE in aws.run(plan, HANGS, DEFAULTS.look_every + 2)


def test_daemon_tasks_do_not_count_as_servers() -> None:
    aws, plan = Cluster(), Plan(replace(DEFAULTS, background_tasks=1))
    aws.tasks["me"] = 1
    assert Do.REPLACE in aws.run(plan, HANGS, 160)


def test_a_hang_that_ends_before_the_count_leaves_nothing() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.run(plan, HANGS, 2)
    aws.run(plan, WELL, 10)
    assert (plan.phase, aws.claims, aws.drained) == (Phase.WATCHING, {}, set())


def test_a_mount_that_answers_again_returns_the_machine_once() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 60)
    assert Do.ACTIVATE not in aws.run(plan, WELL, DEFAULTS.recovery - 1)
    assert aws.run(plan, WELL, 5)[-2:] == [Do.ACTIVATE, Do.UNCLAIM]
    assert (plan.phase, aws.claims, aws.drained) == (Phase.WATCHING, {}, set())
    # The second time it stays drained, and goes when its people have gone: no deadline.
    aws.run(plan, HANGS, 60)
    assert Do.ACTIVATE not in aws.run(plan, WELL, 2 * DEFAULTS.deadline)
    assert plan.phase is Phase.DRAINED
    aws.tasks["me"] = 0
    assert Do.REPLACE in aws.run(plan, WELL, 60)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("ends", [False, True], ids=["hangs-on", "answers"])
@pytest.mark.parametrize("somebody", [False, True], ids=["we", "somebody-else"])
def test_who_drained_it_is_known_although_the_answer_was_lost(
    restarted: bool, ends: bool, somebody: bool
) -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 1
    aws.drained = {"me"} if somebody else set()
    while plan.next(HANGS, aws.now) is not Do.DRAIN:
        aws.run(plan, HANGS, TICK)
    aws.carry_out("me", Do.DRAIN)
    plan.failed(aws.now)
    if restarted:
        plan = Plan(DEFAULTS, Memory(**asdict(plan.memory)))
    if not ends:
        aws.run(plan, HANGS, 60)
        assert plan.phase is Phase.DRAINED
    aws.run(plan, WELL, DEFAULTS.recovery + 60)
    assert aws.drained == ({"me"} if somebody else set())
    assert (plan.phase, aws.claims) == (Phase.WATCHING, {})


def test_a_probe_that_never_came_back_keeps_it_drained() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 60)
    left_behind = Seen((), 1)
    assert Do.ACTIVATE not in aws.run(plan, left_behind, 2 * DEFAULTS.recovery)


def test_what_somebody_else_drained_is_never_returned() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.drained.add("me")
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 60)
    done = aws.run(plan, WELL, DEFAULTS.recovery + 10)
    assert Do.ACTIVATE not in done
    assert (done[-1], plan.phase, aws.drained) == (Do.UNCLAIM, Phase.WATCHING, {"me"})


def test_it_is_drained_again_when_somebody_sets_it_active_during_the_hang() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 60)
    aws.drained.clear()
    aws.run(plan, HANGS, 60)
    assert aws.drained == {"me"}


@pytest.mark.parametrize("phase", list(Phase))
def test_a_restarted_watchdog_goes_on(phase: Phase) -> None:
    aws = Cluster()
    aws.tasks["me"] = 1
    drained = phase in (Phase.DRAINED, Phase.LAST_COUNT, Phase.REPLACING, Phase.REPLACED)
    if drained:
        aws.drained.add("me")
        aws.claims["me"] = aws.now
    saved = asdict(Memory(phase, drained_at=900.0 * drained, ours=drained))
    plan = Plan(DEFAULTS, Memory(**saved))
    done = aws.run(plan, HANGS, 20)
    assert "me" in aws.drained
    assert (Do.DRAIN in done) != drained


def test_without_memory_aws_tells_that_it_was_drained_by_us() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.drained.add("me")
    aws.claims["me"] = aws.now
    aws.tasks["me"] = 1
    assert aws.run(plan, WELL, 5)[0] is Do.LOOK
    assert plan.phase is Phase.DRAINED
    assert Do.ACTIVATE in aws.run(plan, WELL, DEFAULTS.recovery)


def test_a_claim_left_by_an_earlier_boot_is_taken_back() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.claims["me"] = aws.now
    assert aws.run(plan, WELL, 5) == [Do.LOOK, Do.UNCLAIM]


def test_aws_is_asked_again_with_growing_pauses() -> None:
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.run(plan, WELL, 2)
    asked = []
    end = aws.now + 600
    while aws.now < end:
        if plan.next(HANGS, aws.now):
            asked.append(aws.now)
            plan.failed(aws.now)
        aws.now += TICK
    pauses = [late - early for early, late in itertools.pairwise(asked)]
    assert pauses[0] <= 1.5
    assert 14 <= max(pauses) <= 30.5
    assert len(asked) < 60


def test_too_many_at_once_are_held_back_and_go_on_when_there_is_room() -> None:
    aws, plan = Cluster(machines=10), Plan(DEFAULTS)
    aws.claims.update({"other": 0.0, "another": 0.0})
    aws.run(plan, HANGS, 400)
    assert aws.drained == set()
    assert plan.phase in (Phase.HELD, Phase.CLAIMING, Phase.COUNTING)
    aws.claims.pop("other")
    aws.run(plan, HANGS, fleet.RENEW + 10)
    assert aws.drained == {"me"}


def test_who_is_held_back_asks_seldom() -> None:
    """Five hundred of them share a quota of 20 a second with the hub."""
    aws, plan = Cluster(machines=5), Plan(DEFAULTS)
    aws.claims["other"] = 0.0
    first = aws.run(plan, HANGS, 300).count(Do.COUNT)
    later = aws.run(plan, HANGS, 3600).count(Do.COUNT)
    assert 2 <= first <= 5
    assert 11 <= later <= 25


def test_who_is_held_back_and_well_again_makes_room_at_once() -> None:
    aws, plan = Cluster(machines=5), Plan(DEFAULTS)
    aws.claims["other"] = 0.0
    aws.run(plan, HANGS, 10)
    assert plan.phase is Phase.HELD
    aws.run(plan, WELL, 1.5)
    assert "me" not in aws.claims


def test_the_last_step_is_held_back_too() -> None:
    aws, plan = Cluster(machines=10), Plan(DEFAULTS)
    aws.tasks["me"] = 2
    aws.run(plan, HANGS, 60)
    aws.claims.update({f"other-{n}": 0.0 for n in range(5)})
    assert Do.REPLACE not in aws.run(plan, HANGS, 3 * DEFAULTS.deadline)


@settings(max_examples=40, deadline=None)
@given(
    machines=st.integers(1, 40),
    begins=st.lists(st.floats(0, 60), min_size=1, max_size=40),
    ends=st.floats(0, 200),
    lag=st.floats(0, DEFAULTS.settle),
    fails=st.sampled_from([0.0, 0.3]),
    seed=st.integers(0, 99),
)
def test_no_more_than_the_share_is_ever_drained(
    machines: int, begins: list[float], ends: float, lag: float, fails: float, seed: int
) -> None:
    """The whole file system goes away: all hang within a minute, and some recover."""
    aws = Cluster(machines, lag)
    aws.fails, aws.dice = fails, random.Random(seed)  # noqa: S311
    begins = begins[:machines]
    plans = {str(number): Plan(DEFAULTS) for number in range(len(begins))}
    aws.tasks = dict.fromkeys(plans, 1)
    for step in range(400):
        for (name, plan), begin in zip(plans.items(), begins, strict=True):
            hangs = begin <= step * TICK and not (int(name) % 2 and step * TICK > begin + ends)
            aws.ask(name, plan, HANGS if hangs else WELL)
        aws.now += TICK
    assert aws.most <= fleet.allowed(machines, DEFAULTS.share)
    # It is back: whatever was lost on the way, nothing stays drained or claimed.
    for _ in range(240):
        for name, plan in plans.items():
            aws.ask(name, plan, WELL)
        aws.now += 10 * TICK
    assert (aws.drained, aws.claims) == (set(), {})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 14.9), st.sampled_from([0, 5, 116]), st.floats(0, 3)), max_size=40
    )
)
def test_answers_within_the_limit_never_drain(answers: list[tuple[float, int, float]]) -> None:
    """Whatever they are, errors included, and however irregular the ticks."""
    aws, plan = Cluster(), Plan(DEFAULTS)
    watch = Watch(DEFAULTS.probe_every, DEFAULTS.hang_after)
    mount = Mount("1:0:9", "/home", "nfs4")
    for took, error, more in answers:
        while True:
            watch.update([mount], aws.now)
            if watch.due(aws.now):
                break
            assert aws.ask("me", plan, watch.seen(aws.now)) in (None, Do.LOOK)
            aws.now += TICK + more
        watch.asked(mount.key, aws.now)
        aws.now += took
        assert aws.ask("me", plan, watch.seen(aws.now)) in (None, Do.LOOK)
        watch.answered(mount.key, aws.now, error)


@settings(max_examples=60, deadline=None)
@given(
    turns=st.lists(
        st.tuples(st.sampled_from([HANGS, WELL, Seen((), 1)]), st.floats(1, 900)), max_size=12
    ),
    tasks=st.integers(0, 2),
    fails=st.sampled_from([0.0, 0.3]),
)
def test_what_is_drained_or_replaced_hung(
    turns: list[tuple[Seen, float]], tasks: int, fails: float
) -> None:
    """Every step against the machine has its reason at that moment."""
    aws, plan = Cluster(), Plan(DEFAULTS)
    aws.fails, aws.tasks["me"] = fails, tasks
    hung_since: float | None = None
    for seen, seconds in turns:
        end = aws.now + seconds
        while aws.now < end:
            hung_since = (hung_since or aws.now) if seen.hung else None
            before = plan.phase
            do = aws.ask("me", plan, seen)
            if do is Do.DRAIN:
                assert seen.hung
            if do is Do.REPLACE and before is Phase.LAST_COUNT:
                hung = aws.now - hung_since if hung_since else 0.0
                again = plan.memory.returns >= DEFAULTS.returns
                assert "me" in aws.drained
                assert (tasks == 0 and hung >= 120) or hung >= 3600 or (again and not seen.hung)
            if do is Do.ACTIVATE:
                assert not seen.hung
                assert not seen.stuck
            aws.now += TICK
