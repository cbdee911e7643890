"""Work on AWS beside the spawners: shared by all who ask for it, and tried again until it is done.

All times are the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from workroom_spawner.aws_errors import AwsProblem, Refused

log = logging.getLogger(__name__)
K = TypeVar("K")
V = TypeVar("V")


class Backoff:
    """Waits that grow, with full jitter: those who failed together do not come back together.

    Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """

    def __init__(self, first: float = 1.0, longest: float = 60.0) -> None:
        self._first = first
        self._longest = longest
        self._span = first

    async def wait(self) -> None:
        """Sleep, and make the next sleep longer."""
        span, self._span = self._span, min(self._longest, self._span * 2)
        # Never nearly nothing: a few calls a second to a service that is down help nobody.
        await asyncio.sleep(random.uniform(span / 10, span))  # noqa: S311

    def reset(self) -> None:
        """Begin with short waits again, because something worked."""
        self._span = self._first


class Persistence:
    """Calls that nobody waits for, repeated until AWS has carried them out or refused them.

    Args:
        what: Names them in the log, which has two lines for each outage.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed = 0

    async def until_done(self, work: Callable[[], Awaitable[V]]) -> V:
        """Return what `work` returns, be that now or in hours.

        Raises:
            Refused: AWS turned it down; repeating it would not help.
        """
        backoff = Backoff()
        while True:
            try:
                done = await work()
            except Refused:
                self._answered()
                raise
            except AwsProblem as problem:
                if not self._failed:
                    log.warning("%s must wait and will be tried again: %s", self._what, problem)
                self._failed += 1
            else:
                self._answered()
                return done
            await backoff.wait()

    def _answered(self) -> None:
        if self._failed:
            log.warning("%s: AWS answers again, after %d failed calls", self._what, self._failed)
        self._failed = 0


class _Flight(Generic[V]):
    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.waiting = 0
        self.landed: asyncio.Future[V] = asyncio.get_running_loop().create_future()
        self.work: asyncio.Future[V]


class Flights(Generic[K, V]):
    """Work that many may ask for at once, done once; it ends when nobody waits for it any more."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    async def join(self, key: K, rank: int, work: Callable[[], Awaitable[V]]) -> V:
        """Return what `work` returns, or the same work under way for somebody else.

        Args:
            rank: How urgent it is; the smaller number. Work under way with less urgency is given
                up and begun anew, for it may wait at the end of a line.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(rank)
            self._take_off(key, flight, work)
        elif rank < flight.rank:
            flight.rank = rank
            flight.work.cancel()
            self._take_off(key, flight, work)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.landed)
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.landed.done():
                del self._flights[key]
                flight.work.cancel()
                flight.landed.cancel()

    def _take_off(self, key: K, flight: _Flight[V], work: Callable[[], Awaitable[V]]) -> None:
        def land(done: asyncio.Future[V]) -> None:
            if done is not flight.work or flight.landed.done():
                _look_at_outcome(done)
                return
            del self._flights[key]
            if done.cancelled():
                flight.landed.cancel()
            elif error := done.exception():
                flight.landed.set_exception(error)
            else:
                flight.landed.set_result(done.result())

        flight.work = asyncio.ensure_future(work())
        flight.work.add_done_callback(land)


def _look_at_outcome(done: asyncio.Future[V]) -> None:
    # Or asyncio complains that nobody did.
    if not done.cancelled():
        done.exception()


class Inventory:
    """What AWS has already: asked for once, in the background, again until it has answered.

    Args:
        what: Names it in the log.
        fetch: Asks AWS and keeps the answer.
    """

    def __init__(self, what: str, fetch: Callable[[], Awaitable[int]]) -> None:
        self._what = what
        self._fetch = fetch
        self._tried = False
        self._work: asyncio.Task[None] | None = None
        self._waiters: list[asyncio.Future[None]] = []

    async def load(self) -> None:
        """Return when AWS has answered, be that now or in hours; asked by many, done once.

        A caller that is cancelled ends it; the next one to need it begins anew.
        """
        work = self._begin()
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            work.cancel()
            raise

    async def settled(self, patience: float) -> None:
        """Wait until AWS has answered or failed for the first time, `patience` seconds at most."""
        if self._tried:
            return
        self._begin()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await waiter

    def _begin(self) -> asyncio.Task[None]:
        if self._work is None or self._work.cancelled():
            self._work = asyncio.create_task(self._until_it_answers())
        return self._work

    async def _until_it_answers(self) -> None:
        backoff = Backoff()
        level = logging.WARNING  # for the first failure; an outage of hours is one line
        while True:
            try:
                count = await self._fetch()
            except AwsProblem as problem:
                log.log(level, "%s could not be listed and will be again: %s", self._what, problem)
                level = logging.DEBUG
            except Exception:
                log.exception("%s could not be listed and will be again", self._what)
            else:
                log.info("%s: %d known", self._what, count)
                self._settle()
                return
            self._settle()
            await backoff.wait()

    def _settle(self) -> None:
        self._tried = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
