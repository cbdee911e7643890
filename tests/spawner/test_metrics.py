"""What `/metrics` shows."""

from __future__ import annotations

import gc
import subprocess
import sys

from prometheus_client import REGISTRY, generate_latest

from workroom_spawner import metrics


def sample(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_calls_are_counted_by_operation_and_outcome_and_throttles_twice() -> None:
    metrics.count_call("TestOperation", "ok")
    metrics.count_call("TestOperation", "throttled")
    metrics.count_call("TestOperation", "throttled")
    calls = "workroom_ecs_calls_total"
    assert sample(calls, operation="TestOperation", outcome="ok") == 1
    assert sample(calls, operation="TestOperation", outcome="throttled") == 2
    assert sample("workroom_ecs_throttled_total", operation="TestOperation") == 2


def test_the_names_are_those_that_dashboards_know() -> None:
    metrics.count_call("TestOperation", "ok")
    metrics.SPAWN_PHASE.labels("test").observe(3)
    shown = generate_latest(REGISTRY).decode()
    for name in (
        "workroom_ecs_calls_total{",
        "workroom_watcher_age_seconds ",
        "workroom_machine_wait_seconds ",
        'workroom_spawn_phase_seconds_bucket{le="5.0",phase="test"} 1.0',
        "workroom_orphans_stopped_total ",
        "workroom_tasks_adopted_total ",
        "workroom_spawn_queue_length ",
    ):
        assert f"\n{name}" in shown


class Owner:
    pass


def test_of_several_watchers_the_oldest_look_is_shown() -> None:
    before = sample("workroom_watcher_age_seconds")
    first, second = Owner(), Owner()
    metrics.report_age(first, lambda: 1e6)
    metrics.report_age(second, lambda: 2e6)
    assert sample("workroom_watcher_age_seconds") == 2e6
    del second
    gc.collect()
    assert sample("workroom_watcher_age_seconds") == 1e6
    del first
    gc.collect()
    assert sample("workroom_watcher_age_seconds") == before


def test_queues_are_added_up() -> None:
    before = sample("workroom_spawn_queue_length") or 0
    owners = [Owner(), Owner()]
    for owner in owners:
        metrics.report_queue(owner, lambda: 3)
    assert sample("workroom_spawn_queue_length") == before + 6


def test_several_hubs_in_one_process_register_nothing_twice() -> None:
    """Each app loads its configuration, which imports the spawner, in a module of its own."""
    program = """
import tempfile
from jupyterhub.app import JupyterHub
with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
    file.write("import workroom_spawner.metrics, workroom_spawner.ecs_api\\n"
               "workroom_spawner.metrics.count_call('Op', 'ok')\\n")
    file.flush()
    for _ in range(3):
        app = JupyterHub()
        app.load_config_file(file.name)
        JupyterHub.clear_instance()
from prometheus_client import REGISTRY
print(REGISTRY.get_sample_value(
    "workroom_ecs_calls_total", {"operation": "Op", "outcome": "ok"}))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "3.0", run.stderr
