"""Writes what a deployment made into `workroom.yaml`, and leaves everything else as it is."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from workroom_hub.errors import ConfigError, DeployError
from workroom_hub.settings import Settings
from workroom_hub.settings_deployed import OUTPUTS, sections


def write(path: Path, settings: Settings, outputs: Mapping[str, str]) -> list[str]:
    """Put the deployed sections into a settings file; return what changed, a line each.

    Comments, order and everything that a deployment does not decide stay. The file is replaced in
    one step, and only if something changed.

    Raises:
        ConfigError: The file is not a settings file.
        DeployError: The stack lacks outputs, or the file cannot be written.
    """
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise DeployError(
            f"The stack has no output '{missing[0]}': an older version of Workroom made it.",
            "workroom deploy deploy",
        )
    yaml = _yaml()
    tree = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
    if tree is None:
        tree = CommentedMap()
    if not isinstance(tree, CommentedMap):
        raise ConfigError(f"{path}: the file does not hold settings.", "Write --to another file.")
    changed: list[str] = []
    _merge(tree, sections(settings, outputs), "", changed)
    if not changed:
        return [f"{path}: nothing to change"]
    text = io.StringIO()
    yaml.dump(tree, text)
    _replace(path, text.getvalue())
    return [f"{path}: {len(changed)} fields written", *(f"  {line}" for line in changed)]


def _merge(tree: CommentedMap, wanted: Mapping[str, Any], path: str, changed: list[str]) -> None:
    for key, value in wanted.items():
        at = f"{path}.{key}" if path else key
        here = tree.get(key)
        if isinstance(value, Mapping):
            if not isinstance(here, CommentedMap):
                here = tree[key] = CommentedMap()
            _merge(here, value, at, changed)
        elif here != value:
            was = "" if key not in tree else f" (was {here})"
            changed.append(f"{at}: {value}{was}")
            tree[key] = value


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    # What else would be read as a number, such as an account, keeps its quotes.
    yaml.representer.add_representer(
        str,
        lambda writer, text: writer.represent_scalar(
            "tag:yaml.org,2002:str", text, style='"' if re.fullmatch(r"[0-9]+", text) else None
        ),
    )
    return yaml


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.new")
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        partial.write_text(text, encoding="utf-8")
        partial.chmod(mode)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DeployError(
            f"{path} cannot be written: {error.strerror}.", "Write --to another file."
        ) from error
