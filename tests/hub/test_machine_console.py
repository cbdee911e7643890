"""What people read while something takes long."""

from __future__ import annotations

import pytest

from workroom_hub.errors import MachineError
from workroom_hub.machine import console
from workroom_hub.machine.console import Reporter, counted, human_bytes, human_seconds, print_error


def test_plain_output_says_what_begins_what_goes_on_and_what_came_of_it(capsys) -> None:
    with Reporter().step("Image [red]") as step:
        for number in range(100):
            step.update(f"pulling {number}.5 MB")
        step.result = "made"
    begun, doing, done = capsys.readouterr().out.splitlines()
    assert begun == "Image [red] …"
    assert doing == "  pulling 0.5 MB"
    assert done.startswith("  Image [red]: made (0.")


def test_quiet_says_warnings_only(capsys) -> None:
    reporter = Reporter(quiet=True)
    with reporter.step("Image"):
        reporter.line("a line")
    reporter.warn("ports are open")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "! Warning: ports are open\n"


def test_a_failing_step_is_not_called_done(capsys) -> None:
    with pytest.raises(MachineError), Reporter().step("Image"):
        raise MachineError("no", "yes")
    assert "done" not in capsys.readouterr().out


def test_a_terminal_gets_one_line_for_a_step(capsys) -> None:
    reporter = Reporter()
    reporter.tty = True
    with reporter.step("Image [red]") as step:
        step.update("pulling [bold]")
        step.result = "made [x]"
    assert "✓ Image [red]: made [x] (0." in capsys.readouterr().out


def test_an_error_shows_sentence_last_lines_and_fix(capsys) -> None:
    print_error(MachineError("It broke.", "Do this:\nthat", details="line 1\nline 2"))
    assert capsys.readouterr().err == (
        "Error: It broke.\n\n  | line 1\n  | line 2\n\nTo fix it: Do this:\n  that\n"
    )


@pytest.mark.parametrize(
    ("count", "wanted"), [(0, "0 B"), (2048, "2 KiB"), (44 * 2**20, "44 MiB"), (2**31, "2.0 GiB")]
)
def test_bytes_for_people(count: int, wanted: str) -> None:
    assert human_bytes(count) == wanted


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(4, "4 s"), (63, "1 min 3 s"), (3 * 3600 + 1200, "3 h 20 min"), (200_000, "2 d 7 h")],
)
def test_spans_for_people(seconds: int, wanted: str) -> None:
    assert human_seconds(seconds) == wanted


def test_things_are_counted_for_people() -> None:
    assert [counted(n, "task") for n in (0, 1, 2)] == ["no tasks", "1 task", "2 tasks"]


def test_the_module_draws_nothing_when_imported() -> None:
    assert not hasattr(console, "Console")
