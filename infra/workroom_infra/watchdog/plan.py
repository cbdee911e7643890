"""What to do about a hang: a state machine without clock, network or process of its own."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from workroom_infra.watchdog import fleet
from workroom_infra.watchdog.settings import Settings
from workroom_infra.watchdog.watch import Seen

LONGEST_PAUSE = 30.0
HELD_PAUSE = 60.0
"""Seconds, longer each time: a count takes from the quota with which the hub looks at tasks."""


class Phase(str, Enum):
    """Where this machine stands; docs/mount-watchdog.md draws the ways between them."""

    UNKNOWN = "unknown"
    WATCHING = "watching"
    CLAIMING = "claiming"
    COUNTING = "counting"
    HELD = "held"
    DRAINING = "draining"
    DRAINED = "drained"
    LAST_COUNT = "last-count"
    REPLACING = "replacing"
    REPLACED = "replaced"
    RETURNING = "returning"
    UNCLAIMING = "unclaiming"


class Do(str, Enum):
    """What AWS can be asked for; `aws` carries it out."""

    LOOK = "look"
    CLAIM = "claim"
    COUNT = "count"
    DRAIN = "drain"
    ACTIVATE = "activate"
    UNCLAIM = "unclaim"
    REPLACE = "replace"
    MEASURE = "measure"


@dataclass
class Memory:
    """What outlives the process, within one boot."""

    phase: Phase = Phase.UNKNOWN
    drained_at: float = 0.0
    ours: bool = False
    """Whether it was we who drained the machine: only then may we return it."""
    before: str = ""
    """The machine's status before the first attempt to drain it; "": not looked at yet."""
    drain_sent: bool = False
    """Whether AWS may have drained it already, although no answer said so."""
    returns: int = 0
    claim: str = ""
    """The value of our claim, if there is one."""


class Plan:
    """Decides on the next request to AWS from what was seen and answered.

    One request at a time: `next` gives one, `answered` or `failed` must follow before the next.
    """

    def __init__(self, settings: Settings, memory: Memory | None = None) -> None:
        self._settings = settings
        self.memory = memory or Memory()
        self.tasks: int | None = None
        self.hung_since: float | None = None
        self._quiet_since: float | None = None
        self._not_before = 0.0
        self._failures = 0
        self._holds = 0
        self._looked = float("-inf")
        self._claimed = float("-inf")

    @property
    def phase(self) -> Phase:
        """Where this machine stands."""
        return self.memory.phase

    def next(self, seen: Seen, now: float) -> Do | None:
        """Take note of what was seen; the request that is due now, if any."""
        self._note(seen, now)
        # Who is held back and well again takes the claim back at once: it holds up others.
        well = self.phase is Phase.HELD and not self._hangs
        if now < self._not_before and not well:
            return None
        return getattr(self, "_when_" + self.phase.name.lower())(now)  # type: ignore[no-any-return]

    def answered(self, do: Do, answer: Mapping[str, Any], now: float) -> None:
        """AWS did what `next` asked for."""
        self._failures, self._not_before = 0, now
        getattr(self, "_after_" + do.value)(answer, now)

    def failed(self, now: float) -> None:
        """AWS did not. The same is due again, after a pause that grows."""
        self._failures += 1
        pause = min(LONGEST_PAUSE, 2.0 ** min(self._failures - 1, 8))
        self._not_before = now + pause * random.uniform(0.5, 1.0)  # noqa: S311 no secret

    # -- what is due in each phase -----------------------------------------------------

    def _when_unknown(self, _: float) -> Do:
        return Do.LOOK

    def _when_watching(self, now: float) -> Do | None:
        return self._go(Phase.CLAIMING, now) if self._hangs else None

    def _when_claiming(self, now: float) -> Do | None:
        # An answer may have been lost, so that there is a claim to take back.
        return Do.CLAIM if self._hangs else self._go(Phase.UNCLAIMING, now)

    def _when_counting(self, now: float) -> Do | None:
        return Do.COUNT if self._hangs else self._go(Phase.UNCLAIMING, now)

    def _when_held(self, now: float) -> Do | None:
        return self._go(Phase.CLAIMING if self._hangs else Phase.UNCLAIMING, now)

    def _when_draining(self, now: float) -> Do | None:
        if self._hangs and not self.memory.before:
            # Later it cannot be told any more: AWS may drain it, and the answer be lost.
            return Do.LOOK
        if self._hangs:
            self.memory.drain_sent = True
            return Do.DRAIN
        # The answer was lost, perhaps, or a call timed out: a look tells.
        return self._go(Phase.UNKNOWN if self.memory.drain_sent else Phase.UNCLAIMING, now)

    def _when_drained(self, now: float) -> Do | None:
        if self._quiet(now) and not self.memory.ours:
            return self._go(Phase.UNCLAIMING, now)
        if self._quiet(now) and self._may_return:
            return self._go(Phase.RETURNING, now)
        if now - self._claimed >= fleet.RENEW:
            return Do.CLAIM
        if now - self._looked >= self._settings.look_every:
            return Do.LOOK
        return self._go(Phase.LAST_COUNT, now) if self._is_to_be_replaced(now) else None

    def _when_last_count(self, now: float) -> Do | None:
        return Do.COUNT if self._is_to_be_replaced(now) else self._go(Phase.DRAINED, now)

    def _when_replacing(self, _: float) -> Do:
        return Do.REPLACE

    def _when_replaced(self, _: float) -> Do:
        # Repeated, in case somebody or something set it healthy again.
        return Do.REPLACE

    def _when_returning(self, now: float) -> Do | None:
        # A hang since then keeps it drained.
        return self._go(Phase.DRAINED, now) if self._hangs else Do.ACTIVATE

    def _when_unclaiming(self, now: float) -> Do | None:
        return self._go(Phase.CLAIMING, now) if self._hangs else Do.UNCLAIM

    # -- what follows from each answer --------------------------------------------------

    def _after_look(self, answer: Mapping[str, Any], now: float) -> None:
        self.tasks, self._looked = int(answer["tasks"]), now
        self.memory.claim = str(answer["claim"])
        drained, claimed = answer["status"] == "DRAINING", bool(self.memory.claim)
        if self.phase is Phase.UNKNOWN:
            self.memory.drain_sent = False
            if drained and claimed:
                # Without memory the claim tells that it was we.
                self._drained(now, ours=self.memory.before in ("", "ACTIVE"))
            else:
                # A claim that came to nothing, or one that a hang still wants.
                self.memory.phase = Phase.UNCLAIMING if claimed else Phase.WATCHING
        elif self.phase is Phase.DRAINING:
            self.memory.before = str(answer["status"])
        elif not drained:
            # Somebody set it active again.
            self.memory.phase = Phase.CLAIMING if self._hangs else Phase.UNCLAIMING

    def _after_claim(self, answer: Mapping[str, Any], now: float) -> None:
        self.memory.claim, self._claimed = str(answer["claim"]), now
        if self.phase is Phase.CLAIMING:
            self.memory.phase, self._not_before = Phase.COUNTING, now + self._settings.settle

    def _after_count(self, answer: Mapping[str, Any], now: float) -> None:
        machines, others = int(answer["machines"]), int(answer["others"])
        last = self.phase is Phase.LAST_COUNT
        if others + 1 <= fleet.allowed(machines, self._settings.share):
            self._holds = 0
            if not last:
                self.memory.before = ""
            self.memory.phase = Phase.REPLACING if last else Phase.DRAINING
            return
        self._holds += 1
        pause = min(fleet.RENEW, HELD_PAUSE * self._holds)
        self._not_before = now + pause * random.uniform(0.5, 1.0)  # noqa: S311 no secret
        self.memory.phase = Phase.DRAINED if last else Phase.HELD

    def _after_drain(self, _: Mapping[str, Any], now: float) -> None:
        self._drained(now, ours=self.memory.before == "ACTIVE")

    def _after_activate(self, _: Mapping[str, Any], __: float) -> None:
        returns, claim = self.memory.returns + 1, self.memory.claim
        self.memory = Memory(Phase.UNCLAIMING, returns=returns, claim=claim)

    def _after_unclaim(self, _: Mapping[str, Any], __: float) -> None:
        returns = self.memory.returns
        self.memory = Memory(Phase.WATCHING, returns=returns)
        self._holds, self.tasks = 0, None

    def _after_replace(self, _: Mapping[str, Any], now: float) -> None:
        self.memory.phase, self._not_before = Phase.REPLACED, now + fleet.RENEW

    # -- conditions --------------------------------------------------------------------

    @property
    def _hangs(self) -> bool:
        return self.hung_since is not None

    @property
    def _may_return(self) -> bool:
        return self.memory.returns < self._settings.returns

    def _quiet(self, now: float) -> bool:
        """Whether all mounts have answered for long enough, and no probe is left behind."""
        return self._quiet_since is not None and now - self._quiet_since >= self._settings.recovery

    def _is_to_be_replaced(self, now: float) -> bool:
        if self.tasks is None:
            return False
        empty = self.tasks <= self._settings.background_tasks
        if self.hung_since is None:
            # It hung too often: it goes when nobody is on it, and without a deadline.
            return empty and self._quiet(now) and not self._may_return
        if now - self.memory.drained_at >= self._settings.deadline:
            return True
        return empty and now - self.hung_since >= self._settings.replace_after

    def _note(self, seen: Seen, now: float) -> None:
        if not seen.hung:
            self.hung_since = None
        elif self.hung_since is None:
            self.hung_since = now
        if seen.hung or seen.stuck:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = now

    def _drained(self, now: float, ours: bool) -> None:
        again = self.memory.drained_at if self.memory.ours else 0.0
        self.memory.phase, self.memory.drain_sent = Phase.DRAINED, False
        self.memory.ours = ours
        self.memory.drained_at = again or now
        self._looked = float("-inf")

    def _go(self, phase: Phase, now: float) -> Do | None:
        self.memory.phase = phase
        return getattr(self, "_when_" + phase.name.lower())(now)  # type: ignore[no-any-return]
