"""The calls to AWS about homes, logs and machines, with scripted answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.fakes.scripted_aws import (
    SETTINGS,
    ScriptedAws,
    api_of,
    refusal,
)
from workroom_spawner.aws_errors import (
    Refused,
    Unreachable,
)
from workroom_spawner.ecs_api import Machines


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
