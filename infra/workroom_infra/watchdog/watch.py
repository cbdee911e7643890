"""Which mounts hang, from what was asked and answered. Pure: no clock, no process, no file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from workroom_infra.watchdog.mounts import Mount


@dataclass
class Watched:
    """What is known of one mount.

    Times are those of a clock that stands still while this process does.
    """

    mount: Mount
    due: float
    asked: float | None = None
    """When the probe that waits for an answer began to wait."""
    took: float | None = None
    """Seconds that the last answer took."""
    error: int | None = None
    """The error number of the last answer; an error is an answer, too."""
    gone: bool = False
    """It is not mounted any more, and its probe has not come back."""


@dataclass(frozen=True)
class Seen:
    """The verdict on all mounts."""

    hung: tuple[str, ...] = ()
    """Where mounts hang."""
    stuck: int = 0
    """Probes without an answer for too long, also those of mounts that are gone."""


class Watch:
    """Keeps count of probes: one at most for each mount, and when each is due."""

    def __init__(self, probe_every: float, hang_after: float) -> None:
        self._every = probe_every
        self._limit = hang_after
        self.watched: dict[str, Watched] = {}

    def update(self, mounts: Iterable[Mount], now: float) -> None:
        """Take up mounts that came; forget those that went, once their probe is back."""
        there = {mount.key: mount for mount in mounts}
        for key, mount in there.items():
            self.watched.setdefault(key, Watched(mount, due=now)).gone = False
        for key, watched in list(self.watched.items()):
            if key not in there:
                watched.gone = True
                if watched.asked is None:
                    del self.watched[key]

    def adopt(self, mount: Mount, now: float) -> None:
        """Take up a mount whose probe an earlier process sent. It counts from now on."""
        self.watched[mount.key] = Watched(mount, due=now, asked=now, gone=True)

    def waiting(self, now: float, seconds: float) -> list[str]:
        """Keys of the mounts whose probe has been out for so long."""
        return [
            key
            for key, watched in self.watched.items()
            if watched.asked is not None and now - watched.asked >= seconds
        ]

    def due(self, now: float) -> list[Mount]:
        """The mounts to probe now, those that have waited longest first."""
        waiting = [w for w in self.watched.values() if w.asked is None and w.due <= now]
        return [watched.mount for watched in sorted(waiting, key=lambda w: w.due)]

    def asked(self, key: str, now: float) -> None:
        """A probe has reached the system call that may hang."""
        self.watched[key].asked = now

    def answered(self, key: str, now: float, error: int) -> None:
        """A probe came back, with an error number or 0."""
        watched = self.watched.get(key)
        if watched is None:
            return
        watched.took = now - (watched.asked if watched.asked is not None else now)
        watched.error = error
        self._again(key, watched, now)

    def lost(self, key: str, now: float) -> None:
        """A probe ended without an answer, or could not be started: it says nothing."""
        if key in self.watched:
            self._again(key, self.watched[key], now)

    def seen(self, now: float) -> Seen:
        """Judge."""
        late = [
            watched
            for watched in self.watched.values()
            if watched.asked is not None and now - watched.asked >= self._limit
        ]
        # A mount that went away with its probe is on its way out; that alone drains no machine.
        return Seen(tuple(w.mount.point for w in late if not w.gone), len(late))

    def _again(self, key: str, watched: Watched, now: float) -> None:
        watched.asked, watched.due = None, now + self._every
        if watched.gone:
            del self.watched[key]
