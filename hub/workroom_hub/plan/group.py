"""The auto-scaling group of one policy, as managed scaling moves it; simulate.py has the rules."""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush

from workroom_hub.plan.outcome import Outcome, World
from workroom_hub.settings_plan import Policy


class Group:
    """The auto-scaling group: numbered places, of which the last filled goes first."""

    def __init__(self, world: World, policy: Policy, outcome: Outcome) -> None:
        self._policy, self._assumed, self._outcome = policy, world.assumed, outcome
        self._days, self._closes = (world.begins, world.horizon), world.closes
        self._spare = policy.minimum, math.ceil(policy.spare / world.spare_unit)
        self._prepared = math.ceil(policy.warm_pool * world.packed.peak / 100)
        outcome.prepared = self._prepared
        self._filled: list[float] = []  # when each place was filled
        self._coming: list[tuple[float, int, float]] = []  # ready at, place, filled at
        self._beat = math.ceil(
            max(self._assumed.evaluate_every, self._assumed.instance_warmup)
            / self._assumed.evaluate_every
        )
        self._evaluations = 0
        # A night without a server leaves the group like this, and its machines ready.
        self.size = self.ready = self._idle = self._wanted(0)
        self._filled = [-math.inf] * self.size
        self._window = 1 + self._assumed.scale_in_after // self._assumed.evaluate_every
        # Evaluations that no later one in the window exceeds, and what each wanted: falling.
        self._recent = deque([(-1, self.size)])
        self._quiet, self._from_none = self._window, False
        self._counted = 0.0

    @property
    def idle(self) -> bool:
        """Whether it is as small as without a server."""
        return self.size == self._idle

    @property
    def next_ready(self) -> float:
        """When the next machine comes; infinity if none does."""
        return self._coming[0][0] if self._coming else math.inf

    def arrive(self) -> None:
        """The next machine that comes is there, unless its place was given up meanwhile."""
        _, place, filled = heappop(self._coming)
        if place < self.size and self._filled[place] == filled:
            self.ready += 1

    def evaluate(self, now: float, needed: int) -> None:
        """Do what managed scaling does once a minute."""
        wanted = max(self._wanted(needed), self._least_step(needed))
        on_beat = self._evaluations % self._beat == 0
        most = self._most_recent(wanted)
        if wanted > self.size:
            if on_beat:
                self._add(now, min(wanted - self.size, self._assumed.max_step))
        elif most < self.size:
            share = math.floor(self.size * self._assumed.scale_in_step / 100) or 1
            self._remove(now, min(self.size - most, share))
        if on_beat:
            self._from_none = False
        self._evaluations += 1

    def count(self, now: float) -> None:
        """Add up what machines were there since the last time."""
        begins, horizon = self._days
        if (span := self._since(now, begins, horizon)) > 0:
            self._pay(span, self.size)
            self._outcome.largest = max(self._outcome.largest, self.size)
            self._outcome.most_disks = max(self._outcome.most_disks, self.size, self._prepared)
        # Of the night after, the days pay what they left behind; the idle group is the next day's.
        if (span := self._since(now, horizon, self._closes)) > 0:
            self._pay(span, self.size)
            self._pay(-span, self._idle)
        self._counted = now

    def _since(self, now: float, begins: float, ends: float) -> float:
        """Return the seconds between two moments that have passed since the last count."""
        return min(now, ends) - max(self._counted, begins)

    def _pay(self, span: float, machines: int) -> None:
        pool = max(0, self._prepared - machines)
        self._outcome.paid += span * machines
        self._outcome.pooled += span * pool
        self._outcome.on_disk += span * (machines + pool)

    def _wanted(self, needed: int) -> int:
        """Return the size that managed scaling aims at."""
        minimum, spare = self._spare
        return max(-(-100 * needed // self._policy.target), needed + spare, minimum)

    def _most_recent(self, wanted: int) -> int:
        """Return the most that was wanted in the time that must pass before a step down."""
        while self._recent and self._recent[-1][1] <= wanted:
            self._recent.pop()
        self._recent.append((self._evaluations, wanted))
        if self._recent[0][0] <= self._evaluations - self._window:
            self._recent.popleft()
        return self._recent[0][1]

    def _least_step(self, needed: int) -> int:
        """Return 2 when machines are needed after a time without any: ECS takes two from none."""
        if needed and self._quiet >= self._window and not any(self._spare):
            self._from_none = True
        self._quiet = 0 if needed else self._quiet + 1
        return 2 if needed and self._from_none else 0

    def _lasts(self, place: int) -> float:
        """Return the seconds from the filling of a place until its machine is ready."""
        assumed = self._assumed
        if place >= self._prepared:
            return assumed.instance_launch
        hibernated = self._policy.warm_state == "hibernated"
        warm = assumed.hibernated_start if hibernated else assumed.warm_start
        return min(warm, assumed.instance_launch)

    def _add(self, now: float, machines: int) -> None:
        for place in range(self.size, self.size + machines):
            self._filled.append(now)
            heappush(self._coming, (now + self._lasts(place), place, now))
        self.size += machines

    def _remove(self, now: float, machines: int) -> None:
        for place in range(self.size - machines, self.size):
            if self._filled[place] + self._lasts(place) <= now:
                self.ready -= 1
            # Its place in the warm pool is filled by a machine that is launched and stopped.
            prepared = self._assumed.prepare if place < self._prepared else 0
            if self._days[0] <= now < self._closes:
                self._outcome.on_disk += self._assumed.terminate
                self._outcome.paid += self._assumed.terminate + prepared
        self.size -= machines
        del self._filled[self.size :]
