"""The section `plan` of `workroom.yaml`: what `workroom plan` simulates, and what it takes for granted.

Each assumption carries its source, which `workroom plan --assumptions` and docs/capacity.md tell.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from workroom_hub.fields import Section, Size, Slug, Span

_DAY = 86_400
_MONTH = 31 * _DAY
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


def _clock(value: str) -> str:
    if not _CLOCK.fullmatch(value):
        raise ValueError("write a time of day such as 09:00")
    return value


def seconds_of(clock: str) -> int:
    """Return the seconds after midnight of a time of day such as `09:30`."""
    hours, minutes = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60


Clock = Annotated[str, AfterValidator(_clock)]


class Share(Section):
    """How often one profile is chosen."""

    profile: Slug = Field(description="Name of the profile.")
    weight: float = Field(
        gt=0, le=1_000_000, description="How often, compared with the others' weights."
    )


class Day(Section):
    """A day of logins, when no trace of a real one is given."""

    users: int = Field(
        80, ge=1, le=100_000, description="People who may come; `--users` overrides it."
    )
    present: float = Field(
        100, gt=0, le=100, description="Percent of them who come on this day; the busiest counts."
    )
    opens: Clock = Field("07:00", description="Nobody comes before.")
    peak: Clock = Field("09:00", description="When most come for the first time.")
    peak_width: Span = Field(
        2700,
        ge=60,
        le=_DAY,
        description="Standard deviation of the morning peak: two thirds of its people come within this time of it.",
    )
    peak_share: float = Field(
        75,
        ge=0,
        le=100,
        description="Percent who come with the peak; the others come evenly between `opens` and `closes`.",
    )
    closes: Clock = Field("18:00", description="Nobody comes after.")
    visits: float = Field(
        2.5, ge=1, le=50, description="Times a person works in a day, on average; breaks between."
    )
    visit: Span = Field(
        3600, ge=60, le=_MONTH, description="Length of a visit that half of them exceed."
    )
    visit_long: Span = Field(
        10800,
        ge=60,
        le=_MONTH,
        description="Length of a visit that one in ten exceeds (log-normal).",
    )
    mix: list[Share] = Field(
        default_factory=list,
        description="Which profiles they choose; default: each half as often as the one before, without those that have a GPU.",
    )
    seed: int = Field(
        1,
        ge=0,
        le=1_000_000_000,
        description="The same seed gives the same day; `--seed` overrides it.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Day:
        opens, peak, closes = (seconds_of(at) for at in (self.opens, self.peak, self.closes))
        if not opens <= peak < closes:
            raise ValueError(
                f"peak: '{self.peak}' is not between opens '{self.opens}' and closes '{self.closes}'"
            )
        if self.visit_long < self.visit:
            raise ValueError("visit_long: is less than visit; write a time that is longer")
        return self


class Policy(Section):
    """One way to keep machines ready."""

    name: Slug = Field(description="Short name, unique.")
    target: int = Field(
        100,
        ge=10,
        le=100,
        description="`targetCapacity` of managed scaling in percent: at 90, the group has at least a ninth more machines than servers need.",
    )
    spare: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Room for so many more servers of the profile chosen most, on machines that have none yet.",
    )
    minimum: int = Field(0, ge=0, le=100_000, description="Machines the group never goes below.")
    warm_pool: int = Field(
        0,
        ge=0,
        le=200,
        description="Machines prepared in a warm pool: so many that, with the group, they are this percentage of what the day's peak needs.",
    )
    warm_state: Literal["stopped", "hibernated"] = Field(
        "stopped", description="How they wait there."
    )


def _assumed(default: Any, source: str, description: str, **more: Any) -> Any:
    """Return a field that also knows where its default comes from."""
    return Field(default, description=description, json_schema_extra={"source": source}, **more)


_GUIDE = "Amazon ECS Developer Guide, cluster auto scaling"
_OURS = "our estimate"


class Assumptions(Section):
    """What the simulation takes for granted; `workroom plan --assumptions` lists it with sources."""

    evaluate_every: Span = _assumed(
        60, _GUIDE, "Time between two evaluations of managed scaling.", ge=10, le=3600
    )
    instance_warmup: Span = _assumed(
        60,
        f"yours to set (`instanceWarmupPeriod`); AWS's default is 300 s; {_GUIDE}",
        "Time in which managed scaling takes no further step up.",
        ge=0,
        le=10_000,
    )
    max_step: int = _assumed(
        10_000,
        "Amazon ECS API Reference, ManagedScaling",
        "Most machines that one step adds (`maximumScalingStepSize`).",
        ge=2,
        le=10_000,
    )
    scale_in_after: Span = _assumed(
        900,
        "AWS Containers Blog, Deep Dive on Amazon ECS Cluster Auto Scaling",
        "Time for which there must be too many machines before any goes.",
        ge=0,
        le=_DAY,
    )
    scale_in_step: int = _assumed(
        50,
        "AWS Containers Blog, Faster Scaling-in for Amazon ECS Cluster Auto Scaling",
        "Most of the group that one step removes, in percent.",
        ge=1,
        le=100,
    )
    terminate: Span = _assumed(
        120,
        _OURS,
        "Time for which a machine that goes is still paid: draining, shut-down.",
        ge=0,
        le=_DAY,
    )
    instance_launch: Span = _assumed(
        90,
        "our estimate, from a cold scale-out seen to take 145 s from RunTask to running",
        "From the launch of a machine until tasks can be placed on it.",
        ge=1,
        le=_DAY,
    )
    warm_start: Span = _assumed(
        35, _OURS, "The same for a stopped machine of the warm pool.", ge=1, le=_DAY
    )
    hibernated_start: Span = _assumed(
        25, _OURS, "The same for a hibernated machine of the warm pool.", ge=1, le=_DAY
    )
    prepare: Span = _assumed(
        300,
        _OURS,
        "Time for which a machine runs, and is paid, to be prepared for the warm pool.",
        ge=0,
        le=_DAY,
    )
    pre_pulled: bool = _assumed(
        True, "how the cluster's machine image is built", "The notebook image is on every machine."
    )
    image_pull: Span = _assumed(
        90,
        "our estimate, for the 2.06 GB of docs/benchmarks.md",
        "Pull and unpacking, once a machine, if it is not.",
        ge=0,
        le=_DAY,
    )
    task_start: Span = _assumed(
        15,
        "our estimate: network interface and home 14 s, container 0.8 s (docs/benchmarks.md)",
        "From a place on a machine until the server answers.",
        ge=0,
        le=_DAY,
    )
    memory_kept: float = _assumed(
        5,
        _OURS,
        "Percent of a machine's memory that tasks cannot have: kernel, agents.",
        ge=0,
        le=50,
    )
    trunking: bool = _assumed(
        True,
        "yours to set (`awsvpcTrunking`); Amazon ECS Developer Guide, ENI trunking",
        "More than a handful of servers on one machine.",
    )
    new_definitions: float = _assumed(
        2,
        "our estimate: the hub registers ahead for everybody it knows",
        "Percent of starts that must register a task definition first.",
        ge=0,
        le=100,
    )
    disk: Size = _assumed(
        100 * 2**30, "yours to set", "Disk of a machine (gp3).", ge=8 * 2**30, le=64 * 2**40
    )
    disk_price: float = _assumed(
        0.08,
        "Amazon EBS pricing, gp3, us-east-1, June 2026",
        "Dollars a GB and month.",
        ge=0,
        le=1000,
    )
    price: float | None = _assumed(
        None,
        "Amazon EC2 on-demand pricing, Linux, us-east-1, June 2026",
        "Dollars an hour of a machine of the type that is planned, which it does not change; default: of the list of docs/capacity.md.",
        ge=0,
        le=100_000,
    )
    provisioning_limit: int = _assumed(
        500,
        "Amazon ECS quotas",
        "Tasks of a cluster that may wait for a machine; further ones wait in the hub.",
        ge=1,
        le=1_000_000,
    )
    quota_vcpus: int = _assumed(
        5,
        "Amazon EC2 quotas (L-1216C47A), of a new account",
        "vCPUs of all running on-demand machines of the standard families in a region; accounts in use have more.",
        ge=1,
        le=1_000_000_000,
    )
    quota_interfaces: int = _assumed(
        5000,
        "Amazon VPC quotas",
        "Network interfaces in a region: one a server, and two a machine with trunking.",
        ge=1,
        le=1_000_000_000,
    )
    quota_access_points: int = _assumed(
        10_000,
        "Amazon EFS User Guide",
        "Access points of a file system: one a person.",
        ge=1,
        le=1_000_000_000,
    )
    quota_instances: int = _assumed(
        5000, "Amazon ECS quotas", "Container instances of a cluster.", ge=1, le=1_000_000_000
    )
    quota_disk: int = _assumed(
        50,
        "Amazon EBS quotas",
        "TiB of gp3 disks in a region; warm pools count.",
        ge=1,
        le=1_000_000_000,
    )


def _default_policies() -> list[Policy]:
    return [
        Policy(name="no-headroom"),
        Policy(name="headroom-10", target=90),
        Policy(name="headroom-25", target=75),
        Policy(name="warm-pool", warm_pool=100),
        Policy(name="warm-pool-10", target=90, warm_pool=110),
    ]


class Machine(Section):
    """The machine type of the group; a type that Workroom does not know needs all fields."""

    type: str = Field(
        "",
        max_length=40,
        description="EC2 instance type, such as m6i.4xlarge; default: the one whose machines for the day's peak cost least, and that fits the largest profile.",
    )
    cpu: int | None = Field(None, ge=1, le=1024, description="Its vCPUs.")
    memory: Size | None = Field(None, ge=2**30, le=64 * 2**40, description="Its memory.")
    tasks: int | None = Field(
        None, ge=1, le=1000, description="Servers it can hold, by its network interfaces."
    )


class Plan(Section):
    """What `workroom plan` simulates (docs/capacity.md); nothing else reads it."""

    target_wait: Span = Field(
        30,
        ge=1,
        le=_MONTH,
        description="The wait that 95 of 100 starts shall not exceed; `--target-wait` overrides it.",
    )
    day: Day = Field(default_factory=Day)
    machine: Machine = Field(default_factory=Machine)
    policies: list[Policy] = Field(
        default_factory=_default_policies,
        min_length=1,
        max_length=20,
        description="Ways to keep machines ready that are compared.",
    )
    assumptions: Assumptions = Field(default_factory=Assumptions)

    @model_validator(mode="after")
    def _names_differ(self) -> Plan:
        names = [policy.name for policy in self.policies]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"policies: the name '{twice[0]}' is used twice; give each its own")
        return self
