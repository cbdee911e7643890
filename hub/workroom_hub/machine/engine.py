"""The Docker engine of this machine: found, started, or said why not.

What is there is tried in order: an engine that answers, systemd, the init script, and
`dockerd` itself (a process of ours then, which `down` stops again).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workroom_hub.errors import EngineError
from workroom_hub.machine import packages, processes

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.machine.console import Step

MINIMUM = (20, 10)
ROLE = "dockerd"
_SOCKET = "unix:///var/run/docker.sock"
_PID_FILES = {
    "/var/run/docker.pid": "dockerd",
    "/var/run/docker/containerd/containerd.pid": "containerd",
}


def connect(*, timeout: int = 60) -> DockerClient:
    """Return a client of an engine that answers and is new enough.

    Raises:
        EngineError: It does not answer, this user may not use it, or it is too old.
    """
    import docker
    from docker.errors import DockerException

    host = os.environ.get("DOCKER_HOST") or _SOCKET
    if not host.startswith("unix://"):
        raise EngineError(
            f"DOCKER_HOST is '{host}', which is not an engine of this machine.",
            "Unset DOCKER_HOST, or point it at a socket such as unix:///var/run/docker.sock.",
        )
    try:
        client = docker.DockerClient(base_url=host, timeout=timeout, version="auto")
        version = client.version()["Version"]
    except DockerException as error:
        if _denied(host):
            raise EngineError(
                f"This user may not use the Docker engine ({host}).",
                f"Run once: sudo usermod -aG docker {os.environ.get('USER', '$USER')}\n"
                "then log in again.",
            ) from error
        fix = f"Start it: {start_command()}"
        if os.environ.get("DOCKER_HOST"):
            fix = (
                "DOCKER_HOST names that engine. Start the one that belongs to it, or unset "
                "DOCKER_HOST to use this machine's own."
            )
        raise EngineError(f"No Docker engine answers at {host}.", fix) from error
    if _parse(version) < MINIMUM:
        raise EngineError(
            f"The Docker engine is {version}; Workroom needs {MINIMUM[0]}.{MINIMUM[1]} or newer.",
            "Upgrade it with your distribution's package, such as docker.io, or with docker-ce.",
        )
    return client


def ensure(home: Path, step: Step) -> DockerClient:
    """Return a client, starting (and on Debian or Ubuntu as root installing) the engine if needed.

    Raises:
        EngineError: It cannot be started; the fix is the exact command to run.
    """
    try:
        return connect()
    except EngineError:
        if os.environ.get("DOCKER_HOST") or _denied(_SOCKET) or _answers():
            raise
    if not shutil.which("dockerd"):
        packages.install(["docker.io", "iptables"], "the Docker engine", step)
    if os.geteuid() != 0:
        raise EngineError("No Docker engine runs.", f"Start it: {start_command()}")
    for start in (_with_systemd, _with_init_script):
        if start(step) and _wait(30):
            return connect()
    start_directly(home, step)
    return connect()


def start_command() -> str:
    """Return the command that starts the engine on this machine."""
    if not shutil.which("dockerd"):
        return packages.command(["docker.io", "iptables"])
    if Path("/run/systemd/system").is_dir():
        return "sudo systemctl start docker"
    if Path("/etc/init.d/docker").exists():
        return "sudo service docker start   (or `make up` as root, which starts it)"
    return "sudo dockerd"


def started_by_us(home: Path) -> processes.Process | None:
    """Return the `dockerd` that `workroom up` of this state folder started, if it still runs."""
    try:
        pid = int(Path("/var/run/docker.pid").read_text())
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    ticks = processes.start_ticks(pid)
    wanted = f"{processes.MARKER}={processes.marker(home, ROLE)}".encode()
    ours = ticks and wanted in variables and processes.is_own(pid)
    return processes.Process(pid, ticks) if ticks and ours else None


def stop_ours(home: Path) -> str | None:
    """Stop the `dockerd` we started, unless containers of somebody else run in it.

    Returns:
        What was done, as a sentence, or None if it is not ours.
    """
    ours = started_by_us(home)
    if ours is None:
        return None
    try:
        others = len(connect().containers.list(ignore_removed=True))
    except EngineError:
        others = 0
    if others:
        return f"the Docker engine stays: {others} other container(s) run in it"
    processes.end(ours, grace=30)
    (home / f"{ROLE}.pid").unlink(missing_ok=True)
    return "the Docker engine that `workroom up` had started is stopped"


def _with_systemd(step: Step) -> bool:
    if not Path("/run/systemd/system").is_dir():
        return False
    step.update("systemctl start docker")
    return _quiet(["systemctl", "start", "docker"])


def _with_init_script(step: Step) -> bool:
    if not Path("/etc/init.d/docker").exists() or not shutil.which("service"):
        return False
    step.update("service docker start")
    return _quiet(["service", "docker", "start"])


def forget_stale(path: Path, program: str) -> None:
    """Remove a pid file whose process is gone, or is another program that has its number now.

    dockerd refuses to start, or waits in vain, when the number in such a file is anybody's.
    """
    try:
        pid = int(path.read_text())
    except (OSError, ValueError):
        return
    try:
        alive = Path(f"/proc/{pid}/comm").read_text().strip() == program
    except OSError:
        alive = False
    if not alive:
        path.unlink(missing_ok=True)


def start_directly(home: Path, step: Step) -> None:
    """Start `dockerd` itself, its log in the state folder, and wait until it answers.

    Raises:
        EngineError: It ends or does not answer within a minute.
    """
    step.update("starting dockerd itself")
    for path, program in _PID_FILES.items():
        forget_stale(Path(path), program)
    child = processes.start(home, ROLE, ["dockerd"], dict(os.environ), "")
    if _wait(60, child):
        return
    processes.end(processes.Process(child.pid, processes.start_ticks(child.pid) or 0))
    raise EngineError(
        "dockerd was started and does not answer.",
        f"Read {home / 'dockerd.log'}; often another engine, missing rights or iptables is why.",
        details=processes.tail(home / "dockerd.log"),
    )


def _quiet(command: list[str]) -> bool:
    # The init script leaves dockerd behind: with its output on a pipe of ours we would wait
    # for ever.
    return (
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
        == 0
    )


def _wait(seconds: float, child: subprocess.Popen[bytes] | None = None) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _answers():
            return True
        if child is not None and child.poll() is not None:
            return False
        time.sleep(0.2)
    return False


def _answers() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.DockerClient(
            base_url=os.environ.get("DOCKER_HOST") or _SOCKET, timeout=5, version="auto"
        )
        return bool(client.ping())
    except DockerException:
        return False


def _denied(host: str) -> bool:
    path = Path(host.removeprefix("unix://"))
    return path.exists() and not os.access(path, os.R_OK | os.W_OK)


def _parse(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("+")[0].split("-")[0].split(".")[:2])
