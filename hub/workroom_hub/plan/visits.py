"""A described day: who comes when, with which profile, for how long."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from workroom_hub.errors import PlanError
from workroom_hub.settings import Profile, Settings
from workroom_hub.settings_plan import Day, seconds_of

DAY = 86_400
_ONE_IN_TEN = 1.2815515655446004  # standard deviations above the median


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody works for a while.

    Attributes:
        start: When they want to begin, in seconds after midnight of the first day.
        used: Seconds from then until they do the last thing.
    """

    user: str
    start: float
    profile: str
    used: float


def planned(settings: Settings) -> list[Profile]:
    """Return the profiles without a GPU: machines with one are a group not planned here.

    Raises:
        PlanError: There is none.
    """
    found = [profile for profile in settings.profiles if not profile.gpu]
    if not found:
        raise PlanError(
            "profiles: all of them have a GPU, and machines with one are a group not planned here.",
            "Add a profile without a GPU.",
        )
    return found


def weights(settings: Settings) -> dict[str, float]:
    """Return how often each profile is chosen.

    Raises:
        PlanError: A profile of the mix is none, or has a GPU; or all have one.
    """
    offered = [profile.name for profile in planned(settings)]
    if not settings.plan.day.mix:
        return {name: 0.5**place for place, name in enumerate(offered)}
    found: dict[str, float] = {}
    for place, share in enumerate(settings.plan.day.mix):
        if share.profile not in offered:
            raise PlanError(
                f"plan.day.mix[{place}].profile: '{share.profile}' is not a profile without a GPU.",
                f"Choose from {', '.join(offered)}.",
            )
        found[share.profile] = found.get(share.profile, 0.0) + share.weight
    return found


def describe(settings: Settings) -> list[Visit]:
    """Return the visits of the described day, by start.

    Each person has random numbers of her own, made from the seed and her number: with more users,
    those of the smaller day come at the same times.

    Raises:
        PlanError: A profile of the mix is none.
    """
    day, mix = settings.plan.day, weights(settings)
    coming = round(day.users * day.present / 100) or 1
    visits = [visit for number in range(coming) for visit in _person(day, mix, number)]
    return sorted(visits, key=lambda visit: (visit.start, visit.user))


def a_day_later(visits: list[Visit]) -> list[Visit]:
    """Return the same visits, of the same people, on the next day."""
    return [Visit(each.user, each.start + DAY, each.profile, each.used) for each in visits]


def _person(day: Day, mix: dict[str, float], number: int) -> Iterator[Visit]:
    own = random.Random(f"{day.seed}/{number}")  # noqa: S311 - a simulation
    [profile] = own.choices(list(mix), list(mix.values()))
    first = _arrival(day, own)
    # One visit for certain, the others as often as they happen to come (geometric).
    visits, again = 1, 1 - 1 / day.visits
    while own.random() < again:
        visits += 1
    later = sorted(own.uniform(first, seconds_of(day.closes)) for _ in range(visits - 1))
    spread = math.log(day.visit_long / day.visit) / _ONE_IN_TEN
    for start in (first, *later):
        used = own.lognormvariate(math.log(day.visit), spread)
        yield Visit(f"user-{number}", round(start, 1), profile, round(max(60.0, used), 1))


def _arrival(day: Day, own: random.Random) -> float:
    opens, peak, closes = (seconds_of(at) for at in (day.opens, day.peak, day.closes))
    if own.random() * 100 >= day.peak_share:
        return own.uniform(opens, closes)
    for _ in range(100):
        at = own.gauss(peak, day.peak_width)
        if opens <= at <= closes:
            return at
    return float(peak)
