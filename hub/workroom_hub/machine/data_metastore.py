"""The Hive Metastore of this machine: a container of the notebook image, which has Java and Hive.

It is on the users' network, where no container reaches another; people reach it through the port
that the engine publishes on the network's gateway address, and nothing else of it. It knows where
files are and has no key to them. Its database (Derby) is on a volume, which `down` keeps and a
purge removes.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from workroom_hub.data_environment import BUCKET
from workroom_hub.errors import DataServerError
from workroom_hub.machine import ports
from workroom_hub.machine.network import HOME, INSTALLATION, UsersNetwork
from workroom_hub.machine.stack import Stack, fingerprint
from workroom_hub.runtime import read_installation
from workroom_spawner.requests import HOME as CONTAINER_HOME
from workroom_spawner.requests import UID

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.volumes import Volume

LABEL = "io.workroom.data"
"""Label of the container and its volume: the instance. Not a server's or a home's label."""
_FINGERPRINT = "io.workroom.fingerprint"
_COMMAND = "/opt/workroom/bin/workroom-metastore"
_PORT = 9083
"""In the container."""
_MEMORY = 448 * 2**20
_PATIENCE = 60.0
_STOP_SECONDS = 20


def name(instance: str) -> str:
    """Return the name of the container."""
    return f"{instance}-metastore"


def volume_name(instance: str, installation: str) -> str:
    """Return the name of its volume.

    Two installations may have the same instance name, and each its own tables.
    """
    return f"{instance}-{installation[:12]}-metastore"


def find(engine: DockerClient, instance: str) -> Container | None:
    """Return the container, whatever its state, if it is there."""
    found = engine.containers.list(
        all=True, filters={"label": f"{LABEL}={instance}"}, ignore_removed=True
    )
    return found[0] if found else None


def begin(stack: Stack, engine: DockerClient, users: UsersNetwork) -> bool:
    """Start the metastore unless it runs as the settings say; `wait` comes next.

    Returns:
        True if it was started.

    Raises:
        DataServerError: The engine refuses.
        PortTaken: Another process listens on its port.
    """
    from docker.errors import APIError, ImageNotFound

    image = _image(stack)
    try:
        wanted = _request(stack, users, str(engine.images.get(image).id))
        there = find(engine, stack.settings.instance)
        same = (
            there is not None and there.labels.get(_FINGERPRINT) == wanted["labels"][_FINGERPRINT]
        )
        if there is not None and same and there.status == "running":
            return False
        if there is not None and not same:
            remove(there)
            there = None
        port = stack.settings.data.metastore_port
        ports.require_free(
            users.gateway, port, "the Hive Metastore", "WORKROOM_METASTORE_PORT=9183 make up"
        )
        if there is None:
            _have_volume(stack, engine)
            there = engine.containers.create(**wanted)
        there.start()
    except ImageNotFound as error:
        raise DataServerError(
            f"The image of the Hive Metastore, {image}, is not here.",
            "Correct data.metastore_image in workroom.yaml, or leave it out.",
        ) from error
    except APIError as error:
        raise DataServerError(
            f"The engine does not start the Hive Metastore: {error.explanation or error}",
            "workroom doctor",
        ) from error
    return True


def wait(stack: Stack, engine: DockerClient, gateway: str) -> None:
    """Wait until the metastore answers.

    Raises:
        DataServerError: It ended, or does not answer in time.
    """
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if answers(stack, gateway):
            return
        there = find(engine, stack.settings.instance)
        # One that dies at once is started again by the engine, for ever.
        if there is None or there.status == "exited" or _restarts(there) > 2:
            break
        time.sleep(0.1)
    there = find(engine, stack.settings.instance)
    said = there.logs(tail=15).decode(errors="replace") if there else ""
    raise DataServerError(
        "The Hive Metastore was started and does not answer.",
        "Read more: workroom logs metastore",
        details=said,
    )


def answers(stack: Stack, gateway: str) -> bool:
    """Return whether a metastore answers at its address: the engine's relay accepts anybody."""
    try:
        address = (gateway, stack.settings.data.metastore_port)
        with socket.create_connection(address, timeout=3) as connection:
            connection.settimeout(5)
            connection.sendall(_ASK)
            return connection.recv(4) == _ANSWER
    except OSError:
        return False


# Thrift's binary protocol: a call of getStatus (fb303), version 1, no arguments; the first bytes
# of the answer are those of a reply.
_ASK = struct.pack("!Ii9siB", 0x80010001, 9, b"getStatus", 0, 0)
_ANSWER = struct.pack("!I", 0x80010002)


def stop(engine: DockerClient, instance: str) -> bool:
    """Stop and remove the container; its volume stays. Return whether there was one."""
    there = find(engine, instance)
    if there is None:
        return False
    remove(there)
    return True


def remove(container: Container) -> None:
    """Let the metastore close its database, then remove the container."""
    from docker.errors import APIError, NotFound

    try:
        container.stop(timeout=_STOP_SECONDS)
    except NotFound:
        return
    except APIError:
        pass  # it is ended below
    try:
        container.remove(force=True)
    except NotFound:
        return


def volumes(engine: DockerClient, stack: Stack) -> list[Volume]:
    """Return the volumes of this installation's metastore."""
    installation = read_installation(stack.home)
    return [
        volume
        for instance in stack.instances()
        for volume in engine.volumes.list(filters={"label": f"{LABEL}={instance}"})
        if (volume.attrs.get("Labels") or {}).get(INSTALLATION) == installation
    ]


def _image(stack: Stack) -> str:
    return stack.settings.data.metastore_image or stack.settings.images[0].ref


def _restarts(container: Container) -> int:
    return int(container.attrs.get("RestartCount", 0))


def _have_volume(stack: Stack, engine: DockerClient) -> None:
    engine.volumes.create(_volume(stack), labels=_labels(stack))


def _volume(stack: Stack) -> str:
    return volume_name(stack.settings.instance, read_installation(stack.home))


def _labels(stack: Stack) -> dict[str, str]:
    return {
        LABEL: stack.settings.instance,
        HOME: str(stack.home),
        INSTALLATION: read_installation(stack.home),
    }


def _request(stack: Stack, users: UsersNetwork, image: str) -> dict[str, Any]:
    """Return the words of the engine's `create`; a hash of them is one of its labels."""
    data, instance = stack.settings.data, stack.settings.instance
    request: dict[str, Any] = {
        "image": image,
        "entrypoint": ["tini", "--", _COMMAND],
        "command": [],
        "name": name(instance),
        "hostname": "metastore",
        "user": f"{UID}:{UID}",
        "network": users.name,
        "ports": {f"{_PORT}/tcp": (users.gateway, data.metastore_port)},
        # The engine gives an empty volume the owner of what the image has there: the user.
        "volumes": {_volume(stack): {"bind": CONTAINER_HOME, "mode": "rw"}},
        "tmpfs": {"/tmp": "size=64m,mode=1777"},  # noqa: S108  (its own, in the container)
        "read_only": True,
        "environment": {
            "WORKROOM_METASTORE_PORT": str(_PORT),
            "WORKROOM_METASTORE_FOLDER": f"{CONTAINER_HOME}/metastore",
            "WORKROOM_DATA_WAREHOUSE": f"s3://{BUCKET}/warehouse",
        },
        "mem_limit": _MEMORY,
        "memswap_limit": _MEMORY,
        "pids_limit": 1024,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "restart_policy": {"Name": "on-failure"},
        "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "2"}},
    }
    words = fingerprint(*(f"{key}={request[key]!r}" for key in sorted(request)))
    return {**request, "labels": {**_labels(stack), _FINGERPRINT: words}}
