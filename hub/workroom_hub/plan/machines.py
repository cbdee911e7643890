"""Machine types: what each holds and costs, and which one suits a day."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from workroom_hub.errors import PlanError
from workroom_hub.plan import visits
from workroom_hub.settings import Profile, Settings
from workroom_hub.settings_aws import machine_type

_MIB = 2**20
PRICED = "Linux, on demand, us-east-1, June 2026"
"""What the prices of the list are of."""


@dataclass(frozen=True)
class MachineType:
    """One EC2 instance type, as a group of it is planned.

    Attributes:
        cpu: CPU units for tasks, 1024 a vCPU.
        memory: MiB for tasks, after what the machine keeps for itself.
        tasks: Tasks it can hold, by its network interfaces.
        full_memory: Bytes of memory in all.
        price: Dollars an hour.
    """

    name: str
    cpu: int
    memory: int
    tasks: int
    full_memory: int
    price: float

    @property
    def vcpus(self) -> int:
        """Its vCPUs."""
        return self.cpu // 1024


@dataclass(frozen=True)
class Need:
    """What one server of a profile takes of a machine."""

    profile: str
    cpu: int
    memory: int

    def fits(self, machine: MachineType) -> bool:
        """Whether an empty machine can hold one."""
        return self.cpu <= machine.cpu and self.memory <= machine.memory


@dataclass(frozen=True)
class _Listed:
    """What the sizes of a family share: dollars a vCPU and hour, memory a vCPU."""

    price: float
    memory: int  # GiB a vCPU


# Prices: Amazon EC2 on-demand pricing. Task limits without and with trunking: Amazon ECS Developer
# Guide, ENI trunking; all families have the same.
_FAMILIES = {
    "c6i": _Listed(0.0425, 2),
    "m6i": _Listed(0.048, 4),
    "r6i": _Listed(0.063, 8),
    "c7i": _Listed(0.044625, 2),
    "m7i": _Listed(0.0504, 4),
    "r7i": _Listed(0.06615, 8),
    "m6a": _Listed(0.0432, 4),
    "r6a": _Listed(0.0567, 8),
    "m7a": _Listed(0.05796, 4),
    "r7a": _Listed(0.07607, 8),
}
_CHOSEN_FROM = ("c6i", "m6i", "r6i")
"""Families chosen from where nothing says which machines there are."""
_SIZES = {  # vCPUs, tasks without trunking, tasks with it
    "large": (2, 2, 10),
    "xlarge": (4, 3, 20),
    "2xlarge": (8, 3, 40),
    "4xlarge": (16, 7, 60),
    "8xlarge": (32, 7, 90),
    "12xlarge": (48, 7, 120),
    "16xlarge": (64, 14, 120),
    "24xlarge": (96, 14, 120),
}


def listed(settings: Settings) -> list[MachineType]:
    """Return the types of the list, smallest first, at the prices of the list."""
    found = []
    for size, (vcpus, plain, trunked) in _SIZES.items():
        for family, line in _FAMILIES.items():
            tasks = trunked if settings.plan.assumptions.trunking else plain
            name, memory = f"{family}.{size}", vcpus * line.memory * 2**30
            found.append(_type(settings, name, vcpus, memory, tasks, vcpus * line.price))
    return found


def needs(settings: Settings) -> list[Need]:
    """Return what a server of each profile takes; those with a GPU have a group of their own.

    Raises:
        PlanError: All of them have a GPU.
    """
    return [
        Need(profile.name, max(128, round(profile.cpu * 1024)), profile.memory // _MIB)
        for profile in visits.planned(settings)
    ]


def choose(settings: Settings, at_peak: dict[str, float]) -> MachineType:
    """Return the type of the group: the one of the settings, else the cheapest for the day.

    With a section `aws` it is the type that `workroom deploy` takes.

    Args:
        settings: The settings.
        at_peak: Servers of each profile that run when most do.

    Raises:
        PlanError: No type is known that fits the largest profile, or the named one is unknown or
            too small.
    """
    kind = _chosen(settings, at_peak)
    price = settings.plan.assumptions.price
    # It is the price of the type that was chosen: for all types, the largest would always win.
    return kind if price is None else replace(kind, price=price)


def _chosen(settings: Settings, at_peak: dict[str, float]) -> MachineType:
    wanted = needs(settings)
    if settings.plan.machine != type(settings.plan.machine)():
        return _named(settings, wanted)
    if deployed := _deployed(settings):
        return _large_enough(deployed, "aws.instance_type", wanted)
    fitting = [kind for kind in _candidates(settings) if all(need.fits(kind) for need in wanted)]
    if not fitting:
        raise PlanError(
            "profiles: no machine type of the list fits the largest profile"
            f"{_of_size(settings)}: {_largest(settings)}.",
            "Give a type under plan.machine, with type, cpu, memory, tasks and "
            "plan.assumptions.price.",
        )
    # At the same price a smaller one is better: what is spare comes in smaller pieces.
    return min(
        fitting, key=lambda kind: (round(_price_of_peak(kind, wanted, at_peak), 6), kind.cpu)
    )


def room_for(machine: MachineType, need: Need) -> int:
    """Return how many servers of one profile an empty machine holds."""
    return min(machine.cpu // need.cpu, machine.memory // need.memory, machine.tasks)


def _type(
    settings: Settings, name: str, vcpus: int, memory: int, tasks: int, price: float
) -> MachineType:
    assumed = settings.plan.assumptions
    usable = int(memory * (1 - assumed.memory_kept / 100)) // _MIB
    return MachineType(name, vcpus * 1024, usable, tasks, memory, price)


def _candidates(settings: Settings) -> Iterable[MachineType]:
    """Return the list, or those of it that are what `ecs` says of the cluster's machines."""
    cpu, memory = settings.ecs.instance_cpu, settings.ecs.instance_memory
    for kind in listed(settings):
        if kind.name.partition(".")[0] not in _CHOSEN_FROM:
            continue
        if cpu is not None and kind.vcpus != cpu:
            continue
        if memory is not None and kind.full_memory != memory:
            continue
        yield kind


def _deployed(settings: Settings) -> MachineType | None:
    """Return the type of a deployment's machines; None if these settings are of none."""
    chosen = machine_type(settings.aws, settings.profiles) if settings.aws else None
    return next(kind for kind in listed(settings) if kind.name == chosen.name) if chosen else None


def _large_enough(machine: MachineType, field: str, wanted: list[Need]) -> MachineType:
    for need in wanted:
        if not need.fits(machine):
            raise PlanError(
                f"{field}: a {machine.name} has {machine.vcpus} vCPUs and {machine.memory} "
                f"MiB for servers, and profile '{need.profile}' asks for {need.cpu / 1024:g} and "
                f"{need.memory} MiB: ECS would never add a machine for it.",
                "Name a larger type.",
            )
    return machine


def _of_size(settings: Settings) -> str:
    told = settings.ecs.instance_cpu is not None or settings.ecs.instance_memory is not None
    return " and is what ecs.instance_cpu and ecs.instance_memory say" if told else ""


def _named(settings: Settings, wanted: list[Need]) -> MachineType:
    """Return the type that `plan.machine` names, with what is given there instead of the list's."""
    given = settings.plan.machine
    known = {kind.name: kind for kind in listed(settings)}.get(given.type)
    price = settings.plan.assumptions.price
    if known:
        cpu = given.cpu or known.vcpus
        memory = given.memory or known.full_memory
        tasks = given.tasks or known.tasks
        price = known.price
    elif given.type and given.cpu and given.memory and given.tasks and price is not None:
        cpu, memory, tasks = given.cpu, given.memory, given.tasks
    else:
        names = ", ".join(_FAMILIES)
        raise PlanError(
            f"plan.machine.type: '{given.type}' is not in the list ({names}; large to 24xlarge), "
            "and cpu, memory, tasks and plan.assumptions.price do not say what it is.",
            "Name a type of the list, or give all five.",
        )
    machine = _type(settings, given.type, cpu, memory, tasks, price)
    return _large_enough(machine, "plan.machine", wanted)


def _largest(settings: Settings) -> str:
    def size(profile: Profile) -> tuple[int, float]:
        return profile.memory, profile.cpu

    largest = max(visits.planned(settings), key=size)
    return f"'{largest.name}' with {largest.cpu:g} cores and {largest.memory / 2**30:g} GiB"


def _price_of_peak(kind: MachineType, wanted: list[Need], at_peak: dict[str, float]) -> float:
    """Return dollars an hour for the machines that the peak fills to the brim; they come whole."""
    counted = [(at_peak.get(need.profile, 0.0), need) for need in wanted]
    cpu = sum(count * need.cpu for count, need in counted) / kind.cpu
    memory = sum(count * need.memory for count, need in counted) / kind.memory
    tasks = sum(count for count, _ in counted) / kind.tasks
    return kind.price * max(1, math.ceil(max(cpu, memory, tasks)))
