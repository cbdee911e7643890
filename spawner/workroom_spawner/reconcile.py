"""Finds our tasks on the cluster: to take them over after a restart, and to stop what nobody needs.

A task is ours if `startedBy` says so (ECS lists no others) and its tag says so; nothing else is
ever touched. A task of ours that no server here knows is an orphan: a start that died with its hub
at the wrong moment, or a RunTask whose answer was lost. It costs money until it is stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from workroom_spawner import metrics
from workroom_spawner.aws_errors import AwsProblem, Throttled, Unreachable
from workroom_spawner.background import Backoff, Flights
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.stopper import Stopper, task_id
from workroom_spawner.task_requests import SERVER_ID, START
from workroom_spawner.task_view import TaskView
from workroom_spawner.watcher import Watcher

log = logging.getLogger(__name__)
ROUND = 60.0
"""Seconds between two looks for orphans."""
_ROUNDS = 2
"""Times an orphan must have been seen as one before it is stopped."""
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
        self._stopper = Stopper(api)
        self._rounds: asyncio.Task[None] | None = None
        self._flights: Flights[str, None] = Flights()
        self._failing = False

    # -- taking over ---------------------------------------------------------------

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

        def ended() -> bool:
            view = self._watcher.view(arn)
            return view is not None and view.status == "STOPPED"

        def stopped() -> None:
            log.info("task %s was stopped", task_id(arn))

        self._stopper.order(arn, reason, needless=ended, stopped=stopped)

    async def close(self) -> None:
        """End it. What is still to be stopped, the next hub process finds as orphans."""
        await self._stopper.close()
        if self._rounds and not self._rounds.done():
            self._rounds.cancel()
            with suppress(asyncio.CancelledError):
                await self._rounds

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
                    task_id(orphan.arn),
                    orphan.server_id,
                    grace,
                )
            self._suspicions[orphan.arn] = suspicion
            long_enough = suspicion.rounds >= _ROUNDS and now - suspicion.since >= grace
            if long_enough and orphan.arn not in self._stopper:
                self._have_stopped(orphan)

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

    def _have_stopped(self, orphan: Owned) -> None:
        def claimed() -> bool:
            # A start may have found it since.
            servers = self._known()
            return orphan.arn in _arns(servers) or _belongs(orphan, servers)

        def stopped() -> None:
            metrics.ORPHANS_STOPPED.inc()
            # Should StopTask not last, it is an orphan anew, and gets a whole new time of grace.
            self._suspicions.pop(orphan.arn, None)
            log.warning(
                "orphan stopped: task %s of server %s (start %s)",
                task_id(orphan.arn),
                orphan.server_id,
                orphan.start or "unknown",
            )

        grace = self._api.settings.orphan_grace
        reason = f"workroom: no server of the hub has known this task for {grace:.0f} s"
        self._stopper.order(orphan.arn, reason, needless=claimed, stopped=stopped)


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
