"""spawn-local: click to a server that answers; median of 20, ours and plain DockerSpawner in turn.

Both run the same image with its own command and the same limits. Target: ratio at most 1.10.
"""

from __future__ import annotations

import statistics
import sys

from hubs import Hub, ours, plain, report

ROUNDS = 20
# Plain DockerSpawner may still be removing a user's last container when she clicks again.
USERS = ["ann", "ben", "cleo", "dora"]


def once(hub: Hub, user: str) -> float:
    """Time one click and stop the server again."""
    seconds = hub.click(user)
    hub.stop(user)
    return seconds


def main() -> None:
    with ours() as mine, plain() as peer:
        for hub in (mine, peer):
            hub.add_users(USERS)
            for user in USERS:
                once(hub, user)
        pairs = []
        for number in range(ROUNDS):
            # Who goes first alternates, so that neither gains from the other's clean-up.
            first, second = (mine, peer) if number % 2 else (peer, mine)
            user = USERS[number % len(USERS)]
            times = {id(first): once(first, user), id(second): once(second, user)}
            pairs.append((times[id(mine)], times[id(peer)]))
            print(
                f"{number + 1:2} ours {pairs[-1][0]:.2f} s, plain {pairs[-1][1]:.2f} s",
                file=sys.stderr,
            )
    report(
        "spawn-local",
        statistics.median(mine for mine, _ in pairs),
        "s",
        statistics.median(peer for _, peer in pairs),
    )


if __name__ == "__main__":
    main()
