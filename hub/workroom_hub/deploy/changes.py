"""Two templates → what changes, in lines that people read. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

_LONGEST = 160


def lines(old: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """Return what changes from the deployed template to the new one.

    Args:
        old: The deployed template; None if there is none.
        new: The new one.
    """
    if old is None:
        count = len(new["Resources"])
        kinds = sorted({resource["Type"] for resource in new["Resources"].values()})
        return [f"Nothing is deployed yet: {count} new resources.", *(f"+ {k}" for k in kinds)]
    found = [
        line
        for part in ("Resources", "Outputs")
        for line in _part(old.get(part, {}), new.get(part, {}))
    ]
    return found or ["No changes."]


def _part(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"+ {_kind(new[name])} {name}"
        elif name not in new:
            yield f"- {_kind(old[name])} {name}"
        elif old[name] != new[name]:
            yield f"~ {_kind(new[name])} {name}"
            yield from (f"    {line}" for line in _inside("", old[name], new[name]))


def _inside(path: str, old: Any, new: Any) -> Iterator[str]:
    """Yield the smallest parts that differ, each with its place."""
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            at = f"{path}.{key}" if path else key
            if key not in old:
                yield f"{at}: + {_short(new[key])}"
            elif key not in new:
                yield f"{at}: - {_short(old[key])}"
            else:
                yield from _inside(at, old[key], new[key])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _inside(f"{path}[{index}]", one, other)
    else:
        yield f"{path}: {_short(old)} → {_short(new)}"


def _kind(item: dict[str, Any]) -> str:
    return str(item.get("Type", "output"))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
