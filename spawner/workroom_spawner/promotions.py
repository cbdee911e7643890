"""Which image people get next: a small file that is read at every start and changed by one rename.

The file is a history; nothing in it is ever changed, only added. What is in force for an image
follows from it alone, so a hub that reads it needs neither a registry nor a restart. A server that
runs is never touched: its container has its image until it stops.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

FILE = "promotions.json"
"""Name of the file in the state folder."""
_ACTIONS = ("promote", "kept", "rollback", "settings")


@dataclass(frozen=True)
class Promotion:
    """One image that somebody gave to people from then on.

    Attributes:
        image: Name of the image in the settings.
        ref: What is started from then on, `repository@sha256:…`, or the engine's id of an image
            that was never pushed; "" for what the settings name: after a rollback that took back
            the first promotion, and when they were changed.
        replaces: What the settings named then; while they name something else, this is not in
            force.
        tag: Tag the digest had in the registry, or "".
        rstudio: Version of RStudio Server in it, or None.
        rstudio_note: Why there is none, or "".
        at: When, ISO 8601 in UTC.
        by: Who, as the machine knows them.
        action: "promote"; "kept" for what a tag that moves named before the first promotion, so
            that a rollback can go back to it; "rollback"; or "settings" when these came to name
            `replaces`, which ends every promotion of the image before it.
    """

    image: str
    ref: str
    replaces: str
    tag: str = ""
    rstudio: str | None = None
    rstudio_note: str = ""
    at: str = ""
    by: str = ""
    action: str = "promote"

    @property
    def digest(self) -> str:
        """`sha256:…`, or "" where it names none."""
        return self.ref.partition("@")[2]


def parse(text: str) -> tuple[Promotion, ...]:
    """Read the file's text.

    Raises:
        ValueError: It is not a history of promotions.
    """
    try:
        rows = json.loads(text)["history"]
        if not isinstance(rows, list):
            raise TypeError("history is no list")
        return tuple(_checked(Promotion(**row)) for row in rows)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a history of promotions: {error}") from error


def _checked(entry: Promotion) -> Promotion:
    for field in fields(entry):
        value = getattr(entry, field.name)
        if not (isinstance(value, str) or (field.name == "rstudio" and value is None)):
            raise ValueError(f"not a history of promotions: {field.name} is {value!r}, not text")
    if entry.action not in _ACTIONS:
        raise ValueError(f"not a history of promotions: action is {entry.action!r}")
    if entry.action in ("promote", "kept") and not entry.ref:
        raise ValueError("not a history of promotions: ref of a promotion is empty")
    return entry


def standing(history: Iterable[Promotion], image: str, ref: str) -> list[Promotion]:
    """Return the promotions of an image that nothing took back or ended, the newest last.

    Args:
        history: All promotions, the oldest first.
        image: Name of the image.
        ref: What the settings name for it now. Those that replaced something else do not count:
            who changed the settings since has said what people get.
    """
    stack: list[Promotion] = []
    for each in history:
        if each.image != image:
            continue
        if each.action == "settings":
            stack.clear()
        elif each.replaces != ref:
            continue
        elif each.action == "rollback":
            del stack[-1:]
        else:
            stack.append(each)
    return stack


def in_force(history: Iterable[Promotion], image: str, ref: str) -> Promotion | None:
    """Return the promotion that decides what an image's next server is started from, if one does.

    Args are those of `standing`.
    """
    return next(reversed(standing(history, image, ref)), None)


class Promotions:
    """The file, read again only when it was changed.

    A file that cannot be read is no reason to give people another image: the last one read counts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why the file could not be read the last time, or ""."""
        self._seen: tuple[int, ...] | None = None
        self._history: tuple[Promotion, ...] = ()

    def history(self) -> tuple[Promotion, ...]:
        """Return all promotions, the oldest first."""
        try:
            with self.path.open() as file:
                found = os.fstat(file.fileno())
                seen = (found.st_ino, found.st_mtime_ns, found.st_size)
                if seen != self._seen:
                    self._history, self._seen = parse(file.read()), seen
            self.problem = ""
        except FileNotFoundError:
            self._history, self._seen, self.problem = (), None, ""
        except (OSError, ValueError) as error:
            self.problem = f"{self.path}: {error}"
        return self._history


def written(history: Iterable[Promotion]) -> str:
    """Return the file's text for a history."""
    rows: list[dict[str, Any]] = [vars(each) for each in history]
    return json.dumps({"version": 1, "history": rows}, indent=1) + "\n"
