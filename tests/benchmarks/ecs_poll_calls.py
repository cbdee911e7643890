"""ecs-poll-calls: calls to AWS in one poll cycle of 1,000 running servers.

The same 1,000 tasks are polled through fargatespawner's own `poll`, and through ours; the fake AWS
counts, over HTTPS. Target: at most 11 (ten DescribeTasks of a hundred, and one to spare).
"""

from __future__ import annotations

import asyncio
import os

from ecs_hubs import Cloud, fake_cloud, load, report, say
from ecs_peer import database, ours, peer, settings

SERVERS = 1000
CYCLES = 3
CYCLE = 10.0
"""Seconds from one look at all servers to the next; 30 by default."""


def main() -> None:
    with fake_cloud(tls=True, web=False) as cloud:
        os.environ["AWS_CA_BUNDLE"] = str(cloud.certificate)
        mine = [{"cluster": "bench", "startedBy": settings("").started_by}] * SERVERS
        tasks = cloud.order(preload=mine)["preloaded"]
        # What the peer asks is what is counted, not how AWS throttles it.
        cloud.order(buckets={"on": False})
        theirs = asyncio.run(_theirs(cloud, tasks))
        cloud.order(buckets={"on": True})
        own = asyncio.run(_ours(cloud, tasks))
        throttled = cloud.state()["throttled"]
        say(f"ours: {own:g} calls a cycle, {throttled or 'none'} throttled; peer: {theirs:g}")
        say(load())
        report("ecs-poll-calls", own, "calls", theirs)


async def _theirs(cloud: Cloud, tasks: list[dict[str, str]]) -> float:
    spawners = [
        peer(cloud.url, f"user{number}", task["taskArn"]) for number, task in enumerate(tasks)
    ]
    cloud.order(reset=True)
    for start in range(0, SERVERS, 20):  # the hub spreads its polls over the cycle, too
        some = spawners[start : start + 20]
        _all_run(await asyncio.gather(*(spawner.poll() for spawner in some)))
    return sum(cloud.calls().values())


async def _ours(cloud: Cloud, tasks: list[dict[str, str]]) -> float:
    with database() as db:
        spawners = [
            ours(db, settings(cloud.url, sweep_seconds=CYCLE), f"user{number}")
            for number in range(SERVERS)
        ]
        for spawner, task in zip(spawners, tasks, strict=True):
            spawner.load_state({"task_arn": task["taskArn"], "address": task["address"]})
        # Adopted: each is looked at once, at the hub's start.
        await asyncio.sleep(CYCLE)
        cloud.order(reset=True)
        for _ in range(CYCLES):
            _all_run([await spawner.poll() for spawner in spawners])
            await asyncio.sleep(CYCLE)
        counted = cloud.calls()
        say(f"ours, {CYCLES} cycles: {counted}")
        await spawners[0].platform.close()
        spawners[0].platform.api.close()
        return sum(counted.values()) / CYCLES


def _all_run(statuses: list[int | None]) -> None:
    if any(status is not None for status in statuses):
        raise RuntimeError("poll said that a running server is not")


if __name__ == "__main__":
    main()
