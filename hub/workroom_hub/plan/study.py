"""One day under all policies: waits, costs, the recommendation, the quotas."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from workroom_hub.errors import PlanError
from workroom_hub.plan import machines, packing, quotas, servers
from workroom_hub.plan.machines import MachineType
from workroom_hub.plan.outcome import LONGEST_NIGHT, Outcome, World
from workroom_hub.plan.simulate import simulate
from workroom_hub.plan.visits import DAY, Visit, a_day_later
from workroom_hub.settings import Settings
from workroom_hub.settings_plan import Policy

_MONTH = 365.25 / 12 * DAY
_LOWEST_TARGET = 50
"""Percent; a group twice the size needed is the most headroom that is looked for."""
_WARM = 110
"""Percent of the peak that group and warm pool are together, where a pool is looked for."""


@dataclass(frozen=True)
class Result:
    """What one policy gives.

    Attributes:
        p50, p95, p99: Seconds that 50, 95 and 99 of 100 starts take at most.
        cost: Dollars a day: machines and their disks.
        machine_hours: Hours of machines that are paid, a day.
    """

    policy: Policy
    outcome: Outcome
    p50: float
    p95: float
    p99: float
    cost: float
    machine_hours: float


@dataclass(frozen=True)
class Study:
    """A day, studied.

    Attributes:
        people: Who come on this day.
        days: Days that count: those of the trace, or one; costs are a day's.
        results: In the order of the settings; one more at the end if none of those was cheapest.
        best: The cheapest that keeps the target; the one with the shortest wait if none does.
        keeps: Whether it does.
    """

    settings: Settings
    kind: MachineType
    world: World
    people: int
    days: int
    results: list[Result]
    best: Result
    keeps: bool
    quotas: list[quotas.Quota]


def study(
    settings: Settings,
    visits: list[Visit],
    progress: Callable[[str], None] = lambda _: None,
    *,
    daily: bool = False,
) -> Study:
    """Simulate the visits under every policy, and find the cheapest that keeps the target.

    Args:
        settings: The settings.
        visits: A day, or a trace of several.
        progress: Is told what is being done.
        daily: They come like this every day, so that the night before and the one after are alike.

    Raises:
        PlanError: There is nobody, or no machine that fits.
    """
    if not visits:
        raise PlanError("There is nobody in this day.", "Give it more users, or another trace.")
    world, kind = world_of(settings, visits, daily=daily)
    people = len({visit.user for visit in visits})
    days = round((world.horizon - world.begins) / DAY)

    def result(policy: Policy) -> Result:
        progress(f"policy {policy.name}")
        return _result(settings, world, kind, policy, days)

    results = [result(policy) for policy in settings.plan.policies]
    best, keeps = _best(settings, results, world.packed.peak, result)
    if best not in results:
        results.append(best)
    found = quotas.of(settings, world, kind, best.outcome, people)
    return Study(settings, kind, world, people, days, results, best, keeps, found)


def percentile(values: list[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def world_of(
    settings: Settings, visits: list[Visit], *, daily: bool = False
) -> tuple[World, MachineType]:
    """Return what all policies share, and the machine type of the group.

    Raises:
        PlanError: No machine fits.
    """
    chosen = Counter[str]()
    begun = servers.of(settings, [*visits, *a_day_later(visits)] if daily else visits)
    for server in begun:
        chosen[server.profile] += 1
    kind = machines.choose(settings, _at_peak(begun))
    needs = machines.needs(settings)
    [(most, _)] = chosen.most_common(1)
    unit = max(1, machines.room_for(kind, next(n for n in needs if n.profile == most)))
    days = math.floor(max(visit.start for visit in visits) / DAY) + 1
    horizon = float((days + daily) * DAY)
    # Where a server never ends, there is no night after: the trace ends at its last midnight.
    night = horizon + LONGEST_NIGHT
    endless = any(server.end > night for server in begun)
    world = World(
        servers=begun,
        packed=packing.pack(begun, needs, kind),
        assumed=settings.plan.assumptions,
        spare_unit=unit,
        deadline=float(settings.ecs.capacity_timeout),
        begins=float(daily * DAY),
        horizon=horizon,
        closes=horizon if daily or endless else night,
    )
    return world, kind


def _at_peak(begun: list[servers.Server]) -> dict[str, float]:
    """Return how many servers of each profile there are when there are most."""
    moments = [(each.called, 1, each.profile) for each in begun if each.called < each.end]
    moments += [(each.end, -1, each.profile) for each in begun if each.called < each.end]
    now: Counter[str] = Counter()
    total, most, found = 0, 0, dict[str, float]()
    for _, step, profile in sorted(moments):
        now[profile] += step
        total += step
        if total > most:
            most, found = total, {name: float(count) for name, count in now.items()}
    return found


def _result(
    settings: Settings, world: World, kind: MachineType, policy: Policy, days: int
) -> Result:
    outcome = simulate(world, policy)
    waits = sorted(outcome.waits)
    p50, p95, p99 = (percentile(waits, percent) for percent in (50, 95, 99))
    return Result(
        policy,
        outcome,
        p50,
        p95,
        p99,
        cost=cost(settings, kind, outcome) / days,
        machine_hours=outcome.paid / 3600 / days,
    )


def cost(settings: Settings, kind: MachineType, outcome: Outcome) -> float:
    """Return the dollars of the whole simulation.

    A machine is paid while it runs, its disk also while it waits in the warm pool; a hibernated one
    has its memory on the disk as well.
    """
    assumed = settings.plan.assumptions
    disk = outcome.on_disk * assumed.disk
    if outcome.policy.warm_state == "hibernated":
        disk += outcome.pooled * kind.full_memory
    return outcome.paid / 3600 * kind.price + disk / 2**30 / _MONTH * assumed.disk_price


def _best(
    settings: Settings, results: list[Result], peak: int, result: Callable[[Policy], Result]
) -> tuple[Result, bool]:
    """Return the cheapest policy that keeps the target, looked for beyond the named ones.

    More headroom never means longer waits (simulate.py), so the least headroom that keeps the
    target is found by halving, once without and once with a warm pool.
    """
    goal = settings.plan.target_wait
    tried = list(results)
    for prefix, warm in (("headroom", 0), ("warm-pool", _WARM)):
        known = {
            each.policy.target: each
            for each in results
            if each.policy
            == Policy(name=each.policy.name, target=each.policy.target, warm_pool=warm)
        }
        least = _least_headroom(goal, prefix, warm, known, result)
        if least is not None and all(each.policy != least.policy for each in tried):
            tried.append(least)
    if all(each.p95 > goal for each in tried):
        # A group that starts from nothing, or everybody at once: machines must be there before.
        always = _least_minimum(goal, peak, result)
        tried += [always] if always else []
    keeping = [each for each in tried if each.p95 <= goal]
    if keeping:
        return min(keeping, key=lambda each: (round(each.cost, 6), each.p95)), True
    return min(tried, key=lambda each: (each.p95, each.cost)), False


def _least_headroom(
    goal: float,
    prefix: str,
    warm: int,
    known: dict[int, Result],
    result: Callable[[Policy], Result],
) -> Result | None:
    """Return the policy with the highest `target` that keeps the goal; None if none does.

    Args:
        known: Results of policies that differ in `target` only, by that.
    """

    def keeps(target: int) -> bool:
        if target not in known:
            name = f"{prefix}-{100 - target}" if target < 100 else prefix
            known[target] = result(Policy(name=name, target=target, warm_pool=warm))
        return known[target].p95 <= goal

    keeping = [target for target, each in known.items() if each.p95 <= goal]
    if not keeping and not keeps(_LOWEST_TARGET):
        return None
    # Below the first that keeps the goal, all do.
    low = max(keeping, default=_LOWEST_TARGET)
    high = min((target for target in known if target > low), default=100 if low == 100 else 101)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return known[low]


def _least_minimum(goal: float, peak: int, result: Callable[[Policy], Result]) -> Result | None:
    """Return the policy with the fewest machines always there that keeps the goal, or None."""

    def of(machines: int) -> Result:
        return result(Policy(name=f"minimum-{machines}", minimum=machines))

    low, high, best = 0, peak, of(peak)
    if best.p95 > goal:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        tried = of(middle)
        if tried.p95 <= goal:
            high, best = middle, tried
        else:
            low = middle
    return best
