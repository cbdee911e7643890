"""The line before a cluster in which too many tasks wait for a machine already."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable
from weakref import WeakKeyDictionary

from workroom_spawner.ecs_api import EcsApi

_SHUT_FOR = 5.0
"""Seconds after a refusal until the first in line asks again; one spawn asks for all."""
_WIDEST = 64
"""Who asks at once at most. RunTask takes most of a second, so these make twice the calls that AWS
documents; and as many may be refused when the quota is full again."""
_TOLD_A_SECOND = 250  # of those who wait, each an event for a page


class WaitingRoom:
    """Where spawns wait, in order, while ECS takes no more tasks that wait for a machine.

    About 500 may be PROVISIONING in a cluster. While it is full only the first in line asks: a
    thousand that did would use up RunTask's bucket for nothing. Each one that gets a task widens
    the door, so that 1, 2, 4, … ask at once, and the line moves as fast as that bucket allows
    however long a call takes. A refusal shuts the door for some seconds and narrows it to one.
    """

    def __init__(self) -> None:
        self._arrivals = 0
        self._line: list[int] = []  # in order of arrival, so a place is found by bisection
        self._admitted: set[int] = set()  # those in the line who may ask now
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._width = 1
        self._shut: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """How many wait, those who ask just now included."""
        return len(self._line)

    def line_up(self) -> int:
        """Take the last place in line and return its number; it is kept until `leave`."""
        self._arrivals += 1
        self._line.append(self._arrivals)
        self._turns[self._arrivals] = asyncio.get_running_loop().create_future()
        self._admit()
        return self._arrivals

    async def admitted(self, mine: int, tell: Callable[[int], None]) -> None:
        """Wait until the one with this number may ask; then call `refused` or `leave`.

        Args:
            tell: Hears how many are before, at once and every few seconds.
        """
        while mine not in self._admitted:
            tell(bisect_left(self._line, mine))
            # A page needs no more, and ten thousand of them would keep the event loop busy.
            every = max(_SHUT_FOR, len(self._line) / _TOLD_A_SECOND)
            await asyncio.wait([self._turns[mine]], timeout=every)

    def refused(self, mine: int | None) -> int:
        """Shut the door for some seconds: the quota is full.

        Args:
            mine: Who was refused; None for somebody who did not wait here and gets the last place.

        Returns:
            Her number.
        """
        self._width = 1
        if not self._shut:
            pause = _SHUT_FOR * random.uniform(0.8, 1.2)  # noqa: S311
            self._shut = asyncio.get_running_loop().call_later(pause, self._open)
        if mine is None:
            return self.line_up()
        self._admitted.discard(mine)
        self._turns[mine] = asyncio.get_running_loop().create_future()
        return mine

    def leave(self, mine: int, *, got_in: bool = False) -> None:
        """Give a place up; who `got_in` lets more ask at once."""
        del self._line[bisect_left(self._line, mine)]
        del self._turns[mine]
        self._admitted.discard(mine)
        if got_in and not self._shut:
            self._width = min(self._width + 1, _WIDEST)
        self._admit()

    def _open(self) -> None:
        self._shut = None
        self._admit()

    def _admit(self) -> None:
        """Let the first in line ask, as many as the door is wide."""
        if self._shut:
            return
        # Those admitted are at the front, but for those refused meanwhile.
        for each in self._line:
            if len(self._admitted) >= self._width:
                return
            if each not in self._admitted:
                self._admitted.add(each)
                self._turns[each].set_result(None)


_rooms: WeakKeyDictionary[EcsApi, WaitingRoom] = WeakKeyDictionary()


def waiting_room(api: EcsApi) -> WaitingRoom:
    """Return the waiting room of one cluster."""
    return _rooms.setdefault(api, WaitingRoom())
