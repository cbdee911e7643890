"""`workroom down`: stops what `up` started, and with `--purge` removes what people made."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from workroom_hub.errors import EngineError, HubError
from workroom_hub.machine import (
    data,
    data_metastore,
    data_s3,
    database,
    emulator,
    engine,
    firewall,
    home_folders,
    hub,
    network,
    processes,
    proxy,
    registry,
    registry_images,
    scratch,
    ssh,
)
from workroom_hub.machine.console import counted, human_bytes
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.network import INSTALLATION, LABEL, PROBE
from workroom_hub.machine.scratch import BUILD_LABEL
from workroom_hub.machine.stack import PORTS_FILE
from workroom_hub.registry import server_config
from workroom_hub.runtime import EMULATOR_CHOSEN, read_installation
from workroom_spawner import promotions

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.volumes import Volume

    from workroom_hub.machine.stack import Stack

_STATE = (
    "hub.sqlite*",
    "*.log",
    "*.log.1",
    "*.pid",
    f"{ssh.ROLE}-[0-9]*.json",
    "runtime.json",
    PORTS_FILE,
    "initial-password",
    "secrets",
    "proxy",
    "emulator",
    data_s3.FOLDER,
    server_config.FOLDER,
    f"{promotions.FILE}*",
    "homes",
    EMULATOR_CHOSEN,
    firewall.RULES_FILE,
    firewall.RULES_FILE_V6,
    ".*.[0-9]*",
    "installation",
    # Last: whoever waits for it works in a folder of its own after that.
    "up.lock",
)
"""What is ours in the state folder; anything else in it is left alone."""


def down(stack: Stack, *, purge: bool = False) -> None:
    """Stop ssh gateway, servers, hub, proxy; remove the network and its firewall rules.

    Homes and tables stay unless `purge`. The engine is stopped only if `up` had started it and
    nobody else's containers run in it.

    Raises:
        WorkroomError: Something could not be stopped; what could be is.
    """
    if not stack.home.is_dir():
        stack.report.line(f"Nothing to stop: there is no state folder {stack.home}.")
        return
    with stack.locked():
        _stop_everything(stack, purge=purge)
        if purge:
            _remove_state(stack)
    if purge:
        _remove_folder(stack)
    stack.report.line(
        "Workroom is down." + ("" if purge else " Homes, tables and accounts are kept.")
    )


def _stop_everything(stack: Stack, *, purge: bool) -> None:
    report = stack.report
    # The first to go: somebody who connects now would have a server started.
    with report.step("SSH gateway") as step:
        step.result = ssh.end_all(stack.home) or "not running"
    with report.step("Users' servers") as step:
        stopped = stop_servers(stack)
        step.result = f"{stopped} stopped" if stopped else "none that the hub knows of"
    if registry.stop(stack.home):
        report.line("Image registry: stopped")
    with data.stopping(stack, purge=purge) as data_servers:
        with report.step("Hub") as step:
            hub_ended = processes.stop(stack.home, hub.ROLE, grace=20)
            step.result = "stopped" if hub_ended else "not running"
            for stray in processes.strays(stack.home):
                processes.end(stray)
        _settle_database(stack)
        with report.step("Web proxy") as step:
            step.result = "stopped" if processes.stop(stack.home, proxy.ROLE) else "not running"
        stack.forget_ports()
        if stack.emulated:
            with report.step("AWS emulator") as step:
                # It removes its tasks' containers as it ends.
                ended = processes.stop(stack.home, emulator.ROLE, grace=30)
                step.result = "stopped" if ended else "not running"
        with report.step("Object store and metastore") as step:
            step.result = data_servers.result() or "not running"
    if stack.settings.spawner == "ecs" and not stack.emulated:
        if purge:
            _tell_of_homes(stack, 0)
        return
    try:
        client = engine.connect()
    except EngineError as error:
        # With the engine stopped its containers are too; the rest is done at the next `down`.
        report.warn(f"{error.message} Run `workroom down` again when it is back.")
        return
    for instance in stack.instances():
        network.require_ours(client, instance, stack.home)
    with report.step("Containers, network and firewall") as step:
        step.result = ", ".join(_clear(client, stack)) or "nothing left"
    (stack.home / EMULATOR_CHOSEN).unlink(missing_ok=True)
    if purge:
        ours, kept = homes(client, stack)
        for volume in ours + data_metastore.volumes(client, stack):
            volume.remove(force=True)
        _tell_of_homes(stack, len(ours))
        _forget_images(client, stack)
        if kept:
            report.line(
                "Kept, because another installation of the same instance name made them "
                f"(remove one with docker volume rm NAME): {', '.join(kept)}"
            )
    client.close()
    if os.geteuid() != 0 and (stack.home / firewall.RULES_FILE).exists():
        report.line("Rules that root has set stay; to remove them:")
        for instance in stack.instances():
            bridge = network.bridge_name(instance)
            report.line(f"  {firewall.manual_removal(instance, bridge)}")
    sentence = engine.stop_ours(stack.home)
    if sentence:
        report.line(sentence[0].upper() + sentence[1:] + ".")


def _settle_database(stack: Stack) -> None:
    """Make `hub.sqlite` a file that can be copied; nothing else of `down` depends on it."""
    try:
        if database.settle(stack.home):
            return
        why = "another program has it open"
    except sqlite3.Error as error:
        why = str(error)
    stack.report.warn(
        f"Part of the database is in hub.sqlite-wal still ({why}): copy both files, or none."
    )


def stop_servers(stack: Stack) -> int:
    """Ask the hub to stop every server, so that it writes its usage rows; wait a minute at most."""
    try:
        api = HubApi.of(stack)
        if api.version() is None:
            return 0
        servers = [(s["user"], s["server"]) for s in api.servers()]
    except HubError:
        return 0

    def stop(server: tuple[str, str]) -> None:
        user, name = (quote(part, safe="") for part in server)
        path = f"users/{user}/servers/{name}" if name else f"users/{user}/server"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                api.call("DELETE", path)
                return
            except HubError:
                # Still starting or already stopping: the engine removes what is left.
                time.sleep(1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(stop, servers))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if not api.servers():
                break
        except HubError:
            break
        time.sleep(0.2)
    return len(servers)


def _clear(client: DockerClient, stack: Stack) -> list[str]:
    from docker.errors import NotFound

    done = []
    for instance in stack.instances():
        left = [
            container
            for label in (LABEL, PROBE)
            for container in client.containers.list(
                all=True, filters={"label": f"{label}={instance}"}, ignore_removed=True
            )
        ]
        left += [
            container
            for container in client.containers.list(
                all=True, filters={"label": BUILD_LABEL}, ignore_removed=True
            )
            # Users' containers have the label from their image, and empty.
            if container.labels[BUILD_LABEL] and scratch.is_left_over(container.labels[BUILD_LABEL])
        ]
        for container in left:
            try:
                container.remove(force=True)
            except NotFound:
                continue
        removed = len(left) + emulator.clear(client, instance)
        if removed:
            done.append(f"{counted(removed, 'container')} removed")
        if network.remove(client, instance):
            done.append(f"network {network.network_name(instance)} removed")
        if firewall.remove(instance, network.bridge_name(instance)):
            done.append("firewall rules removed")
    return done


def homes(client: DockerClient, stack: Stack) -> tuple[list[Volume], list[str]]:
    """Return the homes of this installation, and the names of others' with its instance name.

    Two checkouts have the same instance name unless one was given another, so the name alone
    says nothing of whose a home is.
    """
    installation = read_installation(stack.home)
    ours, others = [], []
    for instance in stack.instances():
        for volume in client.volumes.list(filters={"label": f"{LABEL}={instance}"}):
            labels = volume.attrs.get("Labels") or {}
            if labels.get(INSTALLATION) == installation:
                ours.append(volume)
            else:
                others.append(str(volume.name))
    return ours, sorted(others)


def _forget_images(client: DockerClient, stack: Stack) -> None:
    """Remove the names that the engine has for images of this machine's registry, which goes too.

    A container that runs keeps its image.
    """
    from docker.errors import APIError

    if not registry.is_here(stack):
        return
    here = f"{stack.settings.registry.host}/"
    former = ":".join(registry_images.former_tag(stack.settings.build.tag))
    for found in client.images.list():
        for name in (*found.tags, *(found.attrs.get("RepoDigests") or ())):
            if name.startswith(here) or name == former:
                with suppress(APIError):  # in use, or gone with the name before it
                    client.images.remove(name)


def _tell_of_homes(stack: Stack, volumes: int) -> None:
    """Say how many homes a purge removes; the folders go with the state."""
    with stack.report.step("Homes") as step:
        count = volumes + len(home_folders.look(stack).homes)
        step.result = f"{count} removed" if count else "there were none"


def purge_question(stack: Stack) -> str:
    """Return what `--purge` asks, with the number of homes that it would remove."""
    if not stack.home.is_dir():
        return "There is no state folder here, so nothing would be removed. Go on?"
    folders = home_folders.look(stack)
    if stack.spawner == "ecs" and not stack.emulated:
        ecs = stack.settings.homes
        where = f"in {ecs.root}" if ecs.kind == "host-path" else f"on {ecs.file_system}"
        # Of a time when servers ran on the emulator.
        here = f" and {folders.told}" if folders.homes else ""
        return (
            f"This removes every account of '{stack.settings.instance}'{here} for ever. "
            f"The cluster's homes, {where}, stay. Go on?"
        )
    try:
        client = engine.connect()
        count = len(homes(client, stack)[0]) + len(folders.homes)
        client.close()
    except EngineError:
        what = ["every account"]
    else:
        what = [f"{count} home{'' if count == 1 else 's'}", "every account"]
    tables = data_s3.size(stack.home)
    if tables:
        kept = "every table and pushed image" if registry.is_here(stack) else "every table"
        what.insert(0, f"{kept} ({human_bytes(tables)})")
    listed = " and ".join([", ".join(what[:-1]), what[-1]] if len(what) > 1 else what)
    return f"This removes {listed} of '{stack.settings.instance}' for ever. Go on?"


def _remove_state(stack: Stack) -> None:
    kept = home_folders.look(stack)
    for pattern in _STATE:
        for path in stack.home.glob(pattern):
            if path == kept.root and kept.kept:
                stack.report.line(f"Kept: {path}, because {kept.kept}.")
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _remove_folder(stack: Stack) -> None:
    try:
        stack.home.rmdir()
    except OSError:
        others = sorted(path.name for path in stack.home.iterdir() if path.name != "homes")
        if others:
            left = ", ".join(others[:5])
            stack.report.line(f"Kept in {stack.home}, because they are not Workroom's: {left}")
