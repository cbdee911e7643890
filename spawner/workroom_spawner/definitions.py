"""Task definitions: registered once for each content, known again in the next hub process.

A definition's family ends in a hash of its content (`task_requests`), so a family that is there is
the right one, and a hub that starts learns them all with a few lists. AWS registers one definition
a second, which is why as many as possible are made before anybody waits for them (`prewarm`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from workroom_spawner.aws_errors import Refused, Unreachable
from workroom_spawner.background import Backoff, Flights, Inventory, Persistence
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_api import EcsApi
from workroom_spawner.task_requests import Request, family_prefix

log = logging.getLogger(__name__)
_PATIENCE = 15.0
"""Seconds a start waits for the list of families; without it the definition is registered again,
which is harmless and costs one of the calls that AWS gives us each second."""
_ATTEMPTS = 4
"""Times a definition that somebody waits for is sent to an AWS that does not answer."""


class Definitions:
    """Which task definitions AWS has, and how it gets the ones it has not."""

    def __init__(self, api: EcsApi) -> None:
        self._api = api
        self._known: set[str] = set()
        self._flights: Flights[str, str] = Flights()
        self._inventory = Inventory("task definitions", self._list)
        self._ahead = Persistence("task definitions ahead of the next starts")

    async def load(self) -> None:
        """Learn which definitions are registered; returns when AWS has said so."""
        await self._inventory.load()

    async def ensure(
        self,
        definition: Request,
        priority: Priority = Priority.LIVE,
        moved: Callable[[int], None] | None = None,
    ) -> str:
        """Return the definition's family, registered now unless it is known.

        Args:
            moved: Hears the place in the line for RegisterTaskDefinition, 0 when it is over.

        Raises:
            AwsProblem: AWS refused it, or did not answer several times. Throttling is waited for.
        """
        family: str = definition["family"]
        if family not in self._known:
            await self._inventory.settled(_PATIENCE)
        if family in self._known:
            return family
        return await self._flights.join(
            family, priority, lambda: self._register(definition, priority, moved)
        )

    def forget(self, family: str) -> None:
        """Take `family` for unknown, because RunTask said it is: somebody deregistered it."""
        self._known.discard(family)

    async def prewarm(self, definitions: Iterable[Request] | AsyncIterable[Request]) -> None:
        """Register what is not known yet, one at a time and only while nobody else needs AWS.

        Goes on through throttling, outages and expired credentials; what AWS refuses is logged and
        left out. Cancel it to end it.
        """
        looked_at = registered = refused = 0
        log.info("task definitions are registered ahead of the next starts")
        async for definition in _each(definitions):
            looked_at += 1
            if definition["family"] in self._known:
                continue
            if await self._persist(definition):
                registered += 1
            else:
                refused += 1
        log.info(
            "task definitions ahead of the next starts: %d needed, %d registered, %d refused",
            looked_at,
            registered,
            refused,
        )

    async def _list(self) -> int:
        self._known |= await self._api.families(family_prefix(self._api.settings))
        return len(self._known)

    async def _register(
        self, definition: Request, priority: Priority, moved: Callable[[int], None] | None
    ) -> str:
        backoff = Backoff()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                family = await self._api.register(definition, priority, moved)
                break
            except Unreachable:
                if attempt == _ATTEMPTS or priority is Priority.BACKGROUND:
                    raise
            await backoff.wait()
        self._known.add(family)
        return family

    async def _persist(self, definition: Request) -> bool:
        """Register in the background until it is done (true) or cannot be (false)."""
        try:
            await self._ahead.until_done(lambda: self.ensure(definition, Priority.BACKGROUND))
        except Refused as problem:
            log.error("task definition %s was refused: %s", definition["family"], problem)
            return False
        return True


async def _each(definitions: Iterable[Request] | AsyncIterable[Request]) -> AsyncIterator[Request]:
    if isinstance(definitions, AsyncIterable):
        async for definition in definitions:
            await asyncio.sleep(0)  # thousands of known ones must not block the event loop
            yield definition
    else:
        for definition in definitions:
            await asyncio.sleep(0)
            yield definition
