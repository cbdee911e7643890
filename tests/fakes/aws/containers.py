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
from tests.fakes.aws.container_http import RETRY_FOR, WebServer, swap_at_hub
from tests.fakes.aws.holds import user_of
from tests.fakes.aws.task import Task

CODE, URL = "WORKROOM_START_CODE", "WORKROOM_START_URL"
PATIENCE = "WORKROOM_START_PATIENCE"
Swap = Callable[[str, str], Awaitable[object]]

log = logging.getLogger(__name__)


class FakeContainers:
    """While entered, lets time go on in `fake` and plays containers as they begin to run.

    Args:
        swap: Gets the start code and the task's address; if it raises, the container exits with
            status 1, as the real one does. None: the code is posted to the start URL in the
            task's environment, over HTTP and from the task's own address.
        boot_seconds: From the process's begin until it swaps its code.
        web_port: All containers answer HTTP on this port of their address; None: they do not.
        each_listens: See `WebServer`.
    """

    def __init__(
        self,
        fake: FakeAws,
        swap: Swap | None = None,
        *,
        boot_seconds: float = 0.0,
        web_port: int | None = None,
        each_listens: bool = False,
    ) -> None:
        self.fake = fake
        self.swap = swap
        self.boot_seconds = boot_seconds
        self.swapped: set[str] = set()
        """ARNs of tasks whose start code was accepted."""
        self.environments: dict[str, dict[str, str]] = {}
        """What they got for it over HTTP, by ARN."""
        self.holds: dict[str, list[str]] = {"swap": [], "answer": []}
        """Users whose containers wait before they swap their code, or before they answer HTTP."""
        self.failed: dict[str, str] = {}
        """Why the start code of others was not, by ARN."""
        self.answering: dict[str, Task] = {}
        """Tasks whose server is up, by address."""
        self._web = (
            WebServer(web_port, self.answering, each=each_listens) if web_port is not None else None
        )
        self._playing: dict[str, asyncio.Task[None]] = {}
        self._sooner = asyncio.Event()

    @property
    def web_port(self) -> int:
        """The port containers answer on; chosen by the system if 0 was asked for."""
        if self._web is None:
            raise RuntimeError("these containers answer no HTTP: give a web_port")
        return self._web.port

    async def __aenter__(self) -> FakeContainers:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        if self._web:
            await self._web.open()
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
        if self._web:
            await self._web.close()

    async def _go_on(self) -> None:
        """Do what is due when it is due, also when nobody calls."""
        while True:
            self._sooner.clear()
            self.fake.advance()
            following = self.fake.timeline.next
            with suppress(TimeoutError):
                async with asyncio.timeout(None if following is None else self._until(following)):
                    await self._sooner.wait()

    def _until(self, when: float) -> float:
        # A loop may round its time: never wait so little that it stands still.
        return max(0.001, when - self.fake.timeline.clock())

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
        if task.process != "running":
            return
        if CODE not in task.environment and not self.boot_seconds:
            self._up(task)
            return
        self._playing[task.arn] = asyncio.create_task(self._play(task))

    def _end(self, task: Task) -> None:
        self.answering.pop(task.address, None)
        if self._web:
            self._web.ended(task.address)
        playing = self._playing.pop(task.arn, None)
        if playing and playing is not asyncio.current_task():
            playing.cancel()

    async def _play(self, task: Task) -> None:
        await asyncio.sleep(self.boot_seconds)
        await self._held(task, "swap")
        environment = task.environment
        try:
            if self.swap and CODE in environment:
                await self.swap(environment[CODE], task.address)
            elif URL in environment and CODE in environment:
                self.environments[task.arn] = await swap_at_hub(
                    environment[URL],
                    environment[CODE],
                    task.address,
                    float(environment.get(PATIENCE, RETRY_FOR)),
                )
        except Exception as error:
            self._fail(task, error)
            return
        if CODE in environment:
            self.swapped.add(task.arn)
        await self._held(task, "answer")
        self._up(task)
        self._playing.pop(task.arn, None)

    def _up(self, task: Task) -> None:
        self.answering[task.address] = task
        if self._web:
            self._web.up(task.address)

    async def _held(self, task: Task, step: str) -> None:
        while user_of(task.request) in self.holds[step]:
            await asyncio.sleep(0.05)

    def _fail(self, task: Task, error: Exception) -> None:
        """Exit as the real container does, with a line in its log; never the code itself."""
        log.warning("the start code of %s was not accepted: %s", task.arn, error)
        self.failed[task.arn] = str(error) or type(error).__name__
        self.fake.write(task.arn, f"workroom-start: {error}")
        self.fake.end(task.arn, CONTAINER_EXITED)
