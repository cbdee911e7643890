"""What our spawner relies on of AWS's rules, each shown once on the fake account."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.fakes.aws import Pace
from tests.support.fake_account import Account, account, arns, refused


@pytest.fixture
def aws() -> Account:
    return account()


# -- RunTask -------------------------------------------------------------------


def test_same_token_and_same_parameters_give_the_same_task(aws: Account) -> None:
    first = aws.start(clientToken="token-1")
    assert aws.start(clientToken="token-1") == first
    assert aws.start(clientToken="token-2") != first
    assert len(aws.fake.tasks) == 2


def test_threads_that_race_with_the_same_token_get_the_same_task(aws: Account) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for race in range(8):
            with ThreadPoolExecutor(8) as threads:
                token = f"token-{race}"
                starts = [threads.submit(aws.start, clientToken=token) for _ in range(8)]
                assert len({start.result() for start in starts}) == 1
    finally:
        sys.setswitchinterval(interval)


def test_same_token_and_other_parameters_is_a_conflict_that_names_the_task(aws: Account) -> None:
    arn = aws.start(clientToken="token-1")
    with pytest.raises(aws.ecs.exceptions.ConflictException) as caught:
        aws.start(clientToken="token-1", startedBy="workroom/two")
    assert caught.value.response["resourceIds"] == [arn]


def test_a_token_is_of_one_cluster_and_good_for_a_day(aws: Account) -> None:
    arn = aws.start(clientToken="token-1")
    assert aws.start(clientToken="token-1", cluster="others") != arn
    aws.wait(86_399)
    assert aws.start(clientToken="token-1") == arn
    aws.wait(2)
    assert aws.start(clientToken="token-1") != arn


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        ({"startedBy": "a" * 129}, "InvalidParameterException", "128"),
        ({"startedBy": "work:room"}, "InvalidParameterException", "startedBy"),
        ({"clientToken": "a" * 65}, "InvalidParameterException", "64"),
        ({"count": 11}, "InvalidParameterException", "count"),
        ({"networkConfiguration": {}}, "InvalidParameterException", "Network Configuration"),
        ({"taskDefinition": "unknown"}, "ClientException", "TaskDefinition not found."),
        ({"taskDefinition": "notebook:2"}, "ClientException", "TaskDefinition not found."),
        ({"tags": [{"key": "aws:me", "value": ""}]}, "InvalidParameterException", "aws:me"),
        ({"tags": [{"key": "user", "value": "a!b"}]}, "InvalidParameterException", "characters"),
        (
            {"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "machines"}]},
            "InvalidParameterException",
            "both a launch type and capacity provider strategy",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "other"}]}},
            "InvalidParameterException",
            "not a container in the TaskDefinition",
        ),
        (
            {"overrides": {"containerOverrides": [{"name": "server", "command": ["x" * 8192]}]}},
            "InvalidParameterException",
            "Container Overrides length must be at most 8192",
        ),
    ],
)
def test_a_wrong_request_is_refused(
    aws: Account, more: dict[str, Any], code: str, message: str
) -> None:
    assert refused(lambda: aws.run(**more))[0] == code
    assert message in refused(lambda: aws.run(**more))[1]
    assert not aws.fake.tasks


def test_an_inactive_definition_runs_no_task(aws: Account) -> None:
    aws.ecs.deregister_task_definition(taskDefinition="notebook:1")
    assert refused(aws.run)[:2] == ("ClientException", "TaskDefinition is inactive")
    container = {"name": "server", "image": "notebook:2", "memory": 128}
    aws.ecs.register_task_definition(family="notebook", containerDefinitions=[container])
    assert aws.run()["tasks"][0]["taskDefinitionArn"].endswith("notebook:2")
    old = refused(lambda: aws.run(taskDefinition="notebook:1"))
    assert old[1] == "TaskDefinition is inactive"


def test_too_many_tasks_in_provisioning(aws: Account) -> None:
    aws.fake.ecs.provisioning_most = 2
    aws.run(count=2)
    assert refused(aws.run)[:2] == (
        "ClientException",
        "Tasks provisioning capacity limit exceeded.",
    )
    aws.wait(5)
    aws.run()


def test_an_unknown_cluster() -> None:
    aws = account(clusters=["people"])
    assert refused(lambda: aws.run(cluster="others"))[0] == "ClusterNotFoundException"


# -- the life of a task --------------------------------------------------------


def test_a_new_task_is_missing_for_a_moment(aws: Account) -> None:
    arn = aws.start()
    aws.wait(0.4)
    answer = aws.ecs.describe_tasks(cluster="people", tasks=[arn])
    assert answer["tasks"] == []
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert aws.listed() == []
    assert refused(lambda: aws.ecs.stop_task(cluster="people", task=arn))[:2] == (
        "InvalidParameterException",
        "The referenced task was not found.",
    )
    aws.wait(0.2)
    assert aws.look(arn)["taskArn"] == arn
    assert aws.listed() == [arn]


def test_phases_of_a_start_with_its_address_and_times() -> None:
    aws = account(
        pace=Pace(visible_after=0, provision_seconds=10, pull_seconds=20, start_seconds=5)
    )
    arn = aws.start(tags=[{"key": "workroom:user", "value": "ada"}])

    def address() -> list[str]:
        details = aws.look(arn)["attachments"][0]["details"]
        return [d["value"] for d in details if d["name"] == "privateIPv4Address"]

    assert aws.look(arn)["lastStatus"] == "PROVISIONING"
    assert "pullStartedAt" not in aws.look(arn)
    aws.wait(11)
    assert aws.look(arn)["lastStatus"] == "PENDING"
    assert address() == [aws.fake.tasks[arn].address]
    aws.wait(20)
    assert aws.look(arn)["lastStatus"] == "PENDING"
    assert "pullStoppedAt" in aws.look(arn)
    aws.wait(5)
    task = aws.look(arn, include=["TAGS"])
    assert task["lastStatus"] == "RUNNING"
    assert task["tags"] == [{"key": "workroom:user", "value": "ada"}]
    assert aws.look(arn)["tags"] == []
    assert (task["pullStoppedAt"] - task["pullStartedAt"]).total_seconds() == pytest.approx(20)
    assert (task["startedAt"] - task["createdAt"]).total_seconds() == pytest.approx(35)

    second = aws.start()  # the image is there now
    aws.wait(16)
    assert aws.look(second)["lastStatus"] == "RUNNING"


def test_stop_is_graceful_idempotent_and_remembered_for_an_hour(aws: Account) -> None:
    arn = aws.running()
    answer = aws.ecs.stop_task(cluster="people", task=arn, reason="her work is done")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"]) == ("RUNNING", "STOPPED")
    assert aws.listed() == []
    assert aws.listed(desiredStatus="STOPPED") == [arn]
    aws.wait(0.3)
    assert aws.look(arn)["lastStatus"] == "STOPPING"
    aws.ecs.stop_task(cluster="people", task=arn, reason="again")
    aws.wait(1)
    task = aws.look(arn)
    assert task["lastStatus"] == "STOPPED"
    assert (task["stopCode"], task["stoppedReason"]) == ("UserInitiated", "her work is done")
    assert task["containers"][0]["exitCode"] == 143
    aws.ecs.stop_task(cluster="people", task=arn)
    aws.wait(3590)
    assert aws.look(arn)["lastStatus"] == "STOPPED"
    aws.wait(20)
    assert aws.ecs.describe_tasks(cluster="people", tasks=[arn])["failures"][0]["reason"] == (
        "MISSING"
    )


def test_a_container_that_ignores_sigterm_is_killed_after_its_stop_timeout(aws: Account) -> None:
    aws.fake.pace.exit_seconds = 3600
    arn = aws.running()
    aws.ecs.stop_task(cluster="people", task=arn)
    aws.wait(9.9)
    assert aws.look(arn)["lastStatus"] == "STOPPING"
    aws.wait(1)
    assert aws.look(arn)["containers"][0]["exitCode"] == 137


@pytest.mark.parametrize("seconds", [0.6, 1.1])
def test_a_task_stopped_before_it_runs_never_runs(seconds: float) -> None:
    aws = account(pace=Pace(provision_seconds=1))
    arn = aws.start()
    aws.wait(seconds)
    aws.ecs.stop_task(cluster="people", task=arn)
    aws.wait(10)
    assert aws.look(arn)["lastStatus"] == "STOPPED"
    assert "exitCode" not in aws.look(arn)["containers"][0]
    assert "startedAt" not in aws.look(arn)


# -- DescribeTasks, ListTasks --------------------------------------------------


def test_at_most_a_hundred_tasks_are_described_in_a_call(aws: Account) -> None:
    assert refused(lambda: aws.ecs.describe_tasks(cluster="people", tasks=["a"] * 101))[0] == (
        "InvalidParameterException"
    )
    assert refused(lambda: aws.ecs.describe_tasks(cluster="people", tasks=[]))[0] == (
        "InvalidParameterException"
    )


def test_lists_come_in_pages_and_by_who_started(aws: Account) -> None:
    mine = [arn for _ in range(15) for arn in arns(aws.run(count=10))]
    other = aws.start(startedBy="workroom/two")
    aws.wait(5)
    first = aws.ecs.list_tasks(cluster="people", startedBy="workroom/one")
    second = aws.ecs.list_tasks(
        cluster="people", startedBy="workroom/one", nextToken=first["nextToken"]
    )
    assert [len(first["taskArns"]), len(second["taskArns"])] == [100, 50]
    assert {*first["taskArns"], *second["taskArns"]} == set(mine)
    assert "nextToken" not in second
    assert aws.listed(startedBy="workroom/two") == [other]
    assert aws.listed(startedBy="workroom/none") == []


def test_started_by_is_the_only_filter(aws: Account) -> None:
    wrong = refused(lambda: aws.listed(startedBy="workroom/one", family="notebook"))
    assert wrong[0] == "InvalidParameterException"
