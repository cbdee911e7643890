"""What is wrong with a value, in words: where, which field, why, and what to write instead."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from workroom_hub.config_source import Path_, Source, kind_of
from workroom_hub.fields import SIZES, SPANS
from workroom_hub.settings import Settings

_BEGINS = re.compile(r"([a-z][a-z_0-9]*(?:\[\d+\]|\.[a-z][a-z_0-9]*)*): ")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: "FILE:LINE", or the environment variable.
        field: Dotted name of the field, such as `profiles[1].memory`.
        message: What is wrong, with the value.
        fix: What to write instead.
    """

    where: str
    field: str
    message: str
    fix: str

    def __str__(self) -> str:
        name = f"{self.field}: " if self.field else ""
        return f"{self.where}: {name}{self.message}" + (f" {self.fix}" if self.fix else "")


def problems_of(source: Source, error: ValidationError) -> list[Problem]:
    """Return what pydantic found, each thing once."""
    problems: list[Problem] = []
    for item in error.errors(include_url=False):
        path: Path_ = tuple(p for p in item["loc"] if not _is_variant(p, item["loc"], source))
        problem = _problem(source, path, dict(item))
        # A field of several allowed kinds reports once for each kind.
        if all((p.where, p.field) != (problem.where, problem.field) for p in problems):
            problems.append(problem)
    return problems


def _is_variant(part: str | int, loc: Path_, source: Source) -> bool:
    """True for the names pydantic adds for the kinds of a union (`literal['auto','none']`)."""
    return (
        isinstance(part, str)
        and (
            "[" in part
            or (part in ("path", "none", "function-after") and loc.index(part) == len(loc) - 1)
        )
        and (*loc[: loc.index(part)], part) not in source.lines
    )


def _problem(source: Source, path: Path_, item: dict[str, Any]) -> Problem:
    kind, context = item["type"], item.get("ctx") or {}
    # What was written, not what an earlier step of the validation made of it.
    value = source.written(path, item.get("input"))
    where, name = source.where(path), dotted(path)
    if kind == "extra_forbidden":
        return Problem(where, name, *_unknown(path))
    if kind == "missing":
        return Problem(where, name, "this field is missing.", f"Add '{path[-1]}: …'.")
    if kind == "value_error":
        inner, message = _inside(path, str(context["error"]))
        if inner != path or isinstance(value, dict | list):
            return Problem(source.where(inner), dotted(inner), f"{message}.", "")
        return Problem(where, name, f"{_shown(value)} is not valid:", f"{message}.")
    return Problem(where, name, *_sentence(kind, value, context, path))


def _inside(path: Path_, message: str) -> tuple[Path_, str]:
    """Return the field that a section's sentence begins with (`images.hub: …`), and the rest."""
    while found := _BEGINS.match(message):
        parts = [int(p) if p.isdigit() else p for p in re.findall(r"[a-z_0-9]+", found[1])]
        # A sentence may begin with a word and a colon that are no field.
        if _field_at((*path, *parts)) is None:
            break
        path, message = (*path, *parts), message[found.end() :]
    return path, message


def _sentence(kind: str, value: Any, context: dict[str, Any], path: Path_) -> tuple[str, str]:
    shown = _shown(value)
    bound = {
        "greater_than_equal": ("too small", "at least", "ge"),
        "greater_than": ("too small", "more than", "gt"),
        "less_than_equal": ("too large", "at most", "le"),
        "less_than": ("too large", "less than", "lt"),
    }.get(kind)
    if bound:
        limit = context[bound[2]]
        return f"{shown} is {bound[0]}.", f"Write {bound[1]} {_written(limit, path)}."
    if kind == "literal_error":
        return f"{shown} is not one of the choices.", f"Write {context['expected']}."
    if kind == "string_pattern_mismatch":
        return f"{shown} is not of the right form.", f"Write {_belongs(path)}."
    if kind in ("string_too_short", "too_short"):
        least = _counted(context["min_length"], kind)
        return f"{shown} is too short." if value else "it is empty.", f"Write at least {least}."
    if kind in ("string_too_long", "too_long"):
        most = _counted(context["max_length"], kind)
        return f"{shown} is too long.", f"Write at most {most}."
    expected = {
        "int": "a whole number",
        "float": "a number",
        "finite": "a finite number",
        "string": "text (put it in quotes if it looks like a number)",
        "bool": "true or false",
        "list": "a list, each item on a line that begins with '- '",
        "model": "a section, with its fields indented below it",
        "path": "a path",
    }.get(kind.split("_")[0], "something else")
    return f"{shown} is not {expected.split(' (')[0].split(',')[0]}.", f"Write {expected}."


def _counted(number: int, kind: str) -> str:
    noun = "character" if kind.startswith("string") else "item"
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _belongs(path: Path_) -> str:
    """Return what is written in a field that has a pattern."""
    field = _field_at(path)
    examples = (field.examples or [field.description]) if field else []
    return str(next(iter(examples), "") or "what docs/settings.md says of this field")


def _written(limit: float, path: Path_) -> str:
    name = path[-1] if path else ""
    if name in SPANS:
        return f"{limit:g} seconds"
    return size(limit) if name in SIZES else f"{limit:g}"


def _unknown(path: Path_) -> tuple[str, str]:
    choices = list(_fields_at(path[:-1]))
    near = difflib.get_close_matches(str(path[-1]), choices, n=1)
    fix = f"Did you mean '{near[0]}'?" if near else f"Known here: {', '.join(choices)}."
    return "there is no such field.", fix


def _fields_at(path: Path_) -> dict[str, Any]:
    model: Any = Settings
    for part in path:
        if isinstance(part, int):
            continue
        model = _model_in(model.model_fields[part].annotation)
    return dict(model.model_fields)


def _field_at(path: Path_) -> FieldInfo | None:
    """Return the field that a path leads to; for an item of a list that of the list."""
    names = [part for part in path if isinstance(part, str)]
    model: Any = Settings
    for name in names[:-1]:
        field = model.model_fields.get(name)
        model = _model_in(field.annotation) if field else None
        if model is None:
            return None
    found: FieldInfo | None = model.model_fields.get(names[-1]) if names else None
    return found


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def dotted(path: Path_) -> str:
    """Return a field's name as people write it: `profiles[1].memory`."""
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.lstrip(".")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return kind_of(value)
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    text = str(value)
    return f"'{text if len(text) <= 60 else text[:57] + '…'}'"


def size(count: float) -> str:
    """Return bytes as they are written in the file: `1.5G`."""
    for unit, factor in (("G", 2**30), ("M", 2**20)):
        if count >= factor:
            return f"{math.floor(count / factor * 10) / 10:g}{unit}"
    return f"{count:g}"
