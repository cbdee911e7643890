"""One task that the watcher follows: what is known of it, and who waits for news of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from workroom_spawner.task_view import TaskView
from workroom_spawner.verdicts import ALIVE, Evidence, Verdict


class Watched:
    """A followed task; made by `Watcher.follow`.

    Attributes:
        starting: Looked at often, until `started` is called.
        due: Loop time from which on it is to be looked at: by itself while it is starting, or else
            as part of the sweeps.
        left_alone: ECS refuses to answer about it, so it is not asked.
        verdict: What `poll` reads.
    """

    __slots__ = (
        "_address",
        "_on_started",
        "_waiting",
        "arn",
        "due",
        "evidence",
        "left_alone",
        "starting",
        "verdict",
    )

    def __init__(
        self, arn: str, now: float, address: str, on_started: Callable[[Watched], None]
    ) -> None:
        self.arn = arn
        self.starting = True
        self.due = now
        self.left_alone = False
        self.evidence = Evidence(followed_since=now)
        self.verdict: Verdict = ALIVE
        self._address = address
        self._on_started = on_started
        self._waiting: list[asyncio.Future[None]] | None = None

    @property
    def view(self) -> TaskView | None:
        """The task as ECS last showed it."""
        return self.evidence.view

    def started(self) -> None:
        """Say that its server runs, so that it need not be looked at so often."""
        if self.starting:
            self.starting = False
            self._on_started(self)

    def shown(self, view: TaskView) -> None:
        """Take in what DescribeTasks shows, and wake who waits for a change."""
        before, self.evidence = self.evidence.view, self.evidence.shown(view)
        if differs(before, view):
            self.wake()

    def last_address(self) -> TaskView | None:
        """Return a view with the last address known; None if none ever was."""
        if self.view is not None and self.view.address:
            return self.view
        if self._address:
            return TaskView(self.arn, "", address=self._address)
        return None

    async def news(self) -> None:
        """Wait for a change, for death, or for nobody following the task any more."""
        future = asyncio.get_running_loop().create_future()
        self._waiting = [*(self._waiting or ()), future]
        try:
            await future
        finally:
            if self._waiting and future in self._waiting:
                self._waiting.remove(future)

    def wake(self) -> None:
        """Wake everyone in `news`."""
        waiting, self._waiting = self._waiting or (), None
        for future in waiting:
            if not future.done():
                future.set_result(None)


def differs(before: TaskView | None, now: TaskView | None) -> bool:
    """Tell whether a task changed in a way that a waiting spawn cares about."""
    return _gist(before) != _gist(now)


def _gist(view: TaskView | None) -> tuple[object, ...] | None:
    if view is None:
        return None
    return view.status, view.address, view.pull_started_at, view.pull_stopped_at
