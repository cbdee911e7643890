"""From visits to servers: who finds hers still running, when an idle one ends, when AWS is asked.

None of this depends on how machines are kept ready: a server's end follows from what its owner
does, not from how long she waited. So all policies are compared on the very same servers.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass

from workroom_hub.plan.visits import Visit
from workroom_hub.settings import Idle, Settings
from workroom_hub.settings_ecs import Bucket


@dataclass(frozen=True, slots=True)
class Server:
    """One server that somebody starts.

    Attributes:
        click: When she clicks, in seconds after the first midnight.
        called: When RunTask is called for it: after its turn in the hub's queue.
        end: When it ends: idle for too long, or too old.
        new: Whether its task definition had to be registered first.
    """

    user: str
    profile: str
    click: float
    called: float
    end: float
    new: bool = False


def of(settings: Settings, visits: Iterable[Visit]) -> list[Server]:
    """Return the servers that these visits start, in the order in which RunTask is called."""
    begun = sorted(_begun(settings.idle, visits), key=lambda each: (each.click, each.user))
    return _queued(settings, begun)


def _begun(idle: Idle, visits: Iterable[Visit]) -> list[Server]:
    """Merge a person's visits: who comes back before her server ends finds it."""
    of_user: dict[str, list[Visit]] = {}
    for visit in visits:
        of_user.setdefault(visit.user, []).append(visit)
    servers: list[Server] = []
    for user, mine in of_user.items():
        running: Server | None = None
        last = 0.0
        for visit in sorted(mine, key=lambda each: each.start):
            if running and visit.start < running.end:
                last = max(last, visit.start + visit.used)
                first, profile = running.click, running.profile
                servers.pop()
            else:
                last, first, profile = visit.start + visit.used, visit.start, visit.profile
            running = Server(user, profile, first, first, _end(idle, first, last))
            servers.append(running)
    return servers


def _end(idle: Idle, first: float, last: float) -> float:
    """Return when a server ends: the check for idle ones that comes after the last use."""
    end = math.inf
    if idle.stop_after:
        end = math.ceil((last + idle.stop_after) / idle.check_every) * idle.check_every
    if idle.max_age:
        end = min(end, math.ceil((first + idle.max_age) / idle.check_every) * idle.check_every)
    return end


def _queued(settings: Settings, begun: list[Server]) -> list[Server]:
    """Give each server the time at which its RunTask is called, by AWS's token buckets."""
    quotas, share = settings.ecs.quotas, settings.plan.assumptions.new_definitions / 100
    draw = random.Random(f"{settings.plan.day.seed}/definitions")  # noqa: S311 - a simulation
    new = [draw.random() < share for _ in begun]
    registered = iter(
        turns(quotas.registrations, [s.click for s, n in zip(begun, new, strict=True) if n])
    )
    ready = [next(registered) if n else s.click for s, n in zip(begun, new, strict=True)]
    order = sorted(range(len(begun)), key=lambda place: (ready[place], place))
    # The hub lets stops go first; they come with nobody waiting, so they are left out here.
    called = turns(quotas.run, [ready[place] for place in order])
    return [
        Server(s.user, s.profile, s.click, at, s.end, new[place])
        for at, place in zip(called, order, strict=True)
        for s in (begun[place],)
    ]


def turns(bucket: Bucket, asked: Iterable[float]) -> list[float]:
    """Return when each call has its turn in a token bucket; `asked` is in order of time."""
    burst = max(1.0, bucket.burst)
    tokens, counted, granted = burst, 0.0, []
    for at in asked:
        now = max(at, counted)
        tokens = min(burst, tokens + (now - counted) * bucket.rate)
        counted = now
        if tokens < 1:
            counted += (1 - tokens) / bucket.rate
            tokens = 1.0
        tokens -= 1
        granted.append(counted)
    return granted
