"""Progress for people: a live line on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from workroom_hub.errors import WorkroomError

_PLAIN_EVERY = 5.0


class Step:
    """One step under way; `update` says what it is doing, `result` what came of it."""

    def __init__(self, reporter: Reporter, title: str) -> None:
        self.title = title
        self.result = ""
        self._reporter = reporter
        self._last = time.monotonic()

    def update(self, text: str) -> None:
        """Show what the step is doing now (on plain output at most every few seconds)."""
        if self._reporter.live is not None:
            self._reporter.live(f"{self.title} · {text}")
        elif time.monotonic() - self._last >= _PLAIN_EVERY:
            self._last = time.monotonic()
            self._reporter.line(f"  {text}")


class Reporter:
    """Writes steps, notes and warnings.

    Args:
        quiet: Say nothing but warnings (for `--json`, whose output is for programs).
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.live: _Live | None = None
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
            from rich.status import Status

            with Status(title, console=self.console) as status:
                self.live = _Live(status)
                try:
                    yield step
                except BaseException:
                    self.console.print(f"[red]✗[/] {title}")
                    raise
                finally:
                    self.live = None
            self.console.print(f"[green]✓[/] {self._done(step, begun)}", markup=True)
            return
        self.line(f"{title} …")
        yield step
        self.line(f"  {self._done(step, begun)}")

    @staticmethod
    def _done(step: Step, begun: float) -> str:
        seconds = f"{time.monotonic() - begun:.1f} s"
        result = step.result.replace("[", "\\[") if step.result else "done"
        return f"{step.title}: {result} ({seconds})"


class _Live:
    def __init__(self, status: object) -> None:
        self._status = status

    def __call__(self, text: str) -> None:
        from rich.markup import escape

        self._status.update(escape(text))  # type: ignore[attr-defined]


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


def human_seconds(seconds: float) -> str:
    """Return a span as people write it: `3 h 20 min`."""
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {int(seconds % 60)} s" if minutes else f"{seconds:.0f} s"
