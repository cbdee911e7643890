"""How all tasks of one cluster are: one shared look at ECS for every server.

Running tasks are swept every `sweep_seconds`, a hundred a call; starting ones are looked at a bit
more often; whoever wants to know at once shares a call with the others who do. What is known is
kept in a dictionary, which is all that `poll` reads. `verdicts` says when a task is dead.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from workroom_spawner import metrics
from workroom_spawner.aws_errors import AwsProblem, Refused
from workroom_spawner.confirmation import Answers, Confirmation
from workroom_spawner.outage import Outage
from workroom_spawner.roster import NEXT_LOOK, Roster
from workroom_spawner.task_view import TaskView, TaskViews
from workroom_spawner.verdicts import ALIVE, Verdict
from workroom_spawner.watched import Watched

if TYPE_CHECKING:
    from workroom_spawner.ecs_api import EcsApi

log = logging.getLogger(__name__)

BATCH = 100
"""Most tasks in one DescribeTasks; ECS allows no more."""
GATHER = 0.2
"""Seconds that a wanted look waits for others to share its call."""
DUE_TOGETHER = 1.0
"""Scheduled looks due within so many seconds share a call."""
LOOKS_AT_ONCE = 4
"""Calls for looks under way; while one hangs, the others go on."""
TIMER_EARLY = 0.01
"""Seconds by which a timer may come too early, after which it would be set anew at once."""
LONGEST_WAIT = 60.0
"""Most seconds between two tries while ECS does not answer."""
PAUSE_AFTER_MISTAKE = 10.0
"""Seconds, so that a mistake of ours does not fill the log."""

_Wanted = dict[str, list[asyncio.Future[TaskView | None]]]


class Watcher:
    """Follows tasks.

    Args:
        api: ECS of one cluster and region.
        answers: Tries the port of a task's server, at the address in the view.
    """

    def __init__(self, api: EcsApi, *, answers: Answers) -> None:
        self._api = api
        self._every = api.settings.sweep_seconds
        # Sweeps leave half of the bucket to the looks, whoever comes first.
        self._pace = 2 / api.settings.quotas.describe.rate
        # Not longer than a sweep's period, in which all must be current again after an outage.
        self._outage = Outage(min(LONGEST_WAIT, self._every))
        self._wake = asyncio.Event()
        self._roster = Roster(self._every, self._wake.set)
        self._confirmation = Confirmation(api, self._roster, answers)
        self._wanted: _Wanted = {}
        self._slots = asyncio.Semaphore(LOOKS_AT_ONCE)
        self._calls: dict[asyncio.Task[None], _Wanted] = {}
        self._running: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._current_at = 0.0
        itself = weakref.ref(self)
        metrics.report_age(self, lambda: watcher.age if (watcher := itself()) else 0.0)
        metrics.report_wait(self, lambda: watcher.machine_wait if (watcher := itself()) else 0.0)

    # -- what others ask, without waiting ---------------------------------------

    def follow(self, arn: str, address: str = "") -> Watched:
        """Begin to follow a task as starting; one that is followed already stays as it is.

        Args:
            address: Where it was last known to be, for a task that is older than this process.
        """
        self._begin()
        return self._roster.get(arn) or self._roster.add(arn, address)

    def forget(self, arn: str) -> None:
        """Follow a task no longer; who waits for news of it gets None."""
        self._roster.remove(arn)

    def view(self, arn: str) -> TaskView | None:
        """Return a task as ECS last showed it; None if it never did or is not followed."""
        watched = self._roster.get(arn)
        return watched.view if watched else None

    def verdict(self, arn: str) -> Verdict:
        """Return whether a task is dead; a task nobody knows is alive. Never raises."""
        watched = self._roster.get(arn)
        return watched.verdict if watched else ALIVE

    @property
    def age(self) -> float:
        """Seconds since the last sweep that left no look failed; 0 while none is needed."""
        if self._loop is None or self._running is None or not len(self._roster):
            return 0.0
        return self._loop.time() - self._current_at

    @property
    def machine_wait(self) -> float:
        """Seconds for which a start has been waiting for a machine, the longest; 0 without one."""
        return self._roster.longest_wait(self._loop.time()) if self._loop else 0.0

    # -- what others wait for ---------------------------------------------------

    async def look(self, arn: str) -> TaskView | None:
        """Ask ECS for a task now, in one call with all others asked for at this moment.

        Returns:
            What ECS shows; or, if it has no answer or calls the task MISSING, what it last showed,
            which may be nothing. Never raises because of ECS.
        """
        watched = self._roster.get(arn)
        if watched is not None and watched.left_alone:
            return watched.view
        self._begin()
        future: asyncio.Future[TaskView | None] = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(arn, []).append(future)
        self._wake.set()
        return await future

    async def changed(self, arn: str, timeout: float) -> TaskView | None:  # noqa: ASYNC109
        """Wait until a task's status, address or image pull changes, or it is found dead.

        Args:
            timeout: Seconds.

        Returns:
            The view then; None after `timeout`, or when the task is not followed any more.
        """
        watched = self._roster.get(arn)
        if watched is not None and watched.verdict.dead:
            return watched.view
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                if watched is None:
                    await asyncio.get_running_loop().create_future()
                else:
                    await watched.news()
                    return self.view(arn)
        return None

    async def close(self) -> None:
        """End all looks; tasks run on, and who waits for a look gets what is known."""
        under_way = [*self._calls, *self._confirmation.cancel()]
        if self._running is not None:
            under_way.append(self._running)
            self._running = None
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        self._answer(self._take_wanted(len(self._wanted)), {})

    # -- the two beats ----------------------------------------------------------

    def _begin(self) -> None:
        if self._running is None:
            self._loop = asyncio.get_running_loop()
            self._current_at = self._loop.time()
            self._running = self._loop.create_task(self.run())

    async def run(self) -> None:
        """Look at everything that is followed, for ever; begun by the first `follow`."""
        await asyncio.gather(self._for_ever(self._sweep_in_time), self._for_ever(self._look_on))

    async def _for_ever(self, beat: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await beat()
            except Exception:
                log.exception("a mistake of ours while looking at the servers; looks go on")
                await asyncio.sleep(PAUSE_AFTER_MISTAKE)

    async def _sweep_in_time(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        whole = await self._sweep(began)
        self._outage.swept(began)
        if whole and not self._outage.ongoing:
            self._current_at = began
        await asyncio.sleep(max(0.0, began + self._every - loop.time()))

    async def _sweep(self, began: float) -> bool:
        """Look at every settled task once; return whether all answers could be taken in.

        A call that fails is repeated until it is answered, so a sweep gets to its end however
        often it is throttled.
        """
        whole = True
        batches = deque(_batches(self._roster.due_in_sweep(began)))
        while batches:
            batch = [arn for arn in batches[0] if arn in self._roster.settled]
            try:
                if batch:
                    await self._describe(batch)
            except AwsProblem as problem:
                await asyncio.sleep(self._outage.failed(problem))
                continue
            except Exception:
                if whole:  # one traceback a sweep
                    log.exception("a mistake of ours in a sweep of the servers; it goes on")
                whole = False
            batches.popleft()
            if batches:
                await asyncio.sleep(self._pace)
        return whole

    async def _look_on(self) -> None:
        await self._slots.acquire()
        try:
            await self._something_to_look_at()
        except BaseException:
            self._slots.release()
            raise
        batch = self._take_wanted(BATCH)
        by = asyncio.get_running_loop().time() + DUE_TOGETHER
        for arn in self._roster.due_looks(by, BATCH - len(batch)):
            batch.setdefault(arn, [])
        # A look that somebody wanted is as good as the scheduled one; and none is due again while
        # this call is under way.
        self._roster.plan_looks(batch, NEXT_LOOK)
        call = asyncio.get_running_loop().create_task(self._look_at(batch))
        self._calls[call] = batch
        call.add_done_callback(self._looked)

    async def _something_to_look_at(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._wanted:
            self._wake.clear()
            due = self._roster.next_look()
            if due is not None and due - loop.time() < TIMER_EARLY:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
        if len(self._wanted) < BATCH:
            await asyncio.sleep(GATHER)

    def _take_wanted(self, most: int) -> _Wanted:
        """Take looks somebody waits for; who was cancelled waits no more."""
        batch: _Wanted = {}
        while self._wanted and len(batch) < most:
            arn = next(iter(self._wanted))
            waiting = [future for future in self._wanted.pop(arn) if not future.done()]
            if waiting:
                batch[arn] = waiting
        return batch

    async def _look_at(self, batch: _Wanted) -> None:
        if not batch:
            return
        try:
            self._answer(batch, await self._describe(list(batch)))
            self._roster.plan_looks(batch, NEXT_LOOK)
            self._roster.settle(batch)
        except AwsProblem as problem:
            self._roster.plan_looks(batch, self._outage.failed(problem))
        except Exception:
            log.exception("a mistake of ours in a look at the servers; looks go on")

    def _looked(self, call: asyncio.Task[None]) -> None:
        self._slots.release()
        self._answer(self._calls.pop(call), {})
        self._wake.set()  # a look that failed is due again sooner than it was when it began

    def _answer(self, batch: _Wanted, shown: dict[str, TaskView]) -> None:
        for arn, waiting in batch.items():
            for future in waiting:
                if not future.done():
                    future.set_result(shown.get(arn) or self.view(arn))

    # -- what ECS says ----------------------------------------------------------

    async def _describe(self, arns: Sequence[str]) -> dict[str, TaskView]:
        """Ask for at most 100 tasks and take in the answer.

        Raises:
            AwsProblem: There was none.
        """
        try:
            answer: TaskViews = await self._api.describe_tasks(arns)
        except Refused as refused:
            if not _about_a_task(refused):
                raise
            return await self._describe_in_halves(arns, refused)
        self._outage.answered()
        self._roster.take_in(answer)
        self._confirmation.begin()
        return answer

    async def _describe_in_halves(
        self, arns: Sequence[str], refused: Refused
    ) -> dict[str, TaskView]:
        """Find the ARN that ECS turns down, which would spoil the answer for all others."""
        if len(arns) > 1:
            middle = len(arns) // 2
            first = await self._describe(arns[:middle])
            return {**first, **await self._describe(arns[middle:])}
        self._outage.answered()
        watched = self._roster.get(arns[0])
        if watched is not None:
            self._roster.leave_alone(watched)
            log.warning(
                "ECS refuses to say how the task %s is (%s), so it counts as running until it is "
                "stopped. Is it of another cluster or region than `workroom.yaml` names?",
                watched.arn,
                refused,
            )
        return {}


def _about_a_task(refused: Refused) -> bool:
    """Tell whether one task may be why a whole call was refused.

    That is `InvalidParameterException`, or a reason among the answer's `failures`; the other
    exceptions of DescribeTasks are about the cluster or the caller.
    """
    return refused.code == "InvalidParameterException" or not refused.code.endswith("Exception")


def _batches(arns: Sequence[str]) -> Iterable[Sequence[str]]:
    return (arns[start : start + BATCH] for start in range(0, len(arns), BATCH))
