"""loop-lag: how late the hub's event loop is while 1,000 people click at once.

The 99th percentile of how late something due at any moment is, in our hub on the fake AWS account,
and in a JupyterHub whose spawner only sleeps as long as AWS's buckets and the containers take.
Target: at most 1.1 times as late, and no callback that spends more than 20 ms in our own code.

Both hubs run the same probe (`loop_probe.py`) and are clicked through the same proxy. The other hub
gets our database settings and queue of connections: as released it waits for the disk at each
commit and turns connections away, and the comparison would flatter us.
"""

from __future__ import annotations

import time

from ecs_hubs import OPTIONS, Hub, fake_cloud, load, ours, prepare, report, say, sleeping
from spawn_storm import BURST, PACE, RATE, SETTLES, STARTS_IN, USERS
from storm import Watch, click_all, watched


def main() -> None:
    with fake_cloud() as cloud:
        with sleeping(cloud, burst=BURST, rate=RATE, start_seconds=STARTS_IN) as hub:
            theirs = _watch("a sleeping spawner", hub, {})
        cloud.order(pace=PACE)
        prepare(cloud, USERS)
        with ours(cloud, probe=True) as hub:
            own = _watch("ours", hub, OPTIONS)
    for seconds, block in own.ours()[:5]:
        say(f"  {1000 * seconds:.0f} ms in our code: {block}")
    report("loop-lag", own.p99, "s", theirs.p99)


def _watch(name: str, hub: Hub, options: dict[str, str]) -> Watch:
    hub.add_users(USERS)
    time.sleep(SETTLES)
    storm = click_all(hub, USERS, options, patience=300)
    if storm.failed:
        user, why = next(iter(storm.failed.items()))
        raise RuntimeError(f"{name}: {len(storm.failed)} starts failed; {user}: {why}")
    time.sleep(1.5)  # the probe writes once a second
    seen = watched(hub, storm.began, storm.began + storm.seconds)
    say(f"{name}: all after {storm.seconds:.1f} s; {seen}; {load()}")
    return seen


if __name__ == "__main__":
    main()
