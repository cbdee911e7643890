"""How many may be at the door, and how many inside. No I/O; the clock is given."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_REMEMBERED = 20_000
"""Addresses kept in mind; beyond it the ones that are well are forgotten."""
_CHANNELS = 50_000
_CHANNELS_EACH = 2048
_WINDOWS = ((8, 4 * 2**20), (32, 2**20), (128, 256 * 2**10))
_NARROW = 64 * 2**10


@dataclass
class _Bucket:
    tokens: float
    filled: float


class Attempts:
    """Connection attempts by address: a burst of `a_minute`, and then `a_minute` a minute.

    An attempt that ends in a log-in is given back, so that scripts which connect all day are
    never held up.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(a_minute)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, address: str) -> bool:
        """Count one attempt; False if there have been too many."""
        bucket = self._bucket(address)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True

    def give_back(self, address: str) -> None:
        """Take back an attempt that ended in a log-in."""
        bucket = self._bucket(address)
        bucket.tokens = min(self._most, bucket.tokens + 1)

    def _bucket(self, address: str) -> _Bucket:
        now, who = self._clock(), neighbourhood(address)
        bucket = self._buckets.get(who)
        if bucket is None:
            if len(self._buckets) >= _REMEMBERED:
                self._forget(now)
            bucket = self._buckets[who] = _Bucket(self._most, now)
        elapsed, bucket.filled = now - bucket.filled, now
        bucket.tokens = min(self._most, bucket.tokens + elapsed * self._most / 60)
        return bucket

    def _forget(self, now: float) -> None:
        """Forget whose bucket is full again; if all are bad, the oldest half of them."""
        for who, bucket in list(self._buckets.items()):
            if bucket.tokens + (now - bucket.filled) * self._most / 60 >= self._most:
                del self._buckets[who]
        for who in list(self._buckets)[: max(0, len(self._buckets) - _REMEMBERED // 2)]:
            del self._buckets[who]


class Places:
    """Places that are taken and left, in all and for each holder."""

    def __init__(self, in_all: int, for_each: int) -> None:
        self._in_all = in_all
        self._for_each = for_each
        self._taken: Counter[str] = Counter()
        self._total = 0

    @property
    def taken(self) -> int:
        """Places taken in all."""
        return self._total

    @property
    def holders(self) -> int:
        """How many different holders have one."""
        return len(self._taken)

    def of(self, holder: str) -> int:
        """Return how many places a holder has."""
        return self._taken[holder]

    def take(self, holder: str) -> str:
        """Take a place; returns "" or which limit is reached: "all" or "each"."""
        if self._total >= self._in_all:
            return "all"
        if self._taken[holder] >= self._for_each:
            return "each"
        self._taken[holder] += 1
        self._total += 1
        return ""

    def leave(self, holder: str) -> None:
        """Give a place back."""
        self._total -= 1
        self._taken[holder] -= 1
        if self._taken[holder] <= 0:
            del self._taken[holder]


class Channels:
    """Open channels by user, and the data that may wait in each: less, the more she has.

    A channel may hold as much as its window when the other end does not take it. So one person's
    channels hold 200 MB together at the very worst, and the few that people have are as fast as
    the line.
    """

    def __init__(self) -> None:
        self._places = Places(_CHANNELS, _CHANNELS_EACH)

    @property
    def taken(self) -> int:
        """Channels open, everybody's."""
        return self._places.taken

    def take(self, user: str) -> int:
        """Take up a channel; returns its window, or 0 if there is no room."""
        if self._places.take(user):
            return 0
        number = self._places.of(user)
        return next((window for most, window in _WINDOWS if number <= most), _NARROW)

    def leave(self, user: str) -> None:
        """Let go of a channel."""
        self._places.leave(user)


def neighbourhood(address: str) -> str:
    """Return what counts as one address: for IPv6 the network of 64 bits that one customer has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
