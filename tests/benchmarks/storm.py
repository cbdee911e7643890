"""A storm of clicks, and what it did to the hub: shared by `spawn-storm` and `loop-lag`."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from ecs_hubs import Hub
from loop_probe import BEAT

RAMP = 1.0
"""Seconds over which the clicks come; a thousand people are never more at once than that."""
_TRIES = 5


@dataclass
class Storm:
    """What became of a storm.

    Attributes:
        seconds: From the first click until the last server was ready.
        each: The same for each user.
        failed: What went wrong, by user.
        places: Users who were shown their place in the line.
        retried: Connections that broke and were made again.
        began: When, by `time.monotonic`.
    """

    began: float = 0.0
    seconds: float = 0.0
    each: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    places: set[str] = field(default_factory=set)
    retried: int = 0
    events: Counter[str] = field(default_factory=Counter)


def click_all(hub: Hub, users: list[str], options: dict[str, str], patience: float) -> Storm:
    """Have everyone ask for a server through the proxy, and follow its progress until it is ready.

    Args:
        patience: Seconds for all of it.
    """
    return asyncio.run(_click_all(hub, users, options, patience))


async def _click_all(hub: Hub, users: list[str], options: dict[str, str], patience: float) -> Storm:
    storm = Storm()
    timeout = aiohttp.ClientTimeout(total=patience)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        headers=hub.headers, timeout=timeout, connector=connector
    ) as session:
        storm.began = time.monotonic()
        await asyncio.gather(
            *(
                _click(session, hub, user, options, storm, RAMP * number / len(users))
                for number, user in enumerate(users)
            )
        )
    storm.seconds = max(storm.each.values(), default=0.0)
    return storm


async def _click(
    session: aiohttp.ClientSession,
    hub: Hub,
    user: str,
    options: dict[str, str],
    storm: Storm,
    after: float,
) -> None:
    await asyncio.sleep(after)
    url = f"{hub.url}/hub/api/users/{user}/server"
    try:
        status, text = await _ask(session, url, options, storm)
        if status == 202:
            await _follow(session, f"{url}/progress", user, storm)
        elif status != 201:
            raise RuntimeError(f"{status}: {text[:300]}")
        storm.each[user] = time.monotonic() - storm.began
    except Exception as error:
        storm.failed[user] = f"{type(error).__name__}: {error}"


async def _ask(
    session: aiohttp.ClientSession, url: str, options: dict[str, str], storm: Storm
) -> tuple[int, str]:
    for attempt in range(_TRIES):
        try:
            async with session.post(url, json=options) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectionError:
            if attempt == _TRIES - 1:
                raise
            storm.retried += 1
            await asyncio.sleep(0.2)
    raise AssertionError


async def _follow(session: aiohttp.ClientSession, url: str, user: str, storm: Storm) -> None:
    async with session.get(url) as events:
        async for line in events.content:
            if not line.startswith(b"data:"):
                continue
            event = json.loads(line[5:])
            storm.events[event.get("stage", "ready" if event.get("ready") else "?")] += 1
            if any(words in event.get("message", "") for words in ("in line", "before you")):
                storm.places.add(user)
            if event.get("ready"):
                return
            if event.get("failed"):
                raise RuntimeError(event.get("message", "failed"))
    raise RuntimeError("the progress ended before the server was ready")


@dataclass(frozen=True)
class Watch:
    """What `loop_probe` saw of a storm.

    Attributes:
        late: How late something due at each of the moments would have been, 10 ms apart, in
            seconds. A probe that sleeps sees one long stall as one sample, however many it kept
            waiting; those it did not take are filled in.
        sampled: The probe's samples as they are, none filled in.
        blocks: Callbacks of more than 20 ms.
        cpu: Seconds of processor time of the hub.
    """

    late: list[float]
    sampled: list[float]
    blocks: list[dict[str, Any]]
    cpu: float

    @property
    def p99(self) -> float:
        """99th percentile of the lateness."""
        return percentile(self.late, 99)

    def ours(self) -> list[tuple[float, dict[str, Any]]]:
        """Return blocks by what our own code had of them, longest first; the rest is left out."""
        mine = [(block["by"].get("ours", 0.0), block) for block in self.blocks]
        return sorted((each for each in mine if each[0] > 0.02), key=lambda e: -e[0])

    def __str__(self) -> str:
        mine = self.ours()
        busy = sum(block["worked"] > 0.02 for _, block in mine)
        longest = max((b["took"] for b in self.blocks), default=0.0)
        return (
            f"lag p50 {1000 * statistics.median(self.late):.1f} ms, "
            f"p99 {1000 * self.p99:.0f} ms "
            f"(of the bare samples {1000 * percentile(self.sampled, 99):.0f} ms), "
            f"most {1000 * max(self.late):.0f} ms; "
            f"{len(self.blocks)} blocks over 20 ms (longest {1000 * longest:.0f} ms), "
            f"{len(mine)} of them in our code, {busy} of which had the processor for so long "
            f"(the others waited for it); {self.cpu:.1f} s of processor time"
        )


def watched(hub: Hub, begin: float, end: float) -> Watch:
    """Return what the hub's probe saw between two moments of `time.monotonic`."""
    late: list[float] = []
    sampled: list[float] = []
    cpu: list[float] = []
    for second in _lines(hub.folder / "lags.jsonl"):
        if second["to"] >= begin and second["from"] <= end:
            sampled += second["late"]
            for each in second["late"]:
                late += [each - n * BEAT for n in range(int(each / BEAT) + 1)]
            cpu.append(second["cpu"])
    blocks = [b for b in _lines(hub.folder / "blocks.jsonl") if begin <= b["at"] <= end]
    return Watch(late, sampled, blocks, cpu[-1] - cpu[0] if cpu else 0.0)


def percentile(values: list[float], percent: float) -> float:
    """Return the smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        yield json.loads(line)
