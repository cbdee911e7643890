"""Reads `workroom.yaml` and says what is wrong with it by file, line and field.

    settings = load()                       # $WORKROOM_CONFIG, ./workroom.yaml, else defaults
    check_against_machine(settings, 4, 16 * 2**30)

Environment variables override single fields (`OVERRIDES`) and are checked like them.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from workroom_hub.errors import ConfigError
from workroom_hub.settings import Settings

OVERRIDES: dict[str, tuple[str, str]] = {
    "WORKROOM_PORT": ("web", "port"),
    "RSTUDIO": ("build", "rstudio"),
    "CA_BUNDLE": ("build", "ca_bundle"),
}
"""Environment variable → the field it overrides."""

Path_ = tuple[str | int, ...]


@dataclass
class _Source:
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


def config_path(path: Path | None = None) -> Path | None:
    """Return the file settings are read from; None when there is none and defaults apply.

    Raises:
        ConfigError: A file was asked for, by argument or `$WORKROOM_CONFIG`, and is not there.
    """
    asked = path or (
        Path(os.environ["WORKROOM_CONFIG"]) if os.environ.get("WORKROOM_CONFIG") else None
    )
    if asked is None:
        beside = Path("workroom.yaml")
        return beside.resolve() if beside.is_file() else None
    if not asked.is_file():
        named = "" if path else " (from WORKROOM_CONFIG)"
        raise ConfigError(
            f"There is no settings file '{asked}'{named}.",
            "Correct the path, or leave it out to use ./workroom.yaml or the defaults.",
        )
    return asked.resolve()


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings.

    Args:
        path: The file; None searches `$WORKROOM_CONFIG`, then `./workroom.yaml`, else defaults.
        environment: Environment variables; None means this process's.

    Raises:
        ConfigError: Names every problem at once, each with file, line, field and fix.
    """
    found = config_path(path)
    source = _read(found) if found else _Source("defaults")
    _override(source, os.environ if environment is None else environment)
    problems = _repeated_names(source)
    try:
        settings = Settings.model_validate(source.data)
    except ValidationError as error:
        known = {p.field for p in problems}
        problems += [p for p in _problems(source, error) if p.field not in known]
        _fail(problems, error)
    problems += _booleans(source, settings) + _addresses(source, settings)
    if problems:
        _fail(problems, None)
    return settings


def check_against_machine(
    settings: Settings,
    cpus: int,
    memory: int,
    gpus: int | None = None,
    *,
    path: Path | None = None,
) -> None:
    """Refuse profiles of the settings' own list that do not fit, and files that are not there.

    Default profiles are not an error; those that do not fit are just not offered.

    Args:
        settings: The settings.
        cpus: Cores of the machine.
        memory: Bytes of memory of the machine.
        gpus: GPUs of the machine, or None if that is not known (then they are not checked).
        path: The file they came from, as given to `load`; it is read for the line numbers.

    Raises:
        ConfigError: Names each of them.
    """
    found = config_path(path)
    source = _read(found) if found else _Source("settings")
    _override(source, os.environ)
    problems = _files(source, settings)
    if "profiles" in settings.model_fields_set:
        problems += _too_large(source, settings, cpus, memory, gpus)
    if problems:
        _fail(problems, None)


def _too_large(
    source: _Source, settings: Settings, cpus: int, memory: int, gpus: int | None
) -> list[Problem]:
    problems = []
    for index, profile in enumerate(settings.profiles):
        limits = [("cpu", profile.cpu, cpus, f"{cpus} cores", f"{profile.cpu:g} cores")]
        limits += [("memory", profile.memory, memory, _size(memory), _size(profile.memory))]
        if gpus is not None:
            limits += [("gpu", profile.gpu, gpus, f"{gpus} GPUs", f"{profile.gpu} GPUs")]
        for name, wanted, there, has, asked in limits:
            if wanted > there:
                at: Path_ = ("profiles", index, name)
                problems.append(
                    Problem(
                        source.where(at),
                        _dotted(at),
                        f"profile '{profile.name}' asks for {asked}, and this machine has {has}.",
                        "Make it smaller, or remove the profile.",
                    )
                )
    return problems


def _files(source: _Source, settings: Settings) -> list[Problem]:
    """Find files and folders that the settings name and that are not there."""
    bundle, oidc = settings.build.ca_bundle, settings.auth.oidc
    named: list[tuple[Path_, Path | None, str]] = [
        (("homes", "shared_data"), settings.homes.shared_data, "folder"),
        (("build", "ca_bundle"), bundle if isinstance(bundle, Path) else None, "file"),
        (("auth", "oidc", "client_secret_file"), oidc.client_secret_file if oidc else None, "file"),
    ]
    return [
        Problem(
            source.where(at),
            _dotted(at),
            f"there is no {kind} '{path}'.",
            f"Write the path of a {kind} of this machine.",
        )
        for at, path, kind in named
        if path and not (path.is_dir() if kind == "folder" else path.is_file())
    ]


def _fail(problems: list[Problem], cause: Exception | None) -> None:
    lines = [str(problem) for problem in problems]
    if len(lines) == 1:
        raise ConfigError(lines[0]) from cause
    listed = "\n".join(f"  {line}" for line in lines)
    raise ConfigError(f"The settings have {len(lines)} problems:\n{listed}") from cause


def _read(path: Path) -> _Source:
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
    source = _Source(name)
    if tree is None:
        return source
    if not isinstance(tree, CommentedMap):
        raise ConfigError(
            f"{name}:1: the file holds {_kind(tree)}, where settings are expected.",
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


def _override(source: _Source, environment: Mapping[str, str]) -> None:
    for variable, (section, name) in OVERRIDES.items():
        value = environment.get(variable)
        if not value:
            continue
        part = source.data.setdefault(section, {})
        if isinstance(part, dict):
            part[name] = value
            source.variables[(section, name)] = variable


def _repeated_names(source: _Source) -> list[Problem]:
    problems = []
    for section in ("images", "profiles"):
        items = source.data.get(section)
        first: dict[str, int] = {}
        for index, item in enumerate(items if isinstance(items, list) else []):
            name = item.get("name") if isinstance(item, dict) else None
            if not isinstance(name, str):
                continue
            if name in first:
                path = (section, index, "name")
                before = source.where((section, first[name], "name")).rpartition(":")[2]
                problems.append(
                    Problem(
                        source.where(path),
                        _dotted(path),
                        f"'{name}' is already the name of another one (line {before}).",
                        "Give each its own name.",
                    )
                )
            first.setdefault(name, index)
    return problems


def _addresses(source: _Source, settings: Settings) -> list[Problem]:
    """Find address ranges that are none, and ports that are given twice."""
    problems = []
    subnet = settings.local.subnet
    if subnet is not None:
        try:
            roomy = ipaddress.IPv4Network(subnet).prefixlen <= 28
        except ValueError:
            roomy = False
        if not roomy:
            problems.append(
                Problem(
                    source.where(("local", "subnet")),
                    "local.subnet",
                    f"'{subnet}' is not an IPv4 range of 16 addresses or more.",
                    "Write one such as 172.30.0.0/16.",
                )
            )
    ports: dict[int, Path_] = {}
    for at, port in (
        (("web", "port"), settings.web.port),
        (("web", "proxy_api_port"), settings.web.proxy_api_port),
        (("local", "hub_port"), settings.local.hub_port),
    ):
        if port in ports:
            other = _dotted(ports[port])
            problems.append(
                Problem(source.where(at), _dotted(at), f"{port} is {other} too.", "Choose another.")
            )
        ports.setdefault(port, at)
    return problems


def _booleans(source: _Source, settings: Settings) -> list[Problem]:
    """Find `true` and `false` where a number is expected (pydantic takes them for 1 and 0)."""
    problems = []

    def walk(raw: Any, value: Any, path: Path_) -> None:
        if isinstance(raw, dict):
            for key, part in raw.items():
                walk(part, getattr(value, key, None), (*path, key))
        elif isinstance(raw, list) and isinstance(value, list):
            for index, part in enumerate(raw):
                walk(part, value[index], (*path, index))
        elif isinstance(raw, bool) and not isinstance(value, bool):
            said = str(raw).lower()
            problems.append(
                Problem(
                    source.where(path),
                    _dotted(path),
                    f"'{said}' is not a number.",
                    "Write a number.",
                )
            )

    walk(source.data, settings, ())
    return problems


def _problems(source: _Source, error: ValidationError) -> list[Problem]:
    problems: list[Problem] = []
    for item in error.errors(include_url=False):
        path: Path_ = tuple(p for p in item["loc"] if not _is_variant(p, item["loc"], source))
        problem = _problem(source, path, dict(item))
        # A field of several allowed kinds reports once for each kind.
        if all((p.where, p.field) != (problem.where, problem.field) for p in problems):
            problems.append(problem)
    return problems


def _is_variant(part: str | int, loc: Path_, source: _Source) -> bool:
    """True for the names pydantic adds for the kinds of a union (`literal['auto','none']`)."""
    return (
        isinstance(part, str)
        and (
            "[" in part
            or (part in ("path", "none", "function-after") and loc.index(part) == len(loc) - 1)
        )
        and (*loc[: loc.index(part)], part) not in source.lines
    )


def _problem(source: _Source, path: Path_, item: dict[str, Any]) -> Problem:
    kind, context = item["type"], item.get("ctx") or {}
    # What was written, not what an earlier step of the validation made of it.
    value = source.written(path, item.get("input"))
    where, name = source.where(path), _dotted(path)
    if kind == "extra_forbidden":
        return Problem(where, name, *_unknown(path))
    if kind == "missing":
        return Problem(where, name, "this field is missing.", f"Add '{path[-1]}: …'.")
    if kind == "value_error":
        message = str(context["error"])
        prefix = re.match(r"([a-z_]+): ", message)
        if prefix:
            inner = (*path, prefix[1])
            return Problem(source.where(inner), _dotted(inner), message[prefix.end() :] + ".", "")
        return Problem(where, name, f"{_shown(value)} is not valid:", f"{message}.")
    return Problem(where, name, *_sentence(kind, value, context, path))


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
        written = _size(limit) if path and path[-1] == "memory" else f"{limit:g}"
        return f"{shown} is {bound[0]}.", f"Write {bound[1]} {written}."
    if kind == "literal_error":
        return f"{shown} is not one of the choices.", f"Write {context['expected']}."
    if kind in ("string_too_short", "too_short"):
        return "it is empty.", f"Write at least {context['min_length']}."
    if kind == "string_too_long":
        return f"{shown} is too long.", f"Write at most {context['max_length']} characters."
    expected = {
        "int": "a whole number",
        "float": "a number",
        "string": "text (put it in quotes if it looks like a number)",
        "bool": "true or false",
        "list": "a list, each item on a line that begins with '- '",
        "model": "a section, with its fields indented below it",
        "path": "a path",
    }.get(kind.split("_")[0], "something else")
    return f"{shown} is not {expected.split(' (')[0].split(',')[0]}.", f"Write {expected}."


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


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None


def _dotted(path: Path_) -> str:
    text = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return text.lstrip(".")


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return _kind(value)
    if isinstance(value, bool):
        return f"'{str(value).lower()}'"
    text = str(value)
    return f"'{text if len(text) <= 60 else text[:57] + '…'}'"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "a section"
    return "a list" if isinstance(value, list) else f"the text '{str(value)[:40]}'"


def _size(count: float) -> str:
    for unit, factor in (("G", 2**30), ("M", 2**20)):
        if count >= factor:
            return f"{math.floor(count / factor * 10) / 10:g}{unit}"
    return f"{count:g}"


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
