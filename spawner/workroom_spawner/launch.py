"""From a checkpoint to a task: waiting in line, RunTask, and what it answers instead of a task."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

from workroom_spawner import task_errors
from workroom_spawner.aws_errors import (
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

_DENIED_TRIES = 3
_FULL_PAUSE = 5.0
"""Seconds between two looks whether ECS takes waiting tasks again; one spawn looks for all."""


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


class WaitingRoom:
    """Where spawns wait, in order, while ECS takes no more tasks that wait for a machine.

    About 500 may be PROVISIONING in a cluster. Only the first in line asks again; a thousand that
    did would use up RunTask's bucket for nothing.
    """

    def __init__(self) -> None:
        self._arrivals = 0
        self._line: list[int] = []  # in order of arrival, so a place is found by bisection
        self._turns: dict[int, asyncio.Future[None]] = {}

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    async def enter(self, tell: Callable[[int], None]) -> Callable[[], None]:
        """Wait to be the first; `tell` hears every few seconds how many are before.

        Returns:
            What lets the next one be first; must be called.
        """
        self._arrivals += 1
        mine, turn = self._arrivals, asyncio.get_running_loop().create_future()
        self._line.append(mine)
        self._turns[mine] = turn
        try:
            while before := bisect_left(self._line, mine):
                tell(before)
                await asyncio.wait([turn], timeout=_FULL_PAUSE)
        except BaseException:
            self._leave(mine)
            raise
        return lambda: self._leave(mine)

    def _leave(self, mine: int) -> None:
        if self._turns.pop(mine, None):
            del self._line[bisect_left(self._line, mine)]
        if self._line and not (first := self._turns[self._line[0]]).done():
            first.set_result(None)


_rooms: WeakKeyDictionary[EcsApi, WaitingRoom] = WeakKeyDictionary()


def waiting_room(api: EcsApi) -> WaitingRoom:
    """Return the waiting room of one cluster."""
    return _rooms.setdefault(api, WaitingRoom())


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
    given_up: bool = False
    _calling: bool = False

    def give_up(self, running: asyncio.Future[TaskView]) -> None:
        """End `run`, whose future this is; a call under way is waited for, to learn its task."""
        self.given_up = True
        if not self._calling:
            running.cancel()

    async def run(self) -> TaskView:
        """Return the task that was started.

        Raises:
            SpawnProblem: There is none, and no more trying.
            AwsProblem: Likewise.
        """
        denied, defined = 0, False
        begun: float | None = None
        release: Callable[[], None] | None = None
        room = waiting_room(self.api)
        loop = asyncio.get_running_loop()
        try:
            while True:
                if release is None and room.waiting:
                    release = await room.enter(self._tell_full)
                await self._turn()
                begun = begun or loop.time()
                try:
                    outcome = await self._call()
                    if outcome.task:
                        return outcome.task
                    pause = await self._no_task(outcome)
                except QuotaFull:
                    if release is None:
                        release = await room.enter(self._tell_full)
                        begun = None  # it waited in our line, not in theirs
                        continue
                    self._tell_full(0)
                    pause = _FULL_PAUSE
                    begun = None
                except UnknownTaskDefinition:
                    if defined:
                        raise
                    defined, pause = True, 0.0
                    await self.define()
                except Denied:
                    denied += 1
                    if denied >= _DENIED_TRIES:
                        raise
                    pause = 5.0
                except Unreachable:
                    # Whether it started a task or not: the same token gives the same task.
                    if loop.time() - begun > self.patience:
                        raise
                    self.tell("AWS does not answer; trying again")
                    pause = 5.0
                except Conflict:
                    # Used by a hub with other settings; its task, if there is one, is an orphan.
                    pause = 0.0
                    await self._renew()
                if self.given_up:
                    raise asyncio.CancelledError
                if begun and loop.time() - begun > self.patience:
                    raise task_errors.NoCapacity(self.patience)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311
        finally:
            if release:
                release()

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
        self._calling = True
        try:
            request = with_environment(self.start.request, self.secret())
            return await self.api.run_task(request, self._line)
        finally:
            self._calling = False

    async def _no_task(self, outcome: RunOutcome) -> float:
        """Decide about failures: lack of room may pass, everything else will not."""
        if not outcome.failures or not all(f.startswith("RESOURCE") for f in outcome.failures):
            raise task_errors.AwsRefused(f"RunTask failures: {', '.join(outcome.failures)}")
        self.tell("No machine has room for this profile yet; trying again")
        await self._renew()
        return 15.0

    async def _renew(self) -> None:
        self.start.again_with(new_token())
        await self.renewed()


def new_token() -> str:
    """Return a client token: 32 characters, of 64 that ECS takes."""
    return f"{random.SystemRandom().getrandbits(128):032x}"
