"""Progress for people: a live line on a terminal, plain lines everywhere else."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from workroom_hub.errors import WorkroomError

_ANOTHER, _SAME_AGAIN = 0.5, 10.0


class Step:
    """One step under way; `update` says what it is doing, `result` what came of it."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self.title = title
        self.result = ""
        self._reporter = reporter
        self._last = -_ANOTHER
        self._sort = ""

    def update(self, text: str) -> None:
        """Show what the step is doing now; plain output repeats itself only now and then."""
        if self._reporter.live is not None:
            self._reporter.live(f"{self.title} · {text}")
            return
        sort, now = re.sub(r"[\d.]+", "", text), time.monotonic()
        if now - self._last >= (_SAME_AGAIN if sort == self._sort else _ANOTHER):
            self._last, self._sort = now, sort
            self._reporter.line(f"  {text}")


class Reporter:
    """Writes steps, notes and warnings.

    Args:
        quiet: Say nothing but warnings (for `--json`, whose output is for programs).
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live: Callable[[str], None] | None = None
        self.tty = sys.stdout.isatty() and not quiet
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """The rich console, imported only when something is drawn."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, soft_wrap=True)
        return self._console

    def line(self, text: str) -> None:
        """Write one plain line."""
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Write a warning; it is never left out."""
        mark = "\033[33m! Warning:\033[0m" if sys.stderr.isatty() else "! Warning:"
        print(f"{mark} {text}", file=sys.stderr, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step while the block runs, and how long it took."""
        step, begun = Step(self, title), time.monotonic()
        if self.tty:
            with self._spinner(title):
                try:
                    yield step
                except BaseException:
                    self._mark("red", "✗", title)
                    raise
            self._mark("green", "✓", self._done(step, begun))
            return
        self.line(f"{title} …")
        yield step
        self.line(f"  {self._done(step, begun)}")

    @contextmanager
    def _spinner(self, title: str) -> Iterator[None]:
        from rich.markup import escape
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            task = progress.add_task(escape(title), total=None)
            self.live = lambda text: progress.update(task, description=escape(text))
            try:
                yield
            finally:
                self.live = None

    @staticmethod
    def _done(step: Step, begun: float) -> str:
        seconds = f"{time.monotonic() - begun:.1f} s"
        return f"{step.title}: {step.result or 'done'} ({seconds})"

    def _mark(self, color: str, mark: str, text: str) -> None:
        from rich.markup import escape

        self.console.print(f"[{color}]{mark}[/] {escape(text)}")


def print_error(error: WorkroomError) -> None:
    """Write an error for people: what is wrong, its last output, what to do."""
    red, bold, off = ("\033[31m", "\033[1m", "\033[0m") if sys.stderr.isatty() else ("", "", "")
    out = [f"{red}{bold}Error:{off} {error.message}"]
    if error.details:
        out += ["", *(f"  | {line}" for line in error.details.splitlines()), ""]
    if error.fix:
        first, *rest = error.fix.splitlines()
        out += [f"{bold}To fix it:{off} {first}", *(f"  {line}" for line in rest)]
    print("\n".join(out), file=sys.stderr, flush=True)


def human_bytes(count: float) -> str:
    """Return a number of bytes as people write it: `2.0 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def counted(number: int, thing: str) -> str:
    """Return a number of things as people write it: `no tasks`, `1 task`, `2 tasks`."""
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def human_seconds(seconds: float) -> str:
    """Return a span as people write it: `3 h 20 min`."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{seconds:.0f} s"
