"""Thousands of running servers at once, written where a hub finds them: its database and the cloud.

For the benchmarks of what a hub does with servers that it did not start itself.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import ecs_hubs
import requests
from jupyterhub import orm

from workroom_hub import configure_ecs
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.task_requests import TaskSpec, run_task

FOLDER = Path(__file__).resolve().parent
_MEMORY = 2**30


def names(count: int) -> list[str]:
    """Return the users whose servers run."""
    return [f"user{number:05}" for number in range(count)]


def ecs_settings(cloud: ecs_hubs.Cloud, port: int) -> EcsSettings:
    """Return what our hub on `port` makes of its settings."""
    chosen = Settings.model_validate(ecs_hubs.settings(cloud, port))
    runtime = Runtime(FOLDER, "", "", 2, 8 * 2**30, {}, installation=ecs_hubs.INSTALLATION)
    return configure_ecs.ecs_settings(chosen, runtime)


def tasks(cloud: ecs_hubs.Cloud, ecs: EcsSettings, users: list[str]) -> list[dict[str, str]]:
    """Have the cloud run a task for each of these users; return their ARNs and addresses."""
    return preload(cloud, [request(ecs, user) for user in users])


def request(ecs: EcsSettings, user: str, **changed: Any) -> dict[str, Any]:
    """Return the RunTask request that a user's server came from."""
    spec = TaskSpec(user, "", "bench", "workroom/notebook:latest", 1, _MEMORY, "fsap-1")
    return {**run_task(spec, ecs, "preloaded", secrets.token_hex(16)), **changed}


def preload(cloud: ecs_hubs.Cloud, requested: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Have the cloud run tasks as if they had been there for long."""
    made: list[dict[str, str]] = []
    for start in range(0, len(requested), 500):
        made += cloud.order(preload=requested[start : start + 500])["preloaded"]
    return made


def of_nobody(ecs: EcsSettings, count: int) -> list[dict[str, Any]]:
    """Return requests of ours whose servers no hub knows: what a reconciler must stop."""
    return [request(ecs, f"orphan{number}") for number in range(count)]


def of_others(ecs: EcsSettings, count: int) -> list[dict[str, Any]]:
    """Return requests of somebody else on the same cluster: another `startedBy`, or only its tag.

    One in two says `startedBy` as we do, and belongs to another installation all the same.
    """
    foreign = []
    for number in range(count):
        theirs = request(ecs, f"other{number}")
        if number % 2:
            theirs["startedBy"] = "ecs-svc/1234567890"
        else:
            theirs["tags"] = [
                {"key": tag["key"], "value": "f" * 32}
                if tag["key"] == "workroom:installation"
                else tag
                for tag in theirs["tags"]
            ]
        foreign.append(theirs)
    return foreign


def write(database: Path, running: dict[str, dict[str, str]], port: int) -> None:
    """Write users with running servers into a hub's database, while the hub is off.

    Each has what JupyterHub leaves behind after a start: a server, the spawner's state, an OAuth
    client and the API token of the container.

    Args:
        running: ARN and address of each user's task.
        port: Where their servers answer.
    """
    session = orm.new_session_factory(f"sqlite:///{database}")()
    role = session.query(orm.Role).filter_by(name="user").one()
    now = datetime.now(UTC).replace(tzinfo=None)
    for name, task in running.items():
        user = orm.User(name=name, roles=[role])
        client = orm.OAuthClient(
            identifier=f"jupyterhub-user-{name}",
            secret=secrets.token_hex(16),
            redirect_uri=f"/user/{name}/oauth_callback",
            description=f"Server at /user/{name}/",
        )
        server = orm.Server(proto="http", ip=task["address"], port=port, base_url=f"/user/{name}/")
        spawner = orm.Spawner(
            name="",
            user=user,
            server=server,
            oauth_client=client,
            started=now,
            last_activity=now,
            user_options=ecs_hubs.OPTIONS,
            state=_state(task, now),
        )
        token = orm.APIToken(
            user=user,
            oauth_client=client,
            note=f"Server at /user/{name}/",
            scopes=[f"access:servers!server={name}/", f"users:activity!user={name}"],
        )
        token.token = secrets.token_hex(16)
        session.add_all([user, client, server, spawner, token])
    session.commit()
    session.close()
    session.get_bind().dispose()
    # Nobody may say of the figures that they come from what the write-ahead log still held.
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")


def _state(task: dict[str, str], started: datetime) -> dict[str, Any]:
    return {
        "address": task["address"],
        "ssh_port": 2222,
        "ssh_host_key": "ssh-ed25519 " + secrets.token_urlsafe(51),
        "profile": "bench",
        "image": "notebook",
        "image_ref": "workroom/notebook:latest",
        "cpu": 1,
        "memory": _MEMORY,
        "started_at": started.isoformat(),
        "task_arn": task["taskArn"],
    }


@contextmanager
def do_nothing(
    folder: Path, token: str, spawner: Literal["Spawner", "Local"], port: int = 8440
) -> Iterator[ecs_hubs.Hub]:
    """Run JupyterHub as released on the database in `folder`, with servers that are always alive.

    Args:
        token: Of the hub that the database is from.
        spawner: JupyterHub's base class, or its `SimpleLocalProcessSpawner`.
    """
    proxy_token = secrets.token_hex(16)
    bench = {"port": port, "token": token, "proxy_token": proxy_token, "spawner": spawner}
    (folder / "bench.json").write_text(json.dumps(bench))
    config = str(FOLDER / "do_nothing_config.py")
    with ecs_hubs.proxy(port, proxy_token):
        hub = ecs_hubs.Hub(folder, port, token, [sys.executable, "-m", "jupyterhub", "-f", config])
        try:
            hub.start(600)
            yield hub
        finally:
            hub.stop()


def copy_of(database: Path, folder: Path) -> Path:
    """Copy a database that nobody writes to."""
    with sqlite3.connect(database) as source, sqlite3.connect(folder / "hub.sqlite") as copy:
        source.backup(copy)
    return folder / "hub.sqlite"


def until_serving(hub: ecs_hubs.Hub, user: str, begin: float, within: float = 120) -> float:
    """Wait until the hub knows a user's server as ready, and its page answers through the proxy.

    Returns:
        Seconds since `begin`, which is of `time.perf_counter`.
    """
    while time.perf_counter() - begin < within:
        try:
            known = hub.api("GET", f"/users/{user}").json()["servers"][""]["ready"]
            if known and requests.get(f"{hub.url}/user/{user}/api", timeout=5).ok:
                return time.perf_counter() - begin
        except (requests.RequestException, KeyError):
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{user}'s server was not back within {within:.0f} s:\n{hub.log[-3000:]}")
