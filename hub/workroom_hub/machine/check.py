"""One line of `workroom doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Attributes:
        name: What was looked at.
        state: "ok", "note" or "failed".
        message: What was found.
        fix: What to do, or "".
    """

    name: str
    state: Literal["ok", "note", "failed"]
    message: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain data, for JSON."""
        return asdict(self)


def show(checks: list[Check]) -> None:
    """Print the sum of it, after the lines `print_check` has written."""
    failed = sum(check.state == "failed" for check in checks)
    print(f"\n{failed} of {len(checks)} checks failed." if failed else "\nAll is well.")


def print_check(check: Check) -> None:
    """Print one line, and what to do below it."""
    color = {"ok": "32", "note": "33", "failed": "31"}[check.state]
    mark = f"\033[{color}m{check.state:<6}\033[0m" if sys.stdout.isatty() else f"{check.state:<6}"
    print(f"{mark}  {check.name}: {check.message}", flush=True)
    for line in check.fix.splitlines():
        print(f"        → {line}")
