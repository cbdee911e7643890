"""A settings file as plain data, each value with the line it was written on."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from workroom_hub.errors import ConfigError
from workroom_hub.settings import Settings

OVERRIDES: dict[str, tuple[str, str]] = {
    "WORKROOM_PORT": ("web", "port"),
    "WORKROOM_SSH_PORT": ("ssh", "port"),
    "RSTUDIO": ("build", "rstudio"),
    "CA_BUNDLE": ("build", "ca_bundle"),
    "WORKROOM_EMULATOR_PORT": ("ecs", "emulator_port"),
    "WORKROOM_S3_PORT": ("data", "s3_port"),
    "WORKROOM_METASTORE_PORT": ("data", "metastore_port"),
    "WORKROOM_REGISTRY_PORT": ("registry", "port"),
}
"""Environment variable → the field it overrides."""

Path_ = tuple[str | int, ...]


@dataclass
class Source:
    """A parsed file: plain data, and the line each value was written on."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path_, int] = field(default_factory=dict)
    variables: dict[Path_, str] = field(default_factory=dict)

    def where(self, path: Path_) -> str:
        """Return "FILE:LINE" of a field, of its nearest parent, or the variable that set it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.variables:
                return f"environment variable {self.variables[path[:end]]}"
            if path[:end] in self.lines:
                return f"{self.file}:{self.lines[path[:end]]}"
        return self.file

    def written(self, path: Path_, otherwise: Any) -> Any:
        """Return the value at `path` as it is in the file."""
        value: Any = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return otherwise
        return value


def read(path: Path) -> Source:
    """Return the parsed file.

    Raises:
        ConfigError: It is not YAML, or holds something else than settings.
    """
    name = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
    try:
        tree = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except DuplicateKeyError as error:
        key = re.search(r'found duplicate key "(.*?)"', str(error.problem))
        written = f"the key '{key[1]}'" if key else "a key"
        raise ConfigError(
            f"{name}:{_line(error)}: {written} is written twice in the same section.",
            "Keep one of the two.",
        ) from error
    except MarkedYAMLError as error:
        raise ConfigError(
            f"{name}:{_line(error)}: {_yaml_sentence(error)}", _yaml_fix(error)
        ) from error
    except (YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(
            f"{name}: cannot be read: {error}", "Write it as a UTF-8 YAML file."
        ) from error
    source = Source(name)
    if tree is None:
        return source
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            f"{name}:1: the file holds {kind_of(tree)}, where settings are expected.",
            "Write fields such as\nweb:\n  port: 8000",
        )
    source.data = _plain(tree, (), source.lines)
    _drop_empty_sections(source.data, Settings)
    return source


def _drop_empty_sections(data: dict[str, Any], model: type[BaseModel]) -> None:
    """Take a section with nothing below it (`web:`) for one that is not there."""
    for name, field_ in model.model_fields.items():
        inner = field_.annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            continue
        if name in data and data[name] is None:
            del data[name]
        elif isinstance(data.get(name), dict):
            _drop_empty_sections(data[name], inner)


def _plain(node: Any, path: Path_, lines: dict[Path_, int]) -> Any:
    """Return plain data and note the line (from 1) of each key and item."""
    if isinstance(node, CommentedMap):
        for key in node:
            lines[(*path, str(key))] = node.lc.key(key)[0] + 1
        return {str(key): _plain(value, (*path, str(key)), lines) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*path, index)] = node.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    if isinstance(node, bool):
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def override(source: Source, environment: Mapping[str, str]) -> None:
    """Put the values of environment variables in place of the file's."""
    for variable, (section, name) in OVERRIDES.items():
        value = environment.get(variable)
        if not value:
            continue
        part = source.data.setdefault(section, {})
        if isinstance(part, dict):
            part[name] = value
            source.variables[(section, name)] = variable


def _line(error: MarkedYAMLError) -> int:
    mark = error.problem_mark or error.context_mark
    return mark.line + 1 if mark else 1


def _yaml_sentence(error: MarkedYAMLError) -> str:
    if "'\\t'" in str(error.problem):
        return "the line is indented with a tab, which YAML does not allow."
    return f"this is not valid YAML: {error.problem or error}."


def _yaml_fix(error: MarkedYAMLError) -> str:
    if "'\\t'" in str(error.problem):
        return "Indent with spaces, two for each level."
    return "Check the indentation, the colons and the quotes around that line."


def kind_of(value: Any) -> str:
    """Return what a value is, in words, such as "a list"."""
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list) else f"the text '{str(value)[:40]}'"
