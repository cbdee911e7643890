"""Each bad day of the fake account fails as its name says, and only so; containers are played."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.fakes.aws import Ending, FakeContainers, bad_days
from tests.support.fake_account import Account, account, arns, refused


@pytest.fixture
def aws() -> Account:
    return account()


# -- bad days ------------------------------------------------------------------


def test_describe_is_throttled_for_a_time_and_the_rest_is_not(aws: Account) -> None:
    arn = aws.running()
    aws.fake.suffer(bad_days.DescribeThrottledFor(600))
    aws.wait(599)
    assert refused(lambda: aws.look(arn))[0] == "ThrottlingException"
    assert refused(aws.listed)[0] == "ThrottlingException"
    assert aws.fake.throttled == {"DescribeTasks": 1, "ListTasks": 1}
    aws.run()
    aws.wait(2)
    aws.look(arn)


def test_errors_of_every_call(aws: Account) -> None:
    arn = aws.running()
    with aws.fake.suffering(bad_days.DescribeAnswers500()):
        assert refused(lambda: aws.look(arn))[::2] == ("ServerException", 500)
    with aws.fake.suffering(bad_days.CredentialsExpired()):
        assert refused(aws.listed)[0] == "ExpiredTokenException"
        efs = aws.fake.client("efs")
        assert refused(efs.describe_access_points)[0] == "ExpiredTokenException"
    with aws.fake.suffering(bad_days.NetworkGone()), pytest.raises(EndpointConnectionError):
        aws.listed()
    with aws.fake.suffering(bad_days.RegisterThrottled()):
        container = [{"name": "server", "image": "notebook:1", "memory": 128}]
        assert (
            refused(
                lambda: aws.ecs.register_task_definition(family="x", containerDefinitions=container)
            )[0]
            == "ThrottlingException"
        )
    assert aws.look(arn)["lastStatus"] == "RUNNING"


def test_describe_lies_and_list_too_if_asked(aws: Account) -> None:
    arn = aws.running()
    with aws.fake.suffering(bad_days.DescribeLiesMissing(arn)):
        answer = aws.ecs.describe_tasks(cluster="people", tasks=[arn])
        assert (answer["tasks"], answer["failures"][0]["reason"]) == ([], "MISSING")
        assert aws.listed() == [arn]
    with aws.fake.suffering(bad_days.DescribeLiesMissing(arn, lists=True)):
        assert aws.listed() == []


def test_run_task_fails_in_its_several_ways(aws: Account) -> None:
    with aws.fake.suffering(bad_days.RunTaskAnswersFailures("RESOURCE:GPU", times=1)):
        answer = aws.run()
        assert (answer["tasks"], answer["failures"][0]["reason"]) == ([], "RESOURCE:GPU")
        assert not aws.fake.tasks
        assert aws.run()["tasks"]
    with aws.fake.suffering(bad_days.ProvisioningQuotaFull()):
        assert "provisioning capacity limit" in refused(aws.run)[1]
    with aws.fake.suffering(bad_days.RunTaskAnswersTwice()):
        first, second = arns(aws.run())
        assert first == second
    with aws.fake.suffering(bad_days.RunTaskAnswersTwice(two_tasks=True)):
        first, second = arns(aws.run())
        assert first != second
        assert {first, second} < aws.fake.tasks.keys()


def test_run_task_times_out_and_the_same_call_again_finds_its_task(aws: Account) -> None:
    with (
        aws.fake.suffering(bad_days.RunTaskTimesOutAfterStarting()),
        pytest.raises(ReadTimeoutError),
    ):
        aws.run(clientToken="token-1")
    [arn] = aws.fake.tasks
    assert aws.start(clientToken="token-1") == arn


def test_stop_task_fails_some_times(aws: Account) -> None:
    arn = aws.running()
    aws.fake.suffer(bad_days.StopTaskFails(2))
    for _ in range(2):
        assert refused(lambda: aws.ecs.stop_task(cluster="people", task=arn))[2] == 500
    aws.wait(60)
    assert aws.look(arn)["lastStatus"] == "RUNNING"
    aws.ecs.stop_task(cluster="people", task=arn)
    aws.wait(60)
    assert aws.look(arn)["lastStatus"] == "STOPPED"


@pytest.mark.parametrize(
    ("phase", "ending", "exit_code"),
    [
        ("PROVISIONING", bad_days.MOUNT_FAILED, None),
        ("PENDING", bad_days.IMAGE_CANNOT_BE_PULLED, None),
        ("pull", bad_days.MOUNT_FAILED, None),
        ("process", bad_days.CONTAINER_EXITED, 1),
        ("RUNNING", bad_days.OUT_OF_MEMORY, 137),
        ("RUNNING", bad_days.SPOT_RECLAIMED, 143),
        ("RUNNING", bad_days.MACHINE_DRAINED, 143),
        ("RUNNING", bad_days.MACHINE_TERMINATED, None),
    ],
)
def test_a_task_stops_by_itself(
    aws: Account, phase: str, ending: Ending, exit_code: int | None
) -> None:
    aws.fake.suffer(bad_days.TaskStopsAt(phase, ending, times=1))
    arn = aws.start()
    aws.wait(10)
    task = aws.look(arn)
    container = task["containers"][0]
    assert task["lastStatus"] == "STOPPED"
    assert (task["stopCode"], task["stoppedReason"]) == (ending.code, ending.reason)
    assert container.get("exitCode") == exit_code
    assert container.get("reason", "") == ending.container_reason
    aws.running()  # only one of them


def test_a_machine_is_terminated_with_its_tasks(aws: Account) -> None:
    arn = aws.running()
    aws.fake.end_machine(aws.fake.fleet.machines[0], bad_days.MACHINE_TERMINATED)
    aws.wait(1)
    assert aws.look(arn)["stoppedReason"].startswith("Host EC2 (instance i-")
    assert aws.run()["failures"]


def test_a_disconnected_agent_neither_starts_nor_stops_anything(aws: Account) -> None:
    arn = aws.running()
    starting = aws.start()
    aws.wait(0.6)
    day = bad_days.AgentDisconnected()
    aws.fake.suffer(day)
    assert aws.look(arn)["connectivity"] == "DISCONNECTED"
    assert aws.run()["failures"][0]["reason"] == "AGENT"
    aws.ecs.stop_task(cluster="people", task=arn)
    aws.wait(3000)
    assert (aws.look(arn)["lastStatus"], aws.look(arn)["desiredStatus"]) == ("RUNNING", "STOPPED")
    assert aws.look(starting)["lastStatus"] == "PENDING"
    aws.fake.relieve(day)
    aws.wait(5)
    assert aws.look(arn)["lastStatus"] == "STOPPED"
    assert aws.look(starting)["lastStatus"] == "RUNNING"


# -- containers ----------------------------------------------------------------


def _with_code(code: str) -> dict[str, Any]:
    environment = [{"name": "WORKROOM_START_CODE", "value": code}]
    return {"overrides": {"containerOverrides": [{"name": "server", "environment": environment}]}}


def looping_account() -> Account:
    return account(asyncio.get_running_loop().time)


@pytest.mark.looptime
async def test_containers_swap_their_code_when_they_run_though_nobody_looks() -> None:
    loop = asyncio.get_running_loop()
    aws = looping_account()
    aws.fake.pace.start_seconds = 145
    swapped: list[tuple[str, str, float]] = []

    async def swap(code: str, address: str) -> None:
        swapped.append((code, address, loop.time()))

    async with FakeContainers(aws.fake, swap, boot_seconds=2):
        begun = loop.time()
        arn = aws.start(**_with_code("secret"))
        await asyncio.sleep(200)
    [(code, address, when)] = swapped
    assert (code, address) == ("secret", aws.fake.tasks[arn].address)
    assert when - begun == pytest.approx(0.3 + 0.5 + 145 + 2, abs=0.1)


@pytest.mark.looptime
async def test_a_container_whose_code_is_refused_exits_and_says_so() -> None:
    aws = looping_account()

    async def swap(code: str, address: str) -> None:
        raise PermissionError("This start code has been used.")

    async with FakeContainers(aws.fake, swap) as containers:
        arn = aws.start(**_with_code("secret"))
        await asyncio.sleep(10)
        task = aws.look(arn)
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["containers"][0]["exitCode"] == 1
    assert containers.failed == {arn: "This start code has been used."}
    assert [line for _, line in aws.fake.tasks[arn].lines] == [
        "workroom-start: This start code has been used."
    ]


@pytest.mark.looptime
async def test_a_task_stopped_while_its_container_boots_swaps_nothing() -> None:
    aws = looping_account()
    swapped: list[str] = []

    async def swap(code: str, address: str) -> None:
        swapped.append(code)

    async with FakeContainers(aws.fake, swap, boot_seconds=30):
        arn = aws.start(**_with_code("secret"))
        await asyncio.sleep(5)
        aws.ecs.stop_task(cluster="people", task=arn)
        await asyncio.sleep(60)
    assert swapped == []


async def test_containers_hear_of_tasks_that_threads_start() -> None:
    aws = account(asyncio.get_running_loop().time)
    pace = aws.fake.pace
    pace.provision_seconds = pace.pull_seconds = pace.start_seconds = 0
    swapped = asyncio.Event()

    async def swap(code: str, address: str) -> None:
        swapped.set()

    async with FakeContainers(aws.fake, swap), asyncio.timeout(5):
        await asyncio.sleep(0.05)  # the loop is asleep by then
        # Not `to_thread`: its end would wake the loop whoever else did.
        threading.Thread(target=aws.start, kwargs=_with_code("secret")).start()
        await swapped.wait()
