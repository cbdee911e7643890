"""Progress of one start: stages with times, as events for the page (schema version 1).

An event is a JSON object:

    progress  0 to 100
    message   a sentence for people
    stage     id of the active stage
    elapsed   seconds since the request
    stages    [{"id", "title", "state", "seconds"}], state one of
              waiting, active, done, failed; seconds null while waiting, and where
              nothing had to be done

Spawners add stages; pages draw whatever comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Stage:
    """One step of a start; `percent` is where the bar stands when it begins."""

    id: str
    title: str
    percent: int


LOCAL_STAGES = (
    Stage("requested", "Request accepted", 5),
    Stage("creating", "Creating your container", 15),
    Stage("starting", "Container starting", 40),
    Stage("answering", "Your server is getting ready", 65),
)

ECS_STAGES = (
    Stage("requested", "Request accepted", 5),
    Stage("queued", "Waiting for your turn", 10),
    Stage("machine", "Finding a machine", 20),
    Stage("pulling", "Fetching the image", 40),
    Stage("starting", "Container starting", 60),
    Stage("answering", "Your server is getting ready", 80),
)


class Progress:
    """The story of one start; any number of pages may follow it, from any moment on."""

    def __init__(self, stages: Sequence[Stage], clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._stages = {stage.id: stage for stage in stages}
        self._order = {stage.id: number for number, stage in enumerate(stages)}
        self._begun: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._failed = False
        self._message = ""
        self._active = stages[0].id
        self._start = clock()
        self._changed = asyncio.Event()
        self._begun[self._active] = self._start
        self._message = stages[0].title

    @property
    def stage(self) -> Stage:
        """The stage under way."""
        return self._stages[self._active]

    @property
    def waits(self) -> bool:
        """Whether the request has been accepted, and no more than that."""
        return len(self._begun) == 1 and not self._failed

    @property
    def message(self) -> str:
        """What people read right now."""
        return self._message

    @property
    def elapsed(self) -> float:
        """Seconds since the request."""
        return self._clock() - self._start

    def tell(self, message: str) -> None:
        """Replace the sentence of the stage under way."""
        if message != self._message:
            self._tell(message)

    def reach(self, stage: str, message: str = "") -> None:
        """Enter `stage` unless it has begun already; what began cannot be gone back to."""
        if self._order[stage] > self._order[self._active]:
            self.enter(stage, message)
        elif stage == self._active and message:
            self.tell(message)

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took that has begun, up to now for the one under way."""
        now = self._clock()
        return {s: self._ended.get(s, now) - begun for s, begun in self._begun.items()}

    def enter(self, stage: str, message: str = "") -> None:
        """End the active stage and begin `stage`; `message` replaces its title."""
        now = self._clock()
        self._ended[self._active] = now
        self._begun[stage] = now
        self._active = stage
        self._tell(message or self._stages[stage].title)

    def fail(self, message: str) -> None:
        """Mark the active stage as the one that failed."""
        self._failed = True
        self._ended[self._active] = self._clock()
        self._tell(message)

    def event(self) -> dict[str, Any]:
        """Return the event that describes this moment."""
        return {
            "progress": self.stage.percent,
            "message": self._message,
            "stage": self._active,
            "elapsed": round(self.elapsed, 2),
            "stages": [self._describe(stage) for stage in self._stages.values()],
        }

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the present event, then one at every change; never ends by itself."""
        while True:
            changed = self._changed
            yield self.event()
            await changed.wait()

    def _tell(self, message: str) -> None:
        self._message = message
        self._changed.set()
        self._changed = asyncio.Event()

    def _is_behind(self, stage: Stage) -> bool:
        return self._order[stage.id] < self._order[self._active]

    def _describe(self, stage: Stage) -> dict[str, Any]:
        begun = self._begun.get(stage.id)
        ended = self._ended.get(stage.id)
        if begun is None:
            # What was passed over was not needed: an image that is there already, for one.
            state, seconds = ("done" if self._is_behind(stage) else "waiting"), None
        else:
            state = "active" if ended is None else "done"
            seconds = round((ended if ended is not None else self._clock()) - begun, 2)
        if self._failed and stage.id == self._active:
            state = "failed"
        return {"id": stage.id, "title": stage.title, "state": state, "seconds": seconds}
