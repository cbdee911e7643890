"""The calls to AWS about tasks and their definitions, with scripted answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import botocore.exceptions as sdk
import pytest
from prometheus_client import REGISTRY

from tests.fakes.aws import FakeAws
from tests.fakes.scripted_aws import (
    ARN,
    RUN,
    SETTINGS,
    SPEC,
    STARTED,
    TASK,
    THROTTLED,
    Answer,
    ScriptedAws,
    api_of,
    inline,
    refusal,
)
from workroom_spawner import task_requests
from workroom_spawner.aws_clients import Client
from workroom_spawner.aws_errors import (
    Denied,
    QuotaFull,
    Refused,
    Throttled,
    UnknownTaskDefinition,
    Unreachable,
)
from workroom_spawner.buckets import Priority
from workroom_spawner.ecs_api import EcsApi, TaskView
from workroom_spawner.ecs_settings import (
    Bucket,
    Quotas,
)


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
