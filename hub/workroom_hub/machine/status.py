"""`workroom status`: what runs, as the hub, the engine and the kernel say it now."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from workroom_hub.data_environment import s3_url
from workroom_hub.errors import CloudError, EngineError, HubError
from workroom_hub.machine import (
    cluster,
    data,
    data_metastore,
    data_s3,
    emulator,
    emulator_install,
    engine,
    hub,
    processes,
    proxy,
    registry,
    registry_config,
    ssh,
)
from workroom_hub.machine.console import counted, human_bytes, human_seconds
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.network import LABEL
from workroom_hub.registry.server_config import HALVES
from workroom_hub.runtime import read_installation

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.stack import Stack

_LABELS = LABEL.removesuffix(".instance")


def collect(stack: Stack) -> dict[str, Any]:
    """Return the whole status; shape and units are in docs/operations.md."""
    try:
        client = engine.connect(timeout=10)
    except EngineError:
        client = None
    try:
        api: HubApi | None = HubApi.of(stack)
    except HubError:
        api = None
    version = api.version() if api else None
    emulated = _emulator(stack) if stack.emulated else None
    known = _known_servers(api) if api and version else _tagged_servers(stack, emulated)
    measured = _measured(client, stack, known or []) if client else {}
    images = _images(client, stack)
    return {
        "url": stack.url,
        "hub": _process(stack, hub.ROLE, answers=version is not None, version=version),
        "proxy": _process(
            stack, proxy.ROLE, answers=proxy.listens(stack), version=proxy.version(stack.home)
        ),
        "ssh": collect_ssh(stack),
        "object_store": _object_store(stack),
        "metastore": _metastore(client, stack),
        "registry": _registry(stack),
        "engine": {
            "state": "running" if client else "stopped",
            "version": client.version()["Version"] if client else None,
        },
        "spawner": stack.spawner,
        "emulator": emulated,
        "cluster": _cluster(stack, emulated) if stack.spawner == "ecs" else None,
        # The first one of the settings, which is what most installations have.
        "image": images[0],
        "images": images,
        "servers": _servers(known, measured),
    }


def _process(stack: Stack, role: str, *, answers: bool, version: str | None) -> dict[str, Any]:
    found = processes.find(stack.home, role)
    if found is None:
        return {"state": "stopped", "pid": None, "uptime_seconds": None, "version": None}
    return {
        "state": "running" if answers else "not answering",
        "pid": found.pid,
        "uptime_seconds": round(found.uptime, 1),
        "version": version,
    }


def _object_store(stack: Stack) -> dict[str, Any]:
    """Return what there is to say of this machine's S3 server."""
    gateway = stack.gateway()
    usable = bool(gateway) and data_s3.answers(stack, gateway)
    row = _process(stack, data_s3.ROLE, answers=usable, version=data_s3.version())
    found = processes.find(stack.home, data_s3.ROLE)
    return {
        **row,
        "state": row["state"] if found or data.is_here(stack) else "off",
        "address": s3_url(stack.settings, gateway) if gateway and found else None,
        "memory_bytes": processes.memory(found.pid) if found else None,
        "disk_bytes": data_s3.size(stack.home),
        "images_bytes": data_s3.size(stack.home, registry_config.BUCKET),
    }


def _metastore(client: DockerClient | None, stack: Stack) -> dict[str, Any]:
    """Return what there is to say of this machine's Hive Metastore."""
    there = data_metastore.find(client, stack.settings.instance) if client else None
    row: dict[str, Any] = {
        "state": "stopped" if data.is_here(stack) else "off",
        "address": None,
        "uptime_seconds": None,
        "memory_bytes": None,
    }
    if client is None or there is None:
        return row
    gateway = stack.gateway()
    answers = bool(gateway) and data_metastore.answers(stack, gateway)
    if there.status != "running":
        return {**row, "state": "stopped" if there.status == "exited" else there.status}
    begun = datetime.fromisoformat(there.attrs["State"]["StartedAt"][:19] + "+00:00")
    used = client.api.stats(str(there.id), stream=False, one_shot=True)["memory_stats"]
    return {
        "state": "running" if answers else "not answering",
        "address": f"thrift://{gateway}:{stack.settings.data.metastore_port}",
        "uptime_seconds": round((datetime.now(UTC) - begun).total_seconds(), 1),
        "memory_bytes": memory_used(used),
    }


def _registry(stack: Stack) -> dict[str, Any]:
    """Return what there is to say of the image registry; one elsewhere is not asked."""
    chosen = stack.settings.registry
    if not registry.is_here(stack):
        state = "off" if chosen.kind == "none" else "elsewhere"
        return {"state": state, "address": chosen.host or None}
    row = _process(
        stack, registry.FRONT, answers=registry.answers(stack), version=registry.version()
    )
    parts = {half: registry.half_answers(stack.home, half) for half in HALVES}
    if row["state"] == "running" and not parts["local"]:
        row["state"] = "not answering"
    return {**row, "address": chosen.host, "cache": "running" if parts["cache"] else "stopped"}


def collect_ssh(stack: Stack) -> dict[str, Any]:
    """Return what there is to say of the SSH gateway."""
    running, home = ssh.current(stack.home), stack.home
    facts: dict[str, Any] = {"state": "stopped", "pid": None, "uptime_seconds": None}
    if running:
        facts = {
            "state": "running" if ssh.answers(stack) else "not answering",
            "pid": running.pid,
            "uptime_seconds": round(running.uptime, 1),
        }
    elif not stack.settings.ssh.enabled:
        facts["state"] = "off"
    return {
        **facts,
        "version": ssh.version() if running else None,
        "port": stack.settings.ssh.port if facts["state"] != "off" else None,
        "connections": ssh.connections(home, running) if running else None,
        "draining": [
            {
                "pid": old.pid,
                "uptime_seconds": round(old.uptime, 1),
                "connections": ssh.connections(home, old),
            }
            for old in ssh.draining(home)
        ],
        "command": ssh.command(stack.settings) if facts["state"] != "off" else None,
    }


def _emulator(stack: Stack) -> dict[str, Any]:
    installed = emulator_install.version(stack.home)
    return _process(stack, emulator.ROLE, answers=emulator.answers(stack), version=installed)


def _cluster(stack: Stack, emulated: dict[str, Any] | None) -> dict[str, Any]:
    ecs = emulator.cluster_in_use(stack)
    row: dict[str, Any] = {"name": ecs.cluster, "region": ecs.region, "note": ""}
    unknown = {"machines": None, "tasks_running": None, "tasks_pending": None}
    if emulated and emulated["state"] != "running":
        why = f"The AWS emulator is {emulated['state']}: workroom up"
        return {**row, **unknown, "state": "not usable", "note": why}
    try:
        found = cluster.look(ecs, emulated=stack.emulated)
    except CloudError as error:
        return {**row, **unknown, "state": "not usable", "note": error.message}
    return {
        **row,
        "state": "running",
        "machines": found.machines,
        "tasks_running": found.running,
        "tasks_pending": found.pending,
    }


def _images(client: DockerClient | None, stack: Stack) -> list[dict[str, Any]]:
    from workroom_hub.machine import images, images_command

    rows = []
    for image, new in images_command.current(stack, damaged_as_none=True):
        ref = new.ref if new else image.ref
        facts = images.facts(client, ref) if client else None
        rows.append(
            {
                "name": image.name,
                "ref": ref,
                "promoted": new.at if new else None,
                "configured": image.ref,
                "id": facts.id if facts else None,
                "rstudio": facts.rstudio if facts else None,
                "rstudio_note": facts.rstudio_note if facts else "",
            }
        )
    return rows


def _known_servers(api: HubApi) -> list[dict[str, Any]] | None:
    try:
        return api.servers()
    except HubError:
        return None


def _tagged_servers(stack: Stack, emulated: dict[str, Any] | None) -> list[dict[str, Any]] | None:
    """Return the servers that the cluster tells of; None where there is none to ask."""
    if stack.spawner != "ecs" or (emulated and emulated["state"] != "running"):
        return None
    if not stack.home.is_dir():
        return None  # `up` never ran, and nothing is made by looking
    try:
        ecs, installation = emulator.cluster_in_use(stack), read_installation(stack.home)
        return cluster.servers(ecs, installation, emulated=stack.emulated)
    except CloudError:
        return None  # the cluster's own line says why


def _measured(
    client: DockerClient, stack: Stack, known: list[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return what the engine says of each running server's container, by user and server."""
    from docker.errors import DockerException

    label = f"{LABEL}={stack.settings.instance}"
    if stack.emulated:
        label = emulator.task_label(stack.settings.instance)
    containers = client.api.containers(filters={"label": label})
    # A task's container has no labels of ours; the hub knows whose task it is.
    owners = {row["task"]: (row["user"], row["server"]) for row in known if "task" in row}

    def owner(labels: dict[str, str]) -> tuple[str, str]:
        if emulator.TASK in labels:
            task = labels[emulator.TASK]
            return owners.get(task, ("", f"task {task.rpartition('/')[2]}"))
        return labels.get(f"{_LABELS}.user", ""), labels.get(f"{_LABELS}.server", "")

    def measure(container: dict[str, Any]) -> dict[str, Any]:
        labels = container["Labels"]
        user, server = owner(labels)
        row: dict[str, Any] = {
            "user": user,
            "server": server,
            "profile": labels.get(f"{_LABELS}.profile"),
            "uptime_seconds": round(datetime.now(UTC).timestamp() - container["Created"], 1),
            "memory_bytes": None,
            "memory_limit_bytes": None,
        }
        try:
            limits = client.api.inspect_container(container["Id"])["HostConfig"]
            row["memory_limit_bytes"] = limits["Memory"] or None
            # Empty where the engine cannot read the control groups.
            memory = client.api.stats(container["Id"], stream=False, one_shot=True)["memory_stats"]
            row["memory_bytes"] = memory_used(memory)
        except (DockerException, KeyError):
            pass  # it ended in this moment
        return row

    with ThreadPoolExecutor(8) as pool:
        return {(row["user"], row["server"]): row for row in pool.map(measure, containers)}


def memory_used(memory: dict[str, Any]) -> int | None:
    """Return bytes in use without the file cache, as `docker stats` counts them."""
    used, stats = memory.get("usage"), memory.get("stats") or {}
    if used is None:
        return None
    # cgroup v2 calls it inactive_file, v1 total_inactive_file.
    cache = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return int(used - cache) if cache < used else int(used)


def _servers(
    known: list[dict[str, Any]] | None, measured: dict[tuple[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Join the hub's list with the engine's measurements; without a hub, the engine's alone."""
    if known is None:
        return [{**_EMPTY, **row, "state": "running"} for row in measured.values()]
    rows = []
    for server in known:
        row = {**_EMPTY, **measured.get((server["user"], server["server"]), {})}
        row.update({name: value for name, value in server.items() if value is not None})
        rows.append(row)
    return rows


_EMPTY: dict[str, Any] = {
    "user": "",
    "server": "",
    "profile": None,
    "state": "",
    "uptime_seconds": None,
    "memory_bytes": None,
    "memory_limit_bytes": None,
}


def show(facts: dict[str, Any]) -> None:
    """Draw the status for people."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("[bold]URL[/]", facts["url"])
    if facts["ssh"]["command"]:
        table.add_row("[bold]SSH[/]", facts["ssh"]["command"])
    parts = [("Hub", "hub"), ("Web proxy", "proxy"), ("SSH gateway", "ssh")]
    if facts["spawner"] == "local" or facts["emulator"]:
        parts.append(("Docker engine", "engine"))
    if facts["emulator"]:
        parts.append(("AWS emulator", "emulator"))
    parts += [("Object store", "object_store"), ("Hive metastore", "metastore")]
    for title, name in parts:
        table.add_row(f"[bold]{title}[/]", _line(facts[name]))
        for old in facts[name].get("draining", ()):
            table.add_row("", _line({**old, "state": "draining"}))
    if facts["registry"]["state"] != "off":
        table.add_row("[bold]Image registry[/]", _line(facts["registry"]))
    if facts["cluster"]:
        table.add_row("[bold]ECS cluster[/]", _cluster_line(facts["cluster"]))
    for image in facts["images"]:
        here = facts["engine"]["state"] == "running"
        needed = facts["spawner"] == "local" or facts["emulator"]
        absent = "[red]missing[/]" if here and needed else "not known here"
        state = image["id"].removeprefix("sha256:")[:12] if image["id"] else absent
        why = ""
        if image["promoted"]:
            why = f" promoted {image['promoted']}; workroom.yaml: {image['configured']}"
        table.add_row(f"[bold]Image {image['name']}[/]", f"{image['ref']} ({state}){why}")
        if image["id"]:
            rstudio = image["rstudio"] or f"not in the image. {image['rstudio_note']}".strip()
            table.add_row("[bold]RStudio[/]", rstudio.replace("[", "\\["))
    console.print(table)
    if not facts["servers"]:
        console.print("\nNo servers are running.")
        return
    servers = Table("User", "Server", "Profile", "State", "Up for", "Memory", box=box.SIMPLE)
    for row in facts["servers"]:
        _add_server(servers, row)
    console.print(servers)


def _add_server(table: Any, row: dict[str, Any]) -> None:
    from rich.markup import escape

    memory = ""
    if row["memory_bytes"] is not None:
        limit = row["memory_limit_bytes"]
        memory = human_bytes(row["memory_bytes"]) + (f" of {human_bytes(limit)}" if limit else "")
    uptime = row["uptime_seconds"]
    table.add_row(
        escape(row["user"]),
        escape(row["server"] or "(default)"),
        escape(row["profile"] or ""),
        row["state"],
        "" if uptime is None else human_seconds(uptime),
        memory,
    )


def _cluster_line(found: dict[str, Any]) -> str:
    from rich.markup import escape

    where = f"{found['name']} in {found['region']}"
    if found["state"] != "running":
        return f"[red]{found['state']}[/] · {where} · {escape(found['note'])}"
    running, pending = found["tasks_running"], found["tasks_pending"]
    tasks = f"{counted(running, 'task')} running, {pending or 'none'} starting"
    return f"[green]running[/] · {where} · {tasks}"


def _line(part: dict[str, Any]) -> str:
    color = {
        "running": "green",
        "off": "default",
        "elsewhere": "default",
        "draining": "yellow",
    }.get(part["state"], "red")
    more = [str(part["version"])] if part.get("version") else []
    if part.get("pid"):
        more.append(f"process {part['pid']}")
    if part.get("uptime_seconds") is not None:
        more.append(f"up for {human_seconds(part['uptime_seconds'])}")
    if part.get("address"):
        more.append(part["address"])
    if part.get("memory_bytes") is not None:
        more.append(f"{human_bytes(part['memory_bytes'])} of memory")
    images = part.get("images_bytes") or 0
    for size, what in (((part.get("disk_bytes") or 0) - images, "tables"), (images, "images")):
        if size:
            more.append(f"{human_bytes(size)} of {what}")
    if part.get("connections") is not None:
        more.append(counted(part["connections"], "connection"))
    return f"[{color}]{part['state']}[/]" + (f" · {' · '.join(more)}" if more else "")
