"""How answers look: tables in colour for people, JSON for programs.

What others have written (notes, names, values) cannot steer the terminal.
"""

from __future__ import annotations

import base64
import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

LONGEST = 60
"""Characters of a value that are shown."""

_WHOLE = ("batch_id", "when (UTC)", "commit", "size", "rows")
"""Columns that are copied, or senseless in two lines; others are folded first."""

PIPED_WIDTH = 100_000
"""Columns of what is no terminal: nothing is wrapped there."""


def console(*, error: bool = False) -> Console:
    """Return a console for now's standard output (or error)."""
    stream = sys.stderr if error else sys.stdout
    width = None if stream.isatty() else PIPED_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def line(text: str = "", style: str = "", *, error: bool = False) -> None:
    """Print a line."""
    console(error=error).print(Text(safe(text, keep="\n"), style=style), soft_wrap=True)


def as_json(answer: Any) -> None:
    """Print an answer for programs."""
    print(json.dumps(plain(answer), ensure_ascii=False, indent=2, allow_nan=False))


def table(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, styles: Mapping[str, str] = {}
) -> None:
    """Print rows as a table; numbers to the right."""
    rows = list(rows)
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        numbers = any(isinstance(row[name], int | float | Decimal) for row in rows)
        shown.add_column(
            Text(safe(name)),
            justify="right" if numbers else "left",
            style=styles.get(name, ""),
            overflow="fold",
            no_wrap=name in _WHOLE,
        )
    for row in rows:
        shown.add_row(*(cell(row[name]) for name in columns), style=row.get("style") or "")
    console().print(shown)


def cell(value: Any) -> Text:
    """Return a value as it is shown."""
    if value is None:
        return Text("NULL", style="dim")
    if isinstance(value, bool):
        return Text(str(value).lower())
    if isinstance(value, int):
        return Text(str(value))
    if isinstance(value, datetime):
        return Text(value.isoformat(" "))
    text = safe(str(plain(value)))
    return Text(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def seconds(when: datetime | None) -> str:
    """Return a time of a commit (aware) as it is shown in lists: UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}" if when else ""


def safe(text: str, keep: str = "") -> str:
    r"""Return a text without what steers a terminal: `\x1b` instead of ESC."""
    return "".join(
        repr(letter)[1:-1]
        if letter not in keep and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else letter
        for letter in text
    )


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: times in ISO 8601, decimals as text, bytes in base64."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return str(value)


def records(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a pandas frame as Python's own values, None for what is missing."""
    import pyarrow as pa

    found: list[dict[str, Any]] = pa.Table.from_pandas(frame, preserve_index=False).to_pylist()
    return found
