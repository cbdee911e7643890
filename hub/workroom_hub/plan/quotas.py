"""Which of AWS's quotas a day runs into, and at how many people each would break."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from workroom_hub.plan.machines import MachineType
from workroom_hub.plan.outcome import Outcome, World
from workroom_hub.settings import Settings
from workroom_hub.settings_plan import Assumptions

_API = "Amazon ECS API Reference"
_CALLS = "calls/s"
_FEW_CALLS = 3
"""Calls in the busiest minute; so few come together by chance, and a larger day is not so."""
_SMALL_SHARE = 0.01
"""Of a limit; below it nothing is to be said of a day."""


@dataclass(frozen=True)
class Quota:
    """One quota, and what the day needs of it.

    Attributes:
        limit: What AWS allows, by default or by the settings.
        needed: What the day takes at its fullest.
        unit: Of both.
        users: People at which it breaks, if everything grows with them; at least one, and None if
            the day needs nothing of it, or too little to tell.
        first_machine: Whether that alone is too much.
        setting: The field that says another limit.
        effect: What happens then.
        source: Where the default is from.
    """

    name: str
    limit: float
    needed: float
    unit: str
    users: int | None
    first_machine: bool
    setting: str
    effect: str
    source: str

    @property
    def share(self) -> float:
        """Needed part of the limit; above 1 it breaks."""
        return self.needed / self.limit

    @property
    def breaks(self) -> bool:
        """Whether the day needs more than there is."""
        return self.needed > self.limit

    @property
    def telling(self) -> bool:
        """Whether it is worth a line: it breaks, or its size is known and not far away."""
        return self.breaks or (self.users is not None and self.share >= _SMALL_SHARE)

    @property
    def full_at(self) -> str:
        """At what size it is full, in words."""
        if self.first_machine:
            return "the first machine"
        if self.users is None:
            return "too few calls to tell" if self.needed else "no size"
        return "one person" if self.users == 1 else f"{self.users:,} people"


def of(
    settings: Settings, world: World, kind: MachineType, outcome: Outcome, people: int
) -> list[Quota]:
    """Return the quotas under one policy, the one that breaks first at the top."""
    assumed, allowed = settings.plan.assumptions, settings.ecs.quotas
    servers, machines = max((s.running for s in outcome.samples), default=0), outcome.largest
    own, disk = 2 if assumed.trunking else 1, assumed.disk / 2**40
    starts = world.starts
    looks = _looks(settings, servers)
    # Machines come whole: what the first one takes of each quota, with a server on it.
    alone = {"vCPUs": kind.vcpus, "interfaces": own + 1, "TiB": disk}
    rows: list[tuple[str, float, float, str, str, str, str]] = [
        (
            *("On-demand vCPUs", assumed.quota_vcpus, machines * kind.vcpus, "vCPUs"),
            *("plan.assumptions.quota_vcpus", "no machine is launched any more"),
            _source("quota_vcpus"),
        ),
        (
            *(
                "Network interfaces",
                assumed.quota_interfaces,
                servers + machines * own,
                "interfaces",
            ),
            *("plan.assumptions.quota_interfaces", "servers stop while they start"),
            _source("quota_interfaces"),
        ),
        (
            *("EFS access points", assumed.quota_access_points, people, "people"),
            *("plan.assumptions.quota_access_points", "new people get no home"),
            _source("quota_access_points"),
        ),
        (
            *("Container instances", assumed.quota_instances, machines, "machines"),
            *("plan.assumptions.quota_instances", "further machines cannot join the cluster"),
            _source("quota_instances"),
        ),
        (
            *("gp3 disks", assumed.quota_disk, outcome.most_disks * disk, "TiB"),
            *("plan.assumptions.quota_disk", "no machine is launched any more"),
            _source("quota_disk"),
        ),
        (
            *("PROVISIONING tasks", assumed.provisioning_limit, outcome.most_provisioning, "tasks"),
            *("plan.assumptions.provisioning_limit", "starts wait in the hub's line"),
            _source("provisioning_limit"),
        ),
        (
            *("RunTask", allowed.run.rate, _busiest(s.called for s in starts), _CALLS),
            *("ecs.quotas.run", "starts wait in the hub's line", _API),
        ),
        (
            *("RegisterTaskDefinition", allowed.registrations.rate),
            *(_busiest(s.click for s in starts if s.new), _CALLS),
            *("ecs.quotas.registrations", "new people wait in the hub's line", _API),
        ),
        (
            *("DescribeTasks", allowed.describe.rate, looks, _CALLS),
            *("ecs.quotas.describe", "the hub notices ends later", _API),
        ),
    ]
    found = [_quota(*row, people, alone.get(row[3], 0)) for row in rows]
    return sorted(found, key=lambda quota: -quota.share)


def _quota(
    name: str,
    limit: float,
    needed: float,
    unit: str,
    setting: str,
    effect: str,
    source: str,
    people: int,
    alone: float,
) -> Quota:
    too_much = alone > limit
    users = max(1, math.floor(people * limit / needed)) if needed else None
    users = 1 if too_much else users
    if unit == _CALLS and needed <= min(limit, _FEW_CALLS / 60):
        users = None
    return Quota(name, limit, needed, unit, users, too_much, setting, effect, source)


def _busiest(times: Iterable[float]) -> float:
    """Return calls a second in the busiest minute."""
    minutes = Counter(int(at // 60) for at in times)
    return max(minutes.values(), default=0) / 60


def _looks(settings: Settings, servers: int) -> float:
    """Return calls a second for looking at servers: DescribeTasks a sweep, ListTasks a minute."""
    pages = math.ceil(servers / 100)
    return pages / settings.ecs.sweep_every + pages / 60


def _source(name: str) -> str:
    extra = Assumptions.model_fields[name].json_schema_extra
    return str(extra.get("source", "")) if isinstance(extra, dict) else ""
