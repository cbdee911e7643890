"""AWS held at one step for some users, so that a test can do something at that very moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fakes.aws.bad_days import BadDay
from tests.fakes.aws.errors import NeverAnswered
from tests.fakes.aws.task import Task

if TYPE_CHECKING:
    from tests.fakes.aws.account import FakeAws
    from tests.fakes.aws.wire import Call


class AnswerWithheld(BadDay):
    """One call of an operation for each of some users is never answered.

    Args:
        after: The call has had its effect; otherwise it has none.
    """

    def __init__(self, operation: str, *users: str, after: bool = False) -> None:
        self._operation = operation
        self._users = set(users)
        self._after = after

    def begin(self, fake: FakeAws) -> None:
        """Remember where tasks are."""
        self._fake = fake

    def before(self, call: Call, now: float) -> None:
        """Lose the call."""
        if not self._after:
            self._withhold(call)

    def after(self, call: Call, result: Any, now: float) -> Any:
        """Lose the answer."""
        if self._after:
            self._withhold(call)
        return result

    def _withhold(self, call: Call) -> None:
        if call.operation != self._operation:
            return
        user = user_of(self._request(call))
        if user in self._users:
            self._users.remove(user)
            raise NeverAnswered("Read timed out.")

    def _request(self, call: Call) -> dict[str, Any]:
        task = self._fake.tasks.get(call.params.get("task", ""))
        return task.request if task else call.params


class StuckIn(BadDay):
    """Tasks of some users go no further than `PROVISIONING`, or `pull`."""

    def __init__(self, phase: str, *users: str) -> None:
        self._phase = phase
        self._users = users
        self._held: list[Callable[[float], None]] = []

    def begin(self, fake: FakeAws) -> None:
        """Hold."""
        self._fake = fake
        fake.lifecycle.holds.append(self._holds)

    def end(self, fake: FakeAws) -> None:
        """Let them go on."""
        fake.lifecycle.holds.remove(self._holds)
        now = fake.timeline.advance()
        for act in self._held:
            act(now)

    def _holds(self, task: Task, act: Callable[[float], None]) -> bool:
        pulling = task.status == "PENDING" and "pullStoppedAt" not in task.at
        phase = "pull" if pulling else task.status
        held = phase == self._phase and user_of(task.request) in self._users
        if held:
            self._held.append(act)
        return held


def user_of(request: dict[str, Any]) -> str:
    """Return the user whom a request is for, by its tags; "" if they do not say."""
    for tag in [*request.get("tags", []), *request.get("Tags", [])]:
        if tag.get("key", tag.get("Key")) == "workroom:user":
            return str(tag.get("value", tag.get("Value")))
    return ""
