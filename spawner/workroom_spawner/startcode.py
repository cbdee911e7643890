"""The one-time start code: how a container gets its token without it ever being written down.

The container is created with a code only. It swaps the code at the hub for its
environment, token included, once, from its own address, before the start
time-out. Any other use is refused and raised as an alarm, because somebody has
read a code that was not theirs. Only the container of a start that was given up may come late:
it is refused all the same, without an alarm.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import Counter

Reason = Literal["unknown", "used", "expired", "address"]

ALARMS = Counter(
    "workroom_start_code_refused",
    "Start codes refused, by reason; anything but zero wants a look",
    ["reason"],
)
for _reason in get_args(Reason):
    ALARMS.labels(_reason)  # shown as 0 from the beginning, or the first one would be no increase

log = logging.getLogger("workroom.alarm")
# A code stays known for this long after its life, so that a late use is told from a guess.
_MEMORY = 3600.0
_GUESSES_A_MINUTE = 20


class NotYet(Exception):
    """Nobody can say yet where the container is; the code stays good and is worth another try."""


class Refused(Exception):
    """A start code was not accepted.

    Attributes:
        reason: `unknown`, `used`, `expired` or `address`.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass
class Ticket:
    """One issued code, of which only the hash is kept.

    Attributes:
        server: Whose it is, for the log.
        deadline: Clock time after which it is dead, in seconds.
        address: Asks where the container is; None while the engine does not know yet.
        environment: What the container gets, secrets included; emptied by the swap.
        redeemed: Done when the container has reported in; its result is the SSH host key or None.
        before: Awaited once the code is accepted and before anything is handed out; what it
            raises leaves the code good.
        left_at: Where its container was when its start was given up, "" if that was not known;
            None if nobody gave it up.
    """

    server: str
    deadline: float
    address: Callable[[], Awaitable[str | None]]
    environment: dict[str, str] = field(repr=False)
    redeemed: asyncio.Future[str | None] = field(repr=False)
    before: Callable[[str | None], Awaitable[None]] | None = None
    used: bool = False
    left_at: str | None = None


def derived_code(key: bytes, start: str) -> str:
    """Return the code of one start, the same in every hub process that holds `key`.

    A start that outlives the hub needs its code again, and a code must not be written down.
    """
    proof = hmac.digest(key, b"workroom start code\0" + start.encode(), "sha256")
    return base64.urlsafe_b64encode(proof).decode().rstrip("=")


class StartCodes:
    """All codes of one hub process; derived ones are issued again by the next."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[str, Ticket] = {}
        self._expected: dict[str, float] = {}
        self._guesses: deque[float] = deque(maxlen=_GUESSES_A_MINUTE + 1)

    def issue(
        self,
        server: str,
        lifetime: float,
        address: Callable[[], Awaitable[str | None]],
        environment: dict[str, str],
        code: str = "",
    ) -> tuple[str, Ticket]:
        """Make a code, or make `code` good again, for `lifetime` seconds.

        Returns:
            The code, which must go nowhere but into the container, and its ticket.
        """
        self._forget()
        code = code or secrets.token_urlsafe(32)
        ticket = Ticket(
            server,
            self._clock() + lifetime,
            address,
            environment,
            asyncio.get_running_loop().create_future(),
        )
        self._tickets[_digest(code)] = ticket
        self._expected.pop(_digest(code), None)
        return code, ticket

    def expect(self, code: str, lifetime: float) -> None:
        """Have the bearer of `code` wait: it belongs to a start that is about to be resumed."""
        self._expected[_digest(code)] = self._clock() + lifetime

    def limit(self, ticket: Ticket, lifetime: float) -> None:
        """End a code's life `lifetime` seconds from now, if it is not over already."""
        if self._clock() < ticket.deadline:
            ticket.deadline = self._clock() + lifetime

    def revoke(self, ticket: Ticket, address: str | None = None) -> None:
        """End a code at once, because its server started, failed or was stopped.

        Args:
            address: Where its container is, "" if nobody knows: one that may still come with a
                code it has not used, and means no harm. None: there is no such container.
        """
        if self._clock() < ticket.deadline:
            ticket.deadline, ticket.left_at = self._clock(), address
        ticket.environment = {}

    async def redeem(self, code: str, peer: str, ssh_host_key: str | None = None) -> dict[str, str]:
        """Swap a code for the environment it stands for.

        Args:
            code: What the caller presents.
            peer: IP address the connection really comes from.
            ssh_host_key: The container's public host key, handed in with the swap.

        Raises:
            Refused: And the alarm has been raised, unless it was a container left by a start that
                was given up.
            NotYet: The container's address is not known; it may try again.
        """
        ticket = self._tickets.get(_digest(code))
        if ticket is None and self._expected.get(_digest(code), 0.0) > self._clock():
            raise NotYet("a start that is being resumed")
        if ticket is None:
            raise self._alarm("unknown", peer, "no server")
        if ticket.used:
            raise self._alarm("used", peer, ticket.server)
        if self._clock() >= ticket.deadline:
            raise self._expired(ticket, peer)
        address = await ticket.address()
        if address is None:
            raise NotYet(ticket.server)
        if address != peer:
            # The code stays good: a thief must not be able to stop the owner from starting.
            raise self._alarm("address", peer, ticket.server)
        if ticket.used:  # somebody else won while the address was asked for
            raise self._alarm("used", peer, ticket.server)
        if self._clock() >= ticket.deadline:  # or the start was given up meanwhile
            raise self._expired(ticket, peer)
        ticket.used = True
        if ticket.before:
            try:
                await ticket.before(ssh_host_key)
            except BaseException:
                ticket.used = False
                raise
        environment, ticket.environment = ticket.environment, {}
        if not ticket.redeemed.done():
            ticket.redeemed.set_result(ssh_host_key)
        return environment

    def _expired(self, ticket: Ticket, peer: str) -> Refused:
        """Refuse a code whose life is over; its own container may not know that yet."""
        if ticket.left_at is None or ticket.left_at not in ("", peer):
            return self._alarm("expired", peer, ticket.server)
        log.info("a container of %s came too late, from %s: refused", ticket.server, peer)
        return Refused("expired")

    def _alarm(self, reason: Reason, peer: str, server: str) -> Refused:
        ALARMS.labels(reason=reason).inc()
        if reason == "unknown" and not self._worth_a_line():
            return Refused(reason)
        log.error("ALARM start code refused: reason=%s server=%s peer=%s", reason, server, peer)
        return Refused(reason)

    def _worth_a_line(self) -> bool:
        """Anybody can guess without end; the counter counts all, the log tells of some."""
        now = self._clock()
        while self._guesses and self._guesses[0] <= now - 60:
            self._guesses.popleft()
        self._guesses.append(now)
        if len(self._guesses) == _GUESSES_A_MINUTE:
            log.error("ALARM more than %d guesses a minute; counted only", _GUESSES_A_MINUTE - 1)
        return len(self._guesses) < _GUESSES_A_MINUTE

    def _forget(self) -> None:
        horizon = self._clock() - _MEMORY
        for known in [k for k, t in self._tickets.items() if t.deadline < horizon]:
            del self._tickets[known]
        for known in [k for k, deadline in self._expected.items() if deadline < self._clock()]:
            del self._expected[known]


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


START_CODES = StartCodes()
