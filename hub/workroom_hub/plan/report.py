"""A study in words and as data for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from workroom_hub.plan import advice
from workroom_hub.plan.machines import PRICED
from workroom_hub.plan.quotas import Quota
from workroom_hub.plan.study import Result, Study


def as_dict(study: Study) -> dict[str, Any]:
    """Return the study as JSON takes it; times in seconds, money in dollars."""
    first = next((quota.name for quota in study.quotas if quota.breaks), None)
    return {
        "people": study.people,
        "days": study.days,
        "starts": len(study.best.outcome.waits),
        "servers_at_peak": peak(study),
        "machines_at_peak": study.world.packed.peak,
        "machine": {
            "type": study.kind.name,
            "vcpus": study.kind.vcpus,
            "memory": study.kind.full_memory,
            "price_an_hour": study.kind.price,
            "prices": PRICED,
        },
        "target_wait": study.settings.plan.target_wait,
        "policies": [_policy(study, result) for result in study.results],
        "recommended": {
            "policy": study.best.policy.name,
            "keeps_target": study.keeps,
            "why": recommendation(study),
            "aws": advice.fields(study),
            "without_field": advice.missing(study),
        },
        "quotas": [
            {**asdict(quota), "share": round(quota.share, 4), "breaks": quota.breaks}
            for quota in study.quotas
        ],
        "first_to_break": first,
        "assumptions": study.settings.plan.assumptions.model_dump(),
    }


def _policy(study: Study, result: Result) -> dict[str, Any]:
    outcome = result.outcome
    return {
        **result.policy.model_dump(),
        "prepared_machines": outcome.prepared,
        "wait": {
            "p50": round(result.p50, 1),
            "p95": round(result.p95, 1),
            "p99": round(result.p99, 1),
            "longest": round(max(outcome.waits, default=0.0), 1),
        },
        "cost_a_day": round(result.cost, 2),
        "machine_hours_a_day": round(result.machine_hours, 2),
        "largest_group": outcome.largest,
        "most_provisioning": outcome.most_provisioning,
        "gave_up": outcome.gave_up,
        "recommended": result is study.best,
    }


def peak(study: Study) -> int:
    """Return the most servers that ran at once under the recommended policy."""
    return max((sample.running for sample in study.best.outcome.samples), default=0)


def introduction(study: Study) -> str:
    """Return what was simulated, in two sentences."""
    kind, servers = study.kind, peak(study)
    span = "a day" if study.days == 1 else f"{study.days} days"
    start, starts = "start", _servers(len(study.best.outcome.waits))
    if study.people == 1:
        start = "starts"
    return (
        f"Simulated: {span} of {_people(study.people)} who {start} {starts}, "
        f"up to {servers:,} at once. They run on {kind.name} machines ({kind.vcpus} vCPUs, "
        f"{kind.full_memory / 2**30:g} GiB, {money(kind.price)} an hour), of which the peak needs "
        f"{study.world.packed.peak:,}."
    )


def recommendation(study: Study) -> str:
    """Return the recommendation, and why."""
    best, goal = study.best, study.settings.plan.target_wait
    what = f"{best.policy.name} ({how(best)})"
    waits = f"95 of 100 people wait {seconds(best.p95)} or less, for {money(best.cost)} a day"
    if not study.keeps:
        assumed = study.settings.plan.assumptions
        pull = 0 if assumed.pre_pulled else assumed.image_pull
        return (
            f"No policy keeps 95 of 100 waits under {seconds(goal)}; the shortest is {what}: "
            f"{waits}. "
            f"A server takes {seconds(assumed.task_start)} to start even where a machine is ready"
            f"{f', and {seconds(pull)} for the image' if pull else ''}."
        )
    cheaper = [each for each in study.results if each.cost < best.cost and each is not best]
    if not cheaper:
        return f"Take {what}: {waits}. None is cheaper."
    other = max(cheaper, key=lambda each: each.cost)
    return (
        f"Take {what}: {waits}, the least money that keeps it under {seconds(goal)}. "
        f"The next cheaper, {other.policy.name}, saves {money(best.cost - other.cost)} a day and "
        f"makes them wait up to {seconds(other.p95)}."
    )


def how(result: Result) -> str:
    """Return a policy as AWS's fields."""
    policy, told = result.policy, [f"targetCapacity {result.policy.target}"]
    if policy.spare:
        told.append(f"room for {policy.spare} more servers")
    if policy.minimum:
        told.append(f"at least {_machines(policy.minimum)}")
    if policy.warm_pool:
        told.append(f"a warm pool that fills the group up to {_machines(result.outcome.prepared)}")
    return ", ".join(told)


def first_quota(study: Study) -> str:
    """Return which quota breaks first, in a sentence."""
    # The nearest that can be told; the vCPUs always can.
    first = next((quota for quota in study.quotas if quota.users is not None), study.quotas[0])
    if not first.breaks:
        return (
            f"No quota breaks. The nearest is {first.name}: {amount(first)}. It is "
            f"full at {first.full_at}."
        )
    return (
        f"The first quota to break is {first.name}, at {first.full_at}: {amount(first)}. "
        f"Then {first.effect}. Have it raised, and say so in {first.setting}."
    )


def amount(quota: Quota) -> str:
    """Return what there is of a quota, and what is needed."""
    return f"{number(quota.limit)} {quota.unit}, and this day takes {number(quota.needed)}"


def money(dollars: float) -> str:
    """Return dollars, with cents below a thousand."""
    return f"${dollars:,.2f}" if dollars < 1000 else f"${dollars:,.0f}"


def seconds(value: float) -> str:
    """Return a wait: `27 s`, `2 min 10 s`."""
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"


def number(value: float) -> str:
    """Return a number as people read it."""
    return f"{value:,.0f}" if value >= 100 or value == round(value) else f"{value:,.2g}"


def _people(count: int) -> str:
    return "one person" if count == 1 else f"{count:,} people"


def _servers(count: int) -> str:
    return "one server" if count == 1 else f"{count:,} servers"


def _machines(count: int) -> str:
    return "one machine" if count == 1 else f"{count:,} machines"
