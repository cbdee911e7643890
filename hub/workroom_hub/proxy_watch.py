"""Tells a proxy of its own service its routes again, when it was replaced.

On one machine `workroom up` starts the hub again after the proxy. Where both are services of a
cluster, nobody does: a new proxy knows no route, and its address is that of the old one. So the hub
asks it, every few seconds, for the one route that it always has: the hub's own.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

log = logging.getLogger(__name__)
EVERY = 5.0


async def knows_us(proxy: Any, routespec: str) -> bool | None:
    """Tell whether the proxy has the hub's own route; None if it does not answer."""
    name = json.dumps(proxy._routespec_to_chp_path(routespec)).encode()
    # It has no question for the root alone, so it answers with all: a megabyte for 5,000 servers.
    url = f"{proxy.api_url.rstrip('/')}/api/routes"
    timeout = aiohttp.ClientTimeout(total=4)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, headers={"Authorization": f"token {proxy.auth_token}"}) as answer,
        ):
            return name + b":" in await answer.read() if answer.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None


async def watch(
    knows: Callable[[], Awaitable[bool | None]],
    tell: Callable[[], Awaitable[None]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Look for ever, and tell all routes to a proxy that does not know the hub's."""
    while True:
        await sleep(EVERY)
        if await knows() is not False:
            continue
        log.warning("the proxy was replaced: telling it every route")
        try:
            await tell()
        except Exception:
            log.exception("the routes could not be told; tried again")
