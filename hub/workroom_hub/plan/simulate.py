"""A day's machines under one policy: when each is there, how long everybody waits, what it costs.

A described day is every day: it is simulated twice, and the second counts, which finds the servers
and machines that the first left over midnight. A trace is simulated once, on until its last machine
has gone. In both, who clicks before midnight is followed until she has her server or gives up.

The rules are those of managed scaling. Once a minute ECS counts the machines that are needed, M,
and those that the group has, N. Above the target M/N it adds what is missing, no more than
`max_step`, and takes no further step while machines warm up. When there have been too many for 15
minutes it removes some, never one with a server on it. A machine that is launched takes its time,
less if it comes from the warm pool. Tasks that wait for a machine are PROVISIONING, of which ECS
takes 500 a cluster; more wait in the hub, first come, first served.

**More headroom never makes anybody wait longer.** For two policies of one day, where the one has a
target no higher, and `spare`, `minimum` and `warm_pool` no lower than the other (its minimum being
the same or at least 2, because ECS takes two machines from none), every single server starts no
later. It is so because each step here is monotone, by induction over time:

1. Servers, their ends, their machines and the order of these are the same in both (packing.py).
2. A task is taken by ECS when fewer than 500 before it wait: no later, if no machine comes later.
3. The machines that tasks taken so far need are then no fewer, nor is the size wanted for them.
4. Steps up are `min(wanted, size + max_step)` at moments that are the same for all policies, steps
   down go to the most that was wanted in 15 minutes, but no lower than a share of the size: both
   give no smaller group for a larger one. Places of the group are numbered and the last one goes
   first, so each place is filled no later and, being in the warm pool or not by its number, ready
   no later.
5. The ready machines go to the machines needed in the order of their numbers, so each comes no
   later.

Two things differ from AWS to make this so, and docs/capacity.md tells them: steps up keep to a beat
of the warm-up time, and a place of the warm pool is filled again in time.
`tests/hub/test_plan_headroom.py` tries it.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

from workroom_hub.plan.group import Group
from workroom_hub.plan.outcome import LONGEST_NIGHT, Outcome, Sample, World
from workroom_hub.settings_plan import Policy

_NEVER = math.inf


def simulate(world: World, policy: Policy) -> Outcome:
    """Run one policy."""
    return _Run(world, policy).run()


class _Run:
    """The events of a day, in order of time: ends, machines that come, calls, evaluations."""

    def __init__(self, world: World, policy: Policy) -> None:
        self._world = world
        self._servers, self._machine = world.servers, world.packed.machine
        self._limit = world.assumed.provisioning_limit
        # A machine without the image pulls it once it has its first task.
        self._pull = 0.0 if world.assumed.pre_pulled else float(world.assumed.image_pull)
        self._outcome = Outcome(policy, [_NEVER] * len(world.servers))
        self._group = Group(world, policy, self._outcome)
        # Of each machine: servers that are there, those of them that ECS knows, when it came.
        self._present = [0] * world.packed.count
        self._known = [0] * world.packed.count
        self._came: list[float | None] = [None] * world.packed.count
        self._holding: list[list[int]] = [[] for _ in range(world.packed.count)]
        self._open: list[int] = []  # machines that are needed, by number
        self._awaited: list[int] = []  # those of them that ECS knows of and that have not come
        self._needed = 0
        self._line: deque[int] = deque()  # servers that ECS does not take yet
        self._taken = bytearray(len(world.servers))
        self._placed = bytearray(len(world.servers))
        self._gone = bytearray(len(world.servers))
        self._provisioning = self._running = self._waiting = 0

    def run(self) -> Outcome:
        """Go through the day."""
        packed, begins, horizon = self._world.packed, self._world.begins, self._world.horizon
        # Sentinels after the last, so that the loop need not ask whether there is another.
        calls, ends = [*packed.calls, _NEVER], [*packed.ends, _NEVER]
        group, every = self._group, self._world.assumed.evaluate_every
        called = ended = 0
        tick = 0.0
        while True:
            call, end, ready = calls[called], ends[ended], group.next_ready
            now = min(end, call, ready, tick)
            if now > horizon and self._is_over(now, call, end):
                break
            if end == now:
                self._ends(now, packed.order[ended])
                ended += 1
            elif ready == now:
                group.arrive()
                self._settle(now)
            elif call == now:
                self._call(now, called)
                called += 1
            else:
                group.count(now)
                group.evaluate(now, self._needed)
                if begins <= now <= horizon:
                    self._outcome.samples.append(
                        Sample(now - begins, self._running, self._waiting, self._needed, group.size)
                    )
                tick += every
        group.count(now)
        self._conclude()
        return self._outcome

    def _is_over(self, now: float, call: float, end: float) -> bool:
        """Whether, after the last day, nobody waits any more and nothing more is to be paid."""
        if now > self._world.horizon + LONGEST_NIGHT:
            return True
        if call < _NEVER or self._waiting:
            return False
        return self._world.closes <= self._world.horizon or (end == _NEVER and self._group.idle)

    def _call(self, now: float, server: int) -> None:
        machine = self._machine[server]
        if machine < 0:
            return  # she left before her turn
        if not self._present[machine]:
            self._open.append(machine)
        self._present[machine] += 1
        self._waiting += 1
        self._line.append(server)
        self._settle(now)

    def _ends(self, now: float, server: int) -> None:
        machine = self._machine[server]
        self._gone[server] = 1
        if machine < 0:
            return
        if self._placed[server]:
            self._running -= 1
        else:
            self._waiting -= 1
            self._provisioning -= self._taken[server]
        self._present[machine] -= 1
        if self._taken[server]:
            self._known[machine] -= 1
            if not self._known[machine]:
                self._needed -= 1
                if self._came[machine] is None:
                    self._awaited.remove(machine)
        if not self._present[machine]:
            del self._open[bisect_left(self._open, machine)]
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Hand ready machines to those that are needed, and tasks to ECS, until neither goes on."""
        while True:
            while self._awaited and self._first_has_machine():
                self._come(now, self._awaited.pop(0))
            if not self._line or self._provisioning >= self._limit:
                return
            self._take(now, self._line.popleft())

    def _first_has_machine(self) -> bool:
        """Whether there is a ready machine for the first that is awaited, after all before it."""
        return self._group.ready > bisect_left(self._open, self._awaited[0])

    def _come(self, now: float, machine: int) -> None:
        self._came[machine] = now
        for server in self._holding[machine]:
            if not self._gone[server]:
                self._provisioning -= 1
                self._place(now, server)

    def _take(self, now: float, server: int) -> None:
        """ECS takes a task: it has a machine, or is PROVISIONING until it has."""
        if self._gone[server]:
            return
        machine = self._machine[server]
        self._taken[server] = 1
        if not self._known[machine]:
            self._needed += 1
            if self._came[machine] is None:
                insort(self._awaited, machine)
        self._known[machine] += 1
        if self._came[machine] is not None:
            self._place(now, server)
            return
        self._holding[machine].append(server)
        self._provisioning += 1
        if now >= self._world.begins:
            most = self._outcome.most_provisioning
            self._outcome.most_provisioning = max(most, self._provisioning)

    def _place(self, now: float, server: int) -> None:
        came = self._came[self._machine[server]]
        pulled = now if came is None else max(now, came + self._pull)
        self._placed[server] = 1
        self._waiting -= 1
        self._running += 1
        answers = pulled + self._world.assumed.task_start
        self._outcome.waits[server] = answers - self._servers[server].click

    def _conclude(self) -> None:
        """Keep the waits that count, and cut those of people who gave up."""
        waits, self._outcome.waits = self._outcome.waits, []
        for wait, server in zip(waits, self._servers, strict=True):
            if server.click < self._world.begins:
                continue
            longest = min(server.end, server.called + self._world.deadline) - server.click
            longest = max(longest, 0.0)
            self._outcome.gave_up += wait > longest
            self._outcome.waits.append(min(wait, longest))
