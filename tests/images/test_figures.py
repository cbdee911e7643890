"""The live figures: rates, memory, room in a home that may hang, and its size."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from workroom_server import figures, home_size, limits


class Clock:
    """A clock and a CPU counter that move when told to."""

    def __init__(self) -> None:
        self.now, self.used = 1000.0, 50.0

    def gauge(self) -> figures.CpuGauge:
        """A gauge that reads them."""
        return figures.CpuGauge(read=lambda: self.used, clock=lambda: self.now)

    def pass_by(self, seconds: float, cores: float) -> None:
        """Let time pass in which so many cores work."""
        self.now += seconds
        self.used += seconds * cores


def test_cores_over_the_last_seconds() -> None:
    clock = Clock()
    gauge = clock.gauge()
    assert gauge.look() is None, "there is nothing to compare with"
    clock.pass_by(15, 0.5)
    assert gauge.look() == pytest.approx(0.5)
    clock.pass_by(5, 2.0)
    assert gauge.look() == pytest.approx(2.0), "only what came after the last sample"
    clock.pass_by(5, 0.0)
    assert gauge.look() == 0.0


def test_callers_share_samples_and_do_not_spoil_one_anothers_answer() -> None:
    clock = Clock()
    gauge = clock.gauge()
    gauge.look()
    for _ in range(400):
        clock.pass_by(0.1, 1.5)
        answer = gauge.look()
    assert answer == pytest.approx(1.5)
    assert len(gauge._samples) < 30
    clock.pass_by(0.0, 0)
    assert gauge.look() == pytest.approx(1.5), "two at the very same moment"


def test_a_long_pause_is_over_with_the_next_look() -> None:
    clock = Clock()
    gauge = clock.gauge()
    gauge.look()
    clock.pass_by(3600, 0.0)
    gauge.look()
    clock.pass_by(3, 2.0)
    assert gauge.look() == pytest.approx(2.0)


def test_without_a_counter_there_is_no_figure() -> None:
    assert figures.CpuGauge(read=lambda: None).look() is None


def test_memory_of_both_kinds_of_control_group(tmp_path: Path) -> None:
    assert figures.memory_used(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("1000\n")
    # The second line is this group's alone, the third with its children's, which counts.
    (tmp_path / "memory" / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 400\n")
    assert figures.memory_used(tmp_path) == 600
    (tmp_path / "memory.current").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 2000\n")
    assert figures.memory_used(tmp_path) == 3000
    (tmp_path / "memory.stat").write_text("inactive_file 9000\n")
    assert figures.memory_used(tmp_path) == 5000, "the two files are not of one moment"


def test_what_the_hub_granted_comes_before_the_control_group(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("300000 100000\n")
    (tmp_path / "memory.max").write_text("4096\n")
    assert limits.granted_cores({}, tmp_path) == 3.0
    assert limits.granted_memory({}, tmp_path) == 4096
    said = {"WORKROOM_CPU_LIMIT": "0.5", "WORKROOM_MEMORY_LIMIT": "2048"}
    assert limits.granted_cores(said, tmp_path) == 0.5
    assert limits.granted_memory(said, tmp_path) == 2048


def test_room_is_that_of_the_file_system(tmp_path: Path) -> None:
    found = asyncio.run(figures.RoomGauge(tmp_path).look())
    system = os.statvfs(tmp_path)
    assert found
    assert found["size"] == system.f_blocks * system.f_frsize
    assert abs(found["free"] - system.f_bavail * system.f_frsize) < 1e9
    assert asyncio.run(figures.RoomGauge(tmp_path / "none").look()) is None


def test_a_home_that_hangs_hangs_nobody(tmp_path: Path) -> None:
    release, asked = threading.Event(), []
    good = os.statvfs(tmp_path)

    def read(folder: Path) -> os.statvfs_result:
        asked.append(folder)
        if len(asked) == 2:
            release.wait(30)
        return good

    async def looks() -> None:
        gauge = figures.RoomGauge(tmp_path, within=0.05, read=read)
        known = await gauge.look()
        assert known
        began = time.monotonic()
        for _ in range(5):
            assert await gauge.look() == known, "the last known figures"
        assert time.monotonic() - began < 5
        assert len(asked) == 2, "nobody else was sent after the one that hangs"
        release.set()
        while len(asked) == 2:
            await asyncio.sleep(0.01)
            assert await gauge.look() == known

    asyncio.run(looks())


def counted(folder: Path, **more: int) -> int | None:
    """Count without pauses."""
    return home_size.count(str(folder), pause=lambda: None, **more)


def test_a_home_is_counted_as_du_does(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "data").write_bytes(os.urandom(300_000))
    (tmp_path / "a" / "b" / "ümläut").write_bytes(b"x")
    (tmp_path / "hard").hardlink_to(tmp_path / "a" / "data")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to("/usr")
    (tmp_path / "broken").symlink_to("nowhere")
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10**9)
    os.mkfifo(tmp_path / "pipe")
    told = subprocess.run(["du", "-s", "-B1", tmp_path], capture_output=True, text=True, check=True)
    assert counted(tmp_path) == int(told.stdout.split()[0])


def test_too_much_to_count_is_no_figure_rather_than_a_wrong_one(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / str(number)).touch()
    assert counted(tmp_path, most=19) is None
    assert counted(tmp_path, most=20) is not None


def test_counting_pauses_again_and_again(tmp_path: Path) -> None:
    for number in range(home_size.BATCH * 3):
        (tmp_path / str(number)).touch()
    pauses: list[int] = []
    home_size.count(str(tmp_path), pause=lambda: pauses.append(1))
    assert len(pauses) == 3


def test_other_file_systems_are_not_entered() -> None:
    assert counted(Path("/dev"), most=100_000) is not None
    shared = os.stat("/dev/shm").st_dev
    if shared != os.stat("/dev").st_dev:
        file = Path("/dev/shm/workroom-counted")
        before = counted(Path("/dev"))
        file.write_bytes(b"x" * 1_000_000)
        try:
            assert counted(Path("/dev")) == before
        finally:
            file.unlink()


def test_the_count_runs_by_itself_as_a_program(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * 100_000)
    failures: list[str] = []
    size = home_size.HomeSize(tmp_path, failures.append)
    size._count()
    assert size.known.used == counted(tmp_path)
    assert size.known.at
    assert failures == []
    gone = home_size.HomeSize(tmp_path / "none", failures.append)
    gone._count()
    assert gone.known == home_size.Counted()
    assert "No such file" in failures[0]
    assert Path(sys.executable).name.startswith("python")
