"""registry-pull: MB a second out of the registry over S3, against the same one on plain disk.

512 MiB in four layers at once and five rounds in turn, each layer compared with its digest, as an
engine does. Both have just been written, so both come from memory rather than from the disk.
"""

from __future__ import annotations

import statistics

from hubs import report
from registry_stage import ROUNDS, blobs, places, receive, say, send


def main() -> None:
    figures: dict[str, list[float]] = {}
    with places() as (ours, plain):
        layers = blobs()
        for place in (ours, plain):
            send(place, layers)
        for number in range(ROUNDS):
            for place in (ours, plain) if number % 2 else (plain, ours):
                figures.setdefault(place.name, []).append(receive(place, layers))
            say(number + 1, {name: each[-1] for name, each in figures.items()})
    mine, theirs = (statistics.median(figures[place.name]) for place in (ours, plain))
    report("registry-pull", mine, "MB/s", theirs)


if __name__ == "__main__":
    main()
