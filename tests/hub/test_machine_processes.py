"""Processes of ours are found again, and nobody else's is ever stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workroom_hub.machine import processes

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def home(tmp_path: Path):
    yield tmp_path
    for role in ("hub", "proxy"):
        processes.stop(tmp_path, role, grace=1)


def start(home: Path, role: str = "hub", fingerprint: str = "v1") -> subprocess.Popen[bytes]:
    child = processes.start(home, role, SLEEP, dict(os.environ), fingerprint)
    deadline = time.monotonic() + 10
    while "up" not in processes.tail(home / f"{role}.log"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return child


def test_a_started_process_is_found_with_what_it_was_started_with(home: Path) -> None:
    child = start(home)
    found = processes.find(home, "hub")
    assert found is not None
    assert (found.pid, found.fingerprint, found.alive) == (child.pid, "v1", True)
    assert 0 <= found.uptime < 60
    assert processes.find(home, "proxy") is None
    assert os.getsid(child.pid) == child.pid


def test_stopping_ends_it_and_forgets_it(home: Path) -> None:
    child = start(home)
    assert processes.stop(home, "hub") is True
    assert child.wait(5) is not None
    assert not (home / "hub.pid").exists()
    assert processes.stop(home, "hub") is False


def test_one_that_is_still_ending_is_alive() -> None:
    # Its first thread is gone, a zombie; another one still has all of its files.
    script = (
        "import ctypes, sys, threading; threading.Thread(target=sys.stdin.read).start();"
        "ctypes.CDLL(None).pthread_exit(None)"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    state = Path(f"/proc/{child.pid}/stat")
    while state.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.02)
    assert processes.start_ticks(child.pid) is not None
    assert child.stdin is not None
    child.stdin.close()
    deadline = time.monotonic() + 10
    while processes.start_ticks(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.wait()


def test_one_whose_pid_file_was_never_written_is_found(home: Path) -> None:
    child = start(home)
    (home / "hub.pid").unlink()
    found = processes.find(home, "hub")
    assert found is not None
    assert (found.pid, found.fingerprint) == (child.pid, "")
    assert processes.stop(home, "hub") is True


def test_one_that_ignores_sigterm_is_killed(home: Path) -> None:
    stubborn = "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True)"
    command = [sys.executable, "-c", stubborn + "; time.sleep(60)"]
    child = processes.start(home, "hub", command, dict(os.environ), "")
    while "up" not in processes.tail(home / "hub.log"):
        time.sleep(0.02)
    processes.stop(home, "hub", grace=0.2)
    assert child.wait(5) == -9


def test_started_from_a_background_job_it_can_still_be_interrupted(home: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = start(home)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    child.send_signal(signal.SIGINT)
    assert child.wait(5) is not None


def test_a_reused_process_id_is_not_ours(home: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        ticks = processes.start_ticks(stranger.pid)
        assert ticks is not None
        (home / "hub.pid").write_text(f"{stranger.pid}\n{ticks - 1}\nv1\n")
        assert processes.find(home, "hub") is None
        assert processes.stop(home, "hub") is False
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.parametrize("content", ["", "x", "1", "1\n2"])
def test_a_broken_pid_file_means_not_running(home: Path, content: str) -> None:
    (home / "hub.pid").write_text(content)
    assert processes.find(home, "hub") is None


def test_a_marker_in_somebody_elses_environment_is_not_believed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = start(home)
    (home / "hub.pid").unlink()
    true_user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: true_user + 1)
    assert processes.find(home, "hub") is None
    monkeypatch.undo()
    monkeypatch.setattr(processes, "_link", lambda path: path)  # every namespace another
    assert processes.find(home, "hub") is None
    assert processes.stop(home, "hub") is False
    assert child.poll() is None
    monkeypatch.undo()
    assert processes.stop(home, "hub") is True


def test_services_that_a_killed_hub_left_are_found(home: Path, tmp_path: Path) -> None:
    env = {**os.environ, "JUPYTERHUB_SERVICE_NAME": "idle-culler"}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    left = [subprocess.Popen(sleep, cwd=cwd, env=env) for cwd in (home, elsewhere)]
    try:
        assert [p.pid for p in processes.strays(home)] == [left[0].pid]
    finally:
        for child in left:
            child.kill()
            child.wait()


def test_a_zombie_does_not_run(home: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + 10
    while processes.start_ticks(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()


def test_another_state_folder_is_another_installation(home: Path, tmp_path: Path) -> None:
    start(home)
    assert processes.find(tmp_path / "other", "hub") is None


def test_a_large_log_is_moved_away_once(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    log.write_text("x" * 100)
    processes.rotate(log, limit=100)
    assert log.exists()
    log.write_text("x" * 101)
    processes.rotate(log, limit=100)
    assert not log.exists()
    assert (tmp_path / "hub.log.1").stat().st_size == 101


def test_the_end_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "hub.log"
    log.write_text("".join(f"line {n}\n" for n in range(100_000)))
    assert processes.tail(log, 2) == "line 99998\nline 99999"
    assert processes.tail(tmp_path / "none.log") == ""
