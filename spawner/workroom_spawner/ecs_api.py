"""The calls to AWS that the spawner makes: each waits for its token, is counted, and answers views.

Nothing here knows JupyterHub, and nothing blocks the event loop: boto3 runs in threads.

What AWS throttles all the same empties our bucket, which holds back everybody in that line. Calls
that somebody waits for or that must be done (RunTask, StopTask, RegisterTaskDefinition, and those
about families and access points) are then repeated, at the head of their priority, for as long as
the caller waits: give up with `asyncio.timeout` or by cancelling. Looks (DescribeTasks, ListTasks,
log lines, machines) raise `Throttled` at once, because who looks has a back-off of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from workroom_spawner import metrics
from workroom_spawner.aws_calls import Call, Caller, Effort, as_it_is
from workroom_spawner.aws_clients import Clients, Runner, boto3_clients
from workroom_spawner.aws_errors import AlreadyExists, Refused, Unreachable
from workroom_spawner.buckets import Priority, Turn
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.requests import UID
from workroom_spawner.task_requests import CONTAINER, Request
from workroom_spawner.task_view import Machines, RunOutcome, TaskView, TaskViews

__all__ = ["HOME_TAG", "EcsApi", "Machines", "RunOutcome", "TaskView", "TaskViews"]

HOME_TAG = "workroom:home"
"""Tag of an access point that says whose home it is."""
_BATCH = 100  # tasks a DescribeTasks, entries a page: ECS's and EFS's most
_LOOKS_AT_ONCE = 4  # so that a look at thousands leaves threads to spawns
_LONGEST_REASON = 255  # characters of StopTask's reason
_AVAILABLE_WITHIN = 120.0  # seconds an access point may take

_RUN = Call("ecs", "RunTask", "run")
_STOP = Call("ecs", "StopTask", "run")
_DESCRIBE = Call("ecs", "DescribeTasks", "describe", patient=False)
_LIST = Call("ecs", "ListTasks", "describe", patient=False)
_REGISTER = Call("ecs", "RegisterTaskDefinition", "register")
_FAMILIES = Call("ecs", "ListTaskDefinitionFamilies", "definitions")
_ACCESS_POINTS = Call("efs", "DescribeAccessPoints", "other")
_CREATE_ACCESS_POINT = Call("efs", "CreateAccessPoint", "other")
_LOGS = Call("logs", "GetLogEvents", "other", patient=False)
_GROUPS = Call("autoscaling", "DescribeAutoScalingGroups", "other", patient=False)


class EcsApi:
    """One cluster in one region; for one event loop.

    Every method raises the problems of `aws_errors`. After a cancelled or `Unreachable` call nobody
    knows whether AWS carried it out: all calls here can be repeated, unchanged, without harm.
    """

    def __init__(
        self,
        settings: EcsSettings,
        *,
        clients: Clients | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.settings = settings
        self._caller = Caller(settings.quotas, clients or boto3_clients(settings), runner)
        run = self._caller.buckets["run"]
        metrics.report_queue(self, lambda: run.waiting(Priority.LIVE))

    async def warm_up(self) -> None:
        """Make the ECS client, which takes long, before the first call needs it."""
        await self._caller.warm_up(_RUN)

    def close(self) -> None:
        """Take no more calls; later ones wait for the end of the process and never fail."""
        self._caller.close()

    def run_line(self, priority: Priority = Priority.LIVE) -> Turn:
        """Line up for RunTask, so that somebody can be shown her place while she waits."""
        return self._caller.buckets["run"].line_up(priority)

    async def run_task(
        self, request: Request, turn: Turn | None = None, effort: Effort | None = None
    ) -> RunOutcome:
        """Start one task.

        After `Unreachable` it may have started: repeat the same request with the same
        `clientToken`, and ECS answers the task that is there.

        Args:
            turn: From `run_line`; without one the call lines up now.
            effort: Tells whether the call is under way, and may end its repetition.

        Raises:
            QuotaFull: Too many tasks wait for a machine; try again later.
            UnknownTaskDefinition: Register it anew.
            Conflict: The `clientToken` belongs to another request.
        """
        return await self._caller.ask(
            _RUN,
            request,
            _run_outcome,
            turn=turn,
            secrets=_environment(request),
            effort=effort,
        )

    async def stop_task(self, arn: str, reason: str) -> bool:
        """Stop a task; one that ECS does not know, or that has stopped, is fine.

        Returns:
            Whether ECS knew the task. One that was just run may not be known for some moments, and
            runs on then.
        """
        request = {
            "cluster": self.settings.cluster,
            "task": arn,
            "reason": reason[:_LONGEST_REASON],
        }
        try:
            await self._caller.ask(_STOP, request, as_it_is, priority=Priority.STOP)
        except Refused as problem:
            if "task was not found" not in problem.message.lower():
                raise
            return False
        return True

    async def describe_tasks(self, arns: Iterable[str], tags: bool = False) -> TaskViews:
        """Look at tasks, 100 with every call; those that ECS does not know are in `missing`.

        A task that was just run may be missing for some moments. One that the answer left out is
        neither shown nor missing.
        """
        wanted = list(dict.fromkeys(arns))
        views = TaskViews()
        for start in range(0, len(wanted), _BATCH):
            request: Request = {
                "cluster": self.settings.cluster,
                "tasks": wanted[start : start + _BATCH],
            }
            if tags:
                request["include"] = ["TAGS"]
            part: TaskViews = await self._caller.ask(_DESCRIBE, request, _views)
            views.update(part)
            views.missing |= part.missing
        return views

    async def list_tasks(self) -> set[str]:
        """Return the ARNs of all our tasks that should run, by `startedBy`.

        ECS takes no other filter beside `startedBy`; told apart by tags is up to the caller.
        """
        request = {
            "cluster": self.settings.cluster,
            "startedBy": self.settings.started_by,
            "maxResults": _BATCH,
        }
        return {arn async for arn in self._pages(_LIST, request, "taskArns")}

    async def register(
        self,
        definition: Request,
        priority: Priority = Priority.LIVE,
        moved: Callable[[int], None] | None = None,
    ) -> str:
        """Register a task definition and return its family.

        Args:
            moved: Hears the place in line, at once and whenever it has changed; 0 when it is over.
        """
        turn = self._caller.buckets["register"].line_up(priority)
        if moved and turn.place:
            moved(turn.place)
            turn.on_move(moved)
        await self._caller.ask(_REGISTER, definition, as_it_is, turn=turn)
        return str(definition["family"])

    async def families(self, prefix: str) -> set[str]:
        """Return the names of all families with an active definition that begin with `prefix`."""
        request = {"familyPrefix": prefix, "status": "ACTIVE", "maxResults": _BATCH}
        return {name async for name in self._pages(_FAMILIES, request, "families")}

    async def access_points(self) -> dict[str, str]:
        """Return the ids of all homes' access points by their keys, those being deleted aside."""
        request = {"FileSystemId": self.settings.homes.file_system, "MaxResults": _BATCH}
        points = self._pages(_ACCESS_POINTS, request, "AccessPoints", "NextToken")
        found: dict[str, str] = {}
        async for point in points:
            key = _tag(point, HOME_TAG)
            if key and point.get("LifeCycleState") in ("available", "creating", None):
                found[key] = point["AccessPointId"]
        return found

    async def create_access_point(
        self,
        key: str,
        path: str,
        tags: dict[str, str] | None = None,
        priority: Priority = Priority.LIVE,
    ) -> str:
        """Create the access point of a home, or find the one there is, and wait until it works.

        Args:
            key: Whose home it is; the same key is the same access point.
            path: Its root directory on the file system; made when first mounted, mode 0700.
            tags: More tags.

        Returns:
            Its id.

        Raises:
            Unreachable: It is not available after two minutes.
        """
        request: Request = {
            "ClientToken": _client_token(key),
            "FileSystemId": self.settings.homes.file_system,
            "PosixUser": {"Uid": UID, "Gid": UID},
            "RootDirectory": {
                "Path": path,
                "CreationInfo": {"OwnerUid": UID, "OwnerGid": UID, "Permissions": "0700"},
            },
            "Tags": [
                {"Key": name, "Value": value}
                for name, value in {"Name": key, **(tags or {}), HOME_TAG: key}.items()
            ],
        }
        try:
            point = await self._caller.ask(
                _CREATE_ACCESS_POINT, request, as_it_is, priority=priority
            )
            id, state = str(point["AccessPointId"]), point.get("LifeCycleState")
        except AlreadyExists as known:
            id, state = known.id, None
        if state != "available":
            await self._until_available(id)
        return id

    async def log_lines(self, task_id: str, limit: int = 20) -> list[str]:
        """Return the last lines of a task's log; none if there are none, or no log is kept."""
        if not self.settings.logs:
            return []
        request = {
            "logGroupName": self.settings.logs.group,
            "logStreamName": f"{self.settings.logs.prefix}/{CONTAINER}/{task_id}",
            "limit": limit,
            "startFromHead": False,
        }
        try:
            answer = await self._caller.ask(_LOGS, request, as_it_is)
        except Refused as problem:
            if problem.code == "ResourceNotFoundException":
                return []
            raise
        return [str(event.get("message", "")) for event in answer.get("events", ())]

    async def machines(self) -> Machines | None:
        """Count the machines of the Auto Scaling group; None if there is none to count."""
        if not self.settings.auto_scaling_group:
            return None
        request = {"AutoScalingGroupNames": [self.settings.auto_scaling_group]}
        answer = await self._caller.ask(_GROUPS, request, as_it_is)
        for group in answer.get("AutoScalingGroups", ()):
            instances = group.get("Instances", ())
            return Machines(
                wanted=group.get("DesiredCapacity", 0),
                in_service=sum(each.get("LifecycleState") == "InService" for each in instances),
            )
        return None

    async def _until_available(self, id: str) -> None:
        """Look at an access point, more and more seldom, until it can be mounted."""
        pause = 0.5
        deadline = asyncio.get_running_loop().time() + _AVAILABLE_WITHIN
        while asyncio.get_running_loop().time() < deadline:
            answer = await self._caller.ask(
                _ACCESS_POINTS, {"AccessPointId": id}, as_it_is, priority=Priority.FINISH
            )
            state = next((p.get("LifeCycleState") for p in answer["AccessPoints"]), "missing")
            if state == "available":
                return
            if state in ("deleting", "deleted", "error"):
                raise Refused(_ACCESS_POINTS.operation, state, f"access point {id} is {state}")
            pause = min(10.0, 2 * pause)
            await asyncio.sleep(pause)
        raise Unreachable(
            _ACCESS_POINTS.operation, "NotAvailable", f"access point {id} does not get available"
        )

    async def _pages(
        self, call: Call, request: Request, key: str, next_page: str = "nextToken"
    ) -> AsyncIterator[Any]:
        """Yield the entries of all pages; each page is a call with its own token."""
        page = dict(request)
        while True:
            answer = await self._caller.ask(call, page, as_it_is)
            for entry in _there(call, answer, key):
                yield entry
            if not answer.get(next_page):
                return
            page = {**request, next_page: answer[next_page]}


def _run_outcome(answer: dict[str, Any]) -> RunOutcome:
    tasks, failures = answer.get("tasks"), answer.get("failures")
    if not tasks and not failures:
        raise Unreachable(_RUN.operation, "Unreadable", "neither a task nor failures")
    reasons = tuple(str(each.get("reason", "unknown")) for each in failures or ())
    return RunOutcome(TaskView.of(tasks[0]) if tasks else None, reasons)


def _views(answer: dict[str, Any]) -> TaskViews:
    missing = []
    for failure in answer.get("failures", ()):
        if failure.get("reason") != "MISSING":
            reason, detail = str(failure.get("reason")), str(failure.get("detail", ""))
            raise Refused(_DESCRIBE.operation, reason, f"{failure.get('arn')} {detail}")
        missing.append(str(failure.get("arn")))
    tasks = _there(_DESCRIBE, answer, "tasks")
    return TaskViews({task["taskArn"]: TaskView.of(task) for task in tasks}, missing)


def _there(call: Call, answer: dict[str, Any], key: str) -> list[Any]:
    """Return a list of the answer; an answer without it is no answer, least of all "none"."""
    if key not in answer:
        raise Unreachable(call.operation, "Unreadable", f"an answer without {key}")
    return list(answer[key])


def _environment(request: Request) -> list[str]:
    """Return what the request gives to the containers, of which some is secret."""
    return [
        variable["value"]
        for container in request.get("overrides", {}).get("containerOverrides", ())
        for variable in container.get("environment", ())
        if len(variable["value"]) >= 8
    ]


def _tag(point: dict[str, Any], name: str) -> str:
    return next((tag["Value"] for tag in point.get("Tags", ()) if tag["Key"] == name), "")


def _client_token(key: str) -> str:
    """EFS takes at most 64 characters."""
    return key if len(key) <= 64 else hashlib.sha256(key.encode()).hexdigest()
