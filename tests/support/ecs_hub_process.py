"""A hub process on a fake AWS account that is a process, too; both can be killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.ecs_hub import INSTALLATION
from tests.support.hub_process import CLI_TOKEN, REPOSITORY, HubProcess

IMAGE = "workroom/notebook:1"
# The fake account takes any; nobody's own are sent to it.
FAKE_KEYS = {"AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake"}


def profile(name: str, cpu: float) -> dict[str, Any]:
    """Return a profile of the settings."""
    return {"name": name, "title": name, "cpu": cpu, "memory": "1G"}


class FakeAwsProcess:
    """Start with `with`; `options` are those of `tests.fakes.aws.server`."""

    def __init__(self, *options: str) -> None:
        self.options = options or ("--no-throttling",)

    def __enter__(self) -> FakeAwsProcess:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.aws.server", "--port", "0", "--web-port", "0",
             "--visible-after", "0.3", *self.options],
            cwd=REPOSITORY, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout
        where = json.loads(self.process.stdout.readline())
        self.url, self.web_port = where["url"], where["web_port"]
        self.turn({"pace": {"pull_seconds": 0.1, "start_seconds": 0.1, "access_point_seconds": 0}})
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def turn(self, order: dict[str, Any]) -> dict[str, Any]:
        """Turn knobs; see `tests.fakes.aws.control`."""
        request = urllib.request.Request(self.url + "/_fake", json.dumps(order).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            state: dict[str, Any] = json.load(answer)
        return state

    def suffer(self, name: str, *args: str, **kwargs: Any) -> None:
        """Begin a bad day."""
        self.turn({"suffer": {"name": name, "args": args, "kwargs": kwargs}})

    def tasks(self, user: str = "", status: str = "") -> list[dict[str, Any]]:
        """Return tasks, of one user and status or all."""
        return [
            task
            for task in self.turn({"list": True})["list"]
            if (not user or task["tags"].get("workroom:user") == user)
            and (not status or task["status"] == status)
        ]


class EcsHubProcess(HubProcess):
    """The hub; `start` again is the next process on the same database."""

    module = "tests.support.ecs_hub"

    def __init__(self, home: Path, fake: FakeAwsProcess) -> None:
        super().__init__(home)
        self.fake = fake
        self.env |= {"WEB_PORT": str(fake.web_port), **FAKE_KEYS}
        self.settings: dict[str, Any] = {
            "spawner": "ecs",
            "web": {"port": 8000},
            "local": {"hub_port": int(self.base.rpartition(":")[2])},
            "homes": {"kind": "efs", "file_system": "fs-12345678"},
            "idle": {"stop_after": 0},
            "limits": {"named_servers": 2, "total_servers": 0},
            "images": [{"name": "notebook", "ref": IMAGE, "title": "Notebook"}],
            "profiles": [profile("small", 1), profile("medium", 2), profile("large", 4)],
            "ecs": {
                "region": "eu-west-1",
                "cluster": "team",
                "subnets": ["subnet-0123456789abcdef0"],
                "task_role": "arn:aws:iam::123456789012:role/task",
                "hub_url": self.base,
                "endpoint_url": fake.url,
                "quotas": {"registrations": {"burst": 100, "rate": 50},
                           "other": {"burst": 200, "rate": 100}},
            },
        }  # fmt: skip
        secrets = home / "secrets"
        secrets.mkdir(parents=True, mode=0o700)
        (secrets / "cli-token").write_text(CLI_TOKEN)

    def start(self, until: Callable[[], bool] = lambda: True) -> None:
        """Start the process, and wait until it answers and `until` holds."""
        self.env["HUB_SETTINGS"] = json.dumps(self.settings)
        super().start()
        eventually("the hub is as far as it is to get", until)

    def hold(self, **users: list[str]) -> None:
        """Have the next process stop at a line for these users; see `tests.support.ecs_hub`."""
        self.env["HUB_HOLDS"] = json.dumps(users)

    def add_users(self, *names: str) -> None:
        """Make accounts, of which nobody will log in."""
        status, made = self.api("POST", "/users", {"usernames": names})
        assert status == 201, made

    def click(self, user: str, server: str = "", **options: str) -> None:
        """Start a server as the spawn page does."""
        options = {"profile": "small", "image": "notebook", **options}
        status, answer = self.api("POST", path(user, server), options)
        assert status in (201, 202), answer

    def server(self, user: str, server: str = "") -> dict[str, Any]:
        """Return the hub's model of a server; {} if there is none."""
        _, model = self.api("GET", f"/users/{user}?include_stopped_servers=1")
        found: dict[str, Any] = model.get("servers", {}).get(server, {})
        return found

    def progress(self, user: str) -> str:
        """Return our spawner's first sentence on the user's progress page."""
        request = urllib.request.Request(
            f"{self.url}api/users/{user}/server/progress",
            headers={"Authorization": f"token {CLI_TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=10) as events:
            said = (json.loads(line[5:]) for line in events if line.startswith(b"data:"))
            next(said)  # the hub's own
            return str(next(said)["message"])


def path(user: str, server: str = "") -> str:
    """Return a server's path in the hub's API."""
    return f"/users/{user}/servers/{server}" if server else f"/users/{user}/server"


def eventually(what: str, holds: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def settled(conditions: list[Callable[[], Any]], seconds: float = 30.0) -> None:
    """Wait until all of these have held once, or the time is over."""
    deadline = time.monotonic() + seconds
    while conditions and time.monotonic() < deadline:
        conditions = [holds for holds in conditions if not holds()]
        time.sleep(0.1)


def of_somebody_else(started_by: str, installation: str = INSTALLATION) -> dict[str, Any]:
    """Return a RunTask request of the same cluster."""
    return {
        "cluster": "team",
        "startedBy": started_by,
        "tags": [
            {"key": "workroom:installation", "value": installation},
            {"key": "workroom:server-id", "value": "workroom-somebody"},
            {"key": "workroom:start", "value": "f" * 32},
            {"key": "workroom:user", "value": f"owner-{started_by[-3:]}-{installation[:3]}"},
        ],
    }
