"""The part of EcsApi that a watcher uses, which says whatever the test wants it to say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from workroom_spawner.aws_errors import Refused
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.task_view import TaskView, TaskViews

SETTINGS = EcsSettings(
    region="eu-west-1", cluster="c", instance="workroom", installation="i", subnets=("subnet-1",)
)


class ScriptedEcs:
    """Answers from `tasks` without a delay; what is not in there is MISSING.

    Attributes:
        listed: What ListTasks says; what it raises, if it is an exception.
        left_out: Tasks of which an answer says nothing at all.
        cannot_be_read: ARNs for which ECS refuses a whole call.
        problem: Raised by DescribeTasks.
        hangs: Set while DescribeTasks does not answer.
        calls: Loop time and ARNs of each DescribeTasks.
        lists: Loop times of ListTasks.
    """

    def __init__(self, settings: EcsSettings = SETTINGS) -> None:
        self.settings = settings
        self.tasks: dict[str, TaskView] = {}
        self.listed: set[str] | Exception = set()
        self.left_out: set[str] = set()
        self.cannot_be_read: set[str] = set()
        self.problem: Exception | None = None
        self.hangs: asyncio.Event | None = None
        self.calls: list[tuple[float, list[str]]] = []
        self.lists: list[float] = []
        self._numbers: dict[str, int] = {}

    def show(self, arn: str, status: str = "RUNNING", **fields: object) -> TaskView:
        """Have a task shown from now on."""
        number = self._numbers.setdefault(arn, len(self._numbers))
        fields.setdefault("address", f"10.0.{number // 250}.{number % 250 + 1}")
        self.tasks[arn] = TaskView(arn, status, **fields)  # type: ignore[arg-type]
        return self.tasks[arn]

    async def describe_tasks(self, arns: Iterable[str], tags: bool = False) -> TaskViews:
        """Answer as EcsApi does."""
        wanted = list(arns)
        assert len(wanted) <= 100
        assert len(set(wanted)) == len(wanted)
        self.calls.append((asyncio.get_running_loop().time(), wanted))
        if self.hangs:
            hangs, self.hangs = self.hangs, None
            await hangs.wait()
        if self.problem:
            raise self.problem
        if self.cannot_be_read.intersection(wanted):
            raise Refused("DescribeTasks", "InvalidParameterException", "invalid identifier")
        wanted = [arn for arn in wanted if arn not in self.left_out]
        shown = {arn: self.tasks[arn] for arn in wanted if arn in self.tasks}
        return TaskViews(shown, [arn for arn in wanted if arn not in self.tasks])

    async def list_tasks(self) -> set[str]:
        """Answer as EcsApi does."""
        self.lists.append(asyncio.get_running_loop().time())
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed
