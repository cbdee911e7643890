"""The end of a process at a request of a certain number, whichever server it is for."""

from __future__ import annotations

import os
import signal
import threading


class PowerCut:
    """Kills a process with SIGKILL as its request number `at` arrives, which no server gets.

    Give it to the relays as `before`, and set `pid`. What other threads of the process have on its
    way then is dropped, too.

    Attributes:
        requests: What came, that request included.
        cut: Whether the process has been killed.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.pid = 0
        self.requests: list[str] = []
        self._lock = threading.Lock()

    @property
    def cut(self) -> bool:
        return len(self.requests) >= self.at

    def __call__(self, request: str) -> None:
        with self._lock:
            if not self.cut:
                self.requests.append(request)
                if self.cut:
                    os.kill(self.pid, signal.SIGKILL)
            if self.cut:
                raise ConnectionError
