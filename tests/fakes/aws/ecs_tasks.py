"""RunTask, StopTask, DescribeTasks, ListTasks."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.fakes.aws.definitions import check_tags
from tests.fakes.aws.errors import AwsError, client_error, invalid
from tests.fakes.aws.paging import page
from tests.fakes.aws.task import Ending, Task

if TYPE_CHECKING:
    from tests.fakes.aws.account import FakeAws

Request = dict[str, Any]

_DAY = 86_400.0
_STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{1,128}")
_TOKEN = re.compile(r"[!-~]{1,64}")


class EcsTasks:
    """The operations on tasks.

    Attributes:
        provisioning_most: Tasks in PROVISIONING a cluster; AWS's quota is 500.
    """

    def __init__(self, fake: FakeAws) -> None:
        self.provisioning_most = 500
        self._fake = fake
        self._tokens: dict[tuple[str, str], tuple[str, list[str], float]] = {}
        self._serial = 0

    def operations(self) -> dict[str, Callable[[Request, float], Request]]:
        """Return what answers each operation."""
        return {
            "RunTask": self._run,
            "StopTask": self._stop,
            "DescribeTasks": self._describe,
            "ListTasks": self._list,
        }

    # -- RunTask ---------------------------------------------------------------

    def _run(self, request: Request, now: float) -> Request:
        cluster = self._fake.cluster(request)
        self._check(request)
        definition = self._fake.definitions.to_run(request["taskDefinition"])
        self._check_against(request, definition)
        repeated = self._repeated(cluster, request, now)
        if repeated is not None:
            return {"tasks": [self._fake.describe(task) for task in repeated], "failures": []}
        count = request.get("count", 1)
        if self._fake.lifecycle.provisioning[cluster] + count > self.provisioning_most:
            raise client_error("Tasks provisioning capacity limit exceeded.")
        tasks: list[Task] = []
        failures: list[Request] = []
        for _ in range(count):
            task = self.make(request, definition, cluster)
            lacks = self._fake.fleet.place(task)
            # Only a capacity provider waits for machines; a launch type fails at once.
            if lacks and not (task.provider and self._fake.fleet.scaling):
                machines = self._fake.fleet.machines
                arn = machines[0].arn(self._fake.account, cluster) if machines else ""
                failures.append({"arn": arn, "reason": lacks})
                continue
            self._fake.tasks[task.arn] = task
            self._fake.lifecycle.begin(task, now)
            tasks.append(task)
        if tasks and request.get("clientToken"):
            arns = [task.arn for task in tasks]
            self._tokens[cluster, request["clientToken"]] = (_parameters(request), arns, now)
        return {"tasks": [self._fake.describe(task) for task in tasks], "failures": failures}

    def make(self, request: Request, definition: Request, cluster: str) -> Task:
        """Return a task that has not begun."""
        self._serial += 1
        strategy = request.get("capacityProviderStrategy") or [{}]
        return Task(
            arn=f"{self._fake.account}:task/{cluster}/{uuid.uuid4().hex}",
            serial=self._serial,
            cluster=cluster,
            request=request,
            definition=definition,
            address=_address(self._serial),
            provider=strategy[0].get("capacityProvider", ""),
        )

    def _check(self, request: Request) -> None:
        if not 1 <= request.get("count", 1) <= 10:
            raise invalid("count must be between 1 and 10.")
        started_by = request.get("startedBy")
        if started_by is not None and not _STARTED_BY.fullmatch(started_by):
            raise invalid("startedBy: up to 128 letters, numbers, hyphens, slashes, underscores.")
        token = request.get("clientToken")
        if token is not None and not _TOKEN.fullmatch(token):
            raise invalid("clientToken: up to 64 ASCII characters in the range of 33-126.")
        if request.get("launchType") and request.get("capacityProviderStrategy"):
            raise invalid(
                "Specifying both a launch type and capacity provider strategy is not supported. "
                "Remove one and try again."
            )
        if len(json.dumps(request.get("overrides", {}), separators=(",", ":"))) > 8192:
            raise invalid("Container Overrides length must be at most 8192")
        if len(request.get("placementConstraints", [])) > 10:
            raise invalid("placementConstraints: at most 10.")
        check_tags(request.get("tags", []))

    def _check_against(self, request: Request, definition: Request) -> None:
        network = request.get("networkConfiguration", {}).get("awsvpcConfiguration", {})
        if definition.get("networkMode") == "awsvpc" and not network.get("subnets"):
            raise invalid(
                "Network Configuration must be provided when networkMode 'awsvpc' is specified."
            )
        if len(network.get("subnets", [])) > 16 or len(network.get("securityGroups", [])) > 5:
            raise invalid("awsvpcConfiguration: at most 16 subnets and 5 security groups.")
        names = {container["name"] for container in definition["containerDefinitions"]}
        for container in request.get("overrides", {}).get("containerOverrides", []):
            if container.get("name") not in names:
                raise invalid(
                    f"Override for container named {container.get('name')} is not a container "
                    "in the TaskDefinition."
                )

    def _repeated(self, cluster: str, request: Request, now: float) -> list[Task] | None:
        """Return the tasks of an earlier call with the same token, if there was one.

        Source: Amazon ECS API reference, "Ensuring idempotency". A token is good in its cluster
        for 24 hours, or as long as its tasks are known if that is shorter.
        """
        known = self._tokens.get((cluster, request.get("clientToken", "")))
        if known is None:
            return None
        parameters, arns, when = known
        tasks = [self._fake.tasks[arn] for arn in arns if arn in self._fake.tasks]
        if not tasks or now - when > _DAY:
            return None
        if parameters != _parameters(request):
            raise AwsError(
                "ConflictException",
                "The RunTask request could not be processed due to conflicts. The provided "
                "clientToken is already in use with a different RunTask request.",
                resourceIds=arns,
            )
        return tasks

    # -- the others ------------------------------------------------------------

    def _visible(self, name: str, cluster: str, now: float) -> Task | None:
        arn = name if ":" in name else f"{self._fake.account}:task/{cluster}/{name}"
        task = self._fake.tasks.get(arn)
        if task is None or task.cluster != cluster:
            return None
        return task if task.at["createdAt"] <= now - self._fake.pace.visible_after else None

    def _stop(self, request: Request, now: float) -> Request:
        task = self._visible(request["task"], self._fake.cluster(request), now)
        if task is None:
            raise invalid("The referenced task was not found.")
        reason = request.get("reason") or "Task stopped by user"
        self._fake.lifecycle.stop(task, now, Ending("UserInitiated", reason, graceful=True))
        return {"task": self._fake.describe(task)}

    def _describe(self, request: Request, now: float) -> Request:
        cluster = self._fake.cluster(request)
        names = request.get("tasks", [])
        if not names:
            raise invalid("Tasks cannot be empty.")
        if len(names) > 100:
            raise invalid("Tasks cannot be more than 100.")
        with_tags = "TAGS" in request.get("include", [])
        tasks, failures = [], []
        for name in dict.fromkeys(names):
            task = self._visible(name, cluster, now)
            if task:
                tasks.append(self._fake.describe(task, with_tags))
            else:
                arn = name if ":" in name else f"{self._fake.account}:task/{cluster}/{name}"
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"tasks": tasks, "failures": failures}

    def _list(self, request: Request, now: float) -> Request:
        cluster = self._fake.cluster(request)
        others = {"family", "serviceName", "containerInstance", "launchType"} & request.keys()
        if "startedBy" in request and others:
            raise invalid(f"Cannot filter by startedBy and {', '.join(sorted(others))} together.")
        desired = request.get("desiredStatus", "RUNNING")
        if desired == "PENDING":
            return {"taskArns": []}  # as documented: ECS never sets a desired status of PENDING
        started_by, family = request.get("startedBy"), request.get("family")
        newest = now - self._fake.pace.visible_after
        found = [
            task.arn
            for task in self._fake.tasks.values()
            if (started_by is None or task.started_by == started_by)
            and task.desired == desired
            and task.at["createdAt"] <= newest
            and task.cluster == cluster
            and (family is None or task.definition["family"] == family)
        ]
        return page("taskArns", found, request)


def _parameters(request: Request) -> str:
    return json.dumps({n: v for n, v in request.items() if n != "clientToken"}, sort_keys=True)


def _address(serial: int) -> str:
    """Return a loopback address of its own; 127.16.0.1 and up, none ends in 0 or 255."""
    rest, last = divmod(serial - 1, 254)
    high, middle = divmod(rest, 256)
    return f"127.{16 + high}.{middle}.{last + 1}"
