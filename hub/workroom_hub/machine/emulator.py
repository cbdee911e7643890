"""The AWS emulator (`workroom up --cloud local`): ECS on this machine, with real containers.

It is ministack, in an environment of its own filled with exactly what `requirements/emulator.txt`
names, as a process of its own that listens on loopback only. It keeps what it knows in memory:
started again, it removes the containers of its former tasks, and the hub learns that they are
gone by its rule for tasks that are MISSING.

It puts containers on the network of the container it believes to be in itself, which it finds by
the variable HOSTNAME. That one is ours: made on the users' network and never started.
"""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from workroom_hub.errors import MachineError, WorkroomError
from workroom_hub.machine import cluster, emulator_install, ports, processes, programs
from workroom_hub.machine.network import HOME, UsersNetwork
from workroom_hub.machine.stack import EMULATOR_KEYS, Stack, fingerprint
from workroom_hub.runtime import EMULATOR_CHOSEN, Emulator, read_installation, write_private
from workroom_hub.settings_ecs import Ecs

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

    from workroom_hub.machine.console import Step

ROLE = "emulator"
REGION, ACCOUNT = "us-east-1", "000000000000"
LABEL = "io.workroom.emulator"
"""Label of the container that stands for the emulator: the instance it belongs to."""
TASK = "com.amazonaws.ecs.task-arn"
"""Label of a task's container, as ECS's own agent writes it."""
_CLUSTER = "com.amazonaws.ecs.cluster"
_NETWORK = "io.workroom.network"
# The emulator has no networks of its own and takes any id.
_SUBNET = "subnet-00000000000000000"
_PATIENCE = 30.0
_LOOK = 5.0


def choose(stack: Stack, cloud: str | None) -> bool:
    """Settle whether servers run on the emulator, and remember it until `down`.

    Args:
        stack: The stack, locked.
        cloud: "local" to use it, None for what was chosen before.

    Raises:
        MachineError: Servers run without it now, or this user is not root.
    """
    if cloud is None:
        if stack.emulated:
            stack.report.line(
                "Servers run on the AWS emulator, as before; `workroom down` ends it."
            )
        return stack.emulated
    if os.geteuid() != 0:
        raise MachineError(
            "--cloud local needs root: homes are folders that belong to the containers' user.",
            "sudo workroom up --cloud local   (or `workroom up`, which needs no root)",
        )
    if not stack.emulated:
        if processes.find(stack.home, "hub"):
            raise MachineError(
                "Workroom is up without the AWS emulator, and its servers cannot move there.",
                "workroom down, then: workroom up --cloud local",
            )
        write_private(stack.home / EMULATOR_CHOSEN, "")
    return True


@contextmanager
def chosen(stack: Stack, cloud: str | None) -> Iterator[None]:
    """`choose`, taken back if what follows fails before anything runs.

    Or the next `up`, without the option, would go on with what was refused.
    """
    before = stack.emulated
    choose(stack, cloud)
    try:
        yield
    except WorkroomError:
        if not before and not any(processes.find(stack.home, role) for role in (ROLE, "hub")):
            (stack.home / EMULATOR_CHOSEN).unlink(missing_ok=True)
        raise


def facts(stack: Stack) -> Emulator:
    """Return what the hub must know of the emulator."""
    port = stack.settings.ecs.emulator_port
    return Emulator(f"http://127.0.0.1:{port}", REGION, stack.settings.instance, (_SUBNET,))


def ensure(stack: Stack, client: DockerClient, users: UsersNetwork, step: Step) -> bool:
    """Have the emulator running with its cluster; one that already does is left alone.

    Returns:
        True if it was started, so that it knows nothing of any earlier task.

    Raises:
        EmulatorError: It cannot be installed or does not start.
        PortTaken: Another process listens on its port.
    """
    (stack.home / "homes").mkdir(exist_ok=True, mode=0o700)
    python = emulator_install.ensure(stack.home, step)
    place = _place(stack, client, users)
    command = [str(python), "-m", "ministack"]
    told = _environment(stack, place)
    wanted = fingerprint(*command, *(f"{name}={value}" for name, value in told.items()))
    running = processes.find(stack.home, ROLE)
    if running and running.fingerprint == wanted and _is_well(stack, step):
        # An interrupted `up` may have started it and not come this far.
        cluster.make(facts(stack))
        step.result = "running"
        return False
    if running:
        changed = running.fingerprint != wanted
        why = "its settings changed" if changed else "it does not answer"
        step.update(f"{why}: starting it again, which ends its servers")
        processes.stop(stack.home, ROLE, grace=20 if changed else 2)
    require_port(stack)
    # What a killed one left running belongs to no task any more.
    clear(client, stack.settings.instance, keep=place)
    begun = time.monotonic()
    child = processes.start(stack.home, ROLE, command, {**_inherited(), **told}, wanted)
    programs.wait(
        stack.home,
        ROLE,
        child,
        lambda: answers(stack, within=2),
        _PATIENCE,
    )
    cluster.make(facts(stack))
    step.result = f"{facts(stack).endpoint_url}, {time.monotonic() - begun:.1f} s to start"
    return True


def cluster_in_use(stack: Stack) -> Ecs:
    """Return where the cluster is: the emulator's, or the one of the settings."""
    if not stack.emulated:
        return stack.settings.ecs
    ours = facts(stack)
    return Ecs(region=ours.region, cluster=ours.cluster, endpoint_url=ours.endpoint_url)


def require_port(stack: Stack) -> None:
    """Do nothing if the emulator runs, or can.

    Raises:
        PortTaken: Another process listens on its port.
    """
    if not processes.find(stack.home, ROLE):
        port = stack.settings.ecs.emulator_port
        ports.require_free(
            "127.0.0.1", port, "the AWS emulator", "WORKROOM_EMULATOR_PORT=4600 workroom up"
        )


def listens(stack: Stack) -> bool:
    """Return whether it is our emulator that listens on its port."""
    running = processes.find(stack.home, ROLE)
    port = stack.settings.ecs.emulator_port
    return running is not None and ports.listens(running, "127.0.0.1", port)


def answers(stack: Stack, within: float | None = None) -> bool:
    """Return whether our emulator answers over HTTP; one that hangs listens too, and does not.

    Args:
        within: Seconds it has, five by default. It answers nobody while it stops a container.
    """
    return listens(stack) and _healthy(facts(stack).endpoint_url, within or _LOOK)


def _is_well(stack: Stack, step: Step) -> bool:
    if answers(stack):
        return True
    # Starting it again ends everybody's server, so it gets time.
    step.update(f"it does not answer: waiting {_PATIENCE:.0f} s for it")
    return answers(stack, within=_PATIENCE)


def task_label(instance: str) -> str:
    """Return the label that the containers of all tasks of an instance's cluster have."""
    return f"{_CLUSTER}=arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{instance}"


def task_containers(client: DockerClient, label: str) -> list[Container]:
    """Return the containers with a label, also ended ones."""
    found: list[Container] = client.containers.list(
        all=True, filters={"label": label}, ignore_removed=True
    )
    return found


def place_of(client: DockerClient, instance: str) -> Container | None:
    """Return the container that stands for the emulator on the users' network, if it is there."""
    found = client.containers.list(
        all=True, filters={"label": f"{LABEL}={instance}"}, ignore_removed=True
    )
    return found[0] if found else None


def clear(client: DockerClient, instance: str, *, keep: str = "") -> int:
    """Remove the containers of the emulator and its tasks, `keep` excepted; return how many."""
    from docker.errors import NotFound

    place = place_of(client, instance)
    left = [*task_containers(client, task_label(instance)), *([place] if place else [])]
    removed = 0
    for container in left:
        if container.name == keep:
            continue
        try:
            container.remove(force=True, v=True)
        except NotFound:
            continue
        removed += 1
    return removed


def _place(stack: Stack, client: DockerClient, users: UsersNetwork) -> str:
    """Have the container by which the emulator finds the users' network; return its name."""
    instance = stack.settings.instance
    network = client.networks.get(users.name).id
    there = place_of(client, instance)
    if there is not None:
        if there.labels.get(_NETWORK) == network:
            return str(there.name)
        there.remove(force=True)
    made = client.containers.create(
        stack.settings.images[0].ref,
        ["true"],
        name=f"{instance}-emulator",
        network=users.name,
        labels={LABEL: instance, HOME: str(stack.home), _NETWORK: str(network)},
    )
    return str(made.name)


def _inherited() -> dict[str, str]:
    """Return what it gets of this process; another shell's is no reason to start it again."""
    kept = ("PATH", "LANG", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _environment(stack: Stack, place: str) -> dict[str, str]:
    """Return what it is told: where to listen, what to play, and where containers go."""
    return {
        **EMULATOR_KEYS,
        "WORKROOM_HOME": str(stack.home),
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(stack.settings.ecs.emulator_port),
        "HOSTNAME": place,
        "MINISTACK_REGION": REGION,
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        # It removes, when it starts, whatever has its name and port in a label.
        "MINISTACK_HOSTNAME": read_installation(stack.home),
        "SERVICES": "ecs",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "TMPDIR": str(_temporary(stack.home)),
    }


def _temporary(home: Path) -> Path:
    folder = home / "emulator" / "tmp"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _healthy(url: str, within: float) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/_ministack/health", timeout=within) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
