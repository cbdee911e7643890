"""The rule of death, without a clock: every condition is needed, and together they suffice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workroom_spawner.task_view import TaskView
from workroom_spawner.verdicts import ALIVE, Death, Evidence, Verdict, judge

RUNNING = TaskView("arn", "RUNNING", address="10.0.0.1")
GONE = Evidence(followed_since=0, view=RUNNING, missing=(200, 260, 320), listed=False, silent=True)


def test_all_conditions_together_are_death() -> None:
    assert judge(GONE, 320) == Verdict(Death.VANISHED, RUNNING)
    assert judge(GONE, 320).dead


@pytest.mark.parametrize(
    "evidence",
    [
        replace(GONE, missing=(200, 260)),
        replace(GONE, missing=()),
        replace(GONE, followed_since=20),  # for exactly 300 s
        replace(GONE, listed=True),
        replace(GONE, silent=False),
    ],
)
def test_each_condition_alone_keeps_a_task_alive(evidence: Evidence) -> None:
    assert judge(evidence, 320) == ALIVE


@pytest.mark.parametrize("status", ["STOPPED", "DELETED"])
def test_stopped_is_dead_at_once(status: str) -> None:
    view = TaskView("arn", status)
    assert judge(Evidence(0, view), 0) == Verdict(Death.STOPPED, view)


@pytest.mark.parametrize(
    "status",
    ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING", ""],
)
def test_on_its_way_to_stop_is_not_dead(status: str) -> None:
    view = TaskView("arn", status, desired="STOPPED")
    assert judge(Evidence(0, view), 1e9) == ALIVE


def test_a_task_never_seen_is_alive() -> None:
    assert judge(Evidence(0), 1e9) == ALIVE


def test_missing_counts_only_a_minute_after_the_last_time() -> None:
    evidence = Evidence(0)
    for now in (0, 30, 59.9, 60, 90, 119, 120):
        evidence = evidence.missed(now)
        assert evidence.suspect(1000) == (now >= 120)
    assert evidence.missing == (0, 60, 120)
    assert evidence.missed(500).missing == (60, 120, 500)


def test_a_sighting_clears_what_was_missing() -> None:
    assert GONE.shown(RUNNING) == Evidence(0, RUNNING)
    assert GONE.alive() == Evidence(0, RUNNING)
    seen = Evidence(0, RUNNING)
    assert seen.shown(TaskView("arn", "RUNNING", address="10.0.0.1")) is seen
