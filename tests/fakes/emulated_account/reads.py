"""Run by the emulator's Python: what of a template its CloudFormation reads.

    python reads.py TEMPLATE

It prints JSON: `unknown` types, and the properties (`lost`) of each type that are named nowhere in
the code that makes it, so that they are dropped without a word. A name that is there may still be
read and not used; that is seen by reading back (`tests/e2e/test_deployed.py`).
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main() -> None:
    """Read the template that is named, and print what the emulator leaves out of it."""
    from ministack.services.cloudformation import provisioners  # type: ignore[import-not-found]

    handlers = provisioners._RESOURCE_HANDLERS
    properties: dict[str, set[str]] = {}
    for resource in json.loads(Path(sys.argv[1]).read_text())["Resources"].values():
        found = properties.setdefault(resource["Type"], set())
        found.update(resource.get("Properties", {}))
    lost = {}
    for kind, names in properties.items():
        if kind in handlers:
            said = set(_said(handlers[kind]["create"], set()))
            lost[kind] = sorted(n for n in names if not {n, n[0].lower() + n[1:]} & said)
    unknown = sorted(kind for kind in properties if kind not in handlers)
    print(json.dumps({"unknown": unknown, "lost": {k: v for k, v in lost.items() if v}}))


def _said(function: Any, seen: set[Any]) -> Iterator[str]:
    """Yield the strings in a function, in what it calls, and in the tables it looks into."""
    module = inspect.getmodule(function)
    if function in seen or module is None or not module.__name__.startswith("ministack.services"):
        return
    seen.add(function)
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        named = _named(node, module)
        if inspect.isfunction(named):
            yield from _said(named, seen)
        else:
            yield from _strings(named)


def _named(node: ast.AST, module: Any) -> Any:
    """Return what a name in a module stands for; None if it is nothing of a module."""
    if isinstance(node, ast.Name):
        return getattr(module, node.id, None)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        other = getattr(module, node.value.id, None)
        return getattr(other, node.attr, None) if inspect.ismodule(other) else None
    return None


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value))
        yield from _strings(list(value.values()))
    elif isinstance(value, (list, tuple, set, frozenset)):
        for each in value:
            yield from _strings(each)


if __name__ == "__main__":
    main()
