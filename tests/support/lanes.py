"""Commands side by side, each one's output printed whole when it ends.

A lane is a process group of its own. When the run is interrupted, every lane hears it once, as
from a terminal, and has time to remove what it made; what is left after that is killed.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO

GRACE = 150.0
"""Seconds a lane has to clear up when it is interrupted: several installations go down."""
_SAY_EVERY = 60.0
_SHARE = re.compile(rb"\[ *(\d+%)\]")


@dataclass
class _Lane:
    name: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    begun: float
    seconds: float = 0

    def far(self) -> str:
        """Return how far its pytest says it is, such as `40%`; "" before it says anything."""
        size = self.output.seek(0, os.SEEK_END)
        self.output.seek(max(0, size - 4096))
        found = _SHARE.findall(self.output.read())
        return found[-1].decode() if found else ""


class Lanes:
    """Starts lanes, waits for all of them, and leaves none behind on exit.

    Attributes:
        poll: Seconds between two looks at the lanes.
        grace: Seconds from an interruption to the end by force.
    """

    def __init__(self, poll: float = 0.5, grace: float = GRACE) -> None:
        self.poll, self.grace = poll, grace
        self._running: list[_Lane] = []
        self._ended: list[_Lane] = []
        self._begun = time.monotonic()

    def __enter__(self) -> Lanes:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._interrupt()

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one more lane; it has no input."""
        output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when its lane has ended
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        self._running.append(_Lane(name, process, output, time.monotonic()))

    def wait(self) -> bool:
        """Wait for all lanes, print each one's output as it ends; return whether all passed."""
        said = time.monotonic()
        while self._running:
            for lane in [each for each in self._running if each.process.poll() is not None]:
                self._finish(lane)
            if self._running and time.monotonic() - said > _SAY_EVERY:
                said = time.monotonic()
                print(self._news(), flush=True)
            if self._running:
                time.sleep(self.poll)
        for lane in self._ended:
            word = "FAILED" if lane.process.returncode else "passed"
            print(f"{word}  {lane.name:<12} {lane.seconds:7.1f} s", flush=True)
        return not any(lane.process.returncode for lane in self._ended)

    def _news(self) -> str:
        minutes = (time.monotonic() - self._begun) / 60
        lanes = ", ".join(f"{lane.name} {lane.far()}".rstrip() for lane in self._running)
        return f"... {minutes:.0f} min: {lanes}"

    def _finish(self, lane: _Lane) -> None:
        lane.seconds = time.monotonic() - lane.begun
        lane.output.seek(0)
        print(lane.output.read().decode(errors="replace"), flush=True)
        if lane.process.returncode < 0:
            number = -lane.process.returncode
            print(f"{lane.name} was ended by {signal.Signals(number).name}.", flush=True)
        lane.output.close()
        self._running.remove(lane)
        self._ended.append(lane)

    def _interrupt(self) -> None:
        """End the lanes that run, and print what they said."""
        for lane in self._running:
            # Once only: a second one would cut its clearing up short.
            self._signal(lane, signal.SIGINT)
        until = time.monotonic() + self.grace
        for lane in list(self._running):
            try:
                lane.process.wait(max(0.0, until - time.monotonic()))
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                self._signal(lane, signal.SIGKILL)
                lane.process.wait()
            self._finish(lane)

    @staticmethod
    def _signal(lane: _Lane, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(lane.process.pid, number)
