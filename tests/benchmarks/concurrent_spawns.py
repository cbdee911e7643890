"""concurrent-spawns: 20 users click at once; seconds until the last server answers.

Against plain DockerSpawner running the same image with its stock command. Target: none fails,
ratio at most 0.7. Three rounds of each in turn; medians.
"""

from __future__ import annotations

import statistics
import sys

from hubs import ours, plain, report

USERS = [f"user{n:02}" for n in range(20)]
ROUNDS = 3


def main() -> None:
    totals: dict[str, list[float]] = {"ours": [], "plain": []}
    with ours() as mine, plain(command=["jupyterhub-singleuser"]) as peer:
        for hub in (mine, peer):
            hub.add_users(["warm", *USERS])
            hub.click("warm")
            hub.stop("warm")
        for number in range(ROUNDS):
            turn = [("ours", mine), ("plain", peer)]
            for name, hub in turn if number % 2 else reversed(turn):
                total, each = hub.click_all(USERS)
                hub.stop_all(USERS)
                totals[name].append(total)
                print(
                    f"{name}: all 20 after {total:.1f} s (first {min(each):.1f} s)",
                    file=sys.stderr,
                )
    report(
        "concurrent-spawns",
        statistics.median(totals["ours"]),
        "s",
        statistics.median(totals["plain"]),
    )


if __name__ == "__main__":
    main()
