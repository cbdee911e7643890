"""The promises in real time and with the real limits: `make soak`, in 11 minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.infra.test_watchdog_hang import load
from tests.support.mount_machine import SHORT, MountMachine, States, until
from workroom_infra.watchdog.settings import Settings

pytestmark = pytest.mark.soak
DEFAULTS = {name: f"{getattr(Settings(), name.lower()):g}" for name in SHORT}


def test_a_hang_marks_the_machine_within_30_s(tmp_path: Path) -> None:
    with MountMachine(tmp_path, **DEFAULTS) as machine:
        machine.start()
        assert machine.watchdog
        states = States(machine.watchdog.pid)
        machine.mount.turn("hang")
        took = until(lambda: machine.account.status() == "DRAINING", 30, machine.log)
        print(f"marked after {took:.1f} s")
        states.stop()
        assert not states.bad, states.bad[0]


def test_ten_minutes_of_answers_that_take_5_s_do_nothing(tmp_path: Path) -> None:
    with MountMachine(tmp_path, **DEFAULTS) as machine:
        machine.start()
        assert machine.watchdog
        states = States(machine.watchdog.pid)
        machine.mount.turn("slow 5")
        took = load(machine.mount, people=8, seconds=600)
        print(f"{len(took)} reads, {min(took):.1f} to {max(took):.1f} s each")
        assert min(took) > 5
        assert machine.account.status() == "ACTIVE"
        assert machine.state()["phase"] == "watching"
        assert "ALARM" not in machine.log
        states.stop()
        assert not states.bad, states.bad[0]
