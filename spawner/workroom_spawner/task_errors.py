"""Why a server on ECS could not be had or ended, in sentences people can act on.

SpawnProblem
├── AwsUnreachable      no answer from AWS
├── AwsDenied           AWS does not accept the hub's credentials, or they lack a right
├── AwsRefused          AWS said no to the request, or found no place for the task
├── NoCapacity          no machine became free, or was added, in time
├── HomeUnavailable     the home could not be made or mounted
└── ServerDied          (errors.py) its task ended
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workroom_spawner.aws_errors import AwsProblem, Denied, Refused, Throttled, Unreachable
from workroom_spawner.errors import ServerDied, SpawnProblem, Unexpected
from workroom_spawner.task_view import TaskView

_AGAIN = "Start it again; your files are kept."
_ENGINEER = "tell your platform engineer"


class AwsUnreachable(SpawnProblem):
    reason = "aws_unreachable"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "AWS does not answer, so no server can be started right now. Nothing is lost; "
            f"try again in a minute, and {_ENGINEER} if it stays so.",
            detail=detail,
            status_code=503,
        )


class AwsDenied(SpawnProblem):
    reason = "aws_denied"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "AWS does not let the hub start servers right now (its credentials have run out or "
            f"lack a right). Nothing is lost; {_ENGINEER}: `workroom logs hub` names the right.",
            detail=detail,
            status_code=503,
        )


class AwsRefused(SpawnProblem):
    reason = "aws_refused"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "AWS refused to start your server. Try again, perhaps with another profile; if it "
            "fails again, your platform engineer finds the reason with `workroom logs hub`.",
            detail=detail,
        )


class NoCapacity(SpawnProblem):
    reason = "no_capacity"

    def __init__(self, seconds: float, detail: str = "") -> None:
        super().__init__(
            f"No machine became free for your server within {_minutes(seconds)}. Try a smaller "
            f"profile or a quieter moment, and {_ENGINEER} if it happens again: the group of "
            "machines may be at its limit.",
            detail=detail,
            status_code=503,
        )


class HomeUnavailable(SpawnProblem):
    reason = "home_unavailable"

    def __init__(self, detail: str = "") -> None:
        super().__init__(
            "Your home folder could not be made available to your server. Your files are safe; "
            f"try again in a minute, and {_ENGINEER} if it fails again.",
            detail=detail,
        )


def from_aws(error: Exception) -> SpawnProblem:
    """Turn what a start on ECS raised into a problem."""
    if isinstance(error, SpawnProblem):
        return error
    if isinstance(error, Throttled | Unreachable):
        return AwsUnreachable(str(error))
    if isinstance(error, Denied):
        return AwsDenied(str(error))
    if isinstance(error, Refused | AwsProblem):
        return AwsRefused(str(error))
    return Unexpected(f"{type(error).__name__}: {error}")


def why_stopped(view: TaskView | None) -> str:
    """Return everything AWS says about the end of a task, for the log."""
    if view is None or not (view.stop_code or view.status in ("STOPPED", "DELETED")):
        return "the task is not known to AWS any more"
    words = (view.stop_code, view.stopped_reason, view.container_reason)
    code = f"exit code {view.exit_code}" if view.exit_code is not None else ""
    return "; ".join(word for word in (*words, code) if word) or "no reason given"


@dataclass(frozen=True)
class _Rule:
    """One way to end: what AWS writes, the short reason, the sentence.

    The patterns are those of the ECS developer guide's pages on stopped tasks.
    """

    pattern: str
    reason: str
    sentence: str


HOME_NOT_MOUNTED = "home could not be mounted"
"""Reason of an end that may mean that the home's access point is gone."""
_NOT_STARTED = (
    "could not be started",
    "The machine it was given could not start it. Try again: another machine may do; if it "
    "fails again, your platform engineer finds the reason with `workroom logs hub`.",
)
_RULES = (
    _Rule(
        r"CannotPullContainerError|CannotPullImageManifestError|CannotPullECRContainerError",
        "image could not be pulled",
        "Its image could not be fetched from the registry. Try again, or choose another image, "
        f"and {_ENGINEER} if it fails again.",
    ),
    _Rule(
        r"OutOfMemory",
        "out of memory",
        "It ran out of memory{limit}. Start it again with a larger profile; your files are kept.",
    ),
    # Before the home's, for the words of Docker's own errors are of mounts, too.
    _Rule(r"CannotCreateContainer|CannotStartContainer|OCI runtime", *_NOT_STARTED),
    _Rule(
        r"CannotCreateVolume|(?i:\b(EFS|mount\w*|volumes?)\b)",
        HOME_NOT_MOUNTED,
        "Your home folder could not be mounted on the machine it was given. Your files are safe; "
        f"start it again, and {_ENGINEER} if it fails again.",
    ),
    _Rule(
        r"SpotInterruption|(?i:spot (interruption|task was interrupted))",
        "spot machine reclaimed",
        f"AWS took back the spot machine it ran on. {_AGAIN}",
    ),
    _Rule(
        r"TerminationNotice|Host EC2|(?i:drain)|(?i:instance.*(terminated|stopped))",
        "machine replaced",
        f"The machine it ran on was replaced. {_AGAIN}",
    ),
    _Rule(
        r"ResourceInitializationError|TaskFailedToStart|CannotCreate|CannotStart|DockerTimeout",
        *_NOT_STARTED,
    ),
    _Rule(
        r"UserInitiated",
        "stopped from outside",
        f"It was stopped from outside Workroom. {_AGAIN}",
    ),
)


def death(view: TaskView | None, memory: int) -> tuple[str, str]:
    """Say why a task ended.

    Args:
        view: The last that AWS said of it; None when it has forgotten it.
        memory: Its memory limit in bytes; 0 when not known.

    Returns:
        The short reason of the usage row and the sentence for its owner.
    """
    if view is None or view.status != "STOPPED":
        return "task gone", f"AWS does not know it any more. {_AGAIN}"
    # What the container says is nearer to the cause than what the task says.
    said = f"{view.container_reason} {view.stop_code} {view.stopped_reason}"
    if view.exit_code == 78:
        return (
            "exit code 78",
            "It could not fetch its settings from the hub (exit code 78). Start it again; if that "
            "fails too, your platform engineer finds the reason with `workroom logs hub`.",
        )
    for rule in _RULES:
        if re.search(rule.pattern, said):
            limit = f" (the limit of this profile is {memory / 2**30:.3g} GiB)" if memory else ""
            return rule.reason, rule.sentence.replace("{limit}", limit)
    if view.exit_code in (137, 143):
        return (
            f"exit code {view.exit_code}",
            f"It was ended from outside (exit code {view.exit_code}). {_AGAIN}",
        )
    code = f" (exit code {view.exit_code})" if view.exit_code is not None else ""
    return f"exit code {view.exit_code}", f"Its process ended by itself{code}. {_AGAIN}"


def no_machine(view: TaskView | None, patience: float) -> NoCapacity | None:
    """Return the problem of a task that ECS gave up before it had a machine, else None.

    ECS ends a task that is PROVISIONING for 10 to 30 minutes, with a stop code that it also has for
    tasks that a machine could not start. Those had an address, began a pull, or name an error.

    Args:
        patience: Seconds it may have waited, where AWS does not say.
    """
    if view is None or view.status != "STOPPED" or view.stop_code != "TaskFailedToStart":
        return None
    if view.address or view.pull_started_at or view.container_reason:
        return None
    if re.search(r"\w(Error|Exception)\b", view.stopped_reason):
        return None
    if view.created_at and view.stopped_at:
        patience = (view.stopped_at - view.created_at).total_seconds()
    return NoCapacity(patience, why_stopped(view))


def died(view: TaskView | None, memory: int, lines: str = "") -> ServerDied:
    """Return the problem that tells of a task's end, with its last lines."""
    return ServerDied(f"Your server stopped. {death(view, memory)[1]}", lines)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
