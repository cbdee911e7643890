"""What happened when to a hub and its tasks, in real time; a failure shows all of it."""

from __future__ import annotations

import json
import re
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from tests.support.ecs_hub_process import EcsHubProcess, FakeAwsProcess
from tests.support.hub_process import CLI_TOKEN
from workroom_hub.runtime import read_secret

LOOK_EVERY = 2.0
_AGE = re.compile(r"^workroom_watcher_age_seconds (\S+)$", re.MULTILINE)


class Chronicle:
    """Looks at both every other second and writes down what has changed.

    Attributes:
        hub_is_there: The hub is looked at, too.
        first: When something was seen first, by what it was; seconds since the beginning.
    """

    def __init__(self, hub: EcsHubProcess, fake: FakeAwsProcess) -> None:
        self.hub = hub
        self.fake = fake
        self.hub_is_there = True
        self.first: dict[str, float] = {}
        self._begun = time.monotonic()
        self._lines: list[str] = []
        self._servers: dict[str, str] = {}
        self._tasks: dict[str, str] = {}

    def __str__(self) -> str:
        log = [line for line in self.log().splitlines() if " 200 GET " not in line]
        return "\n" + "\n".join([*self._lines, "The end of the hub's log:", *log[-40:]])

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begun

    def log(self) -> str:
        """Return the hub's log."""
        return self.hub.log.read_text()

    def note(self, what: str) -> float:
        """Write down that something happened; return when."""
        now = self.now
        self.first.setdefault(what, now)
        self._lines.append(f"{now:7.1f} s  {what}")
        return now

    def at(self, what: str) -> float:
        """Return when it was seen; AssertionError if it never was."""
        assert what in self.first, f"never seen: {what}{self}"
        return self.first[what]

    def until(self, holds: Callable[[], Any], what: str, seconds: float) -> float:
        """Look on until something holds; return when it was seen to.

        Raises:
            AssertionError: It did not come to pass within `seconds`.
        """
        deadline = self.now + seconds
        while True:
            self.look()
            if holds():
                return self.note(what)
            assert self.now < deadline, f"not within {seconds:.0f} s: {what}{self}"
            time.sleep(LOOK_EVERY)

    def until_seen(self, *events: str, seconds: float) -> None:
        """Look on until all these have been seen.

        Raises:
            AssertionError: They were not within `seconds`.
        """
        wanted = set(events)
        self.until(lambda: wanted <= self.first.keys(), f"all of {sorted(wanted)}", seconds)

    def wait_until(self, moment: float) -> None:
        """Look on until so many seconds have passed since the beginning."""
        while self.now < moment:
            self.look()
            time.sleep(max(0.0, min(LOOK_EVERY, moment - self.now)))

    def look(self) -> None:
        """Look at tasks and servers: `task ada: RUNNING`, `server ada: ready`."""
        self._compare("task", self._tasks, self._shown_tasks())
        if self.hub_is_there:
            self._compare("server", self._servers, self._shown_servers())

    def age(self) -> float:
        """Return the seconds since the last whole sweep, as the hub's metrics have it."""
        token = read_secret(self.hub.home, "metrics-token")
        request = urllib.request.Request(
            self.hub.url + "metrics", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            found = _AGE.search(answer.read().decode())
        assert found, f"the hub's metrics have no age of the watcher{self}"
        return float(found[1])

    def progress(self, user: str) -> Iterator[dict[str, Any]]:
        """Yield what the user's progress page is told, until the start has ended."""
        request = urllib.request.Request(
            f"{self.hub.url}api/users/{user}/server/progress",
            headers={"Authorization": f"token {CLI_TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=60) as events:
            yield from (json.loads(line[5:]) for line in events if line.startswith(b"data:"))

    def usage(self, user: str) -> list[str]:
        """Return the reasons in the user's usage rows."""
        with closing(sqlite3.connect(self.hub.home / "hub.sqlite")) as database:
            rows = database.execute('select reason from "usage" where "user" = ?', (user,))
            return [reason for (reason,) in rows]

    def _shown_tasks(self) -> dict[str, str]:
        shown: dict[str, list[str]] = {}
        for task in self.fake.tasks():
            state = task["status"] if task["desired"] == "RUNNING" else "to stop"
            shown.setdefault(task["tags"].get("workroom:user", "?"), []).append(state)
        return {user: " and ".join(states) for user, states in shown.items()}

    def _shown_servers(self) -> dict[str, str]:
        _, users = self.hub.api("GET", "/users")
        return {
            user["name"]: "ready" if server["ready"] else str(server["pending"])
            for user in users
            for server in user["servers"].values()
        }

    def _compare(self, what: str, before: dict[str, str], now: dict[str, str]) -> None:
        for name in sorted(before.keys() | now.keys()):
            state = now.get(name, "gone")
            if before.get(name, "gone") != state:
                self.note(f"{what} {name}: {state}")
        before.clear()
        before.update(now)
