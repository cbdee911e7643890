"""The assumptions of a plan: listed with their sources, and changed by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from workroom_hub.errors import PlanError
from workroom_hub.fields import SIZES, SPANS
from workroom_hub.plan.machines import PRICED
from workroom_hub.settings_plan import Assumptions


@dataclass(frozen=True)
class Assumption:
    """One of them, for people.

    Attributes:
        value: As it is written in workroom.yaml.
        changed: Whether it is not the default.
    """

    name: str
    value: str
    about: str
    source: str
    changed: bool


def listed(assumed: Assumptions) -> list[Assumption]:
    """Return all of them, in the order of the settings."""
    plain, found = Assumptions(), []
    for name, field in Assumptions.model_fields.items():
        extra = field.json_schema_extra
        source = str(extra.get("source", "")) if isinstance(extra, dict) else ""
        value = getattr(assumed, name)
        changed = value != getattr(plain, name)
        about = field.description or ""
        found.append(Assumption(name, written(name, value), about, source, changed))
    return found


def changed(assumed: Assumptions, words: Iterable[str]) -> Assumptions:
    """Return the assumptions with some replaced, each given as `name=value`.

    Raises:
        PlanError: A name is not known, or a value is not allowed; names it and the fix.
    """
    given: dict[str, Any] = {}
    for word in words:
        name, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            raise PlanError(
                f"--assume: '{word}' is not name=value.", "Write --assume instance_launch=2m."
            )
        if name not in Assumptions.model_fields:
            near = difflib.get_close_matches(name, Assumptions.model_fields, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise PlanError(
                f"--assume: there is no assumption '{name}'.",
                f"{hint}workroom plan --assumptions lists them.",
            )
        given[name] = _value(value)
    try:
        return Assumptions.model_validate({**assumed.model_dump(), **given})
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = str(problem["loc"][0])
        reason = problem["msg"].removeprefix("Value error, ")
        raise PlanError(
            f"--assume: {name}: '{given.get(name)}' is not allowed: {reason}.",
            f"{Assumptions.model_fields[name].description} The default is "
            f"{written(name, getattr(Assumptions(), name))}.",
        ) from error


def written(name: str, value: Any) -> str:
    """Return a value as it is written in workroom.yaml."""
    if value is None:
        return "its type's"
    if isinstance(value, bool):
        return str(value).lower()
    if name in SIZES:
        return f"{value / 2**30:g}G"
    if name in SPANS:
        whole = value and value % 60 == 0
        return f"{value // 60}m" if whole else f"{value}s"
    return f"{value:g}" if isinstance(value, float) else str(value)


def table() -> str:
    """Return the table of docs/capacity.md."""
    lines = ["| assumption | default | what it is | source |", "|---|---|---|---|"]
    lines += [
        f"| `{each.name}` | {each.value} | {each.about} | {each.source} |"
        for each in listed(Assumptions())
    ]
    return "\n".join(lines) + f"\n\nPrices: {PRICED}.\n"


def _value(text: str) -> Any:
    """Return a number where the text is one; times and sizes stay text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
