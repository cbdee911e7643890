"""A short look from inside: what a container on the users' network can reach."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workroom_hub.errors import MachineError
from workroom_hub.machine import data, ports
from workroom_hub.machine.network import PROBE, UsersNetwork

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.stack import Stack

_SCRIPT = r"""
import json, os, socket, ssl, sys
from urllib.parse import urlsplit

gateway, needed, tried = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])

def opens(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False

def package_index():
    # The index that pip in this image is set to: a mirror, or pip's own default.
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        if os.environ.get(name):
            return os.environ[name]
    from pip._internal.configuration import Configuration
    found = Configuration(isolated=False)
    found.load()
    from pip._internal.models.index import PyPI
    return dict(found.items()).get("global.index-url", PyPI.simple_url)

out = {"answer": [p for p in needed if opens(gateway, p)],
       "reached": [t for t in tried if opens(*t)]}
try:
    host = urlsplit(package_index()).hostname
except Exception:
    host = "localhost"
out["host"] = host
try:
    socket.getaddrinfo(host, 443)
    out["dns"] = True
except OSError:
    out["dns"] = False
out["tls_error"] = ""
try:
    bundle = next((os.environ[n] for n in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")
                   if os.environ.get(n)), None)
    context = ssl.create_default_context(cafile=bundle)
    with socket.create_connection((host, 443), timeout=5) as plain:
        context.wrap_socket(plain, server_hostname=host).close()
except Exception as error:
    out["tls_error"] = f"{type(error).__name__}: {error}"[:200]
print("WORKROOM", json.dumps(out))
"""


@dataclass(frozen=True)
class Seen:
    """What a container sees.

    Attributes:
        answer: Ports of the hub and the data servers that accept connections.
        reached: "ADDRESS:PORT" of this machine that answered and must not.
        tried: How many other addresses and ports of this machine were tried.
        host: Host name of the package index the image is set to.
        dns: That name has an address.
        tls_error: Why a TLS connection to it failed, or "".
    """

    answer: tuple[int, ...]
    reached: tuple[str, ...]
    tried: int
    host: str
    dns: bool
    tls_error: str


def look(client: DockerClient, stack: Stack, users: UsersNetwork, image: str) -> Seen:
    """Start a container for a moment and return what it sees.

    A port is opened on every address of this machine for it to try, beside the ports that are
    in use here.

    Raises:
        MachineError: The container cannot be run.
    """
    from docker.errors import DockerException

    with socket.create_server(("0.0.0.0", 0)) as bait:  # noqa: S104  (open for a second, on purpose)
        port = bait.getsockname()[1]
        tried = [(address, port) for address in addresses(users.gateway)]
        needed = opened(stack)
        used = set(ports.open_to_others()) - set(needed)
        tried += [(users.gateway, port) for port in sorted(used)[:20]]
        each_once = list(dict.fromkeys(tried))
        words = [users.gateway, json.dumps(needed), json.dumps(each_once)]
        container = None
        try:
            container = client.containers.create(
                image,
                entrypoint=["python3", "-c", _SCRIPT],
                command=words,
                network=users.name,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                mem_limit="512m",
                labels={PROBE: stack.settings.instance},
                dns=stack.settings.local.dns or None,
            )
            container.start()
            container.wait(timeout=60)
            output = container.logs().decode(errors="replace")
        except (DockerException, OSError) as error:
            raise MachineError(
                f"A container on the users' network cannot be run: {error}", "workroom up"
            ) from error
        finally:
            if container is not None:
                with suppress(DockerException):
                    container.remove(force=True)
    return _parsed(output, len(each_once))


def opened(stack: Stack) -> list[int]:
    """Return the ports at the gateway address that users' containers may reach."""
    settings = stack.settings
    own = [settings.data.s3_port, settings.data.metastore_port] if data.is_here(stack) else []
    return [settings.local.hub_port, *own]


def addresses(gateway: str) -> list[str]:
    """Return IPv4 addresses of this machine that a container might try."""
    found = [gateway]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route, suppress(OSError):
        # Nothing is sent: connecting a datagram socket only asks the kernel for the route.
        route.connect(("192.0.2.1", 9))
        found.append(route.getsockname()[0])
    return list(dict.fromkeys(found))


def _parsed(output: str, tried: int) -> Seen:
    for line in output.splitlines():
        if line.startswith("WORKROOM "):
            found = json.loads(line.removeprefix("WORKROOM "))
            reached = tuple(f"{host}:{port}" for host, port in found["reached"])
            return Seen(
                tuple(found["answer"]),
                reached,
                tried,
                found["host"],
                found["dns"],
                found["tls_error"],
            )
    raise MachineError(
        "A container on the users' network ended without an answer.",
        "The image may hold no python3; rebuild it: workroom build",
        details="\n".join(output.splitlines()[-10:]),
    )
