"""Stand-ins for the Docker engine's client, each named for how it fails."""

from __future__ import annotations

import itertools
from typing import Any

import docker.errors
import requests


class _Answer:
    """As much of an HTTP response as the Docker SDK's errors look at."""

    def __init__(self, status: int, reason: str) -> None:
        self.status_code = status
        self.reason = reason
        self.url = "http+docker://fake"


def api_error(status: int, explanation: str) -> docker.errors.APIError:
    """Return what the SDK raises for an answer of this status."""
    kind = docker.errors.NotFound if status == 404 else docker.errors.APIError
    return kind(explanation, response=_Answer(status, explanation), explanation=explanation)


class Engine:
    """Works: containers are created, started, stopped and removed in memory."""

    ADDRESS = "127.0.0.1"

    def __init__(self, network: str = "test-users") -> None:
        self.network = network
        self.containers: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, Any]] = []
        self._ids = (f"{n:064x}" for n in itertools.count(1))

    def create_container(self, **request: Any) -> dict[str, Any]:
        if any(c["Name"] == request["name"] for c in self.containers.values()):
            raise api_error(409, f"name {request['name']} is in use")
        self.requests.append(request)
        container = {
            "Id": next(self._ids),
            "Name": request["name"],
            "State": {"Status": "created", "Running": False, "ExitCode": 0, "OOMKilled": False},
            "NetworkSettings": {"Networks": {self.network: {"IPAddress": ""}}},
        }
        self.containers[container["Id"]] = container
        return {"Id": container["Id"]}

    def start(self, container: str) -> None:
        found = self._find(container)
        found["State"] |= {"Status": "running", "Running": True}
        found["NetworkSettings"]["Networks"][self.network]["IPAddress"] = self.ADDRESS

    def inspect_container(self, container: str) -> dict[str, Any]:
        return self._find(container)

    def logs(self, container: str, tail: int) -> bytes:
        self._find(container)
        return b"last words\n"

    def stop(self, container: str, timeout: int) -> None:
        self._find(container)["State"] |= {"Status": "exited", "Running": False}

    def remove_container(self, container: str, force: bool = False) -> None:
        del self.containers[self._find(container)["Id"]]

    def die(self, container: str, code: int = 1, oom: bool = False) -> None:
        """End a container's process, as from inside."""
        self._find(container)["State"] |= {
            "Status": "exited",
            "Running": False,
            "ExitCode": code,
            "OOMKilled": oom,
        }

    def _find(self, container: str) -> dict[str, Any]:
        for found in self.containers.values():
            if container in (found["Id"], found["Name"]):
                return found
        raise api_error(404, f"No such container: {container}")


class EngineWithoutImage(Engine):
    def create_container(self, **request: Any) -> dict[str, Any]:
        raise api_error(404, f"No such image: {request['image']}")


class EngineWithFullDisk(Engine):
    def create_container(self, **request: Any) -> dict[str, Any]:
        raise api_error(500, "mkdir /var/lib/docker/x: no space left on device")


class EngineUnreachableNow(Engine):
    """Does not answer while `away` is true."""

    away = True

    def _find(self, container: str) -> dict[str, Any]:
        if self.away:
            raise requests.exceptions.ConnectionError("connection refused")
        return super()._find(container)

    def create_container(self, **request: Any) -> dict[str, Any]:
        if self.away:
            raise requests.exceptions.ConnectionError("connection refused")
        return super().create_container(**request)


class ContainerDiesDuringStart(Engine):
    """Its process ends right after it began."""

    def __init__(self, code: int, oom: bool = False) -> None:
        super().__init__()
        self.code, self.oom = code, oom

    def start(self, container: str) -> None:
        super().start(container)
        self.die(container, self.code, self.oom)
