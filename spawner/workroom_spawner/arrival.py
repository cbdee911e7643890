"""From a task to its container's first word: what is shown meanwhile, and when it is too late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from workroom_spawner import task_errors
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.progress import Progress
from workroom_spawner.startcode import START_CODES, Ticket
from workroom_spawner.task_view import TaskView

_MACHINE_NEWS_AFTER = 30.0
"""Seconds without a machine before machines are counted; most tasks find room sooner."""
_NEWS_EVERY = 5.0


@dataclass
class Arrival:
    """One wait for one container.

    Attributes:
        ticket: The start code's; its swap is the first word.
        deadline: Seconds from getting a machine to the swap.
    """

    platform: EcsPlatform
    arn: str
    ticket: Ticket
    progress: Progress
    deadline: float

    async def wait(self, raise_if_dead: Callable[[], Awaitable[None]]) -> None:
        """Return when the container has reported in.

        Args:
            raise_if_dead: Asked at every news; raises when the task has ended.

        Raises:
            NoCapacity: No machine within `capacity_timeout`.
            TimeoutError: No word within `deadline` of getting a machine.
        """
        loop, watcher = asyncio.get_running_loop(), self.platform.watcher
        since, placed = loop.time(), 0.0
        while not self.ticket.redeemed.done():
            await raise_if_dead()
            view = watcher.view(self.arn)
            if view and not placed and view.status not in ("", "PROVISIONING"):
                placed = loop.time()
                # The hub's own deadline speaks first.
                START_CODES.limit(self.ticket, self.deadline + 60)
            if placed and loop.time() - placed > self.deadline:
                raise TimeoutError
            if not placed and loop.time() - since > self.platform.settings.capacity_timeout:
                raise task_errors.NoCapacity(self.platform.settings.capacity_timeout)
            if placed:
                self._tell_of_container(view)
            else:
                self._tell_of_machines(loop.time() - since)
            news = asyncio.ensure_future(watcher.changed(self.arn, _NEWS_EVERY))
            waited_for: list[asyncio.Future[Any]] = [self.ticket.redeemed, news]
            try:
                await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
        self.progress.reach("starting")

    def _tell_of_machines(self, waited: float) -> None:
        if waited < _MACHINE_NEWS_AFTER:
            return
        # Without waiting for AWS: the swap, a death and the deadlines are looked at in this loop.
        machines = self.platform.machines_now()
        coming = machines.wanted - machines.in_service if machines else 0
        since = f"waiting for {_span(waited)}"
        if coming > 0:
            many = "a machine" if coming == 1 else f"{coming} machines"
            self.progress.reach("machine", f"Adding {many}, {since}; it takes a few minutes")
        else:
            self.progress.reach("machine", f"Finding a machine, {since}")

    def _tell_of_container(self, view: TaskView | None) -> None:
        if view is None:
            return
        if view.pull_stopped_at or view.status == "RUNNING":
            self.progress.reach("starting")
        else:
            self.progress.reach("pulling")


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
