"""What `workroom doctor` checks of our own processes, and of the cluster they use."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from workroom_hub import config_file
from workroom_hub.errors import CloudError, DataServerError, PortTaken, WorkroomError
from workroom_hub.machine import (
    cluster,
    data_metastore,
    data_s3,
    emulator,
    hub,
    ports,
    processes,
    proxy,
    registry,
    registry_images,
    ssh,
)
from workroom_hub.machine.check import Check
from workroom_hub.machine.hub import HubApi
from workroom_hub.machine.stack import Stack
from workroom_hub.registry import promotions
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


def ssh_check(stack: Stack) -> Check:
    """Check the SSH gateway's process and port."""
    wanted, name = stack.settings.ssh, "SSH gateway"
    if not wanted.enabled:
        return Check(name, "note", "off, as ssh.enabled says")
    there = [(wanted.host, wanted.port, "WORKROOM_SSH_PORT=2223 make up")]
    return _process(stack, name, ssh.ROLE, ssh.answers(stack), there)


def ssh_keys_check(stack: Stack) -> Check:
    """Check that the gateway's private keys can be read, and by nobody else."""
    import asyncssh

    name, files = "keys of the SSH gateway", ssh.key_files(stack)
    if not files:
        return Check(name, "note", "not made yet", "workroom up")
    shown = []
    for path in files:
        try:
            mode = path.stat().st_mode & 0o777
            key = asyncssh.read_private_key(path)
        except OSError as error:
            fix = "Correct it in workroom.yaml, or put the file back."
            return Check(name, "failed", f"{path}: {error.strerror}", fix)
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
            fix = "Put it back from a backup. What making a new one means: docs/operations.md"
            return Check(name, "failed", f"{path} is not an unencrypted private key", fix)
        if mode & 0o077:
            found = f"{path} can be read by others (mode {mode:o})"
            return Check(name, "failed", found, f"chmod 600 {path}")
        shown.append(f"{path.name} {key.get_fingerprint()}")
    return Check(name, "ok", ", ".join(shown))


def object_store_check(stack: Stack) -> Check:
    """Check the S3 server: the users' identity writes an object, or finds it, and reads it."""
    name, gateway, port = "object store", stack.gateway(), stack.settings.data.s3_port
    # After `down` the users' network is gone, and the address it had is nobody's: no fault.
    host = gateway if gateway and ports.is_own(gateway) else "127.0.0.1"
    there = [(host, port, "WORKROOM_S3_PORT=8433 make up")]
    answers = bool(gateway) and data_s3.answers(stack, gateway)
    check = _process(stack, name, data_s3.ROLE, answers, there)
    if check.state != "ok":
        return check
    try:
        data_s3.probe(stack, gateway)
    except DataServerError as error:
        return Check(name, "failed", error.message, error.fix)
    return Check(name, "ok", f"{check.message}; an object was written and read as people do it")


def metastore_check(stack: Stack, client: DockerClient | None) -> Check:
    """Check that the Hive Metastore answers at the address that people's servers are told."""
    name, gateway = "Hive metastore", stack.gateway()
    there = data_metastore.find(client, stack.settings.instance) if client else None
    if there is None:
        return Check(name, "note", "not started", "workroom up")
    fix = "workroom up, then workroom logs metastore"
    if there.status != "running":
        return Check(name, "failed", f"its container {there.name} is {there.status}", fix)
    if not data_metastore.answers(stack, gateway):
        return Check(name, "failed", f"its container {there.name} runs and does not answer", fix)
    return Check(name, "ok", f"{gateway}:{stack.settings.data.metastore_port} answers")


def data_elsewhere_check(stack: Stack) -> Check:
    """Check that servers on a cluster are told where data is."""
    data = stack.settings.data
    if data.warehouse:
        return Check("data", "ok", f"{data.warehouse}, {data.metastore}")
    fix = "Set data.warehouse and data.metastore in workroom.yaml, or data: {enabled: false}."
    return Check("data", "note", "servers are told of no tables", fix)


def registry_check(stack: Stack) -> Check:
    """Check that the image registry takes the pull token, and that the file of promotions is ours.

    Raises nothing: what it says is the check.
    """
    name, chosen = "image registry", stack.settings.registry
    here = registry.is_here(stack)
    if here:
        there = [("127.0.0.1", chosen.port, "WORKROOM_REGISTRY_PORT=5001 make up")]
        check = _process(stack, name, registry.FRONT, registry.answers(stack), there)
        if check.state != "ok":
            return check
    try:
        promotions.read(stack.home)
        image = stack.settings.images[0].name
        tags = registry_images.client(chosen, stack.home, image).tags()
    except WorkroomError as error:
        return Check(name, "failed", error.message, error.fix)
    said = f"{chosen.host} answers; {len(tags)} of {chosen.path(f'{chosen.repository}/{image}')}"
    if here and not registry.half_answers(stack.home, "cache"):
        return Check(
            name,
            "note",
            f"{said}. Its cache does not run: {chosen.upstream} did not answer",
            "When it answers: workroom up",
        )
    return Check(name, "ok", said)


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
