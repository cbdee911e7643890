"""How a frame is refused: naming the column, the row, the value and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from workroom_data.errors import FrameError

LONGEST_NAME = 767
"""Characters the metastore's tables have for a column name (its own schema, 2.3)."""
_SHOWN = 80


def shown(value: object) -> str:
    """Return a value for people: its repr, at most 80 characters, always printable."""
    try:
        text = repr(value)
    except Exception:  # a stranger's __repr__ may do anything
        text = f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def at(column: str, row: int | None = None, labels: Sequence[Any] | None = None) -> str:
    """Return "Column 'x', row 17 (index 'berlin')".

    Args:
        column: The column's name.
        row: Its row, counted from 0, or None for the whole column.
        labels: The frame's index; mentioned where it is not simply the row.
    """
    place = f"Column {column!r}"
    if row is None:
        return place
    place += f", row {row}"
    if labels is not None and labels[row] != row:
        place += f" (index {shown(labels[row])})"
    return place


def refusal(
    column: str,
    row: int,
    value: object,
    why: str,
    fix: str,
    labels: Sequence[Any] | None = None,
) -> FrameError:
    """Return the error for one value: "Column 'x', row 17: 3 (int) among str. Make them …"."""
    return FrameError(f"{at(column, row, labels)}: {shown(value)} {why}.", fix)


def first_row(values: Iterable[Any], fails: Callable[[Any], object]) -> tuple[int, Any]:
    """Return the first row whose value `fails` (or makes it raise), and the value.

    Only called once something is known to be wrong, so it may be slow.

    Raises:
        LookupError: There is none.
    """
    for row, value in enumerate(values):
        try:
            wrong = bool(fails(value))
        except Exception:  # raising is failing, whatever the value raises
            wrong = True
        if wrong:
            return row, value
    raise LookupError("no value fails by itself")


def check_names(names: Sequence[Any]) -> None:
    """Refuse column names that Hive or another reader of the table could not take.

    Raises:
        FrameError: There are none; one is not text, is blank, too long, holds a comma or a
            control character; or two are the same to Hive, which knows lower case only.
    """
    if not len(names):
        raise FrameError("The frame has no columns.", "A table needs at least one.")
    seen: dict[str, str] = {}
    for position, name in enumerate(names):
        if not isinstance(name, str):
            raise FrameError(
                f"The name of column {position} is {shown(name)}, of type {type(name).__name__}.",
                _name_fix(name),
            )
        _check_name(name, position)
        other = seen.get(name.lower())
        seen[name.lower()] = name
        if other == name:
            raise FrameError(f"Two columns are called {name!r}.", "Rename one of them.")
        if other is not None:
            raise FrameError(
                f"Columns {other!r} and {name!r} are one name to Hive, which has lower case only.",
                "Rename one of them.",
            )


def _name_fix(name: object) -> str:
    if isinstance(name, tuple):
        return "Join the levels: df.columns = ['_'.join(map(str, c)) for c in df.columns]."
    return "Make names text: df.columns = df.columns.astype(str)."


def _check_name(name: str, position: int) -> None:
    wrong = ""
    if not name.strip():
        wrong = "is blank"
    elif "," in name:
        wrong = "has a comma, with which Hive separates names"
    elif any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
        wrong = "has a control character"
    elif any(0xD800 <= ord(letter) <= 0xDFFF for letter in name):
        wrong = "has half of a surrogate pair, which is not Unicode text"
    elif len(name.lower()) > LONGEST_NAME:
        wrong = f"has {len(name.lower())} characters, the metastore takes {LONGEST_NAME}"
    if wrong:
        raise FrameError(f"The name of column {position}, {shown(name)}, {wrong}.", "Rename it.")
