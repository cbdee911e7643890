"""registry-push: MB a second into the registry over S3, against the same one on plain disk.

512 MiB in four layers at once and five rounds in turn, through the front with its token check; each
round's bytes are new. `WORKROOM_BENCH_MIB` and `WORKROOM_BENCH_ROUNDS` make it smaller.
"""

from __future__ import annotations

import statistics

from hubs import report
from registry_stage import ROUNDS, blobs, places, say, send, with_an_engine


def main() -> None:
    figures: dict[str, list[float]] = {}
    with places() as (ours, plain):
        for number in range(ROUNDS):
            for place in (ours, plain) if number % 2 else (plain, ours):
                figures.setdefault(place.name, []).append(send(place, blobs()))
            say(number + 1, {name: each[-1] for name, each in figures.items()})
        with_an_engine(ours, plain)
    mine, theirs = (statistics.median(figures[place.name]) for place in (ours, plain))
    report("registry-push", mine, "MB/s", theirs)


if __name__ == "__main__":
    main()
