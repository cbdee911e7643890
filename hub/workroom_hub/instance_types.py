"""Instance types of EC2 that a cluster's machines can be, and which of them hold a profile.

The sizes are those of AWS's instance type pages. A machine offers containers less memory than it
has: the kernel and the ECS agent keep some (ECS developer guide, "memory management").
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
_AGENT = 512 * 2**20
_KERNEL_SHARE = 0.03


@dataclass(frozen=True)
class InstanceType:
    """One instance type.

    Attributes:
        name: Such as `m7i.2xlarge`.
        cpu: Virtual processors, which ECS counts as cores.
        memory: Bytes.
        gpu: GPUs.
    """

    name: str
    cpu: int
    memory: int
    gpu: int = 0

    @property
    def for_servers(self) -> int:
        """Bytes of memory left for servers; a cautious figure."""
        return int(self.memory * (1 - _KERNEL_SHARE)) - _AGENT

    def holds(self, cpu: float, memory: int, gpu: int = 0) -> bool:
        """Return whether one server of that size fits."""
        return cpu <= self.cpu and memory <= self.for_servers and gpu <= self.gpu


_SIZES = {
    "large": 2,
    "xlarge": 4,
    "2xlarge": 8,
    "4xlarge": 16,
    "8xlarge": 32,
    "12xlarge": 48,
    "16xlarge": 64,
    "24xlarge": 96,
}
_GIB_PER_CPU = {
    "c6i": 2,
    "c7i": 2,
    "m6i": 4,
    "m7i": 4,
    "m6a": 4,
    "m7a": 4,
    "r6i": 8,
    "r7i": 8,
    "r6a": 8,
    "r7a": 8,
}
_GPUS = (
    InstanceType("g5.xlarge", 4, 16 * GIB, 1),
    InstanceType("g5.2xlarge", 8, 32 * GIB, 1),
    InstanceType("g5.4xlarge", 16, 64 * GIB, 1),
    InstanceType("g5.8xlarge", 32, 128 * GIB, 1),
    InstanceType("g5.12xlarge", 48, 192 * GIB, 4),
    InstanceType("g5.48xlarge", 192, 768 * GIB, 8),
    InstanceType("g6.xlarge", 4, 16 * GIB, 1),
    InstanceType("g6.2xlarge", 8, 32 * GIB, 1),
    InstanceType("g6.4xlarge", 16, 64 * GIB, 1),
    InstanceType("g6.8xlarge", 32, 128 * GIB, 1),
    InstanceType("g6.12xlarge", 48, 192 * GIB, 4),
    InstanceType("g6.48xlarge", 192, 768 * GIB, 8),
)
KNOWN = {
    each.name: each
    for each in (
        *(
            InstanceType(f"{family}.{size}", cpu, cpu * per_cpu * GIB)
            for family, per_cpu in _GIB_PER_CPU.items()
            for size, cpu in _SIZES.items()
        ),
        *_GPUS,
    )
}
"""Every type that can be chosen, by name."""
_CHOSEN_FROM = ("m7i", "r7i", "c7i", "g6")


def smallest(cpu: float, memory: int, gpu: int = 0) -> InstanceType | None:
    """Return the smallest type that holds one such server; None if there is none."""
    fitting = [
        each
        for each in KNOWN.values()
        if each.name.partition(".")[0] in _CHOSEN_FROM
        and bool(each.gpu) == bool(gpu)
        and each.holds(cpu, memory, gpu)
    ]
    return min(fitting, key=lambda each: (each.gpu, each.memory, each.cpu), default=None)
