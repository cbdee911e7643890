"""The container's limits, told to libraries that would count the machine's cores and memory."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS", "MKL_NUM_THREADS")
MIB = 2**20


def tell_libraries(environment: MutableMapping[str, str], cgroup: Path = CGROUP) -> None:
    """Set thread counts and Spark's memory from the limits, unless they are set already.

    The hub's figures (`WORKROOM_CPU_LIMIT` in cores, `WORKROOM_MEMORY_LIMIT` in bytes) come
    first, then the container's control group.
    """
    cores = granted_cores(environment, cgroup)
    threads = max(1, math.ceil(min(cores or math.inf, os.cpu_count() or 1)))
    for name in THREADS:
        environment.setdefault(name, str(threads))
    environment.setdefault("WORKROOM_SPARK_CORES", str(threads))
    memory = granted_memory(environment, cgroup)
    if memory:
        environment.setdefault("SPARK_DRIVER_MEMORY", f"{spark_heap(memory) // MIB}m")


def granted_cores(environment: Mapping[str, str], cgroup: Path = CGROUP) -> float | None:
    """Cores this server may use: what the hub said, else its control group, else None."""
    return _number(environment.get("WORKROOM_CPU_LIMIT")) or cpu_limit(cgroup)


def granted_memory(environment: Mapping[str, str], cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory this server may use: what the hub said, else its control group, else None."""
    said = _number(environment.get("WORKROOM_MEMORY_LIMIT"))
    return int(said) if said else memory_limit(cgroup)


def spark_heap(memory: int) -> int:
    """Bytes of heap for Spark's JVM in a container of `memory` bytes.

    Half: the rest is for the JVM itself, Python's workers, the notebook server and kernels.
    """
    return max(512 * MIB, memory // 2)


def cpu_limit(cgroup: Path = CGROUP) -> float | None:
    """Cores the control group grants, or None where there is no limit (v1 and v2)."""
    unified = _words(cgroup / "cpu.max")
    if unified:
        quota, period = unified[0], unified[1]
        return None if quota == "max" else int(quota) / int(period)
    for folder in ("cpu", "cpu,cpuacct"):
        quota_us = _words(cgroup / folder / "cpu.cfs_quota_us")
        period_us = _words(cgroup / folder / "cpu.cfs_period_us")
        if quota_us and period_us and int(quota_us[0]) > 0:
            return int(quota_us[0]) / int(period_us[0])
    return None


def memory_limit(cgroup: Path = CGROUP) -> int | None:
    """Bytes of memory the control group grants, or None where there is no limit (v1 and v2)."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        words = _words(cgroup / name)
        if words and words[0] != "max" and int(words[0]) < 2**60:
            return int(words[0])
    return None


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < math.inf else None
