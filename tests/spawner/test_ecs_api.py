"""The calls to AWS: boto3's real clients, built as in production, with scripted answers.

Only the socket is missing: `before-send` answers instead, so botocore serialises, parses and maps.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import parse_qs

import botocore.exceptions as sdk
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from prometheus_client import REGISTRY

from tests.fakes.aws import FakeAws
from workroom_spawner import task_requests
from workroom_spawner.aws_clients import Client, boto3_clients
from workroom_spawner.aws_errors import (
    Denied,
    QuotaFull,
    Refused,
    Throttled,
    UnknownTaskDefinition,
    Unreachable,
)
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_api import EcsApi, Machines, TaskView
from workroom_spawner.ecs_settings import (
    Bucket,
    CapacityProvider,
    EcsHomes,
    EcsSettings,
    Quotas,
    TaskLogs,
)

T = TypeVar("T")
SETTINGS = EcsSettings(
    region="eu-west-1",
    cluster="notebooks",
    instance="wr",
    installation="0123abcd",
    subnets=("subnet-1",),
    security_groups=("sg-1",),
    capacity_providers=(CapacityProvider("machines"),),
    homes=EcsHomes(file_system="fs-1"),
    logs=TaskLogs("/workroom"),
    auto_scaling_group="machines",
    endpoint_url="http://127.0.0.1:1",
)
ARN = "arn:aws:ecs:eu-west-1:123456789012:task/notebooks/{:032x}"
CODE = "s3cret-start-code-that-nobody-may-read"
SPEC = task_requests.TaskSpec("ada", "", "small", "image:1", 1, 2**31, "fsap-1")
RUN = task_requests.with_environment(
    task_requests.run_task(SPEC, SETTINGS, "wr-ada", "token-1"), {"WORKROOM_START_CODE": CODE}
)
TASK = {
    "taskArn": ARN.format(1),
    "lastStatus": "RUNNING",
    "desiredStatus": "RUNNING",
    "cpu": "1024",
    "createdAt": 1.5e9,
    "startedAt": 1.5e9 + 2.5,
    "connectivity": "CONNECTED",
    "capacityProviderName": "machines",
    "attachments": [
        {"type": "elastic-inference", "details": []},
        {
            "type": "ElasticNetworkInterface",
            "details": [
                {"name": "subnetId", "value": "subnet-1"},
                {"name": "privateIPv4Address", "value": "10.0.0.7"},
            ],
        },
    ],
    "containers": [
        {"name": "ecs-agent-sidecar", "exitCode": 3, "reason": "not ours"},
        {"name": "server", "lastStatus": "RUNNING"},
    ],
    "tags": [{"key": "workroom:start", "value": "token-1"}],
}
STARTED = {"tasks": [TASK], "failures": []}

Answer = dict[str, Any] | Exception | tuple[int, dict[str, Any]] | bytes


def refusal(code: str, message: str = "", status: int = 400, **more: Any) -> Answer:
    return status, {"__type": code, "message": message, **more}


THROTTLED = refusal("ThrottlingException", "Rate exceeded")


class ScriptedAws:
    """Answers boto3's clients with the next answer of the script, the last one for ever."""

    def __init__(self, *script: Answer) -> None:
        self.script = deque(script)
        self.asked: list[dict[str, Any]] = []
        self.operations: list[str] = []
        self.times: list[float] = []
        self.threads: set[str] = set()
        self.made: list[str] = []
        self.clock: Callable[[], float] = lambda: 0.0

    def clients(self, service: str) -> Client:
        self.made.append(service)
        client = boto3_clients(SETTINGS)(service)
        client.meta.events.register("before-send", self._before_send)
        return client

    def _before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = request.body or b""
        text = body.decode() if isinstance(body, bytes) else body
        target = request.headers.get("X-Amz-Target", b"")
        operation = (target.decode() if isinstance(target, bytes) else target).rpartition(".")[2]
        self.operations.append(operation or f"{request.method} {request.url.partition('1:1')[2]}")
        self.asked.append(json.loads(text) if text[:1] == "{" else dict(parse_qs(text)))
        self.times.append(self.clock())
        self.threads.add(threading.current_thread().name)
        answer = self.script.popleft() if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        status, content = answer if isinstance(answer, tuple) else (200, answer)
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        if status >= 400 and isinstance(content, dict):
            headers["x-amzn-errortype"] = content["__type"]
        return AWSResponse(request.url, status, headers, _Body(raw))


class _Body(io.BytesIO):
    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


async def inline(call: Callable[[], T], /) -> T:
    """Run a call at once, in the loop's own thread: virtual time cannot wait for threads."""
    await asyncio.sleep(0)
    return call()


def api_of(aws: ScriptedAws, settings: EcsSettings = SETTINGS) -> EcsApi:
    aws.clock = asyncio.get_running_loop().time
    return EcsApi(settings, clients=aws.clients, runner=inline)


def counted(operation: str, outcome: str) -> float:
    labels = {"operation": operation, "outcome": outcome}
    return REGISTRY.get_sample_value("workroom_ecs_calls_total", labels) or 0.0


# -- RunTask -----------------------------------------------------------------------


async def test_run_task_sends_the_request_as_it_is_and_answers_a_view() -> None:
    aws = ScriptedAws(STARTED)
    before = counted("RunTask", "ok")
    outcome = await api_of(aws).run_task(RUN)
    assert aws.asked == [RUN]
    assert aws.operations == ["RunTask"]
    assert counted("RunTask", "ok") == before + 1
    assert outcome.failures == ()
    assert outcome.task == TaskView(
        arn=ARN.format(1),
        status="RUNNING",
        desired="RUNNING",
        address="10.0.0.7",
        created_at=datetime.fromtimestamp(1.5e9, UTC),
        started_at=datetime.fromtimestamp(1.5e9 + 2.5, UTC),
        connectivity="CONNECTED",
        capacity_provider="machines",
        tags={"workroom:start": "token-1"},
    )


async def test_a_stopped_task_says_why() -> None:
    stopped = {
        **TASK,
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "stoppedAt": 1.5e9 + 60,
        "pullStartedAt": 1.5e9 + 1,
        "pullStoppedAt": 1.5e9 + 2,
        "containers": [{"name": "server", "exitCode": 137, "reason": "OutOfMemoryError: killed"}],
        "attachments": [],
    }
    views = await api_of(ScriptedAws({"tasks": [stopped], "failures": []})).describe_tasks(["x"])
    view = views[ARN.format(1)]
    assert (view.status, view.desired, view.address) == ("STOPPED", "STOPPED", "")
    assert (view.stop_code, view.exit_code) == ("EssentialContainerExited", 137)
    assert view.stopped_reason == "Essential container in task exited"
    assert view.container_reason == "OutOfMemoryError: killed"
    assert view.pull_started_at == datetime.fromtimestamp(1.5e9 + 1, UTC)
    assert view.pull_stopped_at == datetime.fromtimestamp(1.5e9 + 2, UTC)
    assert view.stopped_at == datetime.fromtimestamp(1.5e9 + 60, UTC)


async def test_failures_are_told_instead_of_a_task() -> None:
    aws = ScriptedAws({"tasks": [], "failures": [{"arn": "x", "reason": "RESOURCE:MEMORY"}]})
    outcome = await api_of(aws).run_task(RUN)
    assert (outcome.task, outcome.failures) == (None, ("RESOURCE:MEMORY",))


@pytest.mark.parametrize("nothing", [{}, {"tasks": [], "failures": []}, b"<html>Proxy</html>"])
async def test_an_answer_that_says_nothing_is_no_answer(nothing: Any) -> None:
    with pytest.raises(Unreachable):
        await api_of(ScriptedAws(nothing)).run_task(RUN)


@pytest.mark.looptime
async def test_a_throttled_run_task_is_repeated_unchanged_until_it_is_done() -> None:
    aws = ScriptedAws(*[THROTTLED] * 20, STARTED)
    before = counted("RunTask", "throttled")
    outcome = await api_of(aws).run_task(RUN)
    assert outcome.task
    assert aws.asked == [RUN] * 21
    assert counted("RunTask", "throttled") == before + 20
    # It does not hammer: the pauses grow, up to twenty seconds.
    assert aws.times[-1] > 15
    pauses = [after - before for before, after in zip(aws.times, aws.times[1:], strict=False)]
    assert max(pauses) <= 20.1


@pytest.mark.looptime
async def test_who_waits_for_a_throttled_call_may_stop_waiting() -> None:
    aws = ScriptedAws(THROTTLED)
    api = api_of(aws)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60):
            await api.run_task(RUN)
    asked = len(aws.asked)
    await asyncio.sleep(600)
    assert len(aws.asked) == asked
    assert api.run_line().place == 0


@pytest.mark.looptime
async def test_a_throttle_holds_back_the_whole_line_and_keeps_its_place() -> None:
    aws = ScriptedAws(THROTTLED, STARTED)
    api = api_of(aws, replace(SETTINGS, quotas=Quotas(run=Bucket(2, 0.1))))
    first = {**RUN, "clientToken": "first"}
    others = [{**RUN, "clientToken": f"other-{n}"} for n in range(2)]
    await asyncio.gather(*(api.run_task(each) for each in (first, *others)))
    tokens = [asked["clientToken"] for asked in aws.asked]
    assert tokens == ["first", "other-0", "first", "other-1"]
    assert aws.times == pytest.approx([0, 0, 10, 20], abs=0.5)


async def test_a_time_out_is_not_repeated_for_the_task_may_have_started() -> None:
    aws = ScriptedAws(sdk.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"))
    before = counted("RunTask", "unreachable")
    with pytest.raises(Unreachable):
        await api_of(aws).run_task(RUN)
    assert len(aws.asked) == 1
    assert counted("RunTask", "unreachable") == before + 1


@pytest.mark.parametrize(
    ("answer", "kind", "outcome"),
    [
        (refusal("ServerException", status=500), Unreachable, "unreachable"),
        (refusal("AccessDeniedException"), Denied, "denied"),
        (
            refusal("ClientException", "Tasks provisioning capacity limit exceeded."),
            QuotaFull,
            "refused",
        ),
        (refusal("ClientException", "TaskDefinition not found."), UnknownTaskDefinition, "refused"),
        (refusal("InvalidParameterException", "No subnet"), Refused, "refused"),
    ],
)
async def test_refusals_are_mapped_counted_and_not_repeated(
    answer: Answer, kind: type[Exception], outcome: str
) -> None:
    aws = ScriptedAws(answer)
    before = counted("RunTask", outcome)
    with pytest.raises(kind):
        await api_of(aws).run_task(RUN)
    assert len(aws.asked) == 1
    assert counted("RunTask", outcome) == before + 1


@pytest.mark.looptime
async def test_a_place_taken_before_is_used_and_a_place_given_up_is_free() -> None:
    aws = ScriptedAws(STARTED)
    api = api_of(aws, replace(SETTINGS, quotas=Quotas(run=Bucket(1, 1))))
    turns = [api.run_line() for _ in range(3)]
    assert [turn.place for turn in turns] == [0, 1, 2]
    assert REGISTRY.get_sample_value("workroom_spawn_queue_length") == 2
    third = asyncio.create_task(api.run_task(RUN, turns[2]))
    await asyncio.sleep(0.01)
    assert aws.asked == []
    turns[0].cancel()
    turns[1].cancel()
    await third
    assert aws.times == pytest.approx([0.01], abs=0.01)


@pytest.mark.looptime
async def test_a_cancelled_spawn_leaves_the_line() -> None:
    api = api_of(ScriptedAws(STARTED), replace(SETTINGS, quotas=Quotas(run=Bucket(1, 1))))
    await api.run_task(RUN)
    spawn = asyncio.create_task(api.run_task(RUN))
    await asyncio.sleep(0.1)
    behind = api.run_line()
    assert behind.place == 2
    spawn.cancel()
    await asyncio.gather(spawn, return_exceptions=True)
    assert behind.place == 1


async def test_a_place_is_given_back_when_not_even_a_client_can_be_made() -> None:
    def no_clients(service: str) -> Client:
        raise sdk.NoCredentialsError

    settings = replace(SETTINGS, quotas=Quotas(run=Bucket(1, 0.001)))
    api = EcsApi(settings, clients=no_clients, runner=inline)
    with pytest.raises(Denied):
        await api.run_task(RUN, api.run_line())
    assert api.run_line().place == 0


# -- the other calls ---------------------------------------------------------------


async def test_stop_task_says_why() -> None:
    aws = ScriptedAws({"task": TASK})
    await api_of(aws).stop_task(ARN.format(1), "r" * 999)
    assert aws.operations == ["StopTask"]
    assert aws.asked == [{"cluster": "notebooks", "task": ARN.format(1), "reason": "r" * 255}]


async def test_stopping_a_task_that_is_gone_is_done() -> None:
    gone = refusal("InvalidParameterException", "The referenced task was not found.")
    await api_of(ScriptedAws(gone)).stop_task(ARN.format(1), "")


async def test_a_stop_that_is_refused_otherwise_is_not_done() -> None:
    for answer in (
        refusal("ClusterNotFoundException", "Cluster not found."),
        refusal("InvalidParameterException", "Invalid identifier"),
    ):
        with pytest.raises(Refused):
            await api_of(ScriptedAws(answer)).stop_task(ARN.format(1), "")


@pytest.mark.looptime
async def test_stops_go_before_spawns() -> None:
    aws = ScriptedAws(STARTED)
    api = api_of(aws, replace(SETTINGS, quotas=Quotas(run=Bucket(1, 1))))
    await api.run_task(RUN)
    async with asyncio.TaskGroup() as calls:
        calls.create_task(api.run_task(RUN))
        calls.create_task(api.stop_task(ARN.format(1), ""))
    assert aws.operations == ["RunTask", "StopTask", "RunTask"]


async def test_tasks_are_described_by_the_hundred_and_missing_ones_are_absent() -> None:
    arns = [ARN.format(n) for n in range(250)]
    aws = ScriptedAws({"tasks": [TASK], "failures": [{"arn": arns[0], "reason": "MISSING"}]})
    views = await api_of(aws).describe_tasks([*arns, arns[0]])
    assert sorted(views) == [ARN.format(1)]
    assert sorted(len(asked["tasks"]) for asked in aws.asked) == [50, 100, 100]
    assert sorted(arn for asked in aws.asked for arn in asked["tasks"]) == arns
    assert all(asked["cluster"] == "notebooks" and "include" not in asked for asked in aws.asked)


async def test_tags_come_if_they_are_asked_for() -> None:
    aws = ScriptedAws(STARTED)
    await api_of(aws).describe_tasks([ARN.format(1)], tags=True)
    assert aws.asked[0]["include"] == ["TAGS"]


async def test_nothing_to_describe_is_no_call() -> None:
    aws = ScriptedAws(STARTED)
    assert await api_of(aws).describe_tasks([]) == {}
    assert aws.asked == []


@pytest.mark.parametrize(
    "lie",
    [
        {"failures": []},
        {"tasks": [], "failures": [{"arn": "x", "reason": "ACCESS"}]},
        {"tasks": [{"lastStatus": "RUNNING"}], "failures": []},
        b"<html>Welcome to the guest network</html>",
    ],
)
async def test_an_answer_that_is_none_never_makes_tasks_absent(lie: Any) -> None:
    with pytest.raises((Unreachable, Refused)):
        await api_of(ScriptedAws(lie)).describe_tasks([ARN.format(1)])


async def test_looks_are_not_repeated_when_throttled_but_empty_the_bucket() -> None:
    aws = ScriptedAws(THROTTLED)
    api = api_of(aws)
    with pytest.raises(Throttled):
        await api.describe_tasks([ARN.format(1)])
    with pytest.raises(Throttled):
        async with asyncio.timeout(5):
            await api.list_tasks()
    assert aws.operations == ["DescribeTasks", "ListTasks"]


@pytest.mark.looptime
async def test_after_a_throttled_look_the_next_one_waits_for_its_token() -> None:
    aws = ScriptedAws(THROTTLED, STARTED)
    api = api_of(aws, replace(SETTINGS, quotas=Quotas(describe=Bucket(100, 0.1))))
    with pytest.raises(Throttled):
        await api.describe_tasks([ARN.format(1)])
    await api.describe_tasks([ARN.format(1)])
    assert aws.times == pytest.approx([0, 10], abs=0.1)


async def test_our_tasks_are_listed_through_all_pages() -> None:
    aws = ScriptedAws(
        {"taskArns": ["a", "b"], "nextToken": "more"},
        {"taskArns": ["c"]},
    )
    assert await api_of(aws).list_tasks() == {"a", "b", "c"}
    first = {"cluster": "notebooks", "startedBy": "workroom/0123abcd", "maxResults": 100}
    assert aws.asked == [first, {**first, "nextToken": "more"}]


async def test_an_answer_without_a_list_is_not_an_empty_list() -> None:
    with pytest.raises(Unreachable):
        await api_of(ScriptedAws({})).list_tasks()


async def test_a_definition_is_registered_and_families_are_found() -> None:
    definition = task_requests.task_definition(SPEC, SETTINGS)
    aws = ScriptedAws({"taskDefinition": {}})
    assert await api_of(aws).register(definition) == definition["family"]
    assert aws.asked == [definition]
    aws = ScriptedAws({"families": ["wr-a"], "nextToken": "n"}, {"families": ["wr-b"]})
    assert await api_of(aws).families("wr-") == {"wr-a", "wr-b"}
    first = {"familyPrefix": "wr-", "status": "ACTIVE", "maxResults": 100}
    assert aws.asked == [first, {**first, "nextToken": "n"}]


@pytest.mark.looptime
async def test_registration_survives_throttles_and_leaves_live_ones_the_way() -> None:
    aws = ScriptedAws(THROTTLED, THROTTLED, {"taskDefinition": {}})
    api = api_of(aws)
    definitions = [
        task_requests.task_definition(replace(SPEC, image=f"image:{n}"), SETTINGS) for n in range(5)
    ]
    async with asyncio.TaskGroup() as calls:
        for definition in definitions[:4]:
            calls.create_task(api.register(definition, Priority.BACKGROUND))
        await asyncio.sleep(0.01)
        await api.register(definitions[4])
        assert asyncio.get_running_loop().time() < 10
    families = [asked["family"] for asked in aws.asked]
    assert set(families) == {definition["family"] for definition in definitions}
    assert families.index(definitions[4]["family"]) <= 2


# -- homes, logs, machines ---------------------------------------------------------


async def test_access_points_are_found_by_our_tag() -> None:
    def point(id: str, state: str, **tags: str) -> dict[str, Any]:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        return {"AccessPointId": id, "LifeCycleState": state, "Tags": listed}

    aws = ScriptedAws(
        {
            "AccessPoints": [
                point("fsap-1", "available", **{"workroom:home": "wr-home-ada"}),
                point("fsap-2", "available", owner="somebody else"),
            ],
            "NextToken": "n",
        },
        {
            "AccessPoints": [
                point("fsap-3", "creating", **{"workroom:home": "wr-home-bob"}),
                point("fsap-4", "deleting", **{"workroom:home": "wr-home-eve"}),
            ]
        },
    )
    found = await api_of(aws).access_points()
    assert found == {"wr-home-ada": "fsap-1", "wr-home-bob": "fsap-3"}
    paths = [operation.partition("?")[0] for operation in aws.operations]
    assert paths == ["GET /2015-02-01/access-points"] * 2
    queries = [set(operation.partition("?")[2].split("&")) for operation in aws.operations]
    assert queries[0] == {"FileSystemId=fs-1", "MaxResults=100"}
    assert queries[1] == {*queries[0], "NextToken=n"}


@pytest.mark.looptime
async def test_an_access_point_is_made_for_one_user_and_waited_for() -> None:
    aws = ScriptedAws(
        {"AccessPointId": "fsap-9", "LifeCycleState": "creating"},
        {"AccessPoints": [{"AccessPointId": "fsap-9", "LifeCycleState": "creating"}]},
        {"AccessPoints": [{"AccessPointId": "fsap-9", "LifeCycleState": "available"}]},
    )
    id = await api_of(aws).create_access_point("wr-home-ada", "/homes/wr-home-ada", {"team": "x"})
    assert id == "fsap-9"
    assert aws.asked[0] == {
        "ClientToken": "wr-home-ada",
        "FileSystemId": "fs-1",
        "PosixUser": {"Uid": 59000, "Gid": 59000},
        "RootDirectory": {
            "Path": "/homes/wr-home-ada",
            "CreationInfo": {"OwnerUid": 59000, "OwnerGid": 59000, "Permissions": "0700"},
        },
        "Tags": [
            {"Key": "Name", "Value": "wr-home-ada"},
            {"Key": "team", "Value": "x"},
            {"Key": "workroom:home", "Value": "wr-home-ada"},
        ],
    }
    assert len(aws.asked) == 3


async def test_an_access_point_that_is_there_is_taken() -> None:
    aws = ScriptedAws(
        refusal("AccessPointAlreadyExists", "exists", 409, ErrorCode="x", AccessPointId="fsap-7"),
        {"AccessPoints": [{"AccessPointId": "fsap-7", "LifeCycleState": "available"}]},
    )
    assert await api_of(aws).create_access_point("k" * 70, "/homes/k") == "fsap-7"
    assert len(aws.asked[0]["ClientToken"]) == 64


@pytest.mark.looptime
async def test_an_access_point_that_never_gets_available_is_an_error() -> None:
    creating = {"AccessPointId": "fsap-9", "LifeCycleState": "creating"}
    aws = ScriptedAws(creating, {"AccessPoints": [creating]})
    with pytest.raises(Unreachable, match="fsap-9"):
        await api_of(aws).create_access_point("key", "/homes/k")
    assert len(aws.asked) < 20
    failed = {"AccessPoints": [{"AccessPointId": "fsap-9", "LifeCycleState": "error"}]}
    with pytest.raises(Refused, match="fsap-9 is error"):
        await api_of(ScriptedAws(creating, failed)).create_access_point("key", "/homes/k")


async def test_the_last_lines_of_a_log() -> None:
    aws = ScriptedAws({"events": [{"timestamp": 1, "message": "one"}, {"message": "two"}]})
    assert await api_of(aws).log_lines("0123", 2) == ["one", "two"]
    assert aws.asked == [
        {
            "logGroupName": "/workroom",
            "logStreamName": "servers/server/0123",
            "limit": 2,
            "startFromHead": False,
        }
    ]


async def test_a_log_that_is_not_there_has_no_lines() -> None:
    missing = refusal("ResourceNotFoundException", "The specified log stream does not exist.")
    assert await api_of(ScriptedAws(missing)).log_lines("0123") == []
    aws = ScriptedAws(missing)
    assert await api_of(aws, replace(SETTINGS, logs=None)).log_lines("0123") == []
    assert aws.asked == []


async def test_machines_are_counted() -> None:
    instances = "".join(
        f"<member><InstanceId>i-{n}</InstanceId><LifecycleState>{state}</LifecycleState></member>"
        for n, state in enumerate(("InService", "InService", "Pending"))
    )
    group = (
        "<member><AutoScalingGroupName>machines</AutoScalingGroupName>"
        f"<DesiredCapacity>4</DesiredCapacity><Instances>{instances}</Instances></member>"
    )

    def answer(groups: str) -> bytes:
        return (
            "<DescribeAutoScalingGroupsResponse><DescribeAutoScalingGroupsResult>"
            f"<AutoScalingGroups>{groups}</AutoScalingGroups>"
            "</DescribeAutoScalingGroupsResult></DescribeAutoScalingGroupsResponse>"
        ).encode()

    aws = ScriptedAws(answer(group))
    assert await api_of(aws).machines() == Machines(wanted=4, in_service=2)
    assert aws.asked[0]["AutoScalingGroupNames.member.1"] == ["machines"]
    assert await api_of(ScriptedAws(answer(""))).machines() is None
    none = ScriptedAws(answer(group))
    assert await api_of(none, replace(SETTINGS, auto_scaling_group="")).machines() is None
    assert none.asked == []


# -- threads, clients, secrets -----------------------------------------------------


async def test_boto3_runs_in_threads_of_its_own_and_clients_are_made_once() -> None:
    aws = ScriptedAws(STARTED)
    api = EcsApi(SETTINGS, clients=aws.clients)
    try:
        await asyncio.gather(*(api.run_task(RUN) for _ in range(20)))
    finally:
        api.close()
    assert aws.made == ["ecs"]
    assert len(aws.asked) == 20
    assert all(name.startswith("aws") for name in aws.threads)


async def test_the_event_loop_goes_on_while_aws_takes_its_time() -> None:
    answered = threading.Event()

    class SlowAws(ScriptedAws):
        def _before_send(self, request: AWSPreparedRequest, **more: Any) -> AWSResponse:
            assert answered.wait(10), "the event loop stood still"
            return super()._before_send(request, **more)

    api = EcsApi(SETTINGS, clients=SlowAws(STARTED).clients)
    try:
        call = asyncio.create_task(api.run_task(RUN))
        await asyncio.sleep(0.2)
        assert not call.done()
        answered.set()
        assert (await call).task
    finally:
        answered.set()
        api.close()


async def test_nothing_of_the_request_gets_into_any_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where the hub logs at DEBUG, at which botocore prints whole requests."""
    for name in ("boto3", "botocore", "urllib3"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
        logging.getLogger(name).manager._clear_cache()  # type: ignore[attr-defined]
    echo = refusal("ClientException", f"Invalid environment: {CODE}", 400)
    invalid = {**RUN, "count": {"value": CODE}}
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("botocore.endpoint").debug("a line at DEBUG %s", "before")
        api = api_of(ScriptedAws(STARTED, echo))
        await api.run_task(RUN)
        for request in (RUN, invalid):
            with pytest.raises((Refused, TypeError)) as caught:
                await api.run_task(request)
            text = "".join(traceback.format_exception(caught.value))
            logging.getLogger("hub").error("failed: %s", text)
            assert CODE not in text
    assert "a line at DEBUG before" in caplog.text  # the capture does capture
    assert "failed: " in caplog.text
    assert CODE not in caplog.text


async def test_validation_by_the_sdk_would_not_tell_values_either() -> None:
    class Validating(ScriptedAws):
        def clients(self, service: str) -> Client:
            raise sdk.ParamValidationError(
                report=f"Invalid type for parameter overrides, value: {CODE}, type: x"
            )

    with pytest.raises(Refused) as caught:
        await api_of(Validating(STARTED)).run_task(RUN)
    assert CODE not in "".join(traceback.format_exception(caught.value))


def test_an_emulator_needs_no_credentials_and_aws_itself_gets_none_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def key(settings: EcsSettings) -> str | None:
        credentials = boto3_clients(settings)("ecs")._request_signer._credentials
        return credentials.access_key if credentials else None

    assert key(SETTINGS) == "emulator"
    assert key(replace(SETTINGS, endpoint_url="")) is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert key(SETTINGS) == key(replace(SETTINGS, endpoint_url="")) == "mine"


def test_clients_are_told_not_to_repeat_calls_and_when_to_give_up() -> None:
    config = boto3_clients(SETTINGS)("ecs").meta.config
    assert config.retries == {"total_max_attempts": 1, "mode": "standard"}
    assert config.connect_timeout == 5
    assert 15 <= config.read_timeout <= 30
    assert 16 <= config.max_pool_connections <= 32


def test_every_field_of_a_task_that_is_read_is_still_parsed() -> None:
    """The fields left out for speed are none that a view shows."""
    model = boto3_clients(SETTINGS)("ecs").meta.service_model
    members = {name: set(model.shape_for(name).members) for name in ("Task", "Container")}
    assert members["Container"] == {"name", "exitCode", "reason"}
    assert len(members["Task"]) == 15
    assert set(model.shape_for("Attachment").members) == {"type", "details"}
    # What is asked is as complete as ever.
    assert "overrides" in model.operation_model("RunTask").input_shape.members


# -- against the fake account ------------------------------------------------------


@pytest.mark.looptime
async def test_a_thousand_spawns_take_what_the_quota_allows_and_none_is_throttled() -> None:
    clock = asyncio.get_running_loop().time
    fake = FakeAws(clock)
    api = EcsApi(SETTINGS, clients=fake.client, runner=inline)
    definition = task_requests.task_definition(SPEC, SETTINGS)
    family = await api.register(definition)
    begun = clock()

    async def spawn(number: int) -> str:
        request = task_requests.run_task(SPEC, SETTINGS, family, f"token-{number}")
        outcome = await api.run_task(request)
        assert outcome.task
        return outcome.task.arn

    arns = await asyncio.gather(*(spawn(number) for number in range(1000)))
    assert clock() - begun == pytest.approx((1000 - 100) / 40, abs=0.5)
    assert fake.calls["RunTask"] == 1000
    assert fake.throttled["RunTask"] == 0
    await asyncio.sleep(30)  # what was just run is not seen everywhere at once
    assert await api.list_tasks() == set(arns)
    views = await api.describe_tasks(arns, tags=True)
    assert set(views) == set(arns)
    assert {view.tags[task_requests.START] for view in views.values()} == {
        f"token-{number}" for number in range(1000)
    }
