"""Machines of the cluster, and the managed scaling of its capacity provider."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.fakes.aws.task import Task
from tests.fakes.aws.timeline import Timeline


@dataclass
class ManagedScaling:
    """One Auto Scaling group of one instance size behind one capacity provider.

    ECS looks about once a minute whether tasks wait for room, and from nothing starts two
    machines. Machines are never taken away; `FakeAws.end_machine` does that.

    Attributes:
        cpu: CPU units of a machine.
        memory: MiB of a machine.
        machines: How many there are at first.
        most: `MaxSize` of the group.
        machine_seconds: From the decision until a new machine takes tasks.
        decide_seconds: Between two looks.
    """

    cpu: int = 4096
    memory: int = 15_000
    machines: int = 0
    most: int = 100
    machine_seconds: float = 90.0
    decide_seconds: float = 60.0


@dataclass(eq=False)
class Machine:
    """A container instance.

    Attributes:
        cpu: CPU units that are free.
        memory: MiB that are free.
        images: When each image is there, by image.
        connected: Whether its agent is; tasks of a disconnected one neither change nor stop.
        held: What its agent will do once it is connected again.
    """

    serial: int
    cpu: float
    memory: float
    in_service: bool = True
    connected: bool = True
    images: dict[str, float] = field(default_factory=dict)
    tasks: set[Task] = field(default_factory=set)
    held: list[Callable[[float], None]] = field(default_factory=list)

    @property
    def id(self) -> str:
        """EC2 instance id."""
        return f"i-{self.serial:017x}"

    def arn(self, account: str, cluster: str) -> str:
        """Return the ARN of the container instance."""
        return f"{account}:container-instance/{cluster}/{self.serial:032x}"

    def lacks(self, task: Task) -> str:
        """Return what there is too little of for `task`, as RunTask's `failures` name it, or ""."""
        if not self.connected:
            return "AGENT"
        if task.memory > self.memory:
            return "RESOURCE:MEMORY"
        if task.cpu > self.cpu:
            return "RESOURCE:CPU"
        return ""

    def reserve(self, task: Task) -> None:
        """Give `task` its room."""
        self.tasks.add(task)
        self.cpu -= task.cpu
        self.memory -= task.memory
        task.machine = self

    def release(self, task: Task) -> bool:
        """Take the room back, if `task` has any."""
        if task not in self.tasks:
            return False
        self.tasks.remove(task)
        self.cpu += task.cpu
        self.memory += task.memory
        return True


class Fleet:
    """All machines, and the tasks that wait for one.

    Args:
        scaling: None makes one machine without limits.
        placed: Called when a task that waited has got a machine.
    """

    def __init__(
        self,
        timeline: Timeline,
        scaling: ManagedScaling | None,
        placed: Callable[[Task, float], None],
    ) -> None:
        self.scaling = scaling
        self.machines: list[Machine] = []
        self.waiting: dict[Task, None] = {}
        self._timeline = timeline
        self._placed = placed
        self._begun = timeline.clock()
        self._deciding = False
        self._serial = 0
        for _ in range(scaling.machines if scaling else 1):
            self._add(in_service=True)

    def _add(self, *, in_service: bool) -> Machine:
        size = self.scaling
        self._serial += 1
        machine = Machine(
            self._serial,
            size.cpu if size else math.inf,
            size.memory if size else math.inf,
            in_service,
        )
        self.machines.append(machine)
        return machine

    def place(self, task: Task) -> str:
        """Reserve room for `task` on the first machine that has some.

        Returns:
            "", or why there is none.
        """
        lacks = "RESOURCE:MEMORY"
        for machine in self.machines:
            if not machine.in_service:
                continue
            lacks = machine.lacks(task)
            if not lacks:
                machine.reserve(task)
                return ""
        return lacks

    def wait(self, task: Task, now: float) -> None:
        """Let `task` wait until there is a machine for it."""
        self.waiting[task] = None
        if self.scaling and not self._deciding:
            every = self.scaling.decide_seconds
            self._deciding = True
            looks = math.floor((now - self._begun) / every) + 1
            self._timeline.at(self._begun + looks * every, self._decide)

    def release(self, task: Task, now: float) -> None:
        """Take `task` from its machine or the queue, and see who can have the room."""
        self.waiting.pop(task, None)
        if task.machine and task.machine.release(task):
            self.place_waiting(now)

    def place_waiting(self, now: float) -> None:
        """Give machines to those who wait, the longest waiting first."""
        for task in list(self.waiting):
            if not self.place(task):
                del self.waiting[task]
                self._placed(task, now)

    def remove(self, machine: Machine) -> None:
        """Take a machine out of the group; its tasks are the caller's business."""
        self.machines.remove(machine)

    def _decide(self, now: float) -> None:
        size = self.scaling
        self._deciding = False
        if not size or not self.waiting:
            return
        coming = [each for each in self.machines if not each.in_service]
        wanted = self._machines_for_waiting(size)
        # From nothing, two are started: ECS does not trust one to be enough.
        least = 2 if not self.machines and wanted else 0
        for _ in range(max(wanted, least) - len(coming)):
            if len(self.machines) >= size.most:
                break
            machine = self._add(in_service=False)
            self._timeline.at(now + size.machine_seconds, partial(self._join, machine))
        self.wait(next(iter(self.waiting)), now)

    def _machines_for_waiting(self, size: ManagedScaling) -> int:
        """Return how many new machines all who wait would fill; those who fit none wait on."""
        rooms: list[tuple[int, int]] = []
        for task in self.waiting:
            if task.cpu > size.cpu or task.memory > size.memory:
                continue
            for index, (cpu, memory) in enumerate(rooms):
                if task.cpu <= cpu and task.memory <= memory:
                    rooms[index] = (cpu - task.cpu, memory - task.memory)
                    break
            else:
                rooms.append((size.cpu - task.cpu, size.memory - task.memory))
        return len(rooms)

    def _join(self, machine: Machine, now: float) -> None:
        if machine in self.machines:
            machine.in_service = True
            self.place_waiting(now)
