"""A log that nobody can fill: the same line so many times a minute, none longer than a screen."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_A_MINUTE = 60
_LONGEST = 1000
_MINUTE = 60.0


class Sparing(logging.Filter):
    """Lets a place in the code write sixty lines a minute, and then says how many it left out.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._minutes: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether this line is written; a long one is cut."""
        now, place = self._clock(), (record.pathname, record.lineno)
        began, count = self._minutes.get(place, (now, 0))
        left_out = 0
        if now - began >= _MINUTE:
            left_out = max(0, count - _A_MINUTE)
            began, count = now, 0
        self._minutes[place] = began, count + 1
        if count >= _A_MINUTE:
            return False
        text = record.getMessage()
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]}… ({len(text)} characters)"
        if left_out:
            text += f" (and {left_out} lines like this one that were left out)"
        elif count == _A_MINUTE - 1:
            text += " (more lines like this one are left out for a minute)"
        record.msg, record.args = text, None
        return True


def set_up() -> None:
    """Have the process log its own news, and little of its libraries'."""
    logging.basicConfig(
        format="[%(levelname).1s %(asctime)s %(name)s] %(message)s", level=logging.INFO
    )
    # One line for every packet is nobody's log.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(Sparing())
