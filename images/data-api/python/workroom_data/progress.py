"""A bar on work that takes long: in a terminal or a notebook, and nowhere else.

It is painted by a thread of its own, so that the work only counts, and a bar that cannot be painted
never fails it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol

from workroom_data.batch import readable

DELAY = 2.0
"""Seconds of work before a bar appears."""

INTERVAL = 0.2
"""Seconds between two pictures of it."""

Tell = Callable[[int], None]
"""Called with how much more of the work is done; by any thread."""


@dataclass
class Work:
    """How far the work is.

    Attributes:
        what: What is being done, for people.
        total: All there is to do, in rows, bytes or partitions.
        unit: "rows", "bytes" or "partitions".
        done: How much of it is done.
    """

    what: str
    total: int
    unit: str
    done: int = 0
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def add(self, amount: int) -> None:
        """Count what has been done."""
        with self._lock:
            self.done += amount

    def __str__(self) -> str:
        if self.unit == "bytes":
            return f"{readable(self.done)} of {readable(self.total)}"
        return f"{self.done:,} of {self.total:,} {self.unit}"


class Painter(Protocol):
    """Shows a bar somewhere."""

    def show(self, work: Work) -> None:
        """Show how far the work is."""

    def close(self) -> None:
        """Take the bar away."""


@contextmanager
def bar(
    progress: bool | None, what: str, total: int, unit: str, delay: float = DELAY
) -> Iterator[Tell]:
    """Show a bar while the block runs, if it runs for long and there is a place to show one.

    Args:
        progress: False for none, True for one at once.
        what: What is being done, for people.
        total: All there is to do.
        unit: Of `total`: "rows", "bytes" or "partitions".
        delay: Seconds before it appears.

    Yields:
        What the block calls with how much more is done.
    """
    make = None if progress is False or total <= 0 else painter()
    work = Work(what, total, unit)
    if make is None:
        yield work.add
        return
    over = threading.Event()
    # The context tells a notebook's thread to which cell its output belongs.
    thread = threading.Thread(
        target=copy_context().run,
        args=(_paint, make, work, over, 0.0 if progress else delay),
        name="workroom-data-progress",
        daemon=True,
    )
    thread.start()
    try:
        yield work.add
    finally:
        over.set()
        thread.join()


def _paint(make: Callable[[], Painter], work: Work, over: threading.Event, delay: float) -> None:
    if over.wait(delay):
        return
    with suppress(Exception):
        shown = make()
        try:
            shown.show(work)
            while not over.wait(INTERVAL):
                shown.show(work)
        finally:
            shown.close()


def painter() -> Callable[[], Painter] | None:
    """Return what makes a bar here; None where output is a log."""
    if _in_notebook():
        return Notebook
    with suppress(AttributeError, ValueError):  # no standard error, or a closed one
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            return Terminal
    return None


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # no notebook runs without it
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


class Terminal:
    """A bar on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
        )
        self._bars.start()
        self._bar = self._bars.add_task("", said="")

    def show(self, work: Work) -> None:
        """Show how far the work is."""
        self._bars.update(
            self._bar,
            description=work.what,
            completed=work.done,
            total=work.total,
            said=str(work),
            refresh=True,
        )

    def close(self) -> None:
        """Take the bar away."""
        self._bars.stop()


class Notebook:
    """A bar below the cell."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._place = display(HTML(""), display_id=True)

    def show(self, work: Work) -> None:
        """Show how far the work is."""
        self._place.update(
            self._html(
                f"{escape(work.what)} <progress value='{work.done}' max='{work.total}'></progress> "
                f"{work}"
            )
        )

    def close(self) -> None:
        """Take the bar away."""
        self._place.update(self._html(""))
