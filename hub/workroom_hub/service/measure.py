"""Prints the hub's own metrics in CloudWatch's embedded metric format, a line a minute.

CloudWatch Logs makes metrics of such lines by itself, so nothing else has to read `/hub/metrics`.
Source: Amazon CloudWatch user guide, "Embedded metric format specification".
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from workroom_hub import config_file
from workroom_hub.runtime import state_folder
from workroom_hub.service import api

NAMESPACE = "Workroom"
EVERY = 60.0
_OUTCOMES = ("throttled", "unreachable", "denied")


@dataclass
class Meter:
    """Turns what counts since the hub's start into what happened since the last look."""

    _before: dict[str, float] = field(default_factory=dict)

    def measure(self, text: str) -> dict[str, float]:
        """Return the figures of one minute by name.

        Args:
            text: The page `/hub/metrics`.
        """
        families = {family.name: family for family in text_string_to_metric_families(text)}
        found: dict[str, float] = {}
        for name, ours in (
            ("workroom_watcher_age_seconds", "watcher_age_seconds"),
            ("workroom_machine_wait_seconds", "machine_wait_seconds"),
            ("workroom_spawn_queue_length", "spawn_queue_length"),
            ("jupyterhub_running_servers", "running_servers"),
        ):
            if family := families.get(name):
                found[ours] = sum(sample.value for sample in family.samples)
        for outcome in _OUTCOMES:
            total = _total(families.get("workroom_ecs_calls"), outcome=outcome)
            found[f"ecs_{outcome}"] = self._since(f"calls {outcome}", total)
        if throttled := families.get("workroom_ecs_throttled"):
            found["ecs_throttled"] = self._since("throttled", _total(throttled))
        if phases := families.get("workroom_spawn_phase_seconds"):
            found.update(self._phases(phases))
        return found

    def _phases(self, family: Metric) -> dict[str, float]:
        buckets: dict[str, list[tuple[float, float]]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                phase, bound = sample.labels["phase"], sample.labels["le"]
                since = self._since(f"{phase} {bound}", sample.value)
                buckets.setdefault(phase, []).append((float(bound), since))
        found = {}
        for phase, counts in buckets.items():
            value = quantile(0.9, counts)
            if value is not None:
                found[f"spawn_phase_{phase}_p90"] = value
        return found

    def _since(self, name: str, total: float) -> float:
        before = self._before.get(name, 0.0)
        self._before[name] = total
        # A total that fell is of a hub that started again.
        return total - before if total >= before else total


def quantile(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """Return the bound below which that share of all is; None if there are none.

    Args:
        share: Such as 0.9.
        buckets: Upper bounds, and how many are at or below each.
    """
    ordered = sorted(buckets)
    total = ordered[-1][1] if ordered else 0.0
    if total <= 0:
        return None
    finite = [bound for bound, _ in ordered if bound != float("inf")]
    reached = next(bound for bound, count in ordered if count >= share * total)
    # What is beyond the last bound is at least that.
    return reached if reached != float("inf") else finite[-1]


def line(figures: Mapping[str, float], installation: str, now: float) -> str:
    """Return one line of the embedded metric format."""
    metrics = [{"Name": name} for name in figures]
    directive = {"Namespace": NAMESPACE, "Dimensions": [["Installation"]], "Metrics": metrics}
    head = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": head, "Installation": installation, **figures})


def _total(family: Metric | None, **labels: str) -> float:
    return sum(
        sample.value
        for sample in (family.samples if family else ())
        if sample.name.endswith("_total") and labels.items() <= sample.labels.items()
    )


def run(home: Path) -> None:
    """Print a line a minute, for as long as the hub lives."""
    instance = config_file.load(home / "workroom.yaml").instance
    meter = Meter()
    while True:
        time.sleep(EVERY)
        try:
            status, text = api.ask(home, "metrics-token", "metrics")
        except OSError:
            continue
        if status == 200:
            print(line(meter.measure(text), instance, time.time()), file=sys.stdout, flush=True)


if __name__ == "__main__":
    run(state_folder())
