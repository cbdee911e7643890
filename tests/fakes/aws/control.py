"""The server's other end, `/_fake`: state to read and knobs to turn, as JSON.

`GET` answers the state. `POST` takes any of these and answers the state, too:

    {"reset": true}                                    counters from nothing
    {"pace": {"start_seconds": 2}}                     see `Pace`
    {"boot_seconds": 1.5}                              see `FakeContainers`
    {"buckets": {"on": false}} or {"buckets": {"scale": 2}}
    {"suffer": {"name": "TaskStopsAt", "args": ["RUNNING", "OUT_OF_MEMORY"], "kwargs": {}}}
    {"relieve": true}                                  ends every bad day
    {"hold": {"swap": ["ada"], "answer": []}}          containers that wait; see `FakeContainers`
    {"end": {"arn": "…", "ending": "SPOT_RECLAIMED"}}
    {"preload": [{"cluster": "…", "startedBy": "…", "tags": […]}, …]}

`preload` takes RunTask requests, each optionally with `taskDefinition` and `overrides`, and adds
`"preloaded": [{"taskArn": "…", "address": "…"}, …]` in the same order to the answer. `{"list":
true}` adds `"list"`, all tasks with their tags and the environment that their code was swapped for.
"""

from __future__ import annotations

from typing import Any

from tests.fakes.aws import bad_days, holds
from tests.fakes.aws.account import FakeAws
from tests.fakes.aws.containers import FakeContainers
from tests.fakes.aws.task import Ending, Task

_KNOBS = {
    "reset", "pace", "boot_seconds", "buckets", "suffer", "relieve", "hold", "end", "preload",
    "list",
}  # fmt: skip


class Mistake(Exception):
    """The order makes no sense; the text says why."""


def state(fake: FakeAws, containers: FakeContainers) -> dict[str, Any]:
    """Return what there is to know of the fake."""
    with fake.lock:
        by_status = fake.by_status()
        return {
            "seconds": fake.timeline.clock(),
            "calls": dict(fake.calls),
            "throttled": dict(fake.throttled),
            "tasks": by_status,
            "wanted": sum(task.desired == "RUNNING" for task in fake.tasks.values()),
            "answering": len(containers.answering),
            "swapped": len(containers.swapped),
            "failed_starts": dict(containers.failed),
            "access_points": len(fake.efs.points),
            "pace": vars(fake.pace),
            "bad_days": [type(day).__name__ for day in fake.days],
        }


def change(fake: FakeAws, containers: FakeContainers, order: dict[str, Any]) -> dict[str, Any]:
    """Turn the knobs that `order` names, and return the state.

    Raises:
        Mistake: There is no such knob, bad day or ending.
    """
    if unknown := order.keys() - _KNOBS:
        raise Mistake(f"no such knob: {', '.join(sorted(unknown))}; there are {sorted(_KNOBS)}")
    more: dict[str, Any] = {}
    with fake.lock:
        for name, value in order.get("pace", {}).items():
            if name not in vars(fake.pace):
                raise Mistake(f"pace has no {name}; it has {sorted(vars(fake.pace))}")
            setattr(fake.pace, name, float(value))
        containers.boot_seconds = float(order.get("boot_seconds", containers.boot_seconds))
        containers.holds.update(order.get("hold", {}))
        _buckets(fake, order.get("buckets", {}))
        if order.get("relieve"):
            fake.relieve()
        if "suffer" in order:
            fake.suffer(_bad_day(**order["suffer"]))
        if "end" in order:
            fake.end(order["end"]["arn"], _ending(order["end"]["ending"]))
        if "preload" in order:
            tasks = [fake.preload(request) for request in order["preload"]]
            more["preloaded"] = [{"taskArn": t.arn, "address": t.address} for t in tasks]
        if order.get("reset"):
            fake.reset_counters()
        if order.get("list"):
            more["list"] = [_task(task, containers) for task in fake.tasks.values()]
    return {**state(fake, containers), **more}


def _task(task: Task, containers: FakeContainers) -> dict[str, Any]:
    return {
        "arn": task.arn,
        "status": task.status,
        "desired": task.desired,
        "process": task.process,
        "image": task.image,
        "cpu": task.cpu,
        "address": task.address,
        "startedBy": task.started_by,
        "tags": {tag["key"]: tag["value"] for tag in task.request.get("tags", [])},
        "environment": containers.environments.get(task.arn),
    }


def _buckets(fake: FakeAws, order: dict[str, Any]) -> None:
    fake.buckets.on = bool(order.get("on", fake.buckets.on))
    if "scale" in order:
        fake.buckets.scale(float(order["scale"]), fake.timeline.clock())


def _bad_day(
    name: str, args: list[Any] | None = None, kwargs: dict[str, Any] | None = None
) -> bad_days.BadDay:
    kind = getattr(bad_days, name, getattr(holds, name, None))
    if not (isinstance(kind, type) and issubclass(kind, bad_days.BadDay)):
        raise Mistake(f"there is no bad day {name!r}")
    values = [_ending(each) if _is_ending(each) else each for each in args or []]
    return kind(*values, **(kwargs or {}))


def _is_ending(name: Any) -> bool:
    return isinstance(name, str) and isinstance(getattr(bad_days, name, None), Ending)


def _ending(name: str) -> Ending:
    if not _is_ending(name):
        raise Mistake(f"there is no ending {name!r}")
    ending: Ending = getattr(bad_days, name)
    return ending
