"""The fleet guard: how many machines of a cluster may be out for hangs at once.

Every machine whose mount hangs writes a claim (an attribute of its container instance, with the
time), waits until claims of others are visible, and counts. It goes on only while all claims
together are within the allowed share. So the machines that went on are never more than that,
without any of them knowing of the others beforehand: the last to go on saw the claims of all that
went before it, and its own.
"""

from __future__ import annotations

from collections.abc import Iterable

CLAIM = "workroom.mount-hang"
"""Name of the attribute. Its value is the time of the claim, in seconds since 1970."""
CLAIM_LIFE = 900.0
"""Seconds after which a claim that nobody renewed counts no more: its machine is gone."""
RENEW = 300.0
"""Seconds between two renewals, at most."""


def allowed(machines: int, share: float) -> int:
    """How many of so many machines may be out at once; one always."""
    return max(1, int(machines * share))


def count(values: Iterable[str], now: float) -> int:
    """How many claims of others count, by their values."""
    return sum(1 for value in values if _age(value, now) < CLAIM_LIFE)


def _age(value: str, now: float) -> float:
    try:
        return now - float(value)
    except ValueError:
        # Somebody wrote it by hand: a machine that is out for sure.
        return 0.0
