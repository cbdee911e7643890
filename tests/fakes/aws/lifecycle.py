"""The life of a task, from RunTask until it is forgotten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tests.fakes.aws.machines import Fleet
from tests.fakes.aws.pace import Pace
from tests.fakes.aws.task import Ending, Task
from tests.fakes.aws.timeline import Act, Timeline

Watcher = Callable[[Task, str, float], None]

# AWS documents that this happens and not in which words; these are ours.
NO_CAPACITY = Ending("TaskFailedToStart", "Timeout waiting for capacity: no instance had room")
# The agent hears of a stop a little later; until then the task looks as it did.
_HEARD = 0.1
_SIGTERM, _SIGKILL = 143, 137


class Lifecycle:
    """Moves tasks along the timeline.

    `watchers` are called with the task, what has happened and when: each `lastStatus`, and
    `pull`, `process`, `sigterm` and `exit` of the container.
    """

    def __init__(self, timeline: Timeline, pace: Pace, forget: Callable[[Task], None]) -> None:
        self.watchers: list[Watcher] = []
        self.holds: list[Callable[[Task, Act], bool]] = []
        """Asked before a task goes on; one that says yes has taken over to call the act later."""
        self.provisioning: Counter[str] = Counter()
        self.fleet: Fleet
        self.pace = pace
        self._timeline = timeline
        self._forget = forget

    def begin(self, task: Task, now: float) -> None:
        """Begin the life of a task that has a machine, or is to wait for one."""
        task.at["createdAt"] = now
        self.provisioning[task.cluster] += 1
        self._tell(task, "PROVISIONING", now)
        if task.desired == "STOPPED":
            return
        if task.machine:
            self.placed(task, now)
            return
        self.fleet.wait(task, now)
        self._timeline.at(now + self.pace.capacity_seconds, lambda at: self._give_up(task, at))

    def adopt(self, task: Task, now: float) -> None:
        """Let a task that has a machine have been running for some time already."""
        for name in ("createdAt", "pullStartedAt", "pullStoppedAt", "connectivityAt", "startedAt"):
            task.at[name] = now - self.pace.visible_after
        task.status, task.interface, task.process = "RUNNING", "ATTACHED", "running"
        self._tell(task, "process", now)

    def placed(self, task: Task, now: float) -> None:
        """Go on with a task that has got its machine."""
        task.interface = "ATTACHING"
        self._later(task, "PROVISIONING", now + self.pace.provision_seconds, self._pending)

    def _give_up(self, task: Task, now: float) -> None:
        if task in self.fleet.waiting:
            self.stop(task, now, NO_CAPACITY)

    def _later(
        self, task: Task, expected: str, when: float, act: Callable[[Task, float], None]
    ) -> None:
        """Do `act` at `when`, unless the task has been stopped or gone on otherwise."""

        def due(at: float) -> None:
            if task.desired != "RUNNING" or task.status != expected:
                return
            if not any(hold(task, due) for hold in self.holds):
                act(task, at)

        self._timeline.at(when, lambda at: self._when_connected(task, at, due))

    def _when_connected(self, task: Task, now: float, act: Act) -> None:
        if task.machine and not task.machine.connected:
            task.machine.held.append(act)
        else:
            act(now)

    def _pending(self, task: Task, now: float) -> None:
        machine = task.machine
        if machine is None:
            raise RuntimeError(f"{task.arn} has no machine")
        task.interface = "ATTACHED"
        task.at["connectivityAt"] = task.at["pullStartedAt"] = now
        self._become(task, "PENDING", now)
        there = machine.images.setdefault(task.image, now + self.pace.pull_seconds)
        self._tell(task, "pull", now)
        self._later(task, "PENDING", max(now, there), self._pulled)

    def _pulled(self, task: Task, now: float) -> None:
        task.at["pullStoppedAt"] = now
        self._later(task, "PENDING", now + self.pace.start_seconds, self._process)

    def _process(self, task: Task, now: float) -> None:
        task.process = "running"
        self._tell(task, "process", now)
        self._later(task, "PENDING", now + self.pace.report_seconds, self._running)

    def _running(self, task: Task, now: float) -> None:
        task.at["startedAt"] = now
        self._become(task, "RUNNING", now)

    def stop(self, task: Task, now: float, ending: Ending) -> None:
        """Stop a task at whatever stage it is; the first reason is the one that counts."""
        if task.desired == "STOPPED":
            return
        task.desired = "STOPPED"
        task.ending = ending
        task.at["stoppingAt"] = now
        task.version += 1
        if task.status == "PROVISIONING":
            self.fleet.waiting.pop(task, None)
            self._exited(task, now, None)
        elif not ending.graceful:
            self._exited(task, now, ending.exit_code)
        else:
            self._when_connected(task, now, lambda at: self._heard(task, at))

    def _heard(self, task: Task, now: float) -> None:
        self._timeline.at(now + _HEARD, lambda at: self._become(task, "DEACTIVATING", at))
        self._timeline.at(now + 2 * _HEARD, lambda at: self._sigterm(task, at))

    def _sigterm(self, task: Task, now: float) -> None:
        self._become(task, "STOPPING", now)
        if task.process != "running":
            self._exited(task, now, None)
            return
        self._tell(task, "sigterm", now)
        ends_itself = self.pace.exit_seconds <= task.stop_timeout
        seconds, code = (
            (self.pace.exit_seconds, _SIGTERM) if ends_itself else (task.stop_timeout, _SIGKILL)
        )
        self._timeline.at(now + seconds, lambda at: self._exited(task, at, code))

    def _exited(self, task: Task, now: float, code: int | None) -> None:
        if task.process == "running":
            task.process = "ended"
            task.exit_code = code
            task.at["executionStoppedAt"] = now
            self._tell(task, "exit", now)
        self._become(task, "DEPROVISIONING", now)
        self._timeline.at(now + self.pace.deprovision_seconds, lambda at: self._stopped(task, at))

    def _stopped(self, task: Task, now: float) -> None:
        if task.interface != "PRECREATED":  # else there never was one, nor an address
            task.interface = "DELETED"
        task.at["stoppedAt"] = now
        task.at.setdefault("executionStoppedAt", now)
        self._become(task, "STOPPED", now)
        self.fleet.release(task, now)
        self._timeline.at(now + self.pace.kept_seconds, lambda _: self._forget(task))

    def _become(self, task: Task, status: str, now: float) -> None:
        if task.status == "PROVISIONING":
            self.provisioning[task.cluster] -= 1
        task.status = status
        task.version += 1
        self._tell(task, status, now)

    def _tell(self, task: Task, event: str, now: float) -> None:
        for watcher in list(self.watchers):
            watcher(task, event, now)
