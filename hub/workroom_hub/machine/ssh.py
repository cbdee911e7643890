"""The SSH gateway as a process of its own, so that sessions outlive the hub.

One whose settings or code changed is not stopped: it stops listening, keeps the connections it
has, and ends with the last of them, while the new one has the port.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import workroom_hub
from workroom_hub.machine import ports, processes, programs
from workroom_hub.machine.console import Step, counted
from workroom_hub.machine.processes import Process
from workroom_hub.machine.stack import Stack, fingerprint
from workroom_hub.runtime import Runtime, read_secret
from workroom_hub.settings import Settings

ROLE = "ssh"
_COMMAND = [sys.executable, "-m", "workroom_hub.ssh"]
_PATIENCE = 20.0
"""Seconds it may take to answer after its start."""
_BUSY = 10.0
"""Seconds a running one may take to answer, or to let go of its port."""
_ANSWER_WITHIN = 2.0


def keys(stack: Stack) -> dict[str, Any]:
    """Return what servers and people must know of the gateway's keys; made first if need be.

    They are the attributes of `Runtime` that begin with `ssh_`.

    Raises:
        SshError: A key cannot be read.
    """
    if not stack.settings.ssh.enabled:
        return {"ssh_user_ca": "", "ssh_host_keys": ()}
    from workroom_hub.ssh import authority

    return {
        "ssh_user_ca": authority.user_ca_public(stack.settings, stack.home),
        "ssh_host_keys": authority.host_keys_public(stack.settings, stack.home),
    }


def ensure(stack: Stack, runtime: Runtime, step: Step) -> None:
    """Have the gateway running as the settings say; one that already does is left alone.

    Raises:
        SshError: It does not start.
        PortTaken: Another process listens on its port.
    """
    home = stack.home
    _forget_ended(home)
    if not stack.settings.ssh.enabled:
        ended = end_all(home)
        step.result = "off, as ssh.enabled says" + (f"; {ended}" if ended else "")
        return
    wanted = wanted_fingerprint(stack, runtime)
    running = current(home)
    if running and running.fingerprint == wanted and _answers_in_time(stack, running, step):
        step.result = "running"
        return
    require_port(stack)
    _make_room(home, step)
    require_port(stack)
    child = processes.start(home, ROLE, _COMMAND, _environment(stack), wanted)
    programs.wait(home, ROLE, child, lambda: answers(stack), _PATIENCE)
    kept = sum(connections(home, old) or 0 for old in draining(home))
    step.result = f"listening on {stack.settings.ssh.host}:{stack.settings.ssh.port}"
    if kept:
        goes = "goes" if kept == 1 else "go"
        step.result += f"; {counted(kept, 'connection')} of the one before {goes} on"


def require_port(stack: Stack) -> None:
    """Do nothing if a gateway of ours has the port, or one can: asked before anything is made.

    Raises:
        PortTaken: Another process listens there.
    """
    ssh, home = stack.settings.ssh, stack.home
    ours = [*filter(None, [processes.find(home, ROLE)]), *processes.aside(home, ROLE)]
    if ssh.enabled and not any(ssh.port in ports.of(process) for process in ours):
        ports.require_free(ssh.host, ssh.port, "ssh", "WORKROOM_SSH_PORT=2223 make up")


def wanted_fingerprint(stack: Stack, runtime: Runtime) -> str:
    """Return the fingerprint of a gateway with the present settings, keys and code.

    Of our code its own package alone: an update of the pages is no reason to start it again.
    """
    settings = stack.settings
    folder = Path(workroom_hub.__file__).parent / "ssh"
    return fingerprint(
        settings.ssh.model_dump_json(),
        settings.web.address,
        stack.spawner,
        settings.ecs.hub_url,
        f"{runtime.gateway}:{settings.local.hub_port}",
        read_secret(stack.home, "ssh-token"),
        runtime.ssh_user_ca,
        *runtime.ssh_host_keys,
        *(f"{path.name}\n{path.read_text()}" for path in sorted(folder.glob("*.py"))),
        workroom_hub.__version__,
        version(),
        metadata.version("cryptography"),
        sys.executable,
    )


def current(home: Path) -> Process | None:
    """Return the gateway that takes connections, or should."""
    running = processes.find(home, ROLE)
    return None if running is None or _drains(home, running) else running


def draining(home: Path) -> list[Process]:
    """Return the gateways that only keep the connections they have."""
    running = processes.find(home, ROLE)
    more = [running] if running and _drains(home, running) else []
    return processes.aside(home, ROLE) + more


def connections(home: Path, process: Process) -> int | None:
    """Return how many people's connections a gateway carries; None if it has not said."""
    count = _report(home, process).get("connections")
    return count if isinstance(count, int) else None


def command(settings: Settings, user: str = "NAME") -> str:
    """Return what people type."""
    from workroom_hub.account import address

    return address.ssh_line(user, "", *address.ssh_address(settings))


def version() -> str:
    """Return the version of the SSH library."""
    return metadata.version("asyncssh")


def answers(stack: Stack) -> bool:
    """Return whether it is our gateway that has the port, and says something there."""
    ssh, running = stack.settings.ssh, current(stack.home)
    if running is None or ssh.port not in ports.of(running):
        return False
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(ssh.host, ssh.host)  # noqa: S104
    try:
        with socket.create_connection((host, ssh.port), timeout=_ANSWER_WITHIN) as connection:
            # The protocol's first line; or that there were too many attempts, which is an answer.
            return bool(connection.recv(255))
    except OSError:
        return False


def end_all(home: Path) -> str:
    """End every gateway at once, with a word to whoever is connected; say what ended."""
    running = processes.find(home, ROLE)
    found = processes.aside(home, ROLE) + ([running] if running else [])
    count = sum(connections(home, process) or 0 for process in found)
    for process in found:
        processes.end(process, first=signal.SIGINT)
    stopped = processes.stop(home, ROLE) or bool(found)
    _forget_ended(home)
    if not stopped:
        return ""
    return f"stopped, and {counted(count, 'ssh connection')} with it" if count else "stopped"


def key_files(stack: Stack) -> list[Path]:
    """Return the files of the gateway's private keys that are there."""
    ssh, made = stack.settings.ssh, stack.home / "secrets"
    hosts = ssh.host_key_files or sorted(made.glob("ssh-host-*"))
    return [*hosts, *([ssh.ca_key_file] if ssh.ca_key_file else made.glob("ssh-user-ca"))]


def _make_room(home: Path, step: Step) -> None:
    """Have whoever has the port let go of it, and keep its connections."""
    while running := processes.find(home, ROLE):
        signalled = _drains(home, running)
        processes.set_aside(home, ROLE, running)
        if not signalled:
            step.update("something changed: starting it again (its connections go on)")
            with suppress(ProcessLookupError):
                os.kill(running.pid, signal.SIGTERM)
    for old in processes.aside(home, ROLE):
        if _lets_go(old):
            continue
        # `up` was killed before it told it to. A second SIGTERM would end the connections.
        with suppress(ProcessLookupError):
            os.kill(old.pid, signal.SIGTERM)
        if not _lets_go(old):
            step.update(f"process {old.pid} hangs: ending it")
            processes.end(old, first=signal.SIGKILL)
    _forget_ended(home)


def _lets_go(process: Process) -> bool:
    deadline = time.monotonic() + _BUSY
    while ports.of(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _answers_in_time(stack: Stack, running: Process, step: Step) -> bool:
    deadline = time.monotonic() + _BUSY
    while running.alive and not _drains(stack.home, running):
        if answers(stack):
            return True
        if time.monotonic() > deadline:
            break
        step.update("it is busy: waiting for its answer")
        time.sleep(0.2)
    return False


def _environment(stack: Stack) -> dict[str, str]:
    """Return its environment; strangers talk to it, so it has no credentials of AWS."""
    return {k: v for k, v in stack.environment.items() if not k.startswith("AWS_")}


def _drains(home: Path, process: Process) -> bool:
    return _report(home, process).get("state") == "draining"


def _report(home: Path, process: Process) -> dict[str, Any]:
    """Return what a gateway last wrote about itself, {} if it has not."""
    try:
        found = json.loads((home / f"{ROLE}-{process.pid}.json").read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _forget_ended(home: Path) -> None:
    """Remove the records and reports of gateways that are gone, which may have been killed."""
    processes.forget_ended(home, ROLE)
    running = processes.find(home, ROLE)
    alive = {p.pid for p in processes.aside(home, ROLE)} | ({running.pid} if running else set())
    for path in home.glob(f"{ROLE}-*.json"):
        if path.name not in {f"{ROLE}-{pid}.json" for pid in alive}:
            path.unlink(missing_ok=True)
