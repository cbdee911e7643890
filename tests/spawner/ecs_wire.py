"""Between a hub and the fake account: how long calls take, and what was asked."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

from tests.fakes.aws.bad_days import BadDay
from tests.fakes.aws.wire import Call


class Wire:
    """Calls to AWS take time, and go on when the caller no longer waits, as in threads.

    Attributes:
        there: Seconds until AWS has the request.
        back: Seconds until the hub has the answer.
    """

    def __init__(self) -> None:
        self.there = self.back = 0.0

    async def __call__(self, call: Callable[[], Any]) -> Any:
        work = asyncio.ensure_future(self._carry(call))
        work.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(work)

    async def _carry(self, call: Callable[[], Any]) -> Any:
        await asyncio.sleep(self.there)
        answer: Any = None
        error: Exception | None = None
        try:
            answer = call()
        except Exception as problem:
            error = problem
        await asyncio.sleep(self.back)
        if error:
            raise error
        return answer


class Requests(BadDay):
    """No bad day: remembers what AWS was asked, start codes and all."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def before(self, call: Call, now: float) -> None:
        """Remember a call, refused ones too if they were begun before the bad day."""
        self.asked.append((call.operation, copy.deepcopy(call.params)))

    def of(self, operation: str) -> list[dict[str, Any]]:
        """Return the requests of one operation."""
        return [params for name, params in self.asked if name == operation]
