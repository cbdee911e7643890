"""Programs of others: what is told when their installer fails or they do not answer."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from workroom_hub.errors import EmulatorError, ProxyError
from workroom_hub.machine import processes, programs


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_an_installer_gets_the_folder_and_the_environment_it_is_given(tmp_path: Path) -> None:
    code = "import os, pathlib; pathlib.Path('told').write_text(os.environ['TOLD'])"
    programs.install(python(code), {**os.environ, "TOLD": "this"}, tmp_path)
    assert (tmp_path / "told").read_text() == "this"


def test_an_installer_that_fails_is_told_with_its_last_lines() -> None:
    code = "import sys; [print(n) for n in range(40)]; sys.exit('no such package')"
    with pytest.raises(programs.InstallFailed, match="ended with exit code 1") as failed:
        programs.install(python(code), os.environ)
    lines = failed.value.output.splitlines()
    assert len(lines) == 15
    assert lines[-2:] == ["39", "no such package"]


def test_an_installer_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "_INSTALL_WITHIN", 0.2)
    with pytest.raises(programs.InstallFailed, match="did not run") as failed:
        programs.install(python("import time; time.sleep(60)"), os.environ)
    assert failed.value.output == ""


@pytest.mark.parametrize(
    ("role", "error", "sentence"),
    [
        ("proxy", ProxyError, "The web proxy was started and does not answer"),
        ("emulator", EmulatorError, "The AWS emulator was started and does not answer"),
    ],
)
def test_a_program_that_ends_is_told_at_once_with_its_log(
    role: str, error: type[Exception], sentence: str, tmp_path: Path
) -> None:
    command = python("raise SystemExit('this port is taken')")
    child = processes.start(tmp_path, role, command, dict(os.environ), "0")
    began = time.monotonic()
    with pytest.raises(error, match=sentence) as told:
        programs.wait(tmp_path, role, child, lambda: False, 60)
    assert time.monotonic() - began < 30
    assert isinstance(told.value, ProxyError | EmulatorError)
    assert "this port is taken" in told.value.details
    assert f"{tmp_path}/{role}.log" in told.value.fix


def test_a_program_that_never_answers_is_stopped(tmp_path: Path) -> None:
    command = python("import time; time.sleep(60)")
    child = processes.start(tmp_path, "proxy", command, dict(os.environ), "0")
    with pytest.raises(ProxyError):
        programs.wait(tmp_path, "proxy", child, lambda: False, 0.2)
    assert child.wait(5) is not None


def test_one_that_answers_goes_on(tmp_path: Path) -> None:
    command = python("import time; time.sleep(60)")
    child = processes.start(tmp_path, "proxy", command, dict(os.environ), "0")
    answers = iter([False, False, True])
    programs.wait(tmp_path, "proxy", child, lambda: next(answers), 60)
    assert child.poll() is None
    assert processes.stop(tmp_path, "proxy")
