"""A trace: a CSV file of what people did, a line for each time they worked.

    user,start,profile,used
    ann,08:55,small,2h
    bob,2026-11-30T09:02:30,large,45m

`start` is a time of day, or a date and time in all lines, without a time zone. `used` is how long
from then until the last thing they did, as in workroom.yaml: 90s, 45m, 2h; 90 is seconds, too.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from datetime import datetime, time
from pathlib import Path

from workroom_hub.errors import PlanError
from workroom_hub.fields import parse_span
from workroom_hub.plan.visits import DAY, Visit

FIELDS = ("user", "start", "profile", "used")
_MOST_SHOWN = 10
_MOST_DAYS = 31
_EXAMPLE = "The first line is 'user,start,profile,used', one like it 'ann,08:55,small,2h'."

_When = datetime | time


class _Wrong(ValueError):
    """One thing that is wrong with a line: the field, the value, what to write instead."""

    def __init__(self, field: str, value: str, fix: str) -> None:
        super().__init__(f"{field}: '{value}' {fix}")


def read(path: Path, profiles: list[str]) -> list[Visit]:
    """Return the visits of a trace, by start; seconds count from midnight of its first day.

    Args:
        path: The file.
        profiles: Names of the profiles that are planned.

    Raises:
        PlanError: The file cannot be read, or lines are wrong: each with line, field, value, fix.
    """
    text = _text(path)
    rows: list[tuple[int, str, _When, str, float]] = []
    problems: list[str] = []
    for line, row in _rows(path, text):
        try:
            rows.append((line, *_visit(row, profiles)))
        except _Wrong as wrong:
            problems.append(f"{path.name}:{line}: {wrong}")
    problems += _mixed(path, rows)
    if problems:
        more = len(problems) - _MOST_SHOWN
        shown = "\n".join(f"  {problem}" for problem in problems[:_MOST_SHOWN])
        rest = f"\n  … and {more} more" if more > 0 else ""
        raise PlanError(f"The trace has {_counted(len(problems))}:\n{shown}{rest}", _EXAMPLE)
    if not rows:
        raise PlanError(f"{path.name}: the trace has no lines below its header.", _EXAMPLE)
    return _from_midnight(path, rows)


def _counted(problems: int) -> str:
    return "a problem" if problems == 1 else f"{problems} problems"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanError(f"The trace '{path}' is not text in UTF-8.", _EXAMPLE) from error
    except OSError as error:
        why = error.strerror or "cannot be read"
        raise PlanError(
            f"The trace '{path}' cannot be read: {why.lower()}.", "Write the path of a CSV file."
        ) from error


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(text.splitlines(), strict=True)
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if missing := [name for name in FIELDS if name not in header]:
            raise PlanError(
                f"{path.name}:1: the header has no '{missing[0]}'; it says '{','.join(header)}'.",
                _EXAMPLE,
            )
        for row in reader:
            if any(value.strip() for value in row):
                cells = [value.strip() for value in row] + [""] * (len(header) - len(row))
                yield reader.line_num, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise PlanError(f"{path.name}:{reader.line_num}: not CSV: {error}.", _EXAMPLE) from error


def _visit(row: dict[str, str], profiles: list[str]) -> tuple[str, _When, str, float]:
    user, start, profile, used = (row[name] for name in FIELDS)
    if not user:
        raise _Wrong("user", user, "is empty; write a name")
    if profile not in profiles:
        raise _Wrong("profile", profile, f"is not a profile; choose from {', '.join(profiles)}")
    return user, _when(start), profile, _span(used)


def _when(value: str) -> _When:
    fix = "is not a time; write 08:55, or 2026-11-30T08:55 in all lines"
    for kind in (time, datetime):
        try:
            found = kind.fromisoformat(value)
        except ValueError:
            continue
        if found.tzinfo:
            # Days have 24 hours here and begin at one midnight, which a zone would have to choose.
            plain = found.replace(tzinfo=None).isoformat(timespec="minutes")
            fix = f"has a time zone; write all lines in the same one, without it, such as {plain}"
            raise _Wrong("start", value, fix)
        return found
    raise _Wrong("start", value, fix)


def _span(value: str) -> float:
    try:
        seconds = parse_span(int(value) if value.isascii() and value.isdigit() else value)
    except ValueError as error:
        raise _Wrong("used", value, f"is not a time; {error}") from error
    if not 0 < seconds <= _MOST_DAYS * DAY or math.isinf(seconds):
        raise _Wrong("used", value, f"is not between 1s and {_MOST_DAYS}d")
    return float(seconds)


def _mixed(path: Path, rows: list[tuple[int, str, _When, str, float]]) -> list[str]:
    """Find the first line whose start is of another kind than the first one's."""
    for line, _, start, _, _ in rows:
        if isinstance(start, time) != isinstance(rows[0][2], time):
            told = f"{path.name}:{line}: start: '{start.isoformat()}' is of another kind than line "
            return [f"{told}{rows[0][0]}'s; write a date in all lines or in none"]
    return []


def _from_midnight(path: Path, rows: list[tuple[int, str, _When, str, float]]) -> list[Visit]:
    moments = [start for _, _, start, _, _ in rows if isinstance(start, datetime)]
    first = min(moments).replace(hour=0, minute=0, second=0, microsecond=0) if moments else None
    visits = []
    for line, user, start, profile, used in rows:
        if isinstance(start, datetime) and first:
            at = (start - first).total_seconds()
        else:
            at = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
        if at >= _MOST_DAYS * DAY:
            raise PlanError(
                f"{path.name}:{line}: start: '{start.isoformat()}' is more than {_MOST_DAYS} days "
                "after the first line's.",
                f"A trace is of {_MOST_DAYS} days at most.",
            )
        visits.append(Visit(user, at, profile, used))
    return sorted(visits, key=lambda visit: (visit.start, visit.user))
