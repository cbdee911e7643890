"""Stops tasks that have to be stopped, however long AWS does not take it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from workroom_spawner.aws_errors import AwsProblem, Refused
from workroom_spawner.background import Backoff
from workroom_spawner.ecs_api import EcsApi

log = logging.getLogger(__name__)
_UNKNOWN = 3
"""Times StopTask must not know a task before it counts as gone: a new one is not known at once."""
_TOO_NEW = 10.0
"""Seconds between these."""
_LONGEST_WAIT = 60.0
"""Most seconds between two tries to stop a task that AWS refuses to stop."""


@dataclass
class _Order:
    """One task to be stopped.

    Attributes:
        due: Loop time of the next try.
        tries: How often that failed.
        unknown: How often AWS did not know the task.
    """

    reason: str
    needless: Callable[[], bool]
    stopped: Callable[[], None]
    due: float = 0.0
    tries: int = 0
    unknown: int = 0


class Stopper:
    """A list of tasks to be stopped, and the worker that does it, one at a time."""

    def __init__(self, api: EcsApi) -> None:
        self._api = api
        self._orders: dict[str, _Order] = {}
        self._ordered = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    def __contains__(self, arn: str) -> bool:
        return arn in self._orders

    def order(
        self,
        arn: str,
        reason: str,
        *,
        needless: Callable[[], bool],
        stopped: Callable[[], None],
    ) -> None:
        """Have a task stopped; returns at once. Takes the place of an earlier order for it.

        Args:
            needless: Asked just before every StopTask: has it ended, or is it wanted after all?
            stopped: Called when ECS has taken it, or no longer knows the task.
        """
        if self._closed:
            log.warning("task %s is left to the next hub process to stop", task_id(arn))
            return
        self._orders[arn] = _Order(reason, needless, stopped)
        self._ordered.set()
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._stop_all())

    async def close(self) -> None:
        """End the worker; what is on the list stays undone."""
        self._closed = True
        if self._work and not self._work.done():
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work

    async def _stop_all(self) -> None:
        backoff = Backoff()
        while self._orders:
            arn, order = min(self._orders.items(), key=lambda item: item[1].due)
            if not await self._is_due(order):
                continue
            try:
                done = await self._stop(arn, order)
            except Exception as problem:
                self._failed(arn, order, problem)
                if not isinstance(problem, Refused):
                    # AWS has a bad day, or we have; the next task would fare no better.
                    await backoff.wait()
                continue
            backoff.reset()
            if done and self._orders.get(arn) is order:
                del self._orders[arn]

    async def _stop(self, arn: str, order: _Order) -> bool:
        """Try once; tell whether the order is done with."""
        if order.needless():
            return True
        if not await self._api.stop_task(arn, order.reason):
            # It has ended, or it is too new for ECS to know it.
            order.unknown += 1
            order.due = _now() + _TOO_NEW
            if order.unknown < _UNKNOWN:
                return False
        order.stopped()
        return True

    async def _is_due(self, order: _Order) -> bool:
        """Wait for an order's time; false if another order came in meanwhile."""
        wait = order.due - _now()
        if wait <= 0:
            return True
        self._ordered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._ordered.wait()
                return False
        return True

    def _failed(self, arn: str, order: _Order, problem: Exception) -> None:
        # The others get their turn before this one again.
        order.tries += 1
        wait = min(_LONGEST_WAIT, 2.0 ** min(order.tries, 10))
        order.due = _now() + random.uniform(wait / 2, wait)  # noqa: S311
        if order.tries == 1:
            log.warning(
                "task %s is not stopped yet, and will be: %s",
                task_id(arn),
                problem,
                exc_info=None if isinstance(problem, AwsProblem) else problem,
            )


def task_id(arn: str) -> str:
    """Return the last part of a task's ARN, which is what people search the logs for."""
    return arn.rpartition("/")[2]


def _now() -> float:
    return asyncio.get_running_loop().time()
