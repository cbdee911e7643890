"""The real watchdog process on a mount that really hangs, against moto. Limits are shortened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.mount_machine import FuseMount, MountMachine, States, dies_with_parent, until

pytestmark = pytest.mark.fuse


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., MountMachine]]:
    with ExitStack() as stack:
        yield lambda **given: stack.enter_context(MountMachine(tmp_path, **given))


def load(mount: FuseMount, people: int, seconds: float) -> list[float]:
    """People who read from the mount, one file after another; how long each read took."""
    took, ends = [], time.monotonic() + seconds
    reading: list[tuple[float, subprocess.Popen[bytes]]] = []
    while reading or time.monotonic() < ends:
        while len(reading) < people and time.monotonic() < ends:
            words = mount.command("head", "-c", "65536", str(mount.folder / "data"))
            child = subprocess.Popen(words, stdout=subprocess.DEVNULL, preexec_fn=dies_with_parent)
            reading.append((time.monotonic(), child))
        for begun, child in list(reading):
            if child.poll() is not None:
                assert child.returncode == 0
                took.append(time.monotonic() - begun)
                reading.remove((begun, child))
        time.sleep(0.05)
    return took


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_hang_drains_the_machine_and_then_replaces_it(make: Callable[..., MountMachine]) -> None:
    machine = make(REPLACE_AFTER="6", METRICS="Workroom/Mounts")
    machine.start()
    assert machine.watchdog
    states = States(machine.watchdog.pid)
    assert (machine.account.status(), machine.account.health()) == ("ACTIVE", "Healthy")
    machine.mount.turn("hang")
    took = until(lambda: machine.account.status() == "DRAINING", 15, f"drained\n{machine.log}")
    assert took > 2.5, "sooner than the limit: it could not know yet"
    assert machine.account.health() == "Healthy", "an empty machine, but not for long enough"
    until(lambda: machine.account.health() == "Unhealthy", 15, f"replaced\n{machine.log}")
    assert machine.state()["hung"] == [str(machine.mount.folder)]
    # One probe hangs, however many were due since, and nobody can end it.
    [probe] = machine.probes()
    os.kill(probe, signal.SIGKILL)
    time.sleep(0.2)
    assert state_of(probe) == "D"
    assert machine.stop() < 2
    states.stop()
    assert sum(states.counts.values()) > 300
    assert not states.bad, states.bad[0]
    assert {m["Namespace"] for m in machine.account.metrics("HungMounts")} == {"Workroom/Mounts"}
    assert "ALARM this machine is drained" in machine.log
    assert "docs/runbooks/mount-hangs.md" in machine.log


def test_a_slow_mount_under_load_is_left_alone(make: Callable[..., MountMachine]) -> None:
    machine = make(HANG_AFTER="5")
    machine.start()
    machine.mount.turn("slow 1.5")
    took = load(machine.mount, people=6, seconds=5)
    # Look-up, open and read: each waited.
    assert min(took) > 3
    assert machine.account.status() == "ACTIVE"
    assert machine.account.claim() is None
    assert machine.state()["phase"] == "watching"
    assert "ALARM" not in machine.log
    assert {name for _, name in machine.account.calls} == {"DescribeContainerInstances"}


def test_it_goes_on_probing_and_trying_while_aws_says_no(make: Callable[..., MountMachine]) -> None:
    machine = make(RECOVERY="2")
    machine.start()
    machine.account.errors["PutAttributes"] = "ThrottlingException"
    machine.mount.turn("hang")
    until(lambda: "ThrottlingException" in machine.log, 15, f"tried\n{machine.log}")
    machine.account.errors["PutAttributes"] = "ExpiredTokenException"
    until(lambda: "ExpiredTokenException" in machine.log, 15, f"tried\n{machine.log}")
    assert machine.account.status() == "ACTIVE"
    machine.account.errors.clear()
    until(lambda: machine.account.status() == "DRAINING", 20, f"drained\n{machine.log}")
    tried = [at for at, name in machine.account.calls if name == "PutAttributes"]
    assert 3 <= len(tried) < 10
    # The mount answers again: what was drained returns, and nothing is left of it.
    machine.mount.turn("ok")
    until(lambda: machine.account.status() == "ACTIVE", 20, f"returned\n{machine.log}")
    until(lambda: machine.account.claim() is None, 10, f"claim taken back\n{machine.log}")
    assert machine.account.health() == "Healthy"
    assert machine.state()["memory"]["returns"] == 1


def test_a_restarted_watchdog_finds_its_mark_and_its_probe(
    make: Callable[..., MountMachine],
) -> None:
    machine = make(REPLACE_AFTER="600")
    machine.start()
    machine.mount.turn("hang")
    until(lambda: machine.account.status() == "DRAINING", 15, f"drained\n{machine.log}")
    machine.until_phase("drained", 5)
    [probe] = machine.probes()
    assert machine.watchdog
    machine.watchdog.kill()
    machine.watchdog.wait()
    # The agent hangs, too: what was known of this machine is still known.
    machine.metadata.agent_answers = False
    before, said = len(machine.account.calls), len(machine.log)
    machine.start()
    again = "ALARM this machine is drained; hung: /"
    until(lambda: again in machine.log[said:], 15, f"seen again\n{machine.log}")
    assert machine.probes() == [probe]
    look = "DescribeContainerInstances"
    until(lambda: look in [name for _, name in machine.account.calls[before:]], 10, "a look")
    # The claim is renewed; drained it is already.
    assert {name for _, name in machine.account.calls[before:]} <= {look, "PutAttributes"}


def test_a_hang_of_the_whole_region_drains_no_more_than_the_share(
    make: Callable[..., MountMachine],
) -> None:
    machine = make(machines=5)
    machine.account.put_claim(3)
    machine.account.put_claim(4, age=3600)
    machine.start()
    machine.mount.turn("hang")
    machine.until_phase("held", 15)
    assert machine.account.status() == "ACTIVE"
    assert "ALARM too many machines hang at once" in machine.log
    assert machine.account.claim()
    machine.mount.turn("ok")
    until(lambda: machine.account.claim() is None, 10, f"claim taken back\n{machine.log}")
    assert machine.account.status() == "ACTIVE"


def test_a_mount_that_is_taken_away_while_it_hangs_marks_nothing(
    make: Callable[..., MountMachine],
) -> None:
    machine = make()
    machine.start()
    machine.mount.turn("hang")
    until(machine.probes, 5, "a probe hangs")
    machine.mount.unmount()
    until(lambda: machine.state().get("stuck") == 1, 15, f"counted\n{machine.log}")
    assert machine.state()["hung"] == []
    assert machine.state()["phase"] == "watching"
    assert machine.account.claim() is None


def test_a_test_that_is_killed_leaves_no_hung_mount(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys, time; from tests.support.mount_machine import FuseMount\n"
        f"mount = FuseMount(pathlib.Path({str(tmp_path)!r}) / 'mount'); mount.turn('hang')\n"
        "print(mount.pid, flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert killed.stdout
    server = int(killed.stdout.readline())
    words = f"--mount=/proc/{server}/ns/mnt", "--", "stat", "-f", str(tmp_path / "mount")
    hung = subprocess.Popen(["nsenter", *words], stderr=subprocess.PIPE, text=True)
    stack = Path(f"/proc/{hung.pid}/stack")
    until(lambda: "fuse_" in stack.read_text(), 5, "it hangs")
    assert state_of(hung.pid) == "D"
    states = States(hung.pid)
    until(lambda: states.bad, 5, "what a process on the mount looks like is seen")
    states.stop()
    killed.kill()
    killed.communicate()
    assert re.search("not connected|connection abort", hung.communicate(timeout=10)[1])
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_where_there_is_no_fuse_a_test_fails_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).parents[1] / "fakes" / "fuse_mount.py"
    broken = tmp_path / "fuse_mount.py"
    broken.write_text(source.read_text().replace("/dev/fuse", "/dev/no-fuse"))
    monkeypatch.setattr("tests.support.mount_machine.FUSE", broken)
    with pytest.raises(RuntimeError, match="No FUSE mount can be made here, /dev/no-fuse"):
        FuseMount(tmp_path / "mount")
