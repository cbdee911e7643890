"""Plays the containers of a fake account's tasks, in asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

from tests.fakes.aws.account import FakeAws
from tests.fakes.aws.bad_days import CONTAINER_EXITED
from tests.fakes.aws.task import Task

CODE, URL = "WORKROOM_START_CODE", "WORKROOM_START_URL"
Swap = Callable[[str, str], Awaitable[object]]

log = logging.getLogger(__name__)


class FakeContainers:
    """While entered, lets time go on in `fake` and swaps start codes as containers begin to run.

    Args:
        swap: Gets the start code and the task's address; if it raises, the container exits with
            status 1, as the real one does. None: containers do nothing.
        boot_seconds: From the process's begin until it swaps its code.
    """

    def __init__(
        self, fake: FakeAws, swap: Swap | None = None, *, boot_seconds: float = 0.0
    ) -> None:
        self.fake = fake
        self.swap = swap
        self.boot_seconds = boot_seconds
        self.swapped: set[str] = set()
        """ARNs of tasks whose start code was accepted."""
        self._playing: dict[str, asyncio.Task[None]] = {}
        self._sooner = asyncio.Event()

    async def __aenter__(self) -> FakeContainers:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.fake.lifecycle.watchers.append(self._watch)
        self.fake.timeline.earlier.append(self._wake)
        self._clockwork = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.fake.lifecycle.watchers.remove(self._watch)
        self.fake.timeline.earlier.remove(self._wake)
        playing = [self._clockwork, *self._playing.values()]
        for each in playing:
            each.cancel()
        await asyncio.gather(*playing, return_exceptions=True)

    async def _go_on(self) -> None:
        """Do what is due when it is due, also when nobody calls."""
        while True:
            self._sooner.clear()
            self.fake.advance()
            following = self.fake.timeline.next
            with suppress(TimeoutError):
                async with asyncio.timeout(
                    None if following is None else max(0.0, following - self.fake.timeline.clock())
                ):
                    await self._sooner.wait()

    def _wake(self) -> None:
        self._in_loop(self._sooner.set)

    def _in_loop(self, act: Callable[[], object]) -> None:
        if threading.get_ident() == self._thread:
            act()
        else:
            self._loop.call_soon_threadsafe(act)

    def _watch(self, task: Task, event: str, now: float) -> None:
        if event == "process":
            self._in_loop(lambda: self._begin(task))
        elif event == "exit":
            self._in_loop(lambda: self._end(task))

    def _begin(self, task: Task) -> None:
        if task.process == "running":
            self._playing[task.arn] = asyncio.create_task(self._play(task))

    def _end(self, task: Task) -> None:
        playing = self._playing.pop(task.arn, None)
        if playing and playing is not asyncio.current_task():
            playing.cancel()

    async def _play(self, task: Task) -> None:
        await asyncio.sleep(self.boot_seconds)
        code = task.environment.get(CODE)
        if self.swap is None or code is None:
            return
        try:
            await self.swap(code, task.address)
        except Exception as error:
            log.info("the start code of %s was not accepted: %r", task.arn, error)
            task.lines.append(
                (self.fake.timeline.clock(), f"workroom-start: the start code failed: {error!r}")
            )
            self.fake.end(task.arn, CONTAINER_EXITED)
        else:
            self.swapped.add(task.arn)
