"""The hub as a process of its own, and requests to its API."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import workroom_hub
from workroom_hub.errors import HubError, HubRefused
from workroom_hub.machine import ports, processes
from workroom_hub.machine.console import Step
from workroom_hub.machine.stack import Stack, fingerprint, source_fingerprint
from workroom_hub.runtime import Runtime, read_secret

ROLE = "hub"
_PATIENCE = 120.0
_BUSY = 30.0


class HubApi:
    """The hub's REST API, as the service `workroom-cli`.

    Args:
        home: State folder (its secret `cli-token` is the key).
        address: `http://GATEWAY:PORT`.
    """

    def __init__(self, home: Path, address: str) -> None:
        self._home = home
        self._base = f"{address}/hub/api"
        # The gateway is on this machine: a web proxy of the environment must not be asked.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def of(cls, stack: Stack) -> HubApi:
        """Return the API of a stack that was set up once.

        Raises:
            HubError: `workroom up` has never run here.
        """
        try:
            gateway = Runtime.load(stack.home).gateway
        except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
            raise HubError("Workroom is not up.", "Start it: workroom up") from error
        return cls(stack.home, address(stack, gateway))

    def version(self, timeout: float = 2.0) -> str | None:
        """Return the version of our hub if it answers, else None."""
        try:
            answer = self._send(self._request("GET", ""), timeout)
        except HubError:
            return None
        return str(answer["version"]) if isinstance(answer, dict) and "version" in answer else None

    def servers(self) -> list[dict[str, Any]]:
        """Return every server that runs, starts or stops.

        Each has `user`, `server` ("" for the default one), `profile`, `state` ("running",
        "starting" or "stopping") and `uptime_seconds`; on ECS also `task`, the task's ARN.

        Raises:
            HubError: The hub does not answer or refuses.
        """
        rows: list[dict[str, Any]] = []
        offset: int | None = 0
        while offset is not None:
            page = self.call("GET", f"users?state=active&limit=200&offset={offset}")
            rows += [_server(user, s) for user in page["items"] for s in user["servers"].values()]
            following = page["_pagination"]["next"]
            offset = following["offset"] if following else None
        return rows

    def call(self, method: str, path: str, body: Any = None, *, timeout: float = 30.0) -> Any:
        """Send one request; return the decoded JSON of the answer, or None if it is empty.

        Raises:
            HubRefused: The hub answered with an error; its message is ours.
            HubError: It does not answer, or something else listens at its address.
        """
        request = self._request(method, path, body)
        request.add_header("Authorization", f"token {read_secret(self._home, 'cli-token')}")
        return self._send(request, timeout)

    def _request(self, method: str, path: str, body: Any = None) -> urllib.request.Request:
        return urllib.request.Request(  # noqa: S310  (always http, to the gateway)
            f"{self._base}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Accept": "application/jupyterhub-pagination+json, application/json",
            },
        )

    def _send(self, request: urllib.request.Request, timeout: float) -> Any:
        self._require_ours()
        try:
            with self._opener.open(request, timeout=timeout) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise HubRefused(error.code, _refusal(error)) from error
        except (OSError, ValueError) as error:
            raise HubError(
                "The hub does not answer.", "Start it: workroom up\nIts log: workroom logs hub"
            ) from error
        return json.loads(text) if text else None

    def _require_ours(self) -> None:
        """Do nothing if it is our hub that listens: whoever gets the token may do anything.

        Raises:
            HubError: The hub does not run, or another process has its port.
        """
        ours = processes.find(self._home, ROLE)
        if ours is None:
            raise HubError(
                "The hub does not run.", "Start it: workroom up\nIts log: workroom logs hub"
            )
        where = urlsplit(self._base)
        host, port = where.hostname or "", where.port or 80
        if ports.listens(ours, host, port):
            return
        other = ports.listener(port, host)
        if other is None:
            raise HubError(
                "The hub does not answer.", "Start it: workroom up\nIts log: workroom logs hub"
            )
        raise HubError(
            f"Port {port} at {host} is not this installation's hub (process {ours.pid}) but "
            f"{other}. Nothing was sent to it.",
            "Stop that process, then: workroom up",
        )


def _server(user: dict[str, Any], server: dict[str, Any]) -> dict[str, Any]:
    pending = {"spawn": "starting", "stop": "stopping"}.get(server["pending"] or "", "")
    started = server.get("started")
    uptime = None
    if started:
        begun = datetime.fromisoformat(started)
        uptime = round((datetime.now(UTC) - begun).total_seconds(), 1)
    task = (server.get("state") or {}).get("task_arn")
    return {
        **({"task": task} if task else {}),
        "user": user["name"],
        "server": server["name"],
        "profile": (server.get("user_options") or {}).get("profile"),
        "state": pending or ("running" if server["ready"] else "starting"),
        "uptime_seconds": uptime,
    }


def address(stack: Stack, gateway: str) -> str:
    """Return the hub's own address on the users' network."""
    return f"http://{gateway}:{stack.settings.local.hub_port}"


def ensure(stack: Stack, runtime: Runtime, step: Step) -> None:
    """Have the hub running as the settings say; one that already does is left alone.

    Starting the hub again keeps the users' servers.

    Raises:
        HubError: It does not start.
        PortTaken: Another process listens on its port.
    """
    wanted = wanted_fingerprint(stack)
    api = HubApi.of(stack)
    running = processes.find(stack.home, ROLE)
    if running and running.fingerprint == wanted and _answers_in_time(api, running, step):
        step.result = "running"
        return
    if running:
        step.update("something changed: starting it again (servers keep running)")
    processes.stop(stack.home, ROLE, grace=20)
    for stray in processes.strays(stack.home):
        processes.end(stray)
    ports.require_free(
        runtime.gateway,
        stack.settings.local.hub_port,
        "the hub's API",
        "local.hub_port in workroom.yaml",
    )
    package = Path(workroom_hub.__file__).parent
    command = [
        sys.executable,
        "-m",
        "workroom_hub.app",
        "-f",
        str(package / "jupyterhub_config.py"),
    ]
    child = processes.start(stack.home, ROLE, command, stack.environment, wanted)
    step.result = f"JupyterHub {_wait(stack, api, child, step)}"


def wanted_fingerprint(stack: Stack) -> str:
    """Return the fingerprint of a hub with the present settings, facts and code."""
    return fingerprint(
        stack.settings.model_dump_json(),
        (stack.home / "runtime.json").read_text(),
        read_secret(stack.home, "proxy-token"),
        source_fingerprint(),
        sys.executable,
    )


def _answers_in_time(api: HubApi, running: processes.Process, step: Step) -> bool:
    """Return whether a running hub answers; a busy one is given half a minute."""
    deadline = time.monotonic() + _BUSY
    while running.alive:
        if api.version(timeout=max(1.0, min(10.0, deadline - time.monotonic()))):
            return True
        if time.monotonic() >= deadline:
            break
        step.update("it is busy: waiting for its answer")
        time.sleep(0.2)
    return False


def _wait(stack: Stack, api: HubApi, child: subprocess.Popen[bytes], step: Step) -> str:
    begun = time.monotonic()
    while time.monotonic() < begun + _PATIENCE:
        version = api.version()
        if version:
            return version
        if child.poll() is not None:
            break
        step.update("waiting for it to answer")
        time.sleep(0.1)
    died = child.poll() is not None
    processes.stop(stack.home, ROLE)
    raise HubError(
        f"The hub {f'ended with exit code {child.returncode}' if died else 'does not answer'}.",
        f"The lines above are the end of {stack.home / 'hub.log'}; then run `workroom doctor`.",
        details=processes.tail(stack.home / "hub.log", 20),
    )


def _refusal(error: urllib.error.HTTPError) -> str:
    try:
        answer = json.loads(error.read())
        message = str(answer.get("message") or "")
    except (ValueError, AttributeError, OSError):
        message = ""
    return message or f"The hub answered {error.code} ({error.reason})."
