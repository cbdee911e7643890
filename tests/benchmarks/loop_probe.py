"""Watches a hub's event loop from inside its process: how late it is, and what held it up.

`begin(folder)` is called in a hub's configuration file, which JupyterHub reads within its running
loop. It writes, as JSON lines, `lags.jsonl` (once a second: the lateness of every 10 ms sleep) and
`blocks.jsonl` (every callback of more than 20 ms, with whose code the time went to).
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

BEAT = 0.01
"""Seconds that the probe sleeps, again and again."""
LONG = 0.02
"""Seconds from which on a callback is a block."""
_SAMPLE = 0.004
_OURS = ("/workroom_spawner/", "/workroom_hub/")
_THEIRS = ("/jupyterhub/",)


def begin(folder: Path) -> None:
    """Begin to watch the running loop."""
    blocks = Blocks((folder / "blocks.jsonl").open("a", buffering=1))
    blocks.begin()
    lags = (folder / "lags.jsonl").open("a", buffering=1)
    begin.task = asyncio.get_running_loop().create_task(_beat(lags))  # type: ignore[attr-defined]


async def _beat(out: TextIO) -> None:
    late: list[float] = []
    told = time.monotonic()
    while True:
        before = time.monotonic()
        await asyncio.sleep(BEAT)
        now = time.monotonic()
        late.append(round(max(0.0, now - before - BEAT), 5))
        if now - told >= 1.0:
            # CLOCK_MONOTONIC is the machine's, so another process can tell which are of its time.
            cpu = time.process_time()
            out.write(json.dumps({"from": told, "to": now, "late": late, "cpu": cpu}) + "\n")
            late, told = [], now


class Blocks:
    """Times every callback of the loop, and samples the stack of the long ones."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._loop_thread = threading.get_ident()
        self._began = 0.0  # of the callback that runs; 0 between two
        self._samples: list[tuple[float, str, str]] = []
        self._last = 0.0
        self._collecting = 0.0
        self._collected = 0.0

    def begin(self) -> None:
        """Hook into asyncio, and start the thread that samples."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            worked = time.thread_time()
            self._began = began = time.monotonic()
            run(handle)
            self._began = 0.0
            took = time.monotonic() - began
            if took > LONG:
                self._tell(began, took, time.thread_time() - worked)

        asyncio.Handle._run = timed  # type: ignore[method-assign]
        gc.callbacks.append(self._garbage)
        threading.Thread(target=self._watch, daemon=True, name="loop-probe").start()

    def _garbage(self, phase: str, info: dict[str, int]) -> None:
        if threading.get_ident() != self._loop_thread:
            return
        if phase == "start":
            self._collecting = time.monotonic()
        else:
            self._collected += time.monotonic() - self._collecting

    def _watch(self) -> None:
        seen = 0.0
        while True:
            time.sleep(_SAMPLE)
            began = self._began
            now = time.monotonic()
            if not began or now - began < LONG / 2:
                continue
            if began != seen:
                seen, self._last, self._samples = began, began, []
            frame = sys._current_frames().get(self._loop_thread)
            if frame is not None and self._began == began:
                self._samples.append((now - self._last, *_whose(frame)))
                self._last = now

    def _tell(self, began: float, took: float, worked: float) -> None:
        samples = list(self._samples) if self._last > began else []
        by: Counter[str] = Counter()
        where: Counter[str] = Counter()
        for seconds, who, line in samples:
            by[who] += seconds  # type: ignore[assignment]
            where[f"{who}: {line}"] += seconds  # type: ignore[assignment]
        garbage, self._collected = self._collected, 0.0
        told: dict[str, Any] = {
            "at": began,
            "took": round(took, 4),
            "worked": round(worked, 4),
            "garbage": round(garbage, 4),
            "by": {who: round(seconds, 4) for who, seconds in by.items()},
            "where": {line: round(s, 4) for line, s in where.most_common(4)},
        }
        self._out.write(json.dumps(told) + "\n")


def _whose(frame: FrameType) -> tuple[str, str]:
    """Return whose code runs: that of the innermost frame that is JupyterHub's or ours."""
    top: FrameType | None = frame
    while top is not None:
        name = top.f_code.co_filename
        for who, folders in (("ours", _OURS), ("jupyterhub", _THEIRS)):
            if any(folder in name for folder in folders):
                line = f"{Path(name).name}:{top.f_lineno} {top.f_code.co_name}"
                return who, f"{line} < {Path(frame.f_code.co_filename).name} {frame.f_code.co_name}"
        top = top.f_back
    [innermost] = traceback.extract_stack(frame, limit=1)[-1:]
    return "others", f"{Path(innermost.filename).name}:{innermost.lineno} {innermost.name}"
