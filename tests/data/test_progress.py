"""The bar: after a while, in a terminal and a notebook, and never in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import pytest

from workroom_data import find, load, load_dataframe, progress, store, store_dataframe
from workroom_data.progress import Work, bar
from workroom_data.session import Session

PROGRAM = """
import sys, time
from workroom_data.progress import bar
with bar({progress}, "Storing a.b [x]", 2_000, "rows", delay={delay}) as tell:
    tell(1_000)
    time.sleep({works})
print("done")
"""


def in_a_terminal(program: str, **environment: str) -> str:
    """Run a program with a terminal for its output and return what it showed."""
    ours, theirs = pty.openpty()
    given = {**os.environ, "TERM": "xterm", "COLUMNS": "120", **environment}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, env=given
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                some = os.read(ours, 10_000)
            except OSError:  # the other end is closed
                break
            shown += some
        assert process.wait(timeout=20) == 0
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


class TestTerminal:
    def test_work_that_takes_long(self) -> None:
        shown = in_a_terminal(PROGRAM.format(progress=None, delay=0.1, works=0.6))
        assert "Storing a.b [x]" in shown
        assert "1,000 of 2,000 rows" in shown
        assert shown.rstrip().endswith("done")

    def test_work_that_does_not(self) -> None:
        assert in_a_terminal(PROGRAM.format(progress=None, delay=5, works=0)) == "done\r\n"

    def test_at_once(self) -> None:
        assert "Storing" in in_a_terminal(PROGRAM.format(progress=True, delay=5, works=0.3))

    def test_not_wanted(self) -> None:
        shown = in_a_terminal(PROGRAM.format(progress=False, delay=0, works=0.2))
        assert shown == "done\r\n"

    def test_a_terminal_that_cannot(self) -> None:
        program = PROGRAM.format(progress=True, delay=0, works=0.2)
        assert in_a_terminal(program, TERM="dumb") == "done\r\n"


def test_nothing_in_a_log() -> None:
    program = PROGRAM.format(progress=True, delay=0, works=0.2)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (b"done\n", b"")
    closed = subprocess.run(["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, program])
    assert closed.returncode == 0


class TestNotebook:
    @pytest.fixture
    def cell(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What IPython shows below the cell, picture by picture."""
        pictures: list[str] = []

        class ZMQInteractiveShell:
            pass

        class Place:
            def update(self, picture: str) -> None:
                pictures.append(picture)

        def display(picture: str, display_id: bool) -> Place:
            pictures.append(picture)
            return Place()

        ipython, shown = types.ModuleType("IPython"), types.ModuleType("IPython.display")
        ipython.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
        shown.HTML, shown.display = str, display  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        monkeypatch.setitem(sys.modules, "IPython.display", shown)
        return pictures

    def test_is_below_the_cell_and_goes(self, cell: list[str]) -> None:
        with bar(None, "Loading <a>", 3_000_000, "bytes", delay=0) as tell:
            tell(1_500_000)
            wait_for(lambda: any("1.5 MB of 3.0 MB" in picture for picture in cell))
        assert any("Loading &lt;a&gt; <progress value='1500000' max='3000000'>" in p for p in cell)
        assert cell[0] == cell[-1] == ""

    @pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
    def test_one_that_cannot_be_painted(
        self, cell: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: Any) -> None:
            raise RuntimeError("no place to paint")

        monkeypatch.setattr(progress.Notebook, "show", broken)
        with bar(True, "x", 10, "rows") as tell:
            tell(10)

    def test_the_error_of_the_work(self, cell: list[str]) -> None:
        before = threading.active_count()
        with pytest.raises(ValueError, match="of the work"), bar(True, "x", 10, "rows"):
            raise ValueError("of the work")
        assert threading.active_count() == before


@pytest.mark.parametrize("format", ["text", "parquet"])
def test_stores_and_loads_count_all_of_their_work(
    local: Session, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    begun: list[Work] = []
    wanted: list[bool | None] = []

    @contextmanager
    def counted(progress: bool | None, what: str, total: int, unit: str) -> Iterator[Any]:
        begun.append(Work(what, total, unit))
        wanted.append(progress)
        yield begun[-1].add

    for module in (store, find, load):
        monkeypatch.setattr(module, "bar", counted)
    frame = pd.DataFrame({"n": range(600_000)})
    batch = store_dataframe(frame, "a", "b", {"k": "1"}, format=format, progress=False)
    load_dataframe("a", "b", progress=True)
    assert [(work.what, work.done, work.total, work.unit) for work in begun] == [
        ("Storing a.b k=1", 600_000, 600_000, "rows"),
        ("Finding a.b", 1, 1, "partitions"),
        ("Loading a.b", batch.size, batch.size, "bytes"),
    ]
    assert wanted == [False, True, True]


def wait_for(holds: Any) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError("it never did")
