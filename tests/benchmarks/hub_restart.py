"""Benchmark `hub-restart`: a hub with 5,000 running servers is killed and started again.

Seconds until it serves: its API tells that a server is ready, and that server's page answers
through the proxy. In the same run against JupyterHub as released, on a copy of the same database,
with a spawner that has nothing to do but to call every server alive.

It fails unless every server was adopted, none was stopped, all routes are there, no call to ECS was
throttled, and of 40 tasks that no hub knows exactly the 20 that are ours were stopped.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ecs_hubs
import requests
import running_servers as servers
from ecs_hubs import say

PORT = 8450
COUNT = 5000
STRAYS = 20
GRACE = 60
_BATCH = 100
_LONG = 600.0


def main() -> None:
    """Measure both, ours first, and report."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with (
        tempfile.TemporaryDirectory(prefix="workroom-bench-") as folder,
        ecs_hubs.fake_cloud() as cloud,
    ):
        ours, token = _ours(cloud, count, Path(folder))
        theirs = _theirs(Path(folder), token, servers.names(count)[-1])
    ecs_hubs.report("hub-restart", ours, "s", theirs)


def _ours(cloud: ecs_hubs.Cloud, count: int, copy: Path) -> tuple[float, str]:
    """Return the seconds and the hub's token; leave a copy of its database."""
    users = servers.names(count)
    with ecs_hubs.ours(cloud, PORT, orphan_grace=GRACE) as hub:
        hub.stop()
        ecs = servers.ecs_settings(cloud, PORT)
        running = servers.tasks(cloud, ecs, users)
        orphans = servers.preload(cloud, servers.of_nobody(ecs, STRAYS))
        servers.preload(cloud, servers.of_others(ecs, STRAYS))
        database = hub.folder / "hub.sqlite"
        servers.write(database, dict(zip(users, running, strict=True)), cloud.web_port)
        ecs_hubs.prepare(cloud, users, PORT)
        first = _start(hub, users[-1])
        say(f"first start, which also makes {count} routes: {first:.1f} s")
        hub.kill()
        servers.copy_of(database, copy)
        cloud.order(reset=True)
        took = _start(hub, users[-1])
        say(f"ours: killed, serves again after {took:.1f} s; {_spent(hub)}; {ecs_hubs.load()}")
        _check(hub, cloud, set(users), {task["taskArn"] for task in orphans})
        return took, hub.token


def _theirs(folder: Path, token: str, user: str) -> float:
    with servers.do_nothing(folder, token, "Spawner") as hub:
        servers.until_serving(hub, user, time.perf_counter(), _LONG)
        hub.kill()
        took = _start(hub, user)
        say(f"do-nothing spawner: serves after {took:.1f} s; {_spent(hub)}; {ecs_hubs.load()}")
    return took


def _start(hub: ecs_hubs.Hub, user: str) -> float:
    begin = time.perf_counter()
    hub.start(_LONG)
    return servers.until_serving(hub, user, begin, _LONG)


def _spent(hub: ecs_hubs.Hub) -> str:
    """Say what does not depend on who else uses the machine."""
    assert hub.process is not None
    fields = Path(f"/proc/{hub.process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])  # user and system time, see proc(5)
    return f"{ticks / os.sysconf('SC_CLK_TCK'):.1f} s of processor time, {hub.memory() >> 20} MiB"


def _check(hub: ecs_hubs.Hub, cloud: ecs_hubs.Cloud, users: set[str], orphans: set[str]) -> None:
    """Look after some rounds of the watcher and the reconciler whether all is as it should be."""
    sweep = -(-len(users) // _BATCH)
    _until(lambda: cloud.calls().get("DescribeTasks", 0) >= 2 * sweep, 120, "two whole sweeps")
    calls = cloud.calls()
    _require(not calls.get("StopTask"), f"no task is stopped before its grace: {calls}")
    _require(hub.servers() == users, "every server is ready")
    _require(_routes(hub) == len(users) + 1, "all routes are there")
    _until(lambda: cloud.calls().get("StopTask", 0) >= STRAYS, 4 * GRACE + 120, "orphans stopped")
    _until(lambda: cloud.state()["tasks"].get("STOPPED", 0) >= STRAYS, 90, "orphans gone")
    listed = cloud.order(list=True)["list"]
    stopped = {task["arn"] for task in listed if task["desired"] != "RUNNING"}
    _require(stopped == orphans, "only our own orphans are stopped")
    state = cloud.state()
    _require(state["calls"]["StopTask"] == STRAYS, f"one StopTask an orphan: {state['calls']}")
    _require(not state["throttled"], f"AWS throttles nothing: {state['throttled']}")
    _require(hub.servers() == users, "every server is still ready")
    say(f"all adopted, {STRAYS} orphans stopped, {STRAYS} of others left alone; {state['calls']}")


def _routes(hub: ecs_hubs.Hub) -> int:
    token = (hub.folder / "secrets" / "proxy-token").read_text()
    answer = requests.get(
        f"http://127.0.0.1:{hub.port + 1}/api/routes",
        headers={"Authorization": f"token {token}"},
        timeout=60,
    )
    return len(answer.json())


def _until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        _require(time.monotonic() < deadline, f"{what} within {seconds:.0f} s")
        time.sleep(1)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise RuntimeError(f"this does not hold: {what}")


if __name__ == "__main__":
    main()
