"""image-start: a container's start to its API answering, against the stock start command.

Both are the same image with the same limits, in turn: ours swaps a start code at a stand-in for
the hub and becomes the server; the stock one is JupyterHub's `jupyterhub-singleuser` with the
environment handed to it. Targets: median at most 1.5 s, ratio at most 1.05.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from containers import Notebook, bridge_address
from hub_double import HubDouble
from hubs import report

ROUNDS = 9
IMAGE = "workroom/notebook:latest"


def once(*, stock: bool) -> tuple[float, float]:
    """Start one container; seconds until its API answers, and CPU seconds spent by then."""
    with HubDouble(bridge_address()) as hub:
        options: Sequence[str] = ["--memory=2g"]
        command: Sequence[str] = []
        if stock:
            command = ["jupyterhub-singleuser"]
            environment = hub.environment().items()
            options = [*options, *(w for k, v in environment for w in ("-e", f"{k}={v}"))]
        container = Notebook(IMAGE, hub=None if stock else hub, command=command, options=options)
        container.prefix = f"/user/{hub.user}"
        began = time.monotonic()
        with container:
            container.wait_until_up()
            seconds = time.monotonic() - began
            return seconds, container.cpu_seconds()


def main() -> None:
    times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    once(stock=True), once(stock=False)  # both have been read from disk once
    for number in range(ROUNDS):
        for stock in (True, False) if number % 2 else (False, True):
            times[stock].append(once(stock=stock))
        print(
            f"{number + 1:2} ours {times[False][-1][0]:.2f} s ({times[False][-1][1]:.2f} s CPU), "
            f"stock {times[True][-1][0]:.2f} s ({times[True][-1][1]:.2f} s CPU)",
            file=sys.stderr,
        )
    ours, stock = ([run[0] for run in times[kind]] for kind in (False, True))
    report("image-start", statistics.median(ours), "s", statistics.median(stock))


if __name__ == "__main__":
    main()
