"""When a server was last used, for the report to the hub and for /api/status."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import Any

from tornado.ioloop import PeriodicCallback

from . import activity
from .actions import Actions, actions
from .figures import CpuGauge

SAMPLE_EVERY = 15.0


class ActivityMonitor:
    """Looks every few seconds at what goes on in the container and remembers when it last did.

    Args:
        serverapp: The Jupyter server, whose kernels are asked.
        done: Where a person's actions are noted.
    """

    def __init__(self, serverapp: Any, done: Actions = actions) -> None:
        self.serverapp = serverapp
        self.log = serverapp.log
        self.done = done
        self.last_work = time.time()
        self.reason = "the server started"
        self.cpu = CpuGauge()
        self.cpu.look()
        self._cpu_of: dict[tuple[int, int], float] = {}
        self._sampled = time.monotonic()
        self._window = activity.CpuWindow(
            threshold=float(os.environ.get("WORKROOM_ACTIVITY_CPU", "0.2"))
        )
        interval = float(os.environ.get("WORKROOM_ACTIVITY_SAMPLE", SAMPLE_EVERY))
        self._clock = PeriodicCallback(self.sample, interval * 1000, jitter=0.1)

    def start(self) -> None:
        """Sample from now on."""
        self._clock.start()

    def last_activity(self) -> datetime:
        """When this server was last used, with time zone."""
        moments = {
            self.reason: self.last_work,
            "a person's action": self.done.last,
            "a keystroke": activity.last_keystroke(),
        }
        self.reason = max(moments, key=lambda what: moments[what])
        self.last_work = moments[self.reason]
        return datetime.fromtimestamp(self.last_work, UTC)

    def sample(self) -> None:
        """Take one look; a look that fails counts as work, since a lost job is worse than cost."""
        try:
            reason = self._work()
        except Exception:
            self.log.exception("The server's activity could not be measured")
            reason = "activity could not be measured"
        if reason:
            self.last_work, self.reason = time.time(), reason

    def _work(self) -> str | None:
        """What is being worked on now, or None."""
        now = time.monotonic()
        seconds, self._sampled = now - self._sampled, now
        self.cpu.look()
        processes = activity.read_processes()
        before, self._cpu_of = self._cpu_of, {p.key: p.cpu for p in processes}
        used = activity.cpu_seconds()
        if used is None:
            used = sum(p.cpu for p in processes)
        sustained = self._window.add(now, used)

        for kernel in self.serverapp.kernel_manager.list_kernels():
            if kernel.get("execution_state") == "busy":
                return f"kernel {kernel['name']} is busy"
        for process in activity.busy_processes(processes, before, seconds):
            return f"{process.name} (process {process.pid}) is at work"
        return "the container computes" if sustained else None
