"""How long things take in the fake; every figure may be changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Pace:
    """Durations, in seconds.

    Attributes:
        visible_after: A new task is not there for DescribeTasks, ListTasks and StopTask until then.
            AWS documents that it may be so, and no figure.
        provision_seconds: Network interface of a task that has a place; PROVISIONING until then.
        pull_seconds: Pull of an image that the machine does not have.
        start_seconds: From the pull until the container's process runs.
        report_seconds: From then until ECS says RUNNING.
        exit_seconds: A container ends this long after SIGTERM; its `stopTimeout` comes first.
        deprovision_seconds: Network interface of a task that has ended; then it is STOPPED.
        kept_seconds: A stopped task stays visible; AWS says about an hour.
        capacity_seconds: PROVISIONING for want of a machine ends here; AWS says 10 to 30 minutes.
        access_point_seconds: A new access point is `creating`.
    """

    visible_after: float = 0.5
    provision_seconds: float = 0.3
    pull_seconds: float = 0.5
    start_seconds: float = 0.5
    report_seconds: float = 0.0
    exit_seconds: float = 0.5
    deprovision_seconds: float = 0.2
    kept_seconds: float = 3600.0
    capacity_seconds: float = 1800.0
    access_point_seconds: float = 1.0
