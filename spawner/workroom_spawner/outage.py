"""Times in which AWS does not answer: how long to wait, and what the log says, once each."""

from __future__ import annotations

import asyncio
import logging
import random

log = logging.getLogger(__name__)


class Outage:
    """Failed calls of one watcher; it begins with a failure and ends with a sweep without one.

    Args:
        longest: Most seconds between two tries.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._in_a_row = 0
        self._began: float | None = None
        self._last_failure = 0.0
        self._answered = False

    @property
    def ongoing(self) -> bool:
        """Whether the last call failed."""
        return self._began is not None and not self._answered

    def failed(self, problem: Exception) -> float:
        """Note a failed call.

        Returns:
            Seconds to wait before the next one: full jitter, so that several hubs do not come back
            in step.
        """
        self._last_failure = asyncio.get_running_loop().time()
        self._answered = False
        self._in_a_row += 1
        if self._began is None:
            self._began = self._last_failure
            log.warning(
                "ECS cannot be asked how the servers are: %s. Nothing is stopped because of "
                "that; users keep working, and the next tries follow by themselves.",
                problem,
            )
        # The exponent has a limit, because an outage of days would make 2**n a huge number.
        return random.uniform(0, min(self._longest, 2.0 ** min(self._in_a_row, 10)))  # noqa: S311

    def answered(self) -> None:
        """Note a call that was answered."""
        self._in_a_row = 0
        self._answered = True

    def swept(self, since: float) -> None:
        """Note a whole sweep that began at loop time `since`; say so if the outage is over."""
        if self._began is not None and self._answered and self._last_failure < since:
            log.warning(
                "ECS answers again, after %.0f seconds of failed looks at the servers; "
                "all of them are followed as before.",
                self._last_failure - self._began,
            )
            self._began = None
