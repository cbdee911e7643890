"""The recommended policy as the section `aws` of workroom.yaml has it."""

from __future__ import annotations

import math

from workroom_hub.instance_types import KNOWN
from workroom_hub.plan.study import Study

_MOST = 5000  # machines that the fields of the section take
_ROOM = 1.1  # times the machines of this day, for one that is busier


def fields(study: Study) -> dict[str, str | int]:
    """Return the fields to write; a type that cannot be deployed, or too many, get none."""
    policy, outcome = study.best.policy, study.best.outcome
    found: dict[str, str | int] = {}
    if study.kind.name in KNOWN:
        found["instance_type"] = study.kind.name
    machines = {
        "min_machines": policy.minimum,
        "warm_machines": outcome.prepared,
        "max_machines": max(1, math.ceil(max(outcome.largest, outcome.prepared) * _ROOM)),
    }
    found["headroom"] = 100 - policy.target
    return found | {name: count for name, count in machines.items() if count <= _MOST}


def missing(study: Study) -> list[str]:
    """Return, in sentences, what of the recommended policy the section has no field for."""
    policy, told, written = study.best.policy, [], fields(study)
    if policy.spare:
        told.append(f"spare: {policy.spare} has no field there; a higher headroom is like it.")
    if policy.warm_pool and policy.warm_state == "hibernated":
        told.append("warm_state: workroom deploy keeps machines of the warm pool stopped.")
    if "instance_type" not in written:
        told.append(f"instance_type: {study.kind.name} is no type that workroom deploy knows.")
    if "max_machines" not in written:
        told.append(f"max_machines: more than {_MOST:,} are too many for a deployment; make two.")
    return told


def block(study: Study) -> str:
    """Return what to paste into workroom.yaml, without the lines of what there is no field for."""
    lines = [f"  {name}: {value}" for name, value in fields(study).items()]
    return "\n".join(["aws:", *lines])
