"""Servers that were told to end and may not have: two on one home would write the same files.

StopTask returns when AWS has taken it, and nobody waits for more when a server is stopped. The next
start of that server waits instead, until its container has ended or its time to do so is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from workroom_spawner.watcher import Watcher

_FIRST_LOOK = 5.0
"""Seconds from StopTask to the first look: most servers have ended by then, and AWS says so."""
_NEXT_LOOK = 10.0
"""Seconds from the first look to the other; there is no third."""
_KILLED_WITHIN = 5.0
"""Seconds from the stop time-out to the end of the container."""


class Endings:
    """What this hub process has stopped a moment ago, one task a server.

    Args:
        stop_seconds: What a container gets between SIGTERM and SIGKILL.
    """

    def __init__(self, watcher: Watcher, stop_seconds: float) -> None:
        self._watcher = watcher
        self._longest = stop_seconds + _KILLED_WITHIN
        self._told: dict[str, tuple[str, float]] = {}  # in order of time

    def told(self, server_id: str, arn: str) -> None:
        """Note that a server's task is to end from now on."""
        self._told.pop(server_id, None)
        self._told[server_id] = arn, _now()
        while True:
            oldest, (_, since) = next(iter(self._told.items()))
            if since + self._longest >= _now():
                break
            del self._told[oldest]

    async def over(self, server_id: str, tell: Callable[[], None]) -> None:
        """Return when the server's last container has ended, or must have.

        With AWS silent or throttling that is as long as a container may take; two looks at most.

        Args:
            tell: Called if there is something to wait for.
        """
        arn, since = self._told.get(server_id, ("", 0.0))
        until = since + self._longest
        if not arn or _now() >= until:
            return
        tell()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._seen_ended(arn, since + _FIRST_LOOK)
        if self._told.get(server_id) == (arn, since):
            del self._told[server_id]

    async def _seen_ended(self, arn: str, first_look: float) -> None:
        for pause in (first_look - _now(), _NEXT_LOOK):
            await asyncio.sleep(max(0.0, pause))
            if await self._has_ended(arn):
                return
        await asyncio.get_running_loop().create_future()  # the caller's patience ends it

    async def _has_ended(self, arn: str) -> bool:
        view = await self._watcher.look(arn)
        # With the container's exit code it is over; STOPPED comes after its network interface.
        return view is not None and (
            view.exit_code is not None or view.status in ("STOPPED", "DELETED")
        )


def _now() -> float:
    return asyncio.get_running_loop().time()
