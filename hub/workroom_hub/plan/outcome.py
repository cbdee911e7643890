"""What goes into a simulation, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass, field

from workroom_hub.plan.packing import Packed
from workroom_hub.plan.servers import Server
from workroom_hub.plan.visits import DAY
from workroom_hub.settings_plan import Assumptions, Policy

LONGEST_NIGHT = 62 * DAY
"""Seconds for which the last day is followed; who works longer than that never ends."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What is there at one evaluation.

    Attributes:
        at: Seconds after the midnight from which on things count.
        running: Servers that have a machine.
        waiting: Servers that were clicked and have none.
        needed: Machines that tasks ECS knows need.
        group: Machines of the group, those that come included.
    """

    at: float
    running: int
    waiting: int
    needed: int
    group: int


@dataclass
class Outcome:
    """One policy on the days that count.

    Attributes:
        waits: Seconds from click to answer, of each of the world's starts in their order; who gave
            up counts as long as she waited.
        gave_up: Starts that nobody saw end: she left before, or the hub's deadline passed.
        paid: Seconds of machines that are paid, those that are prepared for the warm pool included.
        on_disk: Seconds of machines that exist, running or in the warm pool.
        pooled: Seconds of machines in the warm pool.
        most_provisioning: Most tasks that waited for a machine at once.
        largest: Most machines at once.
        most_disks: Most machines at once, those in the warm pool included.
        prepared: Machines of group and warm pool together (`MaxGroupPreparedCapacity`).
    """

    policy: Policy
    waits: list[float]
    gave_up: int = 0
    paid: float = 0.0
    on_disk: float = 0.0
    pooled: float = 0.0
    most_provisioning: int = 0
    largest: int = 0
    most_disks: int = 0
    prepared: int = 0
    samples: list[Sample] = field(default_factory=list)


@dataclass(frozen=True)
class World:
    """What is the same for all policies.

    Attributes:
        servers: In the order of their calls.
        packed: Their machines.
        begins: Midnight from which on things count; the day before, if any, leaves servers and
            machines behind.
        horizon: Midnight at which the days that count end.
        closes: Until when what those days leave behind is paid; the horizon, if nothing is.
        spare_unit: Servers of the profile chosen most that a machine holds.
        deadline: Seconds after the call at which the hub gives a start up.
    """

    servers: list[Server]
    packed: Packed
    assumed: Assumptions
    spare_unit: int
    deadline: float
    begins: float
    horizon: float
    closes: float

    @property
    def starts(self) -> list[Server]:
        """The servers that are clicked in the days that count."""
        return [server for server in self.servers if server.click >= self.begins]
