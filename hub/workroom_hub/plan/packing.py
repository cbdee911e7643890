"""Which servers share a machine, and so how many machines a day needs at any moment.

A server's machine is chosen when RunTask is called: the fullest that has room, else a new one
(`binpack` by memory). This is what ECS does where machines are there. Where they are not, ECS
chooses again when one comes; here the choice stands, and the server waits for its own machine, at
most a little longer than on AWS. In return, who shares a machine with whom does not depend on the
policy, and neither does how many machines are needed: a machine is needed from its first server to
the end of its last. That is also what termination protection means, and it makes policies
comparable server by server (simulate.py).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from heapq import heappop, heappush

from workroom_hub.plan.machines import MachineType, Need
from workroom_hub.plan.servers import Server

_Free = tuple[int, int, int]
"""What a machine has left: MiB, CPU units, tasks."""


@dataclass(frozen=True)
class Packed:
    """The servers of a day on numbered machines.

    Attributes:
        machine: The number of each server's machine, in the order of the servers; numbers are
            given in the order in which machines are needed first.
        order: The servers' places in the order of their ends.
        calls: When each server is called.
        ends: When each ends, in the order of `order`.
        peak: Most machines needed at once.
        count: Machines in all; a number is used once.
    """

    machine: list[int]
    order: list[int]
    calls: list[float]
    ends: list[float]
    peak: int
    count: int


def pack(servers: list[Server], needs: list[Need], kind: MachineType) -> Packed:
    """Put servers, which are in the order of their calls, on machines of one type."""
    by_profile = {need.profile: need for need in needs}
    fleet = _Fleet(kind)
    order = sorted(range(len(servers)), key=lambda place: servers[place].end)
    calls = [server.called for server in servers]
    ends = [servers[place].end for place in order]
    chosen: list[int] = []
    ended, peak = 0, 0
    for server in servers:
        while ended < len(order) and ends[ended] <= server.called:
            place = order[ended]
            if place < len(chosen) and chosen[place] >= 0:
                fleet.leave(chosen[place], by_profile[servers[place].profile])
            ended += 1
        # Who would be gone before her turn comes takes no machine.
        gone = server.end <= server.called
        chosen.append(-1 if gone else fleet.enter(by_profile[server.profile]))
        peak = max(peak, fleet.used)
    return Packed(chosen, order, calls, ends, peak, fleet.count)


class _Fleet:
    """Machines that hold servers; those that hold the same are kept together."""

    def __init__(self, kind: MachineType) -> None:
        self._empty: _Free = (kind.memory, kind.cpu, kind.tasks)
        self._free: list[_Free] = []  # of each machine, by number
        self._alike: dict[_Free, list[int]] = {}  # a heap of numbers; some have changed since
        self._kinds: list[_Free] = []  # keys of `_alike`, fullest first
        self.used = 0

    @property
    def count(self) -> int:
        return len(self._free)

    def enter(self, need: Need) -> int:
        """Take the fullest machine with room, the oldest of several, else a new one."""
        for free in self._kinds[bisect_left(self._kinds, (need.memory, need.cpu, 1)) :]:
            if free[1] >= need.cpu and free[2] and (number := self._oldest(free)) is not None:
                self._change(number, -1, need)
                return number
        self._free.append(self._empty)
        self.used += 1
        self._change(self.count - 1, -1, need)
        return self.count - 1

    def leave(self, number: int, need: Need) -> None:
        """Give back what a server took; a machine without any is not used again."""
        self._change(number, +1, need)

    def _change(self, number: int, sign: int, need: Need) -> None:
        memory, cpu, tasks = self._free[number]
        free = (memory + sign * need.memory, cpu + sign * need.cpu, tasks + sign)
        self._free[number] = free
        if free == self._empty:
            self.used -= 1
            return
        if free not in self._alike:
            self._alike[free] = []
            insort(self._kinds, free)
        heappush(self._alike[free], number)

    def _oldest(self, free: _Free) -> int | None:
        alike = self._alike[free]
        while alike and self._free[alike[0]] != free:
            heappop(alike)
        if alike:
            return alike[0]
        del self._alike[free]
        del self._kinds[bisect_left(self._kinds, free)]
        return None
