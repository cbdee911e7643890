"""The S3 server and the Hive Metastore of `workroom up`: seen, killed, stopped, switched off.

test_ecs.py tries them from a server on a cluster, tests/hub/test_machine_data*.py by themselves.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest
from docker.models.containers import Container

from tests.e2e import data_probe
from tests.e2e.installation import LABEL, Installation, wait_for

pytestmark = pytest.mark.docker


def status(installation: Installation) -> dict[str, Any]:
    """Return what `workroom status --json` says."""
    found: dict[str, Any] = json.loads(installation.workroom("status", "--json").stdout)
    return found


def states(installation: Installation) -> tuple[str, str]:
    """Return how S3 server and metastore are, as `status` says."""
    seen = status(installation)
    return seen["object_store"]["state"], seen["metastore"]["state"]


def test_a_server_is_told_where_data_is_and_can_use_it(with_data: Installation) -> None:
    container = data_probe.server_of(with_data, "ada")
    data_probe.told_and_usable(with_data, container)


def test_nothing_of_them_but_their_two_ports_is_reached_from_a_container(
    with_data: Installation,
) -> None:
    data_probe.only_two_ports(with_data, data_probe.server_of(with_data, "ada"))


def test_status_doctor_and_logs_know_them(with_data: Installation) -> None:
    seen, data = status(with_data), with_data.settings["data"]
    store, hive = seen["object_store"], seen["metastore"]
    assert (store["state"], hive["state"]) == ("running", "running")
    assert store["address"] == f"http://{with_data.gateway}:{data['s3_port']}"
    assert hive["address"] == f"thrift://{with_data.gateway}:{data['metastore_port']}"
    assert store["memory_bytes"] + hive["memory_bytes"] < 700 * 2**20
    shown = with_data.workroom("status").stdout
    assert "Object store" in shown
    assert "Hive metastore" in shown
    said = with_data.workroom("doctor", check=False).stdout
    assert "object store: process" in said
    assert "Hive metastore: " in said
    assert "as people do it" in said
    assert with_data.workroom("logs", "s3").stdout
    assert "metastore" in with_data.workroom("logs", "metastore").stdout


def test_both_come_back_when_they_die_and_tables_stay(with_data: Installation) -> None:
    container = data_probe.server_of(with_data, "ada")
    data_probe.store(container, "dies")

    seen = status(with_data)["object_store"]
    os.kill(_java(data_probe.metastore(with_data)), signal.SIGKILL)
    os.kill(seen["pid"], signal.SIGKILL)
    # The engine starts the metastore again, without `up`.
    wait_for(lambda: states(with_data) == ("stopped", "running"), "the metastore alone", 40)
    said = with_data.workroom("doctor", check=False).stdout
    assert "object store: it was started and is gone" in said
    assert "workroom up" in said
    with_data.up()
    assert data_probe.kept(container, "dies")


def _java(container: Container) -> int:
    """Return the host's id of the metastore's Java."""
    listed = container.top(ps_args="-eo pid,comm")["Processes"]
    [pid] = [int(pid) for pid, name in listed if name == "java"]
    return pid


def test_tables_outlive_down_and_days_without_the_data_servers(with_data: Installation) -> None:
    data_probe.store(data_probe.server_of(with_data, "ada"), "down")
    begun = time.monotonic()
    said = with_data.workroom("down").stdout
    assert time.monotonic() - begun < 60
    assert "Homes, tables and accounts are kept" in said
    left = [t for t in with_data.traces() if not t.startswith(("volume", "folder"))]
    assert left == []

    given = with_data.settings["data"]
    with_data.settings["data"] = {**given, "enabled": False}
    with_data.up()
    assert states(with_data) == ("off", "off")
    assert "weed" not in " ".join(with_data.processes().values())
    label = {"label": f"{LABEL}.data={with_data.instance}"}
    assert with_data.engine.containers.list(all=True, filters=label) == []

    with_data.settings["data"] = given
    with_data.up()
    assert data_probe.kept(data_probe.server_of(with_data, "ada"), "down")
