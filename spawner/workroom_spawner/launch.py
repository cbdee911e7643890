"""From a checkpoint to a task: waiting in line, RunTask, and what it answers instead of a task."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from typing import Any

from workroom_spawner import task_errors
from workroom_spawner.aws_calls import Effort
from workroom_spawner.aws_errors import (
    AwsProblem,
    Conflict,
    Denied,
    QuotaFull,
    UnknownTaskDefinition,
    Unreachable,
)
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.task_requests import START, Request, with_environment
from workroom_spawner.task_view import RunOutcome, TaskView
from workroom_spawner.waiting_room import waiting_room

_PAUSE = 5.0  # seconds until RunTask is asked again
_NO_ROOM_PAUSE = 15.0  # the same, after it found no machine with room
_TIMES: dict[type[AwsProblem], int] = {Denied: 2, UnknownTaskDefinition: 1, Conflict: 2}
"""How often a start may meet a problem and go on; the next time it is raised."""


@dataclass
class Start:
    """A start as it must outlive the hub: enough to repeat its RunTask unchanged. No secret.

    Attributes:
        client_token: RunTask's, and what the start code is derived from.
        request: The RunTask request without the start code.
        arn: The task, once RunTask has answered.
        redeemed: The container has its environment; from here on it is a server like any other.
        options: The user options it was begun with.
    """

    client_token: str
    request: Request
    options: dict[str, Any]
    arn: str | None = None
    redeemed: bool = False

    def as_state(self) -> dict[str, Any]:
        """Return it as the spawner's state holds it; what changes later is copied."""
        state = {each.name: getattr(self, each.name) for each in fields(self)}
        # Not `asdict`: its deep copies were a quarter of our own work in a storm of starts.
        tags = [dict(tag) for tag in self.request["tags"]]
        return {**state, "request": {**self.request, "tags": tags}}

    def again_with(self, client_token: str) -> None:
        """Make it a new call: ECS answers a token it has seen with what it answered before."""
        self.client_token = self.request["clientToken"] = client_token
        for tag in self.request["tags"]:
            if tag["key"] == START:
                tag["value"] = client_token


@dataclass
class Launch:
    """One attempt to get a task.

    Attributes:
        secret: Returns the variables that hold the start code of the present client token.
        renewed: Called after the start got a new client token, before it is used.
        define: Makes sure the task definition exists; called when ECS does not know it.
        tell: Hears sentences for the person who waits.
        patience: Seconds after the first RunTask until it is given up.
    """

    api: EcsApi
    start: Start
    secret: Callable[[], dict[str, str]]
    renewed: Callable[[], Awaitable[None]]
    define: Callable[[], Awaitable[None]]
    tell: Callable[[str], None]
    patience: float
    _effort: Effort = field(default_factory=Effort)
    _place: int | None = None
    """Number in the waiting room; None outside of it."""
    _asked: float | None = None
    """Loop time of the first RunTask, later by what was spent in the waiting room since."""
    _unsure: bool = False
    """Whether ECS has a task with the present token is not known."""
    _met: Counter[type[AwsProblem]] = field(default_factory=Counter)

    def give_up(self, running: asyncio.Future[TaskView]) -> None:
        """End `run`, whose future this is; a call under way is waited for, to learn its task."""
        self._effort.last = True
        if not self._effort.calling:
            running.cancel()

    async def run(self) -> TaskView:
        """Return the task that was started.

        Raises:
            SpawnProblem: There is none, and no more trying.
            AwsProblem: Likewise.
        """
        try:
            while True:
                await self._admitted()
                await self._turn()
                self._asked = self._asked or asyncio.get_running_loop().time()
                try:
                    outcome = await self._call()
                    if outcome.task:
                        return outcome.task
                    self._check_wanted()
                    pause = await self._after_failures(outcome)
                except AwsProblem as problem:
                    self._check_wanted()
                    pause = await self._after(problem)
                if self._waited() > self.patience:
                    raise task_errors.NoCapacity(self.patience)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
        finally:
            self._leave()

    async def _admitted(self) -> None:
        """Wait in the waiting room, if others do or the quota was full."""
        room = waiting_room(self.api)
        if self._place is None:
            # Who may have a task already asks for what is hers, and takes nobody's place.
            if self._unsure or not room.waiting:
                return
            self._place = room.line_up()
        began = asyncio.get_running_loop().time()
        await room.admitted(self._place, self._tell_full)
        if self._asked:
            self._asked += asyncio.get_running_loop().time() - began

    def _leave(self, *, got_in: bool = False) -> None:
        if self._place is not None:
            waiting_room(self.api).leave(self._place, got_in=got_in)
            self._place = None

    async def _turn(self) -> None:
        self._line = self.api.run_line(Priority.LIVE)
        if self._line.place:
            self._tell_place(self._line.place)
            self._line.on_move(self._tell_place)
        await self._line

    def _tell_place(self, place: int) -> None:
        if place:
            self.tell(f"Many servers are starting: you are number {place} in line")

    def _tell_full(self, before: int) -> None:
        others = f"; {before} before you" if before else ""
        self.tell(f"All machines are busy and more are on their way{others}")

    async def _call(self) -> RunOutcome:
        """Call RunTask; any answer but a full quota lets the next in the waiting room ask."""
        request = with_environment(self.start.request, self.secret())
        try:
            outcome = await self.api.run_task(request, self._line, self._effort)
        except QuotaFull:
            self._place = waiting_room(self.api).refused(self._place)
            raise
        except BaseException:
            self._leave()
            raise
        self._leave(got_in=bool(outcome.task))
        return outcome

    def _check_wanted(self) -> None:
        if self._effort.last:
            raise asyncio.CancelledError

    async def _after_failures(self, outcome: RunOutcome) -> float:
        """Decide about failures: lack of room may pass, everything else will not.

        Returns:
            The seconds until another attempt.
        """
        if not outcome.failures or not all(f.startswith("RESOURCE") for f in outcome.failures):
            raise task_errors.AwsRefused(f"RunTask failures: {', '.join(outcome.failures)}")
        self.tell("No machine has room for this profile yet; trying again")
        await self._renew()
        return _NO_ROOM_PAUSE

    async def _after(self, problem: AwsProblem) -> float:
        """Do what helps against a problem, or raise it.

        Returns:
            The seconds until another attempt.
        """
        self._met[type(problem)] += 1
        if self._met[type(problem)] > _TIMES.get(type(problem), math.inf):
            raise problem
        if isinstance(problem, QuotaFull):
            self._asked = None  # it waits in our line, not in theirs
            self._unsure = False
            return 0.0
        if isinstance(problem, Unreachable):
            # Whether it started a task or not: the same token gives the same task.
            self._unsure = True
            if self._waited() > self.patience:
                raise problem
            self.tell("AWS does not answer; trying again")
        elif isinstance(problem, UnknownTaskDefinition):
            await self.define()
            return 0.0
        elif isinstance(problem, Conflict):
            # Used by a hub with other settings; its task, if there is one, is an orphan.
            await self._renew()
        elif not isinstance(problem, Denied):
            raise problem
        return _PAUSE

    def _waited(self) -> float:
        """Return the seconds since the first RunTask, but for those in the waiting room."""
        return asyncio.get_running_loop().time() - self._asked if self._asked else 0.0

    async def _renew(self) -> None:
        self.start.again_with(new_token())
        self._unsure = False
        await self.renewed()


def new_token() -> str:
    """Return a client token: 32 characters, of 64 that ECS takes."""
    return f"{random.SystemRandom().getrandbits(128):032x}"
