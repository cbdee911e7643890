"""Suites side by side: what each says is printed whole, one failure fails all, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.lanes import Lanes

TESTS = Path(__file__).parent


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_each_lanes_output_is_printed_whole(capfd: pytest.CaptureFixture[str]) -> None:
    slow = "import time; print('a 1', flush=True); time.sleep(1); print('a 2')"
    with Lanes(poll=0.01) as lanes:
        lanes.start("slow", python(slow))
        lanes.start("quick", python("import sys; print('b 1'); print('b 2', file=sys.stderr)"))
        assert lanes.wait()
    lines = [line for line in capfd.readouterr().out.splitlines() if line]
    assert set(lines[:2]) == {"b 1", "b 2"}
    assert lines[2:4] == ["a 1", "a 2"]
    assert [line.split()[:2] for line in lines[4:]] == [["passed", "quick"], ["passed", "slow"]]


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("sys.exit(1)", "FAILED  other"),
        ("os.kill(os.getpid(), 9)", "other was ended by SIGKILL."),
    ],
)
def test_one_that_fails_fails_all_and_the_rest_go_on(
    capfd: pytest.CaptureFixture[str], end: str, said: str
) -> None:
    with Lanes(poll=0.01) as lanes:
        lanes.start("one", python("import time; time.sleep(1); print('to its end')"))
        lanes.start("other", python(f"import os, sys; {end}"))
        assert not lanes.wait()
    printed = capfd.readouterr().out
    assert "to its end" in printed
    assert "passed  one" in printed
    assert said in printed


def test_how_far_they_are_is_said(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.lanes._SAY_EVERY", 0.2)
    with Lanes(poll=0.01) as lanes:
        report = "print('x.py .. [  6%]\\ny.py . [ 41%]', flush=True)"
        lanes.start("one", python(f"import time; {report}; time.sleep(1)"))
        assert lanes.wait()
    assert "... 0 min: one 41%" in capfd.readouterr().out


_CLEARS_UP = """
import pathlib, subprocess, sys, time
child = subprocess.Popen(["sleep", "60"])
try:
    print("begun", flush=True)
    pathlib.Path(sys.argv[1]).write_text(str(child.pid))
    time.sleep(60)
finally:
    time.sleep(0.5)
    print("cleared up")
"""


def begun(folder: Path) -> int:
    """Wait until a lane has begun; return the process it started."""
    deadline = time.monotonic() + 20
    while not (folder / "child").exists() or not (folder / "child").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int((folder / "child").read_text())


def is_gone(pid: int) -> bool:
    """Whether a process ends; a killed one does so when the machine comes to it."""
    deadline = time.monotonic() + 10
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_interrupted_run_lets_them_clear_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with suppress(KeyboardInterrupt), Lanes(poll=0.01) as lanes:
        lanes.start("one", [*python(_CLEARS_UP), str(tmp_path / "child")])
        child = begun(tmp_path)
        raise KeyboardInterrupt
    assert "cleared up" in capfd.readouterr().out
    assert is_gone(child)


def test_one_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    deaf = "import signal; signal.signal(2, signal.SIG_IGN)\n" + _CLEARS_UP
    begins = time.monotonic()
    with suppress(KeyboardInterrupt), Lanes(poll=0.01, grace=0.3) as lanes:
        lanes.start("one", [*python(deaf), str(tmp_path / "child")])
        child = begun(tmp_path)
        raise KeyboardInterrupt
    assert is_gone(child)
    assert time.monotonic() - begins < 20


_TEST = """
import os, pathlib, time
import pytest

@pytest.fixture
def made():
    yield
    time.sleep(1)
    (pathlib.Path(__file__).parent / "removed").touch()

def test_that_waits(made):
    (pathlib.Path(__file__).parent / "child").write_text(str(os.getpid()))
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_suite_that_is_interrupted_removes_what_its_tests_made(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "test_waits.py").write_text(_TEST)
    chosen = ["-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    suite = subprocess.Popen(
        [sys.executable, str(TESTS / "run.py"), "unit", "--", *chosen],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    pid = begun(tmp_path)
    # A terminal tells the whole group, a machine the one process it knows.
    (os.killpg if number == signal.SIGINT else os.kill)(suite.pid, number)
    suite.communicate(timeout=30)
    assert suite.returncode not in (0, None)
    assert is_gone(pid)
    assert (tmp_path / "removed").exists()
