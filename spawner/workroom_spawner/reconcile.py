"""Finds our tasks on the cluster: to take them over after a restart, and to stop what nobody needs.

A task is ours if `startedBy` says so (ECS lists no others) and its tag says so; nothing else is
ever touched. A task of ours that no server here knows is an orphan: a start that died with its hub
at the wrong moment, or a RunTask whose answer was lost. It costs money until it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from workroom_spawner import metrics
from workroom_spawner.aws_errors import AwsProblem, Refused, Throttled, Unreachable
from workroom_spawner.background import Backoff, Flights
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.task_requests import SERVER_ID, START
from workroom_spawner.task_view import TaskView
from workroom_spawner.watcher import Watcher

log = logging.getLogger(__name__)
ROUND = 60.0
"""Seconds between two looks for orphans."""
_ROUNDS = 2
"""Times an orphan must have been seen as one before it is stopped."""
_UNKNOWN = 3
"""Times StopTask must not know a task before it counts as gone: a new one is not known at once."""
_TOO_NEW = 10.0
"""Seconds between these."""
_LONGEST_WAIT = 60.0
"""Seconds between two tries to stop a task that AWS refuses to stop."""
_ATTEMPTS = 5
"""Times a throttled or silent AWS is asked for the task of a start that is to go on."""


@dataclass(frozen=True)
class Known:
    """What the hub knows of one server that runs or starts.

    Attributes:
        arn: Its task; None while RunTask has not answered.
        client_token: Of its start; the task it gets has it as a tag.
    """

    arn: str | None
    client_token: str | None = None


@dataclass(frozen=True, slots=True)
class Owned:
    """What the tags of a task of ours say."""

    arn: str
    server_id: str
    start: str


@dataclass
class _Suspicion:
    since: float
    rounds: int = 1


@dataclass
class _Order:
    """One task to be stopped.

    Attributes:
        orphan: Set if nobody asked for it but us.
        due: Loop time of the next try.
        tries: How often AWS refused this one in particular.
        unknown: How often AWS did not know the task.
    """

    reason: str
    orphan: Owned | None = None
    due: float = 0.0
    tries: int = 0
    unknown: int = 0


class Reconciler:
    """Looks after the tasks of one installation on one cluster.

    Args:
        known: Returns every server that runs, starts or stops, by its server id. It must know all
            of them from the start of the hub on; who is missing for the grace period is stopped.
    """

    def __init__(
        self, api: EcsApi, watcher: Watcher, known: Callable[[], Mapping[str, Known]]
    ) -> None:
        self._api = api
        self._watcher = watcher
        self._known = known
        # Tags of tasks that no server here knows; None: not ours. Tags do not change.
        self._owned: dict[str, Owned | None] = {}
        self._suspicions: dict[str, _Suspicion] = {}
        self._orders: dict[str, _Order] = {}
        self._ordered = asyncio.Event()
        self._stopping: asyncio.Task[None] | None = None
        self._rounds: asyncio.Task[None] | None = None
        self._flights: Flights[str, None] = Flights()
        self._failing = False
        self._closed = False

    # -- taking over ---------------------------------------------------------------

    async def adopt(self) -> dict[str, list[TaskView]]:
        """Return all our tasks that are to run, by server id, tags included.

        Two calls for every 100 tasks.

        Raises:
            AwsProblem: AWS did not say; throttled calls are not repeated here.
        """
        tasks: dict[str, list[TaskView]] = {}
        for view in await self._describe(await self._api.list_tasks()):
            owned = self._owned.get(view.arn)
            if owned:
                tasks.setdefault(owned.server_id, []).append(view)
        return tasks

    async def find(self, client_token: str) -> Owned | None:
        """Return the task of one start, for a hub that died before it learned which one it is.

        Raises:
            AwsProblem: AWS did not say, several times.
        """
        if not self._of_start(client_token):
            # Many starts may go on at once after a restart; one look does for all of them.
            await self._flights.join("", 0, self._look)
        return self._of_start(client_token)

    def _of_start(self, client_token: str) -> Owned | None:
        for owned in self._owned.values():
            if owned and owned.start == client_token:
                return owned
        return None

    async def _look(self) -> None:
        backoff = Backoff()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                await self._learn(await self._api.list_tasks())
                return
            except (Throttled, Unreachable):
                if attempt == _ATTEMPTS:
                    raise
            await backoff.wait()

    # -- orphans -------------------------------------------------------------------

    async def run(self) -> None:
        """Look for orphans every minute, for ever; what goes wrong in a round ends with it."""
        self._rounds = asyncio.current_task()
        while True:
            await asyncio.sleep(ROUND)
            try:
                await self.look_for_orphans()
            except AwsProblem as problem:
                if not self._failing:
                    log.warning("orphans cannot be looked for; nothing is stopped: %s", problem)
                self._failing = True
            except Exception:
                log.exception("orphans cannot be looked for; nothing is stopped")
                self._failing = True
            else:
                if self._failing:
                    log.warning("orphans are looked for again")
                self._failing = False

    async def look_for_orphans(self) -> None:
        """Do one round: a ListTasks for every 100 tasks, and DescribeTasks only for new strangers.

        Raises:
            AwsProblem: AWS did not say; nothing has changed.
        """
        listed = await self._api.list_tasks()
        await self._learn(listed)
        # From here on nothing waits: what is judged is what is known at this moment.
        servers = self._known()
        strangers = listed - _arns(servers)
        self._owned = {arn: self._owned[arn] for arn in strangers if arn in self._owned}
        orphans = [
            owned for owned in self._owned.values() if owned and not _belongs(owned, servers)
        ]
        self._suspect(orphans)

    def stop_later(self, arn: str, reason: str) -> None:
        """Have a task stopped, however long AWS does not take it; returns at once."""
        self._order(arn, _Order(reason))

    async def close(self) -> None:
        """End it. What is still to be stopped, the next hub process finds as orphans."""
        self._closed = True
        for task in (self._rounds, self._stopping):
            if task and not task.done() and task is not asyncio.current_task():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    def _suspect(self, orphans: Iterable[Owned]) -> None:
        """Note who is an orphan in this round; have those stopped that have been one for long."""
        now = asyncio.get_running_loop().time()
        before, self._suspicions = self._suspicions, {}
        grace = self._api.settings.orphan_grace
        for orphan in orphans:
            suspicion = before.get(orphan.arn)
            if suspicion:
                suspicion.rounds += 1
            else:
                suspicion = _Suspicion(now)
                log.info(
                    "task %s of server %s: no server here knows it; stopped in %.0f s if that "
                    "stays so",
                    _id(orphan.arn),
                    orphan.server_id,
                    grace,
                )
            self._suspicions[orphan.arn] = suspicion
            if suspicion.rounds >= _ROUNDS and now - suspicion.since >= grace:
                reason = f"workroom: no server of the hub has known this task for {grace:.0f} s"
                self._order(orphan.arn, _Order(reason, orphan))

    async def _learn(self, arns: Iterable[str]) -> None:
        """Read the tags of tasks that neither a server nor we know."""
        known = _arns(self._known())
        unread = [arn for arn in arns if arn not in known and arn not in self._owned]
        if unread:
            await self._describe(unread)

    async def _describe(self, arns: Iterable[str]) -> list[TaskView]:
        views = (await self._api.describe_tasks(arns, tags=True)).values()
        running = [view for view in views if "STOPPED" not in (view.status, view.desired)]
        for view in running:
            # Without any tags it is not somebody else's for sure: tags may come later than tasks.
            if view.tags:
                self._owned[view.arn] = self._read(view)
        return running

    def _read(self, view: TaskView) -> Owned | None:
        if view.tags.get("workroom:installation") != self._api.settings.installation:
            return None
        server = view.tags.get(SERVER_ID)
        return Owned(view.arn, server, view.tags.get(START, "")) if server else None

    # -- stopping ------------------------------------------------------------------

    def _order(self, arn: str, order: _Order) -> None:
        if self._closed:
            log.warning("task %s is left to the next hub process to stop", _id(arn))
            return
        self._orders.setdefault(arn, order)
        self._ordered.set()
        if self._stopping is None or self._stopping.done():
            self._stopping = asyncio.create_task(self._stop_all())

    async def _stop_all(self) -> None:
        backoff = Backoff()
        while self._orders:
            arn, order = min(self._orders.items(), key=lambda item: item[1].due)
            if not await self._is_due(order):
                continue
            if self._needless(arn, order):
                del self._orders[arn]
                continue
            try:
                found = await self._api.stop_task(arn, order.reason)
            except Exception as problem:
                self._tell(arn, order, problem)
                if not isinstance(problem, Refused):
                    # AWS has a bad day, or we have; the next task would fare no better.
                    await backoff.wait()
                continue
            backoff.reset()
            if found or self._is_gone(order):
                del self._orders[arn]
                self._stopped(arn, order)

    async def _is_due(self, order: _Order) -> bool:
        """Wait for an order's time; false if another order came in meanwhile."""
        wait = order.due - asyncio.get_running_loop().time()
        if wait <= 0:
            return True
        self._ordered.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await self._ordered.wait()
                return False
        return True

    def _is_gone(self, order: _Order) -> bool:
        """Tell whether a task that StopTask does not know has ended, or may be too new for it."""
        order.unknown += 1
        order.due = asyncio.get_running_loop().time() + _TOO_NEW
        return order.unknown >= _UNKNOWN

    def _tell(self, arn: str, order: _Order, problem: Exception) -> None:
        # The others get their turn before this one again.
        order.tries += 1
        wait = min(_LONGEST_WAIT, 2.0 ** min(order.tries, 10))
        order.due = asyncio.get_running_loop().time() + random.uniform(wait / 2, wait)  # noqa: S311
        if order.tries == 1:
            log.warning(
                "task %s is not stopped yet, and will be: %s",
                _id(arn),
                problem,
                exc_info=None if isinstance(problem, AwsProblem) else problem,
            )

    def _needless(self, arn: str, order: _Order) -> bool:
        if order.orphan:
            servers = self._known()
            # A start may have found it since.
            return arn in _arns(servers) or _belongs(order.orphan, servers)
        view = self._watcher.view(arn)
        return view is not None and view.status == "STOPPED"

    def _stopped(self, arn: str, order: _Order) -> None:
        if order.orphan is None:
            log.info("task %s was stopped", _id(arn))
            return
        metrics.ORPHANS_STOPPED.inc()
        # Should StopTask not last, it is an orphan anew, and gets a whole new time of grace.
        self._suspicions.pop(arn, None)
        log.warning(
            "orphan stopped: task %s of server %s (start %s)",
            _id(arn),
            order.orphan.server_id,
            order.orphan.start or "unknown",
        )


def _belongs(owned: Owned, servers: Mapping[str, Known]) -> bool:
    """Tell whether a task is its server's: the one it knows, or the one its start will get."""
    server = servers.get(owned.server_id)
    if server is None:
        return False
    if server.arn:
        return server.arn == owned.arn
    return bool(server.client_token) and server.client_token == owned.start


def _arns(servers: Mapping[str, Known]) -> set[str]:
    return {server.arn for server in servers.values() if server.arn}


def _id(arn: str) -> str:
    return arn.rpartition("/")[2]
