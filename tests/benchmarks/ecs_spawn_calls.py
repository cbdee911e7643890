"""ecs-spawn-calls: calls to AWS for one lone start with its stop, the watcher's share included.

In virtual time, so that waits of 2, 10, 30 and 145 s take none: our spawner, its watcher and
reconciler, and fargatespawner's, run in this process against the fake account, which counts. Only
fargatespawner's HTTP client is replaced, by one that hands the same requests to the same fake
without a socket (which virtual time cannot wait for); ours uses boto3, handed over in the same way.

Targets: at most 4 for waits of up to 30 s, and 8 for a new user. The line is the worst of 2, 10 and
30 s against the peer's worst; the rest is told on standard error.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Coroutine
from typing import Any

from ecs_hubs import report, say
from ecs_peer import FAMILY, peer
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from virtual_hub import fake_account, in_virtual_time, start, stop, world

from tests.fakes.aws import FakeAws, FakeContainers
from workroom_spawner.ecs import EcsSpawner

WAITS = (2.0, 10.0, 30.0, 145.0)
QUICK = 30.0
STAYS = 5.0
"""Seconds that a server runs before it is stopped; sweeps of running servers are shared by all."""


def main() -> None:
    own = {wait: in_virtual_time(lambda wait=wait: _ours(wait)) for wait in WAITS}
    theirs = {wait: in_virtual_time(lambda wait=wait: _theirs(wait)) for wait in WAITS}
    new_user = in_virtual_time(lambda: _ours(2.0, new=True))
    for wait in WAITS:
        say(f"wait of {wait:g} s: ours {_sum(own[wait])}; peer {_sum(theirs[wait])}")
    say(f"new user: {_sum(new_user)}; once a hub process, not counted: the lists of task")
    say("definitions, access points and tasks, one call for each hundred of them")
    quick = [wait for wait in WAITS if wait <= QUICK]
    report(
        "ecs-spawn-calls",
        max(own[wait].total() for wait in quick),
        "calls",
        max(theirs[wait].total() for wait in quick),
    )


async def _ours(wait: float, new: bool = False) -> Any:
    async with world(fake_account(wait)) as hub:
        spawner = hub.spawner("ada")
        # The first start of a process asks what there is; another user makes it.
        for each in [hub.spawner("bob")] if new else [hub.spawner("bob"), spawner]:
            await _start_and_stop(each)
        await asyncio.sleep(120)
        hub.fake.reset_counters()
        await _start_and_stop(spawner)
    return hub.fake.calls


async def _start_and_stop(spawner: EcsSpawner) -> None:
    await start(spawner)
    await asyncio.sleep(STAYS)
    await stop(spawner)


async def _theirs(wait: float) -> Any:
    fake = fake_account(wait)
    # Its progress leaves futures behind that nobody awaits; asyncio would say so.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    fake.client("ecs").register_task_definition(
        family=FAMILY,
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "notebook", "image": "workroom/notebook:latest"}],
    )
    fake.reset_counters()
    spawner = peer("https://ecs.eu-west-1.amazonaws.com", start_timeout=300)
    real, AsyncHTTPClient.fetch = AsyncHTTPClient.fetch, _handing_to(fake)
    try:
        async with FakeContainers(fake):
            await spawner.start()
            await asyncio.sleep(STAYS)
            await spawner.poll()  # JupyterHub's every 30 s is not counted to a start, but one is
            await spawner.stop()
    finally:
        AsyncHTTPClient.fetch = real
    return fake.calls


def _handing_to(fake: FakeAws) -> Callable[..., Coroutine[Any, Any, HTTPResponse]]:
    async def fetch(_: AsyncHTTPClient, request: HTTPRequest) -> HTTPResponse:
        reply = fake.answer("POST", request.url, request.headers, request.body or b"")
        response = HTTPResponse(request, reply.status, buffer=io.BytesIO(reply.body))
        response.rethrow()
        return response

    return fetch


def _sum(calls: Any) -> str:
    return f"{calls.total()} ({', '.join(f'{n} {name}' for name, n in sorted(calls.items()))})"


if __name__ == "__main__":
    main()
