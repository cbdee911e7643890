"""`workroom logs`: the files of the state folder, and the output of users' containers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from workroom_hub.errors import WorkroomError
from workroom_hub.machine import data_metastore, emulator, engine
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.network import LABEL

if TYPE_CHECKING:
    from docker.models.containers import Container

    from workroom_hub.machine.stack import Stack

FILES = (
    *("hub", "proxy", "ssh", "s3", "registry", "local-registry", "cache-registry"),
    *("emulator", "build", "dockerd", "workroom"),
)
METASTORE = "metastore"


def show(stack: Stack, what: str, *, lines: int, follow: bool) -> None:
    """Print the end of a log, and go on printing if asked to.

    Args:
        stack: The stack.
        what: One of `FILES`, `METASTORE`, a user's name, or USER/SERVER.
        lines: How many lines to begin with.
        follow: Go on until interrupted.

    Raises:
        WorkroomError: There is no such log.
    """
    log = stack.home / f"{what}.log"
    if what in FILES and log.exists():
        sys.stdout.flush()
        more = ["-F"] if follow else []
        os.execvp("tail", ["tail", "-n", str(lines), *more, str(log)])  # noqa: S606
    if what in FILES:
        raise WorkroomError(f"There is no {log.name} in {stack.home} yet.", "Start it: workroom up")
    container = _metastore(stack) if what == METASTORE else _container(stack, what)
    if not follow:
        sys.stdout.buffer.write(container.logs(tail=lines))
        return
    for part in container.logs(stream=True, follow=True, tail=lines):
        sys.stdout.buffer.write(part)
        sys.stdout.flush()


def _metastore(stack: Stack) -> Container:
    found = data_metastore.find(engine.connect(), stack.settings.instance)
    if found is None:
        raise WorkroomError("The Hive Metastore does not run.", "Start it: workroom up")
    return found


def _container(stack: Stack, what: str) -> Container:
    # A user's name cannot hold a slash.
    user, _, server = what.partition("/")
    prefix = LABEL.removesuffix(".instance")
    labels = [
        f"{LABEL}={stack.settings.instance}",
        f"{prefix}.user={user}",
        f"{prefix}.server={server}",
    ]
    if stack.spawner == "ecs":
        labels = [f"{emulator.TASK}={_task(stack, user, server)}"]
    found = engine.connect().containers.list(
        all=True, filters={"label": labels}, ignore_removed=True
    )
    if not found:
        raise WorkroomError(
            f"'{what}' has no server that runs, and is none of: {', '.join((*FILES, METASTORE))}.",
            "See what runs: workroom status",
        )
    return found[0]


def _task(stack: Stack, user: str, server: str) -> str:
    """Return the ARN of a server's task, "none" if it has none."""
    if not stack.emulated:
        raise WorkroomError(
            "What servers print is kept by AWS, not on this machine.",
            "See the log group that ecs.logs names, or the ECS console.",
        )
    rows = HubApi.of(stack).servers()
    tasks = [r["task"] for r in rows if (r["user"], r["server"]) == (user, server) and "task" in r]
    return str(tasks[0]) if tasks else "none"
