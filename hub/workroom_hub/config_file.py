"""Reads `workroom.yaml` and says what is wrong with it by file, line and field.

    settings = load()                       # $WORKROOM_CONFIG, ./workroom.yaml, else defaults
    check_against_machine(settings, 4, 16 * 2**30)

Environment variables override single fields (`OVERRIDES`) and are checked like them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workroom_hub import checks, config_plan, config_ssh
from workroom_hub.config_problems import Problem, dotted, problems_of, size
from workroom_hub.config_source import OVERRIDES, Path_, Source, override, read
from workroom_hub.errors import ConfigError
from workroom_hub.settings import Settings

_PATHS: tuple[Path_, ...] = (
    ("homes", "shared_data"),
    ("auth", "oidc", "client_secret_file"),
    ("build", "ca_bundle"),
    ("ssh", "ca_key_file"),
    ("ssh", "host_key_files"),
    ("registry", "push_credentials_file"),
    ("registry", "pull_credentials_file"),
    ("registry", "upstream_credentials_file"),
)

__all__ = ["OVERRIDES", "check_against_machine", "config_path", "load"]


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
    source = read(found) if found else Source("defaults")
    override(source, os.environ if environment is None else environment)
    if found:
        _resolve_paths(source, found.parent)
    problems = _repeated_names(source)
    try:
        settings = Settings.model_validate(source.data)
    except ValidationError as error:
        known = {p.field for p in problems}
        problems += [p for p in problems_of(source, error) if p.field not in known]
        _fail(problems, error)
    problems += _booleans(source, settings) + _addresses(source, settings)
    problems += config_plan.problems(source, settings)
    if problems:
        _fail(problems, None)
    return settings


def _resolve_paths(source: Source, folder: Path) -> None:
    """Take relative paths of the file from its own folder, whoever reads it from wherever.

    Those of environment variables are from where the command was typed.
    """
    for at in _PATHS:
        section: Any = source.data
        for part in at[:-1]:
            section = section.get(part) if isinstance(section, dict) else None
        value = section.get(at[-1]) if isinstance(section, dict) else None
        base = Path.cwd() if at in source.variables else folder
        if isinstance(value, list):
            section[at[-1]] = [_resolved(item, base) for item in value]
        elif value is not None:
            section[at[-1]] = _resolved(value, base)


def _resolved(value: Any, base: Path) -> Any:
    if not isinstance(value, str) or not value or value in ("auto", "none"):
        return value
    return str(base / Path(value).expanduser())


def check_against_machine(
    settings: Settings,
    cpus: int,
    memory: int,
    gpus: int | None = None,
    *,
    path: Path | None = None,
    emulated: bool = False,
) -> None:
    """Refuse what cannot be where servers run: profiles that do not fit, images, missing files.

    Default profiles are not an error; those that do not fit are just not offered. A cluster has
    machines of its own, so with `spawner: ecs` profiles are not looked at; but images must be in
    a registry, because what is on this machine is not on those.

    Args:
        settings: The settings.
        cpus: Cores of the machine.
        memory: Bytes of memory of the machine.
        gpus: GPUs of the machine, or None if that is not known (then they are not checked).
        path: The file they came from, as given to `load`; it is read for the line numbers.
        emulated: Servers run on the AWS emulator, which offers what fits and has the images of
            this machine.

    Raises:
        ConfigError: Names each of them.
    """
    found = config_path(path)
    source = read(found) if found else Source("settings")
    override(source, os.environ)
    problems = _files(source, settings) + _hosts(source, settings)
    problems += config_ssh.problems(source, settings)
    if settings.spawner == "ecs" and not emulated:
        problems += _nowhere_to_pull(source, settings)
    elif "profiles" in settings.model_fields_set and not emulated:
        problems += _too_large(source, settings, cpus, memory, gpus)
    if problems:
        _fail(problems, None)


def _hosts(source: Source, settings: Settings) -> list[Problem]:
    """Refuse to listen where this machine is not, before anything that runs is stopped."""
    named: list[tuple[Path_, str]] = [(("web", "host"), settings.web.host)]
    if settings.ssh.enabled:
        named.append((("ssh", "host"), settings.ssh.host))
    return [
        Problem(
            source.where(at),
            dotted(at),
            f"'{host}' is not an address of this machine.",
            "write 127.0.0.1 for this machine only, 0.0.0.0 for every network it is in",
        )
        for at, host in named
        if not _is_here(host)
    ]


def _is_here(host: str) -> bool:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):
        return False
    return True


def _too_large(
    source: Source, settings: Settings, cpus: int, memory: int, gpus: int | None
) -> list[Problem]:
    problems = []
    for index, profile in enumerate(settings.profiles):
        limits = [("cpu", profile.cpu, cpus, f"{cpus} cores", f"{profile.cpu:g} cores")]
        limits += [("memory", profile.memory, memory, size(memory), size(profile.memory))]
        if gpus is not None:
            limits += [("gpu", profile.gpu, gpus, f"{gpus} GPUs", f"{profile.gpu} GPUs")]
        for name, wanted, there, has, asked in limits:
            if wanted > there:
                at: Path_ = ("profiles", index, name)
                problems.append(
                    Problem(
                        source.where(at),
                        dotted(at),
                        f"profile '{profile.name}' asks for {asked}, and this machine has {has}.",
                        "Make it smaller, or remove the profile.",
                    )
                )
    return problems


def _nowhere_to_pull(source: Source, settings: Settings) -> list[Problem]:
    """Find images that the machines of a cluster could not pull."""
    example = f"123456789012.dkr.ecr.{settings.ecs.region}.amazonaws.com/workroom/notebook:1.0"
    if "images" not in settings.model_fields_set:
        at: Path_ = ("spawner",)
        return [
            Problem(
                source.where(at),
                "images",
                "'spawner: ecs' needs them: the default image is on this machine only.",
                "Push it to a registry of the cluster's, and give its name, title and ref, such "
                f"as {example}",
            )
        ]
    problems = []
    for index, image in enumerate(settings.images):
        if not checks.names_registry(image.ref):
            at = ("images", index, "ref")
            problems.append(
                Problem(
                    source.where(at),
                    dotted(at),
                    f"'{image.ref}' names no registry for the cluster's machines to pull it from.",
                    f"Write one, such as {example} (Docker Hub: docker.io/{image.ref})",
                )
            )
    return problems


def _files(source: Source, settings: Settings) -> list[Problem]:
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
            dotted(at),
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


def _repeated_names(source: Source) -> list[Problem]:
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
                        dotted(path),
                        f"'{name}' is already the name of another one (line {before}).",
                        "Give each its own name.",
                    )
                )
            first.setdefault(name, index)
    return problems


def _addresses(source: Source, settings: Settings) -> list[Problem]:
    """Find ports that are given twice."""
    problems = []
    ports: dict[int, Path_] = {}
    wanted: list[tuple[Path_, int]] = [
        (("web", "port"), settings.web.port),
        (("web", "proxy_api_port"), settings.web.proxy_api_port),
        (("local", "hub_port"), settings.local.hub_port),
        (("ecs", "emulator_port"), settings.ecs.emulator_port),
    ]
    if settings.ssh.enabled:
        wanted.append((("ssh", "port"), settings.ssh.port))
    if settings.data.enabled:
        wanted.append((("data", "s3_port"), settings.data.s3_port))
        wanted.append((("data", "metastore_port"), settings.data.metastore_port))
    if settings.registry.kind == "machine":
        wanted.append((("registry", "port"), settings.registry.port))
    for at, port in wanted:
        if port in ports:
            other = dotted(ports[port])
            problems.append(
                Problem(source.where(at), dotted(at), f"{port} is {other} too.", "Choose another.")
            )
        ports.setdefault(port, at)
    return problems


def _booleans(source: Source, settings: Settings) -> list[Problem]:
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
                    dotted(path),
                    f"'{said}' is not a number.",
                    "Write a number.",
                )
            )

    walk(source.data, settings, ())
    return problems
