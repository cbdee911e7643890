"""What `workroom doctor` checks of our own processes, and of the cluster they use."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workroom_hub import config_file
from workroom_hub.errors import CloudError, PortTaken, WorkroomError
from workroom_hub.machine import cluster, emulator, hub, ports, processes, proxy
from workroom_hub.machine.check import Check
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.stack import Stack
from workroom_hub.settings import Settings

if TYPE_CHECKING:
    from docker import DockerClient


def for_the_cluster_check(settings: Settings) -> Check:
    """Check that the settings name what a cluster needs."""
    name = "settings for the cluster"
    try:
        config_file.check_against_machine(settings, 1, 1)  # whose machines are others
    except WorkroomError as error:
        return Check(name, "failed", error.message.replace("\n", " "), "Correct workroom.yaml.")
    return Check(name, "ok", "; ".join(image.ref for image in settings.images))


def hub_url_check(settings: Settings) -> Check:
    """Check that `ecs.hub_url` leads to the hub, where nothing between them can be expected."""
    name, ecs, listens = "way to the hub", settings.ecs, settings.local.hub_port
    address = urlsplit(ecs.hub_url)
    port = address.port or (443 if address.scheme == "https" else 80)
    straight = address.scheme == "http" and ecs.host == address.hostname
    if straight and port != listens:
        return Check(
            name,
            "note",
            f"servers go to {ecs.hub_url}, and the hub listens on port {listens} of {ecs.host}",
            f"Unless something there forwards it: ecs.hub_url: http://{ecs.host}:{listens}, or "
            f"local.hub_port: {port}",
        )
    return Check(name, "ok", f"servers go to {ecs.hub_url}")


def proxy_check(stack: Stack) -> Check:
    """Check the web proxy's process and port."""
    web = stack.settings.web
    return _process(
        stack,
        "web proxy",
        proxy.ROLE,
        proxy.listens(stack),
        [(web.host, web.port, "WORKROOM_PORT=8010 make up")],
    )


def hub_check(stack: Stack) -> Check:
    """Check the hub's process."""
    try:
        api = HubApi.of(stack)
    except WorkroomError:
        return _process(stack, "hub", hub.ROLE, False, [])
    return _process(stack, "hub", hub.ROLE, api.version() is not None, [])


def emulator_check(stack: Stack, client: DockerClient | None, *, answers: bool) -> Check:
    """Check the emulator's process and its place on the users' network."""
    port = stack.settings.ecs.emulator_port
    check = _process(
        stack,
        "AWS emulator",
        emulator.ROLE,
        answers,
        [("127.0.0.1", port, "WORKROOM_EMULATOR_PORT=4600 workroom up")],
    )
    if check.state != "ok" or client is None:
        return check
    if emulator.place_of(client, stack.settings.instance) is None:
        return Check(
            check.name,
            "failed",
            "its container is gone, so new servers would not be on the users' network, "
            "where they cannot reach each other",
            "workroom up",
        )
    return check


def cluster_check(stack: Stack) -> Check:
    """Check that the cluster answers."""
    name = "ECS cluster"
    try:
        found = cluster.look(emulator.cluster_in_use(stack), emulated=stack.emulated)
    except CloudError as error:
        return Check(name, "failed", f"{error.message} {error.details}".strip(), error.fix)
    return Check(name, "ok", f"{found.name} in {found.region} answers")


def _process(
    stack: Stack, name: str, role: str, answers: bool, wanted: list[tuple[str, int, str]]
) -> Check:
    running = processes.find(stack.home, role)
    if running and answers:
        return Check(name, "ok", f"process {running.pid} answers")
    if running:
        return Check(
            name,
            "failed",
            f"process {running.pid} runs and does not answer",
            f"workroom up, then workroom logs {role}",
        )
    other = hub.ROLE if role == proxy.ROLE else proxy.ROLE
    if (stack.home / f"{role}.pid").exists() or processes.find(stack.home, other):
        return Check(
            name,
            "failed",
            "it was started and is gone",
            f"Start it again: workroom up\nWhy it ended: workroom logs {role}",
        )
    for host, port, setting in wanted:
        try:
            ports.require_free(host, port, f"the {name}", setting)
        except PortTaken as error:
            return Check(name, "failed", error.message, error.fix)
    return Check(name, "note", "not started", "workroom up")
