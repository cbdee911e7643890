"""What goes wrong with AWS, each named for how it fails.

`fake.suffer(day)` begins one and `fake.relieve(day)` ends it; `with fake.suffering(day):` does
both. Endings are why a task stops: `fake.end(arn, bad_days.OUT_OF_MEMORY)`, or `TaskStopsAt`.
Their texts are AWS's (Amazon ECS Developer Guide, "Stopped task error messages"; that of a drained
machine is from AWS Batch's user guide, which is where AWS writes it down).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tests.fakes.aws.errors import AwsError, Instead, NeverAnswered, Unreachable, client_error
from tests.fakes.aws.task import Ending, Task

if TYPE_CHECKING:
    from tests.fakes.aws.account import FakeAws
    from tests.fakes.aws.machines import Machine
    from tests.fakes.aws.wire import Call

OUT_OF_MEMORY = Ending(
    "EssentialContainerExited",
    "Essential container in task exited",
    137,
    "OutOfMemoryError: Container killed due to memory usage",
)
IMAGE_CANNOT_BE_PULLED = Ending(
    "TaskFailedToStart",
    "Task failed to start",
    None,
    "CannotPullContainerError: Error response from daemon: manifest for notebook:gone not found: "
    "manifest unknown: Requested image not found",
)
MOUNT_FAILED = Ending(
    "TaskFailedToStart",
    "ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: "
    "stderr: mount.nfs4: Connection timed out : unsuccessful EFS utils command execution; code: 32",
)
CONTAINER_EXITED = Ending("EssentialContainerExited", "Essential container in task exited", 1)
SPOT_RECLAIMED = Ending("SpotInterruption", "Your Spot Task was interrupted.", graceful=True)
MACHINE_TERMINATED = Ending(
    "TerminationNotice", "Host EC2 (instance i-00000000000000001) terminated."
)
MACHINE_DRAINED = Ending(
    "ServiceSchedulerInitiated", "Task stopped during instance draining", graceful=True
)


class BadDay:
    """Something that goes wrong from `begin` to `end`."""

    def begin(self, fake: FakeAws) -> None:
        """Take note of the fake, and change what is to be changed."""

    def end(self, fake: FakeAws) -> None:
        """Make it good again."""

    def before(self, call: Call, now: float) -> None:
        """Look at each call before it has an effect; may raise what the caller is to meet."""

    def after(self, call: Call, result: Any, now: float) -> Any:
        """Look at each call that succeeded; returns what is answered, or raises."""
        return result


class _FailsFor(BadDay):
    """Calls of `operations` (empty: all) fail, for some seconds or for ever."""

    operations: Iterable[str] = ()

    def __init__(self, seconds: float | None = None) -> None:
        self._seconds = seconds
        self._until: float | None = None

    def begin(self, fake: FakeAws) -> None:
        """Count the seconds from here."""
        if self._seconds is not None:
            self._until = fake.timeline.clock() + self._seconds

    def before(self, call: Call, now: float) -> None:
        """Fail if it is one of these calls and the time is not over."""
        if self._until is not None and now >= self._until:
            return
        if not self.operations or call.operation in self.operations:
            raise self.problem()

    def problem(self) -> Exception:
        """Return what is raised."""
        raise NotImplementedError


class DescribeThrottledFor(_FailsFor):
    """DescribeTasks and ListTasks are throttled, whatever the buckets say."""

    operations = ("DescribeTasks", "ListTasks")

    def problem(self) -> Exception:
        """Return the throttling."""
        return AwsError("ThrottlingException", "Rate exceeded")


class RegisterThrottled(_FailsFor):
    """RegisterTaskDefinition is throttled, whatever the bucket says."""

    operations = ("RegisterTaskDefinition",)

    def problem(self) -> Exception:
        """Return the throttling."""
        return AwsError("ThrottlingException", "Rate exceeded")


class DescribeAnswers500(_FailsFor):
    """DescribeTasks answers HTTP 500."""

    operations = ("DescribeTasks",)

    def problem(self) -> Exception:
        """Return the server's error."""
        return AwsError("ServerException", "Service Unavailable. Please try again later.", 500)


class CredentialsExpired(_FailsFor):
    """Every call of every service is refused, because the session is over."""

    def problem(self) -> Exception:
        """Return the refusal."""
        return AwsError(
            "ExpiredTokenException", "The security token included in the request is expired"
        )


class NetworkGone(_FailsFor):
    """No connection to any service can be made."""

    def problem(self) -> Exception:
        """Return the failure to connect."""
        return Unreachable("Network is unreachable")


class DescribeLiesMissing(BadDay):
    """DescribeTasks says MISSING of tasks that are there; ListTasks leaves them out if `lists`."""

    def __init__(self, *arns: str, lists: bool = False) -> None:
        self._arns = set(arns)
        self._lists = lists

    def after(self, call: Call, result: Any, now: float) -> Any:
        """Take the tasks out of the answer."""
        if call.operation == "DescribeTasks":
            hidden = [t["taskArn"] for t in result["tasks"] if t["taskArn"] in self._arns]
            return {
                "tasks": [t for t in result["tasks"] if t["taskArn"] not in self._arns],
                "failures": result["failures"]
                + [{"arn": arn, "reason": "MISSING"} for arn in hidden],
            }
        if call.operation == "ListTasks" and self._lists:
            kept = [arn for arn in result["taskArns"] if arn not in self._arns]
            return {**result, "taskArns": kept}
        return result


class RunTaskAnswersFailures(BadDay):
    """RunTask starts nothing and answers `failures`, some times or always."""

    def __init__(self, reason: str = "RESOURCE:MEMORY", times: int | None = None) -> None:
        self._reason = reason
        self._left = times

    def before(self, call: Call, now: float) -> None:
        """Let the call through only in name: it may not start a task."""
        if call.operation == "RunTask" and self._left != 0:
            if self._left is not None:
                self._left -= 1
            raise Instead({"tasks": [], "failures": [{"arn": "", "reason": self._reason}]})


class RunTaskTimesOutAfterStarting(BadDay):
    """RunTask starts its task, and the answer never arrives; `times` times."""

    def __init__(self, times: int = 1) -> None:
        self._left = times

    def after(self, call: Call, result: Any, now: float) -> Any:
        """Lose the answer."""
        if call.operation == "RunTask" and self._left > 0:
            self._left -= 1
            raise NeverAnswered("Read timed out.")
        return result


class RunTaskAnswersTwice(BadDay):
    """RunTask's answer holds its task twice; with `two_tasks`, a second one was started, too."""

    def __init__(self, *, two_tasks: bool = False) -> None:
        self._two_tasks = two_tasks

    def begin(self, fake: FakeAws) -> None:
        """Remember where tasks are started."""
        self._fake = fake

    def after(self, call: Call, result: Any, now: float) -> Any:
        """Double the answer."""
        if call.operation != "RunTask" or not result["tasks"]:
            return result
        if not self._two_tasks:
            return {**result, "tasks": result["tasks"] + copy.deepcopy(result["tasks"])}
        without_token = {n: v for n, v in call.params.items() if n != "clientToken"}
        again = self._fake.ecs.operations()["RunTask"](without_token, now)
        return {**result, "tasks": result["tasks"] + again["tasks"]}


class StopTaskFails(BadDay):
    """StopTask answers HTTP 500 and stops nothing, `times` times."""

    def __init__(self, times: int) -> None:
        self._left = times

    def before(self, call: Call, now: float) -> None:
        """Fail while there are times left."""
        if call.operation == "StopTask" and self._left > 0:
            self._left -= 1
            raise AwsError("ServerException", "Service Unavailable. Please try again later.", 500)


class ProvisioningQuotaFull(BadDay):
    """RunTask says that too many tasks of the cluster are in PROVISIONING, as ECS says it."""

    def before(self, call: Call, now: float) -> None:
        """Refuse."""
        if call.operation == "RunTask":
            raise client_error("Tasks provisioning capacity limit exceeded.")


class AgentDisconnected(BadDay):
    """The agents of some machines (default: all) lose their connection.

    Their tasks say DISCONNECTED, neither go on nor stop, and new ones find no room there.
    """

    def __init__(self, *machines: Machine) -> None:
        self._machines = machines

    def begin(self, fake: FakeAws) -> None:
        """Disconnect."""
        self._machines = self._machines or tuple(fake.fleet.machines)
        for machine in self._machines:
            machine.connected = False

    def end(self, fake: FakeAws) -> None:
        """Connect, and do all that had to wait."""
        now = fake.timeline.advance()
        for machine in self._machines:
            machine.connected = True
            held, machine.held = machine.held, []
            for act in held:
                act(now)
        fake.fleet.place_waiting(now)


class TaskStopsAt(BadDay):
    """Tasks stop by themselves when they reach a phase.

    Args:
        phase: A `lastStatus` (`PROVISIONING`, `PENDING`, `RUNNING`), `pull`, or `process`, which
            is when the container's process begins.
        ending: Why.
        after: Seconds in that phase.
        only: Which tasks; default all.
        times: How many tasks; default all.
    """

    def __init__(
        self,
        phase: str,
        ending: Ending,
        *,
        after: float = 0.0,
        only: Callable[[Task], bool] = lambda task: True,
        times: int | None = None,
    ) -> None:
        self._phase, self._ending, self._after = phase, ending, after
        self._only, self._left = only, times

    def begin(self, fake: FakeAws) -> None:
        """Watch."""
        self._fake = fake
        fake.lifecycle.watchers.append(self._watch)

    def end(self, fake: FakeAws) -> None:
        """Watch no longer."""
        fake.lifecycle.watchers.remove(self._watch)

    def _watch(self, task: Task, event: str, now: float) -> None:
        if event != self._phase or self._left == 0 or not self._only(task):
            return
        if self._left is not None:
            self._left -= 1
        lifecycle, timeline = self._fake.lifecycle, self._fake.timeline
        timeline.at(now + self._after, lambda at: lifecycle.stop(task, at, self._ending))
