"""The assumptions of a plan by name, and the bounds of all its numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import pytest

from workroom_hub.errors import PlanError
from workroom_hub.fields import Section
from workroom_hub.plan import assumptions
from workroom_hub.settings_plan import Assumptions, Plan


def test_every_assumption_has_a_source_and_words() -> None:
    found = assumptions.listed(Assumptions())
    assert len(found) >= 25
    assert all(each.source and each.about and not each.changed for each in found)


def test_assumptions_by_name() -> None:
    words = ["instance_launch=2m", "price = 0.9", "trunking=no", "disk=50G", "max_step=5"]
    found = assumptions.changed(Assumptions(), words)
    assert found.instance_launch == 120
    assert (found.price, found.trunking, found.disk, found.max_step) == (0.9, False, 50 * 2**30, 5)
    told = {each.name: each.value for each in assumptions.listed(found) if each.changed}
    assert told == {
        "instance_launch": "2m",
        "price": "0.9",
        "trunking": "false",
        "disk": "50G",
        "max_step": "5",
    }


@pytest.mark.parametrize(
    ("word", "told", "fix"),
    [
        ("instance_launch", "'instance_launch' is not name=value", "--assume instance_launch=2m"),
        ("instance_lunch=2m", "no assumption 'instance_lunch'", "Did you mean instance_launch?"),
        ("instance_launch=soon", "instance_launch: 'soon' is not allowed", "The default is 90s"),
        ("memory_kept=70", "memory_kept: '70' is not allowed", "The default is 5"),
        ("trunking=perhaps", "trunking: 'perhaps' is not allowed", "The default is true"),
        ("scale_in_after=99999999999999999999d", "less than or equal to 86400", "default is 15m"),
        (f"instance_launch={'9' * 400}d", "write a time such as 30s", "The default is 90s"),
        ("price=inf", "price: 'inf' is not allowed: Input should be a finite number", "Dollars"),
        ("price=nan", "price: 'nan' is not allowed: Input should be a finite number", "Dollars"),
        ("price=1e300", "price: '1e+300' is not allowed", "Dollars"),
        ("memory_kept=nan", "memory_kept: 'nan' is not allowed", "The default is 5"),
    ],
)
def test_a_wrong_assumption(word: str, told: str, fix: str) -> None:
    with pytest.raises(PlanError) as error:
        assumptions.changed(Assumptions(), [word])
    assert told in error.value.message
    assert fix in error.value.fix


def _bounded(section: type[Section]) -> Iterator[tuple[str, bool]]:
    """Yield each number of a section and of those in it, and whether it has a greatest value."""
    for name, field in section.model_fields.items():
        kinds = {field.annotation, *get_args(field.annotation)}
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Section):
                yield from _bounded(kind)
        if kinds & {int, float}:
            yield f"{section.__name__}.{name}", any(hasattr(m, "le") for m in field.metadata)


def test_every_number_of_the_section_has_a_greatest_value() -> None:
    """Else one that is too large runs out of memory or of time."""
    found = dict(_bounded(Plan))
    assert len(found) > 35
    assert [name for name, bounded in found.items() if not bounded] == []
