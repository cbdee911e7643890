"""Settings of the watchdog, from environment variables."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

PREFIX = "WORKROOM_WATCHDOG_"


class SettingsError(Exception):
    """A setting cannot be used. The message names the variable, its value and the fix."""


def _number(default: float, low: float, high: float, about: str) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "about": about})


def _text(default: str, about: str) -> Any:
    return field(default=default, metadata={"about": about})


def _words(default: tuple[str, ...], about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Settings:
    """What the watchdog is told. Times are in seconds."""

    probe_every: float = _number(5, 0.1, 60, "pause between two probes of a mount")
    hang_after: float = _number(
        15, 1, 600, "a probe without an answer for so long means that its mount hangs"
    )
    settle: float = _number(
        3, 0.1, 60, "pause between claiming a hang and counting the claims of the cluster"
    )
    share: float = _number(
        0.2,
        0.01,
        1,
        "of the cluster's machines, how many may be out for hangs at once (one always)",
    )
    replace_after: float = _number(
        120, 0, 86400, "an empty machine is replaced when its mount has hung for so long"
    )
    deadline: float = _number(
        3600,
        1,
        604800,
        "a drained machine whose mount hangs is replaced after so long, empty or not",
    )
    recovery: float = _number(
        300, 1, 86400, "a drained machine returns when all its mounts have answered for so long"
    )
    returns: int = _number(1, 0, 100, "how often a machine may return between two boots")
    look_every: float = _number(30, 1, 600, "pause between two looks at a drained machine's tasks")
    background_tasks: int = _number(
        0, 0, 100, "tasks that a machine without servers still runs (daemon services)"
    )
    max_probes: int = _number(256, 1, 4096, "probes that may wait for an answer at once")
    metrics_every: float = _number(60, 10, 3600, "pause between two metrics")
    types: tuple[str, ...] = _words(("nfs", "nfs4"), "file system types that are probed")
    under: tuple[str, ...] = _words(("/",), "folders whose mounts are probed")
    state_folder: str = _text("/run/workroom-mount-watchdog", "folder of `state.json`, on a tmpfs")
    metrics: str = _text("", "CloudWatch namespace of its metrics; empty: none")
    region: str = _text("", "region of the cluster; empty: the machine's own")
    agent: str = _text("http://127.0.0.1:51678", "where the ECS agent says which machine this is")
    imds: str = _text("http://169.254.169.254", "where the instance metadata is")


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings from variables.

    Raises:
        SettingsError: One is unknown or cannot be used.
    """
    known = {PREFIX + entry.name.upper(): entry for entry in fields(Settings)}
    values: dict[str, Any] = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX):
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "remove it"
            raise SettingsError(f"{name}={value}: there is no such setting; {hint}")
        values[known[name].name] = _read(name, value, known[name])
    return _checked(Settings(**values))


def _read(name: str, value: str, entry: Any) -> Any:
    if isinstance(entry.default, tuple):
        words = tuple(word.strip() for word in value.split(",") if word.strip())
        if not words:
            raise SettingsError(
                f"{name}={value}: names nothing; give words with commas between them, "
                f"such as {','.join(entry.default)}"
            )
        return words
    if isinstance(entry.default, str):
        return value.strip()
    low, high = entry.metadata["low"], entry.metadata["high"]
    whole = entry.type == "int"
    kind = "a whole number" if whole else "a number"
    try:
        number: float = int(value) if whole else float(value)
    except ValueError:
        raise SettingsError(
            f"{name}={value}: is not {kind}; give {kind} from {low:g} to {high:g}"
        ) from None
    if not low <= number <= high:
        raise SettingsError(
            f"{name}={value}: is out of range; give {kind} from {low:g} to {high:g}"
        )
    return number


def _checked(settings: Settings) -> Settings:
    for word in settings.under:
        if not word.startswith("/"):
            raise SettingsError(
                f"{PREFIX}UNDER={word}: is not an absolute path; begin it with a slash"
            )
    if not settings.state_folder.startswith("/"):
        raise SettingsError(
            f"{PREFIX}STATE_FOLDER={settings.state_folder}: is not an absolute path; "
            "give a folder on local disk, such as /run/workroom-mount-watchdog"
        )
    for name in ("agent", "imds"):
        if not getattr(settings, name).startswith(("http://", "https://")):
            raise SettingsError(
                f"{PREFIX}{name.upper()}={getattr(settings, name)}: is no web address; "
                "begin it with http://"
            )
    if settings.deadline < settings.replace_after:
        raise SettingsError(
            f"{PREFIX}DEADLINE={settings.deadline:g}: is before {PREFIX}REPLACE_AFTER="
            f"{settings.replace_after:g}; give a deadline that is at least as long"
        )
    return settings
