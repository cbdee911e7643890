"""The emulator: ministack in an environment of its own, and the network its containers join."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config
from docker.errors import NotFound
from docker.models.containers import Container

from tests.support.s3_server import free_port
from workroom_hub.machine import emulator_install

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.console import Step

ACCOUNT, REGION = "123456789012", "eu-central-1"
KEYS = {"AWS_ACCESS_KEY_ID": ACCOUNT, "AWS_SECRET_ACCESS_KEY": "emulator"}
"""The emulator takes a key of twelve digits for an account's number."""
TASK, CLUSTER = "com.amazonaws.ecs.task-arn", "com.amazonaws.ecs.cluster"
_START_WITHIN = 60.0


@dataclass(frozen=True)
class Emulator:
    """An emulator that runs.

    Attributes:
        url: Where it answers, for this machine and for containers.
        network: Name of the network that its containers join.
        engine: The engine.
        folder: Its files, and its log.
        python: The Python that has it.
    """

    url: str
    network: str
    engine: DockerClient
    folder: Path
    python: Path

    def leaves_out(self, template: Path) -> tuple[list[str], dict[str, list[str]]]:
        """Return the types of a template that its CloudFormation refuses, and what it drops."""
        done = subprocess.run(
            [str(self.python), str(Path(__file__).with_name("reads.py")), str(template)],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found = json.loads(done.stdout)
        return found["unknown"], found["lost"]

    def client(self, service: str) -> Any:
        """Return a client of a service."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            config=Config(proxies={}, s3={"addressing_style": "path"}),
        )

    def environment(self) -> dict[str, str]:
        """Return variables with which any program's SDK talks to it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": REGION, "NO_PROXY": "*"}

    def containers(self, cluster: str) -> list[Container]:
        """Return the containers of a cluster's tasks, also ended ones."""
        label = f"{CLUSTER}=arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{cluster}"
        found: list[Container] = self.engine.containers.list(
            all=True, ignore_removed=True, filters={"label": label}
        )
        return found

    @property
    def log(self) -> str:
        """What it printed."""
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def running(engine: DockerClient, folder: Path, name: str) -> Iterator[Emulator]:
    """Have an emulator run; nothing of it or its tasks is left afterwards.

    It listens on the address of the engine's own bridge, which is where containers are told to
    find it, and which nothing outside this machine reaches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = cast("Step", SimpleNamespace(update=lambda _: None, result=""))
    python = emulator_install.ensure(folder, progress)
    address = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    port = free_port()
    with _network(engine, name) as place:
        told = {
            "PATH": os.environ["PATH"],
            **KEYS,
            "BIND_HOST": address,
            "GATEWAY_PORT": str(port),
            "HOSTNAME": place,
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "MINISTACK_HOSTNAME": name,
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            # For the engine's log-ins, which `places` writes once; it looks until there are some.
            "DOCKER_CONFIG": str(folder),
            "HOME": str(folder),
            "TMPDIR": str(folder),
        }
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [str(python), "-m", "ministack"], env=told, cwd=folder, stdout=log, stderr=log
            )
        found = Emulator(f"http://{address}:{port}", name, engine, folder, python)
        try:
            _await(lambda: _healthy(found.url) or child.poll() is not None, found)
            assert child.poll() is None, found.log
            yield found
        finally:
            child.terminate()
            child.wait(60)


@contextmanager
def _network(engine: DockerClient, name: str) -> Iterator[str]:
    """Make a network; yield the name of the container by which the emulator finds it."""
    _clear(engine, name)
    engine.networks.create(name, driver="bridge")
    try:
        # Never started: it has no address, so tasks are told the bridge's.
        made = engine.containers.create(
            "debian:bookworm-slim", ["true"], name=f"{name}-place", network=name
        )
        yield str(made.name)
    finally:
        _clear(engine, name)


def _clear(engine: DockerClient, name: str) -> None:
    """Remove a network and every container on it, also those of a run that was killed."""
    for container in engine.containers.list(
        all=True, ignore_removed=True, filters={"network": name}
    ):
        container.remove(force=True, v=True)
    try:
        engine.networks.get(name).remove()
    except NotFound:
        return


def _healthy(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/_ministack/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _await(look: Callable[[], bool], found: Emulator) -> None:
    deadline = time.monotonic() + _START_WITHIN
    while not look():
        assert time.monotonic() < deadline, found.log
        time.sleep(0.1)
