"""spawn-storm: 1,000 people click at once; seconds until the last server is ready.

A real hub with its database on the disk, behind configurable-http-proxy, on a fake AWS account with
the documented token buckets and containers that take 2 s. AWS takes 100 RunTask at once and 40 a
second, so the last of 1,000 can be up after 24.5 s; the target is 1.3 times that, and nobody fails.

Then new users, whose task definitions must be registered first (20 at once, 1 a second): 100 in
real time, 1,000 in virtual time, 1,000 prepared ahead, and clicks while others are prepared.
Target: within 1.1 times what the bucket allows, none fails. Told on standard error.
"""

from __future__ import annotations

import sys
import time

import new_users
from ecs_hubs import OPTIONS, Cloud, Hub, fake_cloud, load, ours, prepare, report, say
from new_users import Outcome
from storm import Storm, click_all
from virtual_hub import in_virtual_time

USERS = [f"user{n:04}" for n in range(1000)]
BURST, RATE, STARTS_IN = 100, 40, 2.0
BOUND = (len(USERS) - BURST) / RATE + STARTS_IN
SETTLES = 5.0
"""Seconds after a hub's start until it knows which definitions and homes there are."""
FEW = [f"new{n:03}" for n in range(100)]
PACE = {"provision_seconds": 0.3, "pull_seconds": 0, "start_seconds": STARTS_IN - 0.3}


def main() -> None:
    seconds = _known_users()
    good = _new_users() and _virtual()
    report("spawn-storm", seconds, "s", BOUND)
    sys.exit(0 if good else 1)


def _known_users() -> float:
    with fake_cloud() as cloud:
        cloud.order(pace=PACE)
        prepare(cloud, USERS)
        with ours(cloud) as hub:
            hub.add_users(USERS)
            time.sleep(SETTLES)
            cloud.order(reset=True)
            storm = click_all(hub, USERS, OPTIONS, patience=300)
            _check(storm, hub, cloud, USERS)
            calls = cloud.calls()
            say(f"{len(USERS)} known users: {_told(storm)}; possible: {BOUND:.1f} s; {load()}")
            say(f"{len(storm.places)} were shown their place in the line; throttled: "
                f"{cloud.state()['throttled'] or 'none'}")  # fmt: skip
            # With the StopTask that each of them costs in the end.
            each = (sum(calls.values()) + len(USERS)) / len(USERS)
            say(f"calls a start with its stop: {each:.2f} (target 2.5): {calls}")
            return storm.seconds


def _new_users() -> bool:
    bound = new_users.bound(len(FEW))
    with fake_cloud() as cloud:
        cloud.order(pace=PACE)
        with ours(cloud) as hub:
            hub.add_users(FEW)
            storm = click_all(hub, FEW, OPTIONS, patience=300)
            _check(storm, hub, cloud, FEW)
    say(f"{len(FEW)} new users in real time: {_told(storm)}; possible: {bound:.0f} s")
    return storm.seconds <= 1.1 * bound


def _virtual() -> bool:
    count = len(USERS)
    bound = new_users.bound(count)
    new: Outcome = in_virtual_time(lambda: new_users.all_new(count))
    say(f"{count} new users in virtual time: {_sum(new)}; possible: {bound:.0f} s")
    warm: Outcome = in_virtual_time(lambda: new_users.prewarmed(count))
    say(f"the same prepared ahead: {_sum(warm)}; possible: {BOUND:.1f} s")
    alone, beside = in_virtual_time(lambda: new_users.while_prewarming(count, 10))
    say(f"10 new users alone: {_sum(alone)}")
    say(f"10 new users while {count} others are prepared: {_sum(beside)}")
    return (
        not (new.failed or warm.failed or alone.failed or beside.failed)
        and new.seconds <= 1.1 * bound
        and warm.registrations == 0
        and warm.seconds <= 1.1 * BOUND
        # The bucket is not full then: AWS lets ten through at one a second.
        and beside.slowest <= 1.1 * (10 + alone.slowest)
    )


def _check(storm: Storm, hub: Hub, cloud: Cloud, users: list[str]) -> None:
    if storm.failed:
        user, why = next(iter(storm.failed.items()))
        raise RuntimeError(f"{len(storm.failed)} starts failed; {user}: {why}")
    ready, state = hub.servers("ready"), cloud.state()
    if len(ready) != len(users) or state["swapped"] != len(users):
        raise RuntimeError(f"{len(ready)} are ready, {state['swapped']} containers reported in")


def _told(storm: Storm) -> str:
    each = sorted(storm.each.values())
    half = each[len(each) // 2]
    return f"all after {storm.seconds:.1f} s (first {each[0]:.1f} s, half {half:.1f} s)"


def _sum(outcome: Outcome) -> str:
    return (
        f"all after {outcome.seconds:.1f} s, {len(outcome.failed)} failed, "
        f"{outcome.registrations} registrations"
    )


if __name__ == "__main__":
    main()
