"""What surrounds tasks on the fake account: definitions, token buckets, machines, EFS, logs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes.aws import ManagedScaling
from tests.support.fake_account import GROUP, PREFIX, Account, account, refused


@pytest.fixture
def aws() -> Account:
    return account()


# -- task definitions ----------------------------------------------------------


def test_families_are_found_by_prefix_in_pages_while_active(aws: Account) -> None:
    aws.fake.buckets.on = False
    container = [{"name": "server", "image": "notebook:1", "memory": 128}]
    for number in range(105):
        aws.ecs.register_task_definition(family=f"w-{number}", containerDefinitions=container)
    pages = aws.ecs.get_paginator("list_task_definition_families").paginate(
        familyPrefix="w-", status="ACTIVE"
    )
    sizes = [len(page["families"]) for page in pages]
    assert sizes == [100, 5]
    aws.ecs.deregister_task_definition(taskDefinition="w-7:1")
    answer = aws.ecs.list_task_definition_families(familyPrefix="w-7", status="ACTIVE")
    assert "w-7" not in answer["families"]
    assert "w-70" in answer["families"]


def test_registering_again_makes_a_revision(aws: Account) -> None:
    answer = aws.ecs.register_task_definition(
        family="notebook",
        containerDefinitions=[{"name": "server", "image": "notebook:2", "memory": 128}],
        tags=[{"key": "workroom:user", "value": "ada"}],
    )
    assert answer["taskDefinition"]["revision"] == 2
    found = aws.ecs.describe_task_definition(taskDefinition="notebook", include=["TAGS"])
    assert found["taskDefinition"]["containerDefinitions"][0]["image"] == "notebook:2"
    assert found["tags"] == [{"key": "workroom:user", "value": "ada"}]


# -- token buckets -------------------------------------------------------------


def test_buckets_are_shared_as_documented_and_fill_again(aws: Account) -> None:
    arn = aws.running()
    aws.wait(60)
    for _ in range(50):
        aws.look(arn)
        aws.listed()
    code, message, status = refused(aws.listed)
    assert (code, message, status) == ("ThrottlingException", "Rate exceeded", 400)
    assert refused(lambda: aws.look(arn))[0] == "ThrottlingException"
    assert aws.fake.throttled == {"ListTasks": 1, "DescribeTasks": 1}
    assert aws.fake.calls["ListTasks"] == 51
    aws.run()  # another bucket
    aws.wait(1)
    for _ in range(20):
        aws.listed()
    assert refused(aws.listed)[0] == "ThrottlingException"


@pytest.mark.parametrize(("operation", "burst", "rate"), [("run", 100, 40), ("register", 20, 1)])
def test_bursts_and_rates(aws: Account, operation: str, burst: int, rate: int) -> None:
    def call() -> object:
        if operation == "register":
            container = [{"name": "server", "image": "notebook:1", "memory": 128}]
            return aws.ecs.register_task_definition(family="again", containerDefinitions=container)
        return aws.run()

    aws.wait(60)
    for number in (burst, rate):
        for _ in range(number):
            call()
        assert refused(call)[0] == "ThrottlingException"
        aws.wait(1)


def test_buckets_can_be_scaled_and_switched_off(aws: Account) -> None:
    aws.fake.buckets.scale(0.01, aws.clock())
    aws.listed()
    assert refused(aws.listed)[0] == "ThrottlingException"
    aws.fake.buckets.on = False
    aws.listed()


# -- machines ------------------------------------------------------------------

PROVIDER = {"capacityProviderStrategy": [{"capacityProvider": "machines", "weight": 1}]}


def test_from_nothing_two_machines_are_started_and_the_task_waits_in_provisioning() -> None:
    aws = account(scaling=ManagedScaling(cpu=4096, memory=8192, machine_seconds=90))
    groups = aws.fake.client("autoscaling")

    def machines() -> list[str]:
        [group] = groups.describe_auto_scaling_groups(AutoScalingGroupNames=["machines"])[
            "AutoScalingGroups"
        ]
        assert group["DesiredCapacity"] == len(group["Instances"])
        return [instance["LifecycleState"] for instance in group["Instances"]]

    arn = aws.start(**PROVIDER)
    aws.wait(59)
    assert aws.look(arn)["lastStatus"] == "PROVISIONING"
    assert machines() == []
    aws.wait(2)
    aws.look(arn)
    assert machines() == ["Pending", "Pending"]
    aws.wait(88)
    assert aws.look(arn)["lastStatus"] == "PROVISIONING"
    aws.wait(4)
    task = aws.look(arn)
    assert task["lastStatus"] == "RUNNING"
    assert (task["capacityProviderName"], task["connectivity"]) == ("machines", "CONNECTED")
    assert machines() == ["InService", "InService"]


def test_a_full_fleet_grows_and_room_that_is_left_is_used() -> None:
    aws = account(scaling=ManagedScaling(cpu=2048, memory=4096, machines=1))
    arns = [aws.start(**PROVIDER) for _ in range(3)]
    aws.wait(5)
    assert [aws.look(arn)["lastStatus"] for arn in arns] == ["RUNNING", "RUNNING", "PROVISIONING"]
    aws.ecs.stop_task(cluster="people", task=arns[0])
    aws.wait(5)
    assert aws.look(arns[2])["lastStatus"] == "RUNNING"
    late = aws.start(**PROVIDER)
    aws.wait(160)
    assert aws.look(late)["lastStatus"] == "RUNNING"
    assert len(aws.fake.fleet.machines) == 2


def test_a_task_stopped_while_it_waits_takes_no_room() -> None:
    aws = account(scaling=ManagedScaling(cpu=1024, memory=2048, machines=1))
    first, waiting, next_one = (aws.start(**PROVIDER) for _ in range(3))
    aws.wait(5)
    aws.fake.pace.deprovision_seconds = 60  # its network interface goes slowly, its place at once
    aws.ecs.stop_task(cluster="people", task=waiting)
    aws.fake.pace.deprovision_seconds = 0
    aws.ecs.stop_task(cluster="people", task=first)
    aws.wait(5)
    assert aws.look(next_one)["lastStatus"] == "RUNNING"


def test_a_task_too_big_for_any_machine_adds_none_and_is_given_up() -> None:
    aws = account(scaling=ManagedScaling(cpu=2048, memory=4096))
    arn = aws.start(**PROVIDER, overrides={"cpu": "4096", "memory": "4096"})
    aws.wait(1700)
    assert aws.look(arn)["lastStatus"] == "PROVISIONING"
    assert aws.fake.fleet.machines == []
    aws.wait(110)
    assert aws.look(arn)["stopCode"] == "TaskFailedToStart"


def test_without_a_capacity_provider_no_room_is_a_failure_at_once() -> None:
    aws = account(scaling=ManagedScaling(cpu=2048, memory=4096, machines=1))
    answer = aws.run(count=3)
    assert len(answer["tasks"]) == 2
    assert [failure["reason"] for failure in answer["failures"]] == ["RESOURCE:MEMORY"]


# -- EFS and logs --------------------------------------------------------------


def test_access_points_are_idempotent_by_token_and_become_available(aws: Account) -> None:
    efs = aws.fake.client("efs")
    request: dict[str, Any] = {
        "ClientToken": "home-ada",
        "FileSystemId": "fs-01234567",
        "PosixUser": {"Uid": 1000, "Gid": 1000},
        "RootDirectory": {
            "Path": "/homes/ada",
            "CreationInfo": {"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "0700"},
        },
        "Tags": [{"Key": "workroom:home", "Value": "ada"}],
    }
    made = efs.create_access_point(**request)
    assert made["LifeCycleState"] == "creating"
    with pytest.raises(efs.exceptions.AccessPointAlreadyExists) as caught:
        efs.create_access_point(**request)
    assert caught.value.response["AccessPointId"] == made["AccessPointId"]
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    aws.wait(2)
    [point] = efs.describe_access_points(AccessPointId=made["AccessPointId"])["AccessPoints"]
    assert point["LifeCycleState"] == "available"
    assert point["Tags"] == request["Tags"]
    assert point["PosixUser"] == request["PosixUser"]


def test_access_points_come_in_pages_and_have_a_limit(aws: Account) -> None:
    aws.fake.efs.most = 3
    efs = aws.fake.client("efs")
    for number in range(3):
        efs.create_access_point(ClientToken=f"home-{number}", FileSystemId="fs-01234567")
    pages = efs.get_paginator("describe_access_points").paginate(
        FileSystemId="fs-01234567", PaginationConfig={"PageSize": 2}
    )
    assert [len(page["AccessPoints"]) for page in pages] == [2, 1]
    more = refused(
        lambda: efs.create_access_point(ClientToken="home-3", FileSystemId="fs-01234567")
    )
    assert (more[0], more[2]) == ("AccessPointLimitExceeded", 403)


def test_the_last_lines_of_a_task(aws: Account) -> None:
    arn = aws.running()
    logs = aws.fake.client("logs")
    stream = f"{PREFIX}/server/{arn.rpartition('/')[2]}"
    get = {"logGroupName": GROUP, "logStreamName": stream}
    assert refused(lambda: logs.get_log_events(**get))[0] == "ResourceNotFoundException"
    for line in ("one", "two", "three"):
        aws.fake.write(arn, line)
    events = logs.get_log_events(**get, limit=2)["events"]
    assert [event["message"] for event in events] == ["two", "three"]
