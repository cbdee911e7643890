"""Writes `docs/settings.md` from the fields of `Settings`, whose descriptions are the manual."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from workroom_hub.config_file import OVERRIDES
from workroom_hub.fields import SIZES, SPANS
from workroom_hub.settings import Settings

_HEAD = """# Settings

Everything is in one file, `workroom.yaml`, in the folder that `workroom` is run in (or where
`WORKROOM_CONFIG` points). Every field has a default, so no file is needed to begin with.
`workroom config check` says what is wrong in it, by line and field; after a change, `workroom up`
puts it in force and keeps people's servers running.

```yaml
title: Acme notebooks
web:
  port: 8000
  isolation: subdomain
profiles:
  - name: small
    title: Small
    cpu: 1
    memory: 2G
  - name: gpu
    title: GPU
    cpu: 4
    memory: 16G
    gpu: 1
    groups: [research]
idle:
  stop_after: 4h
```

Sizes are written as `512M` or `2G` (powers of 1024), times as `30s`, `90m`, `2h` or `1d`.
This page is written by `make docs` from the code; do not edit it by hand.

Environment variables override single fields:
{overrides}.
`WORKROOM_HOME` is the state folder (default: `.workroom` in the folder that `workroom` is run
in), `WORKROOM_CONFIG` the settings file.
"""


def page() -> str:
    """Return the whole page."""
    overrides = ", ".join(f"`{name}` → `{'.'.join(at)}`" for name, at in OVERRIDES.items())
    parts = [_HEAD.replace("{overrides}", overrides)]
    sections: list[tuple[str, type[BaseModel], str]] = []
    parts.append(_section("", Settings, "The top level of the file.", sections))
    while sections:
        path, model, kind = sections.pop(0)
        parts.append(_section(path, model, kind, sections))
    return "\n".join(parts)


def fields(model: type[BaseModel] = Settings, path: str = "") -> list[tuple[str, FieldInfo]]:
    """Return the dotted name of every field, sections included."""
    found = []
    for name, field in model.model_fields.items():
        full = f"{path}.{name}" if path else name
        found.append((full, field))
        inner, listed = _inner(field.annotation)
        if inner is not None:
            found += fields(inner, f"{full}[]" if listed else full)
    return found


def _section(
    path: str, model: type[BaseModel], kind: str, todo: list[tuple[str, type[BaseModel], str]]
) -> str:
    lines = [f"## {f'`{path}`' if path else 'Top level'}", "", kind, ""]
    lines += ["| field | value | default | what it does |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        inner, listed = _inner(field.annotation)
        full = f"{path}.{name}" if path else name
        description = field.description or ""
        if inner is not None:
            about = " ".join((inner.__doc__ or "").split())
            todo.append((f"{full}[]" if listed else full, inner, about))
            described = description or about
            shown = "a list; see below" if listed else "a section; see below"
            lines.append(f"| `{name}` | {shown} | {_default(name, field)} | {described} |")
            continue
        lines.append(
            f"| `{name}` | {_kind(name, field)} | {_default(name, field)} | {description} |"
        )
    return "\n".join(lines) + "\n"


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """Return the section a field holds, and whether it holds a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    listed = typing.get_origin(annotation) is list
    for part in typing.get_args(annotation):
        inner, _ = _inner(part)
        if inner is not None:
            return inner, listed
    return None, False


def _kind(name: str, field: FieldInfo) -> str:
    if name in SIZES:
        kind = "size"
    elif name in SPANS:
        kind = "time"
    else:
        kind = _type(field.annotation)
    for bound in field.metadata:
        for attribute, words in (("ge", "at least"), ("gt", "more than"), ("le", "at most")):
            limit = getattr(bound, attribute, None)
            if limit is not None:
                shown = _written(name, limit)
                kind += f", {words} {shown}"
    return kind


def _type(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _type(parts[0])
    if origin is typing.Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(part) for part in parts if part is not type(None))
    if origin is dict:
        return "names, each with a text"
    if origin is list:
        return f"list of {_type(parts[0])}" if parts else "list"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "`true` or `false`"}
    name = str(annotation.__name__)
    return names.get(name, name.lower())


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "**needed**"
    value = field.default
    if value is PydanticUndefined:
        value = field.default_factory() if field.default_factory else None  # type: ignore[call-arg]
    if isinstance(value, BaseModel):
        return ""
    if isinstance(value, list | dict):
        shown = [getattr(item, "name", item) for item in value]
        return ", ".join(f"`{item}`" for item in shown) or "none"
    if value in (None, ""):
        return "none"
    return f"`{_written(name, value)}`"


def _written(name: str, value: Any) -> str:
    """Return a value as it is written in the file."""
    if isinstance(value, bool):
        return str(value).lower()
    if name in SIZES:
        return f"{value // 2**20}M" if value < 2**30 else f"{value // 2**30}G"
    if name in SPANS and value:
        for unit, seconds in (("h", 3600), ("m", 60)):
            if value % seconds == 0:
                return f"{value // seconds}{unit}"
        return f"{value}s"
    return f"{value:g}" if isinstance(value, float) else str(value)
