"""What can be wrong with the section `plan`, in the words that `workroom plan` has for it."""

from __future__ import annotations

import re
from collections.abc import Callable

from workroom_hub.config_problems import Problem, dotted
from workroom_hub.config_source import Path_, Source
from workroom_hub.errors import PlanError
from workroom_hub.settings import Settings
from workroom_hub.settings_plan import Machine


def problems(source: Source, settings: Settings) -> list[Problem]:
    """Find profiles of the mix, and a machine type, that there are not."""
    checks: list[Callable[[], object]] = []
    # Nothing else reads the section, so nothing else waits for these.
    if settings.plan.day.mix:
        from workroom_hub.plan.visits import weights

        checks.append(lambda: weights(settings))
    if settings.plan.machine != Machine():
        from workroom_hub.plan.machines import choose

        checks.append(lambda: choose(settings, {}))
    found = []
    for check in checks:
        try:
            check()
        except PlanError as error:
            name, _, message = error.message.partition(": ")
            at: Path_ = tuple(
                int(part) if part.isdigit() else part for part in re.findall(r"\w+", name)
            )
            found.append(Problem(source.where(at), dotted(at), message, error.fix))
    return found
