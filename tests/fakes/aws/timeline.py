"""What is going to happen, and when; it happens when somebody looks."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Act = Callable[[float], None]


class Timeline:
    """A queue of acts by time. Nothing runs by itself: `advance` does all that is due, in order.

    Args:
        clock: Seconds; must not go backwards.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.earlier: list[Callable[[], None]] = []
        """Called when something is to happen before all else that was known."""
        self._acts: list[tuple[float, int, Act]] = []
        self._order = itertools.count()

    def at(self, when: float, act: Act) -> None:
        """Have `act(when)` done at `when`."""
        first = not self._acts or when < self._acts[0][0]
        heapq.heappush(self._acts, (when, next(self._order), act))
        if first:
            for tell in self.earlier:
                tell()

    @property
    def next(self) -> float | None:
        """Time of the next act."""
        return self._acts[0][0] if self._acts else None

    def advance(self) -> float:
        """Do all that is due; return the time now."""
        now = self.clock()
        while self._acts and self._acts[0][0] <= now:
            when, _, act = heapq.heappop(self._acts)
            act(when)
        return now
