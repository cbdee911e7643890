"""Which tasks are followed, when each is to be looked at, what was seen, and who died of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from workroom_spawner.task_view import TaskView, TaskViews
from workroom_spawner.verdicts import Verdict, judge
from workroom_spawner.watched import Watched

FIRST_LOOK = 10.0
"""Seconds from the beginning of a start to its first scheduled look."""
NEXT_LOOK = 25.0
"""Seconds from one look at a starting task to the next; two within 30 s would be one too many."""
ADOPTION_LOOK = 0.2
"""Seconds from following a task that runs already to the first look at it."""


class Roster:
    """All followed tasks; holds nothing about any other.

    Attributes:
        hurried: Those looked at by themselves: starting, or never seen yet.
        settled: Those looked at in sweeps.
        suspects: Those for which ListTasks and their ports must be asked whether they are gone.

    Args:
        every: Seconds from one sweep to the next.
        on_hurry: Called when a look is due earlier than was known before.
    """

    def __init__(self, every: float, on_hurry: Callable[[], None]) -> None:
        self.hurried: dict[str, Watched] = {}
        self.settled: dict[str, Watched] = {}
        self.suspects: dict[str, Watched] = {}
        self._followed: dict[str, Watched] = {}
        self._every = every
        self._on_hurry = on_hurry

    def __len__(self) -> int:
        return len(self._followed)

    def get(self, arn: str) -> Watched | None:
        """Return a followed task."""
        return self._followed.get(arn)

    def add(self, arn: str, address: str) -> Watched:
        """Begin to follow a task as starting."""
        watched = Watched(arn, _now(), address, self._has_started)
        watched.due += FIRST_LOOK
        self._followed[arn] = self.hurried[arn] = watched
        self._on_hurry()
        return watched

    def remove(self, arn: str) -> None:
        """Keep nothing of a task; who waits for news of it is woken."""
        self._look_no_more(arn)
        watched = self._followed.pop(arn, None)
        if watched is not None:
            watched.wake()

    def leave_alone(self, watched: Watched) -> None:
        """Follow a task without ever asking for it."""
        watched.left_alone = True
        self._look_no_more(watched.arn)

    # -- what is due --------------------------------------------------------------

    def next_look(self) -> float | None:
        """Return the loop time at which the next scheduled look is due."""
        return min((watched.due for watched in self.hurried.values()), default=None)

    def longest_wait(self, now: float) -> float:
        """Return for how many seconds at most a task has been waiting for a machine.

        Args:
            now: The loop's time; metrics are also read where no loop runs.
        """
        since = [
            watched.evidence.followed_since
            for watched in self.hurried.values()
            if watched.view is not None and watched.view.status == "PROVISIONING"
        ]
        return now - min(since) if since else 0.0

    def due_looks(self, by: float, most: int) -> list[str]:
        """Return tasks whose scheduled look is due by loop time `by`."""
        due = (arn for arn, watched in self.hurried.items() if watched.due <= by)
        return list(islice(due, most))

    def plan_looks(self, arns: Iterable[str], seconds: float) -> None:
        """Have the next scheduled look at these tasks after so many seconds."""
        due = _now() + seconds
        for watched in self._hurried_of(arns):
            watched.due = due

    def settle(self, arns: Iterable[str]) -> None:
        """Leave to the sweeps what runs and was looked at."""
        for watched in list(self._hurried_of(arns)):
            if not watched.starting:
                self._into_sweeps(watched, _now())

    def due_in_sweep(self, began: float) -> list[str]:
        """Return the tasks of a sweep that began at loop time `began`."""
        return [arn for arn, watched in self.settled.items() if watched.due <= began]

    def _hurried_of(self, arns: Iterable[str]) -> Iterator[Watched]:
        return (self.hurried[arn] for arn in arns if arn in self.hurried)

    def _has_started(self, watched: Watched) -> None:
        if watched.arn not in self.hurried:
            return
        if watched.view is None:  # it ran before this process did
            watched.due = _now() + ADOPTION_LOOK
            self._on_hurry()
        else:
            # It was looked at only just now; a sweep that happens to be near can do without it,
            # which keeps a start within its number of calls.
            self._into_sweeps(watched, _now() + self._every)

    def _into_sweeps(self, watched: Watched, due: float) -> None:
        watched.due = due
        self.settled[watched.arn] = self.hurried.pop(watched.arn)

    def _look_no_more(self, arn: str) -> None:
        for tasks in (self.hurried, self.settled, self.suspects):
            tasks.pop(arn, None)

    # -- what was seen ------------------------------------------------------------

    def take_in(self, answer: TaskViews) -> None:
        """Take in what DescribeTasks answered; an ARN it left out changes nothing."""
        for arn, view in answer.items():
            self._shown(arn, view)
        now = _now()
        for arn in answer.missing:
            watched = self._living(arn)
            if watched is not None:
                watched.evidence = watched.evidence.missed(now)
                if watched.evidence.suspect(now):
                    self.suspects[arn] = watched

    def take_suspects(self) -> list[Watched]:
        """Return the suspects; they are none until DescribeTasks calls them MISSING again."""
        suspects = list(self.suspects.values())
        self.suspects.clear()
        return suspects

    def addresses_in_use(self) -> set[str]:
        """Return the addresses of tasks that ECS shows as running."""
        views = (w.view for w in self._followed.values() if not w.evidence.missing)
        return {view.address for view in views if view is not None and view.status == "RUNNING"}

    def found(self, watched: Watched) -> None:
        """Take in that a suspect was listed, or that its port answered."""
        watched.evidence = watched.evidence.alive()
        self.suspects.pop(watched.arn, None)

    def not_found(self, watched: Watched) -> Verdict:
        """Take in that a suspect is not listed and silent, and judge it.

        What came in meanwhile counts: a task that was shown again is no suspect any more.
        """
        if self._living(watched.arn) is watched:
            watched.evidence = replace(watched.evidence, listed=False, silent=True)
            self._judge(watched)
        return watched.verdict

    def _living(self, arn: str) -> Watched | None:
        watched = self._followed.get(arn)
        return None if watched is None or watched.verdict.dead else watched

    def _shown(self, arn: str, view: TaskView) -> None:
        watched = self._living(arn)
        if watched is not None:
            self.suspects.pop(arn, None)
            watched.shown(view)
            self._judge(watched)

    def _judge(self, watched: Watched) -> None:
        verdict = judge(watched.evidence, _now())
        if not verdict.dead:
            return
        watched.verdict = verdict
        self._look_no_more(watched.arn)
        watched.wake()


def _now() -> float:
    return asyncio.get_running_loop().time()
