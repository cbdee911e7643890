"""AWS's token buckets, kept on our side: calls wait here instead of being throttled there.

A call lines up and waits for its turn. Who came first is served first within a priority; stops go
before spawns, and what nobody waits for goes last. All times are the event loop's.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, insort
from collections.abc import Callable, Generator
from enum import IntEnum

from workroom_spawner.ecs_settings import Bucket

_LATE = 0.001  # seconds that timers ring after their token is there: never before, AWS is exact
_BITS = 48  # of a key for the order of arrival; the priority stands above them
_TOLD_A_SECOND = 250  # waiting turns told of their place, each an event for a page
_TOLD_AT_ONCE = 50


class Priority(IntEnum):
    """Who goes first; the smaller number."""

    STOP = 0
    """Ends what costs money."""
    FINISH = 0
    """The same place in line, for the last call of what was begun: a thousand who begin at once
    must not all have begun before the first of them is done."""
    LIVE = 1
    """Somebody is waiting for it."""
    BACKGROUND = 2
    """Gets only what would run over: nobody else waits and the bucket is full. So it never delays
    anybody by more than one token, and still gets the whole rate while nobody else calls."""


class Turn:
    """One place in the line of a bucket, good for one call.

    Await it to wait for the call's turn. When the waiting task is cancelled, the place goes to the
    next in line, and a token already granted goes back to the bucket.
    """

    def __init__(self, bucket: TokenBucket, key: int) -> None:
        self._bucket = bucket
        self._key = key
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._taken = False
        self._told = 0

    @property
    def place(self) -> int:
        """Place in the line: 1 is next; 0 when it was granted or given up."""
        return 0 if self._future.done() else self._bucket._place(self._key)

    def __await__(self) -> Generator[None, None, None]:
        return self.granted().__await__()

    async def granted(self) -> None:
        """Wait until the call may be made; only one task may wait for one turn.

        Raises:
            asyncio.CancelledError: The turn was given up with `cancel`.
        """
        try:
            await self._future
        except asyncio.CancelledError:
            self.cancel()
            raise
        self._taken = True

    def cancel(self) -> None:
        """Give the place up, or the token if it was granted and not yet awaited; harmless twice."""
        if self._taken:
            return
        self._taken = True
        granted = self._future.done() and not self._future.cancelled()
        self._future.cancel()
        self._bucket._give_up(self._key, granted)

    def again(self) -> Turn:
        """Line up once more where this turn stood, before all who came later.

        For a call that AWS throttled although its turn had come.
        """
        return self._bucket._join(self._key)

    def on_move(self, callback: Callable[[int], None]) -> None:
        """Have `callback(place)` called when the place has changed, and with 0 when granted.

        Changes are gathered: about one call a second, more seldom with over 250 in the line, so
        that a long line costs the event loop no more than a short one.
        """
        self._told = self.place
        self._bucket._listen(self._key, callback)


class TokenBucket:
    """Grants `burst` calls at once and `rate` a second after that, in fair order.

    For one event loop; one timer serves the whole line, however long it is.

    Raises:
        ValueError: The rate is not above 0, so that nobody would ever be served.
    """

    def __init__(self, bucket: Bucket) -> None:
        if bucket.rate <= 0:
            raise ValueError(f"a bucket's rate must be above 0 calls a second, not {bucket.rate}")
        self._burst = max(1.0, bucket.burst)
        self._rate = bucket.rate
        self._tokens = self._burst
        self._counted = float("-inf")  # loop time of the last refill
        self._arrivals = 0
        # Keys in order; those who wait, and nobody else. The list's own operations move memory at
        # 10,000 entries in about two microseconds, so nothing cleverer is needed.
        self._line: list[int] = []
        self._turns: dict[int, Turn] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._listeners: dict[int, Callable[[int], None]] = {}
        self._teller: asyncio.Handle | None = None

    def line_up(self, priority: Priority) -> Turn:
        """Join the line, at the end of those of the same priority.

        Raises:
            RuntimeError: No event loop is running.
        """
        self._arrivals += 1
        return self._join(priority << _BITS | self._arrivals)

    def waiting(self, priority: Priority | None = None) -> int:
        """Return how many wait, of one priority or in all."""
        if priority is None:
            return len(self._line)
        first = bisect_left(self._line, priority << _BITS)
        return bisect_left(self._line, (priority + 1) << _BITS) - first

    def drain(self) -> None:
        """Empty the bucket, because AWS throttled a call: its own bucket is empty, then."""
        self._refill(asyncio.get_running_loop().time())
        self._tokens = min(self._tokens, 0.0)

    def _join(self, key: int) -> Turn:
        turn = Turn(self, key)
        insort(self._line, key)
        self._turns[key] = turn
        self._serve()
        return turn

    def _place(self, key: int) -> int:
        return bisect_left(self._line, key) + 1

    def _give_up(self, key: int, granted: bool) -> None:
        self._listeners.pop(key, None)
        if granted:
            self._tokens = min(self._burst, self._tokens + 1)
        elif self._turns.pop(key, None):
            del self._line[bisect_left(self._line, key)]
        self._serve()

    def _serve(self) -> None:
        """Grant what can be granted, and come back when the next one's token is there."""
        if not self._line:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._refill(now)
        while self._line and self._tokens >= self._price(self._line[0]):
            self._grant(self._line.pop(0))
        if not self._line:
            return
        missing = self._price(self._line[0]) - self._tokens
        when = now + missing / self._rate + _LATE
        # A timer that rings early finds nothing to grant and sets itself anew.
        if self._timer and now <= self._timer.when() <= when:
            return
        if self._timer:
            self._timer.cancel()
        self._timer = loop.call_at(when, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._serve()

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._counted) * self._rate)
        self._counted = now

    def _price(self, key: int) -> float:
        """Tokens that must be in the bucket for this one to be granted its one."""
        return self._burst if key >> _BITS == Priority.BACKGROUND else 1.0

    def _grant(self, key: int) -> None:
        turn = self._turns.pop(key)
        if not turn._future.done():  # else cancelled, and its task has not run since
            self._tokens -= 1
            turn._future.set_result(None)
        if callback := self._listeners.pop(key, None):
            asyncio.get_running_loop().call_soon(callback, 0)
        self._tell_later()

    def _listen(self, key: int, callback: Callable[[int], None]) -> None:
        if key in self._turns:
            self._listeners[key] = callback
            self._tell_later()

    def _tell_later(self) -> None:
        if self._listeners and not self._teller:
            delay = max(1.0, len(self._listeners) / _TOLD_A_SECOND)
            self._teller = asyncio.get_running_loop().call_later(
                delay, lambda: self._tell(list(self._listeners))
            )

    def _tell(self, keys: list[int]) -> None:
        """Call the listeners, a few in every round of the event loop."""
        loop = asyncio.get_running_loop()
        for key in keys[:_TOLD_AT_ONCE]:
            turn, callback = self._turns.get(key), self._listeners.get(key)
            if turn and callback and turn.place != turn._told:
                turn._told = turn.place
                loop.call_soon(callback, turn.place)  # one that raises harms no other
        rest = keys[_TOLD_AT_ONCE:]
        self._teller = loop.call_soon(self._tell, rest) if rest else None
        if not rest and self._line:
            self._tell_later()
