"""When a task counts as dead. Pure: from what was seen, by the event loop's clock, to a verdict.

A task is dead when DescribeTasks said that it stopped; or when all of this holds, and nothing less:

- DescribeTasks called it MISSING three times, each at least 60 s after the one before, and never
  showed it in between;
- it has been followed for more than five minutes (a new task is MISSING for a moment, and so may
  be a hub's first answers);
- ListTasks does not list it;
- its HTTP port is silent.

No answer is never evidence, so throttling, errors, lost credentials and lost networks kill nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from workroom_spawner.task_view import TaskView

MISSING_TIMES = 3
MISSING_APART = 60.0  # seconds
FOLLOWED_FOR = 300.0  # seconds
# DELETED is what DescribeTasks calls a stopped task shortly before it forgets it.
_ENDED = frozenset({"STOPPED", "DELETED"})


class Death(StrEnum):
    """How a task was found to be dead."""

    STOPPED = "stopped"
    """ECS says so, and its last view says why."""
    VANISHED = "vanished"
    """ECS no longer knows it, and nothing answers where it was."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Alive, or dead for good.

    Attributes:
        death: None while the task is alive, or not known to be dead.
        view: The last view of a dead task, if there ever was one.
    """

    death: Death | None = None
    view: TaskView | None = None

    @property
    def dead(self) -> bool:
        """Whether the task has ended; there is no way back."""
        return self.death is not None


ALIVE = Verdict()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one task.

    Attributes:
        followed_since: Loop time in seconds.
        view: As it was last shown.
        missing: Loop times of the MISSING answers that count, since it was last shown.
        listed: Whether ListTasks lists it; True until it was asked.
        silent: Whether its port was tried and nobody answered.
    """

    followed_since: float
    view: TaskView | None = None
    missing: tuple[float, ...] = ()
    listed: bool = True
    silent: bool = False

    def shown(self, view: TaskView) -> Evidence:
        """Return the evidence after DescribeTasks showed the task; the same if nothing is new."""
        if not self.missing and self.view == view:
            return self
        return Evidence(self.followed_since, view)

    def alive(self) -> Evidence:
        """Return the evidence after the task was found by other means than DescribeTasks."""
        return Evidence(self.followed_since, self.view)

    def missed(self, now: float) -> Evidence:
        """Return the evidence after DescribeTasks called the task MISSING at `now`."""
        if self.missing and now - self.missing[-1] < MISSING_APART:
            return self
        return replace(self, missing=(*self.missing[1 - MISSING_TIMES :], now))

    def suspect(self, now: float) -> bool:
        """Tell whether all holds but what only ListTasks and the port can tell."""
        return len(self.missing) >= MISSING_TIMES and now - self.followed_since > FOLLOWED_FOR


def judge(evidence: Evidence, now: float) -> Verdict:
    """Return the verdict on a task at loop time `now`."""
    view = evidence.view
    if view is not None and view.status in _ENDED:
        return Verdict(Death.STOPPED, view)
    if evidence.suspect(now) and not evidence.listed and evidence.silent:
        return Verdict(Death.VANISHED, view)
    return ALIVE
