"""The image registry of this machine: two halves and the one address in front of them.

Our images and the cache of others' are a process each, because a cache is a mode of a whole
process, and because the cache ends where its upstream cannot be reached, which must not take our
images along. Both keep everything in this machine's S3 server and listen on a socket in the state
folder only; nginx asks for tokens before anybody reaches them.
"""

from __future__ import annotations

import base64
import datetime
import http.client
import os
import pwd
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from workroom_hub.data_environment import PLATFORM, REGION, s3_url
from workroom_hub.errors import RegistryError
from workroom_hub.machine import (
    data_s3,
    ports,
    processes,
    programs,
    registry_config,
    registry_programs,
    registry_uploads,
)
from workroom_hub.machine.stack import Stack, fingerprint
from workroom_hub.registry import credentials, server_config
from workroom_hub.registry.server_config import FOLDER, HALVES, Half
from workroom_hub.runtime import read_secret, write_private

if TYPE_CHECKING:
    from workroom_hub.machine.console import Step

FRONT = "registry"
ROLE: dict[Half, str] = {half: f"{half}-registry" for half in HALVES}
_PATIENCE = 20.0
"""Seconds a part may take to answer."""
_CACHE_PATIENCE = 5.0
"""The cache asks its upstream first, and nobody waits for that."""
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def is_here(stack: Stack) -> bool:
    """Return whether this machine runs a registry."""
    return stack.settings.registry.kind == "machine"


def bring_up(stack: Stack, gateway: str) -> None:
    """Start the S3 server and the registry, before images are fetched from it.

    What may run of before is stopped where the settings want no registry.

    Raises:
        DataServerError: The S3 server does not start.
        MachineError: A program is missing and cannot be installed.
        PortTaken: Another process listens on the registry's port.
        RegistryError: The registry does not start.
    """
    if not is_here(stack):
        stop(stack.home)
        return
    with stack.report.step("Image registry") as step:
        found = registry_programs.ensure(step)
        child = data_s3.begin(stack, gateway)
        data_s3.wait(stack, gateway, child)
        ensure(stack, gateway, found, step)


def ensure(stack: Stack, gateway: str, found: dict[str, str], step: Step) -> None:
    """Have the registry running as the settings say; the S3 server runs."""
    _ensure_bucket(stack, gateway)
    _tidy_up(stack, gateway)
    _write(stack, gateway)
    anew = [half for half in HALVES if _ensure_half(stack, half, found["docker-registry"], gateway)]
    front = _ensure_front(stack, found["nginx"])
    step.result = f"{stack.settings.registry.host}" if anew or front else "running"
    if not _comes(stack, "cache"):
        stack.report.warn(
            f"The registry's cache does not run: {stack.settings.registry.upstream} does not "
            "answer. Our own images\nare served all the same. When it answers: workroom up"
        )


def stop(home: Path) -> bool:
    """Stop all parts; images stay in S3. Return whether one ran."""
    roles = (FRONT, *ROLE.values())
    if not any(path.exists() for path in (home / FOLDER, *(home / f"{r}.pid" for r in roles))):
        return False  # most installations have none, and looking for processes takes a moment
    stopped = [processes.stop(home, role) for role in roles]
    return any(stopped)


def answers(stack: Stack) -> bool:
    """Return whether it is our registry that has the port, and takes our token."""
    running = processes.find(stack.home, FRONT)
    port = stack.settings.registry.port
    if running is None or not ports.listens(running, "127.0.0.1", port):
        return False
    given = credentials.of(stack.settings.registry, stack.home, "pull")
    assert given is not None
    token = base64.b64encode(f"{given.username}:{given.password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    return _says(connection, {"Authorization": f"Basic {token}"}) == 200


def half_answers(home: Path, half: Half) -> bool:
    """Return whether a half answers on its socket."""
    return _says(_UnixConnection(home / server_config.socket(half)), {}) == 200


def restart_half(stack: Stack, half: Half) -> None:
    """Start a half anew: it forgets what it remembers of S3."""
    processes.stop(stack.home, ROLE[half])
    with stack.report.step("Image registry") as step:
        found = registry_programs.ensure(step)
        _ensure_half(stack, half, found["docker-registry"], stack.gateway())
        step.result = "started anew"


def _write(stack: Stack, gateway: str) -> None:
    """Write what the parts are told, each file of mode 0600."""
    home, registry = stack.home, stack.settings.registry
    rights = home / FOLDER / "rights"
    file, field = registry.upstream_credentials_file, "registry.upstream_credentials_file"
    upstream = credentials.read(file, field) if file else None
    for half in HALVES:
        text = server_config.server(
            half,
            bucket=registry_config.BUCKET,
            region=REGION,
            http_secret=read_secret(home, "registry-http-secret"),
            endpoint=s3_url(stack.settings, gateway),
            key=(
                registry_config.IDENTITY[half],
                read_secret(home, registry_config.SECRET_OF[half]),
            ),
            upstream=registry.upstream,
            login=upstream.pair if upstream else None,
        )
        _write_if_new(home / FOLDER / f"{half}.json", text)
    pusher, puller = (credentials.of(registry, home, right) for right in ("push", "pull"))
    assert pusher is not None
    assert puller is not None
    tokens = fingerprint(pusher.password, puller.password)
    # Salted anew each time, so it is the tokens that say whether they changed.
    if _text(rights / "of") != tokens:
        write_private(rights / "push.htpasswd", server_config.htpasswd([pusher.pair]))
        write_private(rights / "read.htpasswd", server_config.htpasswd([pusher.pair, puller.pair]))
        write_private(rights / "of", tokens)
    user = pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else ""
    front = server_config.front(
        registry_config.TEMPLATE.read_text(),
        listen=registry.host,
        repository=registry.repository,
        user=user,
    )
    _write_if_new(home / FOLDER / "front.conf", front)


def _ensure_bucket(stack: Stack, gateway: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    platform = data_s3.client(stack, gateway, PLATFORM)
    try:
        names = [bucket["Name"] for bucket in platform.list_buckets()["Buckets"]]
        if registry_config.BUCKET not in names:
            platform.create_bucket(Bucket=registry_config.BUCKET)
    except (ClientError, BotoCoreError) as error:
        raise RegistryError(
            f"The bucket of the image registry cannot be made: {error}",
            "Its log: workroom logs s3",
        ) from error


def _tidy_up(stack: Stack, gateway: str) -> None:
    """Remove uploads that were broken off long ago; the registry runs with them, too."""
    from botocore.exceptions import BotoCoreError, ClientError

    platform = data_s3.client(stack, gateway, PLATFORM)
    try:
        before = datetime.datetime.now(datetime.UTC) - registry_uploads.KEPT
        registry_uploads.remove_old(platform, before)
    except (BotoCoreError, ClientError) as error:
        stack.report.warn(f"Old uploads to the image registry could not be removed: {error}")


def _ensure_half(stack: Stack, half: Half, program: str, gateway: str) -> bool:
    """Start a half unless it runs as the settings say; return whether it had to be."""
    home = stack.home
    command = [program, "serve", f"{FOLDER}/{half}.json"]
    wanted = fingerprint(*command, _text(home / FOLDER / f"{half}.json"))
    running = processes.find(home, ROLE[half])
    if running and running.fingerprint == wanted and half_answers(home, half):
        return False
    processes.stop(home, ROLE[half])
    # One that was killed leaves its socket, which nobody else can listen on.
    (home / server_config.socket(half)).unlink(missing_ok=True)
    child = processes.start(home, ROLE[half], command, _environment(stack, half, gateway), wanted)
    if half == "local":
        programs.wait(home, ROLE[half], child, lambda: half_answers(home, half), _PATIENCE)
    return True


def _ensure_front(stack: Stack, program: str) -> bool:
    home = stack.home
    command = [program, "-p", str(home), "-c", f"{FOLDER}/front.conf", "-e", "stderr"]
    told = _text(home / FOLDER / "front.conf"), _text(home / FOLDER / "rights" / "of")
    wanted = fingerprint(*command, *told)
    running = processes.find(home, FRONT)
    if running and running.fingerprint == wanted and answers(stack):
        return False
    processes.stop(home, FRONT)
    setting = "WORKROOM_REGISTRY_PORT=5001 make up"
    ports.require_free("127.0.0.1", stack.settings.registry.port, "the image registry", setting)
    child = processes.start(home, FRONT, command, stack.environment, wanted)
    programs.wait(home, FRONT, child, lambda: answers(stack), _PATIENCE)
    return True


def _comes(stack: Stack, half: Half) -> bool:
    """Return whether a half answers soon; one that does not is left to go on trying."""
    deadline = time.monotonic() + _CACHE_PATIENCE
    while time.monotonic() < deadline:
        if half_answers(stack.home, half):
            return True
        if processes.find(stack.home, ROLE[half]) is None:
            return False
        time.sleep(0.05)
    return False


def _environment(stack: Stack, half: Half, gateway: str) -> dict[str, str]:
    """Return a half's environment: no setting of a caller's own leaks in.

    A certificate bundle for AWS would be used for S3, which here is plain HTTP on this machine.
    """
    kept = {
        name: value
        for name, value in stack.environment.items()
        if not name.startswith(("AWS_", "REGISTRY_", "OTEL_"))
    }
    proxies = {n: v for n, v in kept.items() if n.upper() in _PROXIES}
    kept = {n: v for n, v in kept.items() if n not in proxies}
    if half == "cache":
        # It goes to its upstream as this machine does, and to S3 straight.
        straight = proxies.get("NO_PROXY") or proxies.get("no_proxy") or ""
        kept |= proxies
        kept |= {n: ",".join(filter(None, [straight, gateway])) for n in ("NO_PROXY", "no_proxy")}
    return kept


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system, however long its path is."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


def _says(connection: http.client.HTTPConnection, headers: dict[str, str]) -> int:
    """Return the status of the registry's first question, 0 if nobody answers."""
    try:
        connection.request("GET", "/v2/", headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _text(path: Path) -> str:
    with suppress(FileNotFoundError):
        return path.read_text()
    return ""


def _write_if_new(path: Path, text: str) -> None:
    if _text(path) != text:
        write_private(path, text)


def version() -> str | None:
    """Return the version of the registry's program, None if it is not installed."""
    program = registry_programs.find("docker-registry")
    if not program:
        return None
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, timeout=10
    )
    words = done.stdout.split()
    return words[-1] if done.returncode == 0 and words else None
