"""The account: state, clock and knobs, and the one way in."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.config import Config

from tests.fakes.aws import clients, wire
from tests.fakes.aws.bad_days import BadDay
from tests.fakes.aws.buckets import Buckets
from tests.fakes.aws.definitions import Definitions
from tests.fakes.aws.ecs_tasks import EcsTasks
from tests.fakes.aws.errors import AwsError, Instead
from tests.fakes.aws.lifecycle import Lifecycle
from tests.fakes.aws.machines import Fleet, Machine, ManagedScaling
from tests.fakes.aws.pace import Pace
from tests.fakes.aws.services import AutoScaling, Efs, Logs
from tests.fakes.aws.task import Described, Ending, Task
from tests.fakes.aws.timeline import Timeline

ACCOUNT_ID = "123456789012"


class FakeAws:
    """One account in one region.

    Args:
        clock: Seconds, never backwards: `loop.time` in tests, `time.monotonic` in a process.
        pace: How long things take.
        scaling: Machines behind the capacity provider; None: there is always room.
        clusters: Names that exist; None: any does.

    Attributes:
        calls: Calls by operation, throttled ones and all.
        throttled: Throttled ones among them.
        history: Time and operation of every call.
        tasks: By ARN, stopped ones included until they are forgotten.
        buckets: `on = False` switches throttling off.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        pace: Pace | None = None,
        scaling: ManagedScaling | None = None,
        clusters: Iterable[str] | None = None,
        region: str = "eu-west-1",
    ) -> None:
        self.lock = threading.RLock()
        self.timeline = Timeline(clock)
        self.pace = pace or Pace()
        self.account = f"arn:aws:ecs:{region}:{ACCOUNT_ID}"
        self.wall = time.time() - clock()  # what to add to the clock for seconds since 1970
        self.buckets = Buckets(clock())
        self.calls: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.history: list[tuple[float, str]] = []
        self.tasks: dict[str, Task] = {}
        self.days: list[BadDay] = []
        self.definitions = Definitions(self.account, self.wall)
        self.lifecycle = Lifecycle(self.timeline, self.pace, self._forget)
        self.fleet = Fleet(self.timeline, scaling, self.lifecycle.placed)
        self.lifecycle.fleet = self.fleet
        self.ecs = EcsTasks(self)
        self.efs = Efs(self)
        self._clusters = set(clusters) if clusters is not None else None
        self._operations = {
            "ecs": {**self.definitions.operations(), **self.ecs.operations()},
            "efs": self.efs.operations(),
            "autoscaling": AutoScaling(self).operations(),
            "logs": Logs(self).operations(),
        }
        self._clients: dict[str, Any] = {}

    # -- the way in ------------------------------------------------------------

    def client(self, service: str, config: Config | None = None) -> Any:
        """Return a real boto3 client for `ecs`, `efs`, `autoscaling` or `logs`.

        Without `config` it is the same client every time.
        """
        if config is not None:
            return clients.client(service, self.answer, config)
        with self.lock:
            if service not in self._clients:
                self._clients[service] = clients.client(service, self.answer)
            return self._clients[service]

    def answer(self, method: str, url: str, headers: Mapping[str, Any], body: bytes) -> wire.Reply:
        """Answer one HTTP request.

        Raises:
            Unreachable: The connection is to fail.
            NeverAnswered: The answer is never to arrive.
        """
        try:
            call = wire.read(method, url, headers, body)
        except AwsError as error:
            return wire.refusal("ecs", error)
        try:
            with self.lock:
                result = self._do(call)
            return wire.answer(call, result)
        except Instead as instead:
            return wire.answer(call, instead.result)
        except AwsError as error:
            return wire.refusal(call.service, error)

    def _do(self, call: wire.Call) -> Any:
        now = self.timeline.advance()
        self.calls[call.operation] += 1
        self.history.append((now, call.operation))
        try:
            for day in list(self.days):
                day.before(call, now)
            self.buckets.take(call.operation, now)
        except AwsError as error:
            if error.code == "ThrottlingException":
                self.throttled[call.operation] += 1
            raise
        operation = self._operations[call.service].get(call.operation)
        if operation is None:
            raise AwsError("UnknownOperationException", f"the fake has no {call.operation}")
        result = operation(call.params, now)
        for day in list(self.days):
            result = day.after(call, result, now)
        return result

    # -- what tests and the machinery do ---------------------------------------

    def advance(self) -> float:
        """Let happen what is due; return the time now."""
        with self.lock:
            return self.timeline.advance()

    def end(self, arn: str, ending: Ending) -> None:
        """Let a task stop as `ending` says; see `bad_days` for endings."""
        with self.lock:
            self.lifecycle.stop(self.tasks[arn], self.timeline.advance(), ending)

    def write(self, arn: str, line: str) -> None:
        """Let a task's container write a line to its log."""
        with self.lock:
            if arn in self.tasks:
                self.tasks[arn].lines.append((self.timeline.clock(), line))

    def preload(self, request: dict[str, Any], image: str = "workroom/notebook:latest") -> Task:
        """Make a task that has been running for a while, from a RunTask request.

        No call is counted. Its task definition is made if there is none. The request may hold an
        `address`, which nobody else may have.
        """
        with self.lock:
            now = self.timeline.advance()
            request = dict(request)
            address = request.pop("address", "")
            family = request.setdefault("taskDefinition", "preloaded")
            if not self.definitions.knows(family):
                self.definitions.make(family, image, now)
            definition = self.definitions.to_run(family)
            task = self.ecs.make(request, definition, self.cluster(request))
            task.address = address or task.address
            lacks = self.fleet.place(task)
            if lacks:
                raise ValueError(f"there is no machine for a task that is to be running: {lacks}")
            self.tasks[task.arn] = task
            self.lifecycle.adopt(task, now)
            return task

    def end_machine(self, machine: Machine, ending: Ending) -> None:
        """Take a machine away, and all its tasks with it."""
        with self.lock:
            now = self.timeline.advance()
            self.fleet.remove(machine)
            for task in list(machine.tasks):
                self.lifecycle.stop(task, now, ending)

    def suffer(self, *days: BadDay) -> None:
        """Begin bad days; `relieve` or a limit of their own ends them."""
        with self.lock:
            self.timeline.advance()  # what is past has happened on a good day
            for day in days:
                day.begin(self)
                self.days.append(day)

    def relieve(self, *days: BadDay) -> None:
        """End bad days; without arguments all of them."""
        with self.lock:
            self.timeline.advance()
            for day in days or tuple(self.days):
                if day in self.days:
                    self.days.remove(day)
                    day.end(self)

    @contextmanager
    def suffering(self, *days: BadDay) -> Iterator[None]:
        """Have bad days for the length of a block."""
        self.suffer(*days)
        try:
            yield
        finally:
            self.relieve(*days)

    def on_running(self, callback: Callable[[Task], None]) -> None:
        """Call back, with the lock held, when the container of a task begins to run."""
        self.lifecycle.watchers.append(
            lambda task, event, _: callback(task) if event == "process" else None
        )

    def by_status(self) -> dict[str, int]:
        """Return how many tasks there are in each state."""
        with self.lock:
            self.timeline.advance()
            return dict(Counter(task.status for task in self.tasks.values()))

    def reset_counters(self) -> None:
        """Count from nothing again."""
        with self.lock:
            self.calls.clear()
            self.throttled.clear()
            self.history.clear()

    # -- for the services ------------------------------------------------------

    def cluster(self, request: dict[str, Any]) -> str:
        """Return the cluster's name that a request means.

        Raises:
            AwsError: There is no such cluster.
        """
        name = str(request.get("cluster", "default")).rpartition("/")[2]
        if self._clusters is not None and name not in self._clusters:
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return name

    def describe(self, task: Task, with_tags: bool = False) -> Described:
        """Return a task as ECS describes it."""
        return task.describe(self.wall, self.account, with_tags)

    def _forget(self, task: Task) -> None:
        self.tasks.pop(task.arn, None)
