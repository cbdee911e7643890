"""What leads to containers on AWS and is not in the emulator: names, load balancers, log-ins."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from docker.models.containers import Container

from tests.fakes.aws import certificate
from tests.fakes.emulated_account.emulator import Emulator

_PATIENCE = 90.0
_NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
  client_max_body_size 0;
  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_request_buffering off;
  proxy_read_timeout 300s;
  map $http_upgrade $kept {{ default upgrade; '' ''; }}
{servers}}}
"""
_SERVER = """\
  server {{
    listen 127.0.0.1:{port}{tls};
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto {scheme};
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $kept;
    location / {{ proxy_pass http://{target}; }}
  }}
"""


def service_container(emulator: Emulator, cluster: str, service: str) -> Container:
    """Return the container of a service's task, once it runs.

    Raises:
        AssertionError: It does not, within a minute and a half.
    """
    deadline = time.monotonic() + _PATIENCE
    ecs = emulator.client("ecs")
    while True:
        for container in emulator.containers(cluster):
            label = container.labels["com.amazonaws.ecs.container-name"]
            if label == service and container.status == "running":
                return container
        ended = ecs.list_tasks(cluster=cluster, serviceName=service, desiredStatus="STOPPED")
        why = [
            task.get("stoppedReason")
            for task in ecs.describe_tasks(cluster=cluster, tasks=ended["taskArns"])["tasks"]
            if ended["taskArns"]
        ]
        assert time.monotonic() < deadline, f"{service} does not run: {why}\n{emulator.log[-3000:]}"
        time.sleep(0.25)


def name(emulator: Emulator, container: Container, *names: str) -> str:
    """Have the network's DNS know a container by names; return its address."""
    network = emulator.engine.networks.get(emulator.network)
    network.disconnect(container)
    network.connect(container, aliases=list(names))
    return address(emulator, container)


def address(emulator: Emulator, container: Container) -> str:
    """Return the address of a container."""
    container.reload()
    networks = container.attrs["NetworkSettings"]["Networks"]
    return str(networks[emulator.network]["IPAddress"])


@contextmanager
def balancer(folder: Path, port: int, target: str, *, tls: bool) -> Iterator[None]:
    """Lead a port of this machine to a container, as a load balancer does.

    Args:
        folder: For nginx's files.
        port: Port on loopback.
        target: Address and port of the container.
        tls: It ends TLS.
    """
    folder.mkdir(parents=True, exist_ok=True)
    words = ""
    if tls:
        certificate.make(folder / "certificate.pem")
        words = (
            f" ssl; ssl_certificate {folder}/certificate.pem;"
            f" ssl_certificate_key {folder}/certificate.key"
        )
    server = _SERVER.format(port=port, tls=words, scheme="https" if tls else "http", target=target)
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, servers=server))
    with (folder / "log").open("wb") as log:
        where = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        child = subprocess.Popen(
            ["/usr/sbin/nginx", *where],
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        yield
        assert child.poll() is None, (folder / "log").read_text()
    finally:
        child.terminate()
        child.wait(10)


def log_in(emulator: Emulator, registry: str, login: Mapping[str, str]) -> None:
    """Have the emulator's engine log in to a registry, as its machines would for a task."""
    both = f"{login['username']}:{login['password']}".encode()
    config = {"auths": {registry: {"auth": base64.b64encode(both).decode()}}}
    path = emulator.folder / "config.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(config))
