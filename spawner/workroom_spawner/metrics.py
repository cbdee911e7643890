"""What the hub's own `/hub/metrics` says of ECS; all on prometheus_client's default registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from weakref import WeakKeyDictionary

from prometheus_client import Counter, Gauge, Histogram

Outcome = Literal["ok", "throttled", "unreachable", "denied", "refused"]
CALLS = Counter(
    "workroom_ecs_calls",
    "Calls to AWS by operation and outcome (ok, throttled, unreachable, denied, refused)",
    ["operation", "outcome"],
)
THROTTLED = Counter(
    "workroom_ecs_throttled",
    "Calls that AWS throttled although our own buckets let them pass",
    ["operation"],
)
WATCHER_AGE = Gauge(
    "workroom_watcher_age_seconds",
    "Seconds since the last look at all running tasks that succeeded; 0 while there are none",
)
MACHINE_WAIT = Gauge(
    "workroom_machine_wait_seconds",
    "Seconds for which a start has been waiting for a machine, the longest; 0 while none waits",
)
SPAWN_PHASE = Histogram(
    "workroom_spawn_phase_seconds",
    "Seconds that spawns spent in each phase",
    ["phase"],
    buckets=(0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800),
)
ORPHANS_STOPPED = Counter(
    "workroom_orphans_stopped", "Tasks of ours that belonged to no server and were stopped"
)
TASKS_ADOPTED = Counter(
    "workroom_tasks_adopted", "Running tasks taken over from an earlier hub process"
)
SPAWN_QUEUE = Gauge("workroom_spawn_queue_length", "Spawns that wait for their turn at RunTask")

_ages: WeakKeyDictionary[object, Callable[[], float]] = WeakKeyDictionary()
_waits: WeakKeyDictionary[object, Callable[[], float]] = WeakKeyDictionary()
_queues: WeakKeyDictionary[object, Callable[[], float]] = WeakKeyDictionary()
WATCHER_AGE.set_function(lambda: max((age() for age in _ages.values()), default=0.0))
MACHINE_WAIT.set_function(lambda: max((wait() for wait in _waits.values()), default=0.0))
SPAWN_QUEUE.set_function(lambda: sum(length() for length in _queues.values()))


def count_call(operation: str, outcome: Outcome) -> None:
    """Count one call that AWS was asked, by how it ended."""
    CALLS.labels(operation, outcome).inc()
    if outcome == "throttled":
        THROTTLED.labels(operation).inc()


def report_age(owner: object, age: Callable[[], float]) -> None:
    """Show the greatest of all owners' ages, in seconds; `age` must not hold on to `owner`."""
    _ages[owner] = age


def report_wait(owner: object, wait: Callable[[], float]) -> None:
    """Show the greatest of all owners' waits, in seconds; `wait` must not hold on to `owner`."""
    _waits[owner] = wait


def report_queue(owner: object, length: Callable[[], float]) -> None:
    """Show the sum of all owners' queues; `length` must not hold on to `owner`."""
    _queues[owner] = length
