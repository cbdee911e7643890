"""Lets starts into JupyterHub's own work a few at a time, so that the first are not the last.

JupyterHub does some 10 ms of work for each start (tokens, OAuth client, commits) without a pause,
and asyncio gives everybody who is ready a step before anybody gets another: of a thousand who click
at once, each would wait for all the others at each of the ten steps to AWS. With a few in every
round of the event loop the first are there at once, and what the others cost is spent while AWS's
own queue moves on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from jupyterhub.user import User

_AT_ONCE = 5
_LONGEST = 0.25
"""Seconds after which the next may come in all the same: who is slow (a log-in that is refreshed
at its provider) waits for others and does not keep the processor busy."""


class Pass:
    """One start's leave to be inside; given back by `leave`, or by itself after a moment."""

    def __init__(self, left: Callable[[], None]) -> None:
        self._left: Callable[[], None] | None = left
        self._timer = asyncio.get_running_loop().call_later(_LONGEST, self.leave)

    def leave(self) -> None:
        """Let the next one in, in the next round; harmless twice."""
        self._timer.cancel()
        left, self._left = self._left, None
        if left:
            asyncio.get_running_loop().call_soon(left)


class Turnstile:
    """Lets `at_once` inside, the others in the order in which they came."""

    def __init__(self, at_once: int = _AT_ONCE) -> None:
        self._free = at_once
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._line)

    async def enter(self) -> Pass:
        """Wait for one's turn."""
        if self._free and not self._line:
            self._free -= 1
            return Pass(self._next)
        mine = asyncio.get_running_loop().create_future()
        self._line.append(mine)
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._next()
            raise
        return Pass(self._next)

    def _next(self) -> None:
        while self._line:
            following = self._line.popleft()
            if not following.done():
                following.set_result(None)
                return
        self._free += 1


_pass: ContextVar[Pass | None] = ContextVar("pass", default=None)
_spawn = User.spawn


def install() -> None:
    """Put a turnstile before the starts of this process."""
    turnstile = Turnstile()

    async def spawn(self: Any, server_name: str = "", *args: Any, **kwargs: Any) -> Any:
        if turnstile.waiting and server_name in self.spawners:
            before = turnstile.waiting
            self.spawners[server_name].begin_progress().tell(
                f"Many servers are starting: {before} before you"
            )
        inside = await turnstile.enter()
        _pass.set(inside)
        try:
            return await _spawn(self, server_name, *args, **kwargs)
        finally:
            inside.leave()

    User.spawn = spawn


def through(_: Any) -> None:
    """JupyterHub's `pre_spawn_hook`: its own work is done, the spawner's begins."""
    if inside := _pass.get():
        inside.leave()
