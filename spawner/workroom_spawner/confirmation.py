"""Whether tasks that ECS keeps calling MISSING are gone: what ListTasks and their ports say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from workroom_spawner.aws_errors import AwsProblem
from workroom_spawner.roster import Roster
from workroom_spawner.task_view import TaskView
from workroom_spawner.watched import Watched

if TYPE_CHECKING:
    from workroom_spawner.ecs_api import EcsApi

log = logging.getLogger(__name__)

ANSWER_WITHIN = 10.0
"""Seconds after which a port that was tried counts as silent."""
PORTS_AT_ONCE = 50

Answers = Callable[[TaskView], Awaitable[bool]]


class Confirmation:
    """Decides about suspects; without an answer they live on, and are asked about again later.

    Args:
        answers: Tries the port of a task's server, at the address in the view. What it raises
            means that this could not be done, which is no proof of silence.
    """

    def __init__(self, api: EcsApi, roster: Roster, answers: Answers) -> None:
        self._api = api
        self._roster = roster
        self._answers = answers
        self._under_way: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look for the suspects, if there are any and nobody is at it."""
        if self._roster.suspects and (self._under_way is None or self._under_way.done()):
            suspects = self._roster.take_suspects()
            self._under_way = asyncio.get_running_loop().create_task(self._confirm(suspects))

    def cancel(self) -> list[asyncio.Task[None]]:
        """Give up what is under way; return it, to be waited for."""
        if self._under_way is None:
            return []
        self._under_way.cancel()
        return [self._under_way]

    async def _confirm(self, suspects: list[Watched]) -> None:
        try:
            listed = await self._api.list_tasks()
            ports = asyncio.Semaphore(PORTS_AT_ONCE)
            in_use = self._roster.addresses_in_use()
            async with asyncio.TaskGroup() as group:
                for watched in suspects:
                    view = watched.last_address()
                    if watched.arn in listed:
                        self._alive(watched, "ListTasks lists it")
                    elif view is not None and view.address in in_use:
                        # AWS has given its address to another server, who answers there now.
                        self._gone(watched, "its address is another task's")
                    else:
                        group.create_task(self._try_port(watched, ports))
        except AwsProblem as problem:
            log.info("whether MISSING tasks are gone stays open, ListTasks failed: %s", problem)
        except Exception:
            log.exception("a mistake of ours while looking for %d MISSING tasks", len(suspects))

    async def _try_port(self, watched: Watched, ports: asyncio.Semaphore) -> None:
        async with ports:
            answers = await self._port_answers(watched)
        if answers:
            self._alive(watched, "its port answers")
        elif answers is not None:
            known = watched.last_address() is not None
            self._gone(watched, "its port is silent" if known else "its address was never known")

    async def _port_answers(self, watched: Watched) -> bool | None:
        """Tell whether a task's server answers; None: that could not be found out.

        A task that never had an address has no port to try: the other conditions decide alone.
        """
        view = watched.last_address()
        if view is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self._answers(view)
        except TimeoutError:
            return False
        except Exception:
            log.exception("a mistake of ours while trying the port of the task %s", watched.arn)
            return None

    def _gone(self, watched: Watched, why: str) -> None:
        if self._roster.not_found(watched).dead:
            log.warning(
                "the task %s is gone: MISSING for ECS three times, not listed, and %s",
                watched.arn,
                why,
            )

    def _alive(self, watched: Watched, why: str) -> None:
        log.warning("ECS calls the task %s MISSING, but %s: it is kept", watched.arn, why)
        self._roster.found(watched)
