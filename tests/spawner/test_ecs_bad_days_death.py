"""A task ends by itself: at every stage, for every reason, its owner reads why."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.fakes.aws import Ending, Pace, Task, bad_days
from tests.fakes.aws.bad_days import TaskStopsAt
from tests.spawner.ecs_world import Opens, World
from workroom_spawner.errors import ServerDied
from workroom_spawner.task_errors import death, no_machine
from workroom_spawner.task_view import TaskView

pytestmark = pytest.mark.looptime

SLOW = Pace(provision_seconds=20, pull_seconds=20, start_seconds=20)


@dataclass(frozen=True)
class Reason:
    """An ending, what its owner reads, what the usage row says."""

    ending: Ending
    says: str
    row: str
    exit_code: int = 0


REASONS = {
    "memory": Reason(
        bad_days.OUT_OF_MEMORY,
        r"ran out of memory \(the limit of this profile is 2 GiB\).*larger profile",
        "out of memory",
        137,
    ),
    "image": Reason(
        bad_days.IMAGE_CANNOT_BE_PULLED,
        r"image could not be fetched.*another image",
        "image could not be pulled",
    ),
    "mount": Reason(
        bad_days.MOUNT_FAILED,
        r"home folder could not be mounted.*safe",
        "home could not be mounted",
    ),
    "exited": Reason(
        bad_days.CONTAINER_EXITED, r"ended by itself \(exit code 1\)", "exit code 1", 1
    ),
    "spot": Reason(
        bad_days.SPOT_RECLAIMED, r"took back the spot machine", "spot machine reclaimed"
    ),
    "drained": Reason(
        bad_days.MACHINE_DRAINED, r"machine it ran on was replaced", "machine replaced"
    ),
    "terminated": Reason(
        bad_days.MACHINE_TERMINATED, r"machine it ran on was replaced", "machine replaced"
    ),
}
# What may happen to a task before its container's process has run.
EARLY = ("image", "mount", "spot", "drained", "terminated")


def of(user: str, task: Task) -> bool:
    return task.tags["workroom:user"] == user


async def assert_failed_start(world: World, reason: Reason, user: str) -> None:
    spawner = world.spawners[user, ""]
    failure = spawner.last_failure
    assert failure
    assert re.search(reason.says, failure["message"]), failure["message"]
    assert reason.ending.reason not in failure["message"], "AWS's own words are for the log"
    row = world.usage()[-1]
    assert (row.user, row.reason) == (user, "failed: died")
    assert row.start <= row.stop
    await asyncio.sleep(30)
    assert [task for task in world.living() if of(user, task)] == []
    assert spawner.server_id not in world.platform.servers


@pytest.mark.parametrize(
    ("stage", "names"),
    [("PROVISIONING", EARLY), ("pull", EARLY), ("PENDING", EARLY), ("process", tuple(REASONS))],
)
async def test_before_the_swap(a_world: Opens, stage: str, names: tuple[str, ...]) -> None:
    """`pull` meets it in the pull, `PENDING` in the container's start, `process` while it boots."""
    after = {"PENDING": 25.0, "process": 5.0}.get(stage, 10.0)
    async with a_world(pace=SLOW, boot_seconds=20) as world:
        for name in names:
            reason = REASONS[name]
            world.fake.suffer(
                TaskStopsAt(stage, reason.ending, after=after, only=partial(of, name))
            )
            with pytest.raises(ServerDied, match=reason.says):
                await world.start(name)
            await assert_failed_start(world, reason, name)
        assert world.containers.swapped == set()


async def test_after_the_swap_while_answering(a_world: Opens) -> None:
    async with a_world() as world:
        world.http.silent = True
        for name, reason in REASONS.items():
            world.fake.suffer(
                TaskStopsAt("process", reason.ending, after=15, only=partial(of, name))
            )
            with pytest.raises(ServerDied, match=reason.says):
                await world.start(name)
            await assert_failed_start(world, reason, name)


async def test_while_running(a_world: Opens) -> None:
    async with a_world() as world:
        servers = {name: await world.start(name) for name in REASONS}
        await asyncio.sleep(3600)
        for name, reason in REASONS.items():
            world.fake.write(servers[name].task_arn, f"last words of {name}")
            world.fake.end(servers[name].task_arn, reason.ending)
        await asyncio.sleep(75)  # two sweeps
        for name, reason in REASONS.items():
            spawner = servers[name]
            expected = 143 if reason.ending.graceful else reason.exit_code
            assert await spawner.poll() == expected
            assert spawner.last_failure
            assert re.search(reason.says, spawner.last_failure["message"])
            assert spawner.last_failure["detail"] == f"last words of {name}"
            await world.stop(spawner)
            # Kept for its owner, in the next process too; nobody else's state has it.
            assert world.state(name)["last_failure"] == spawner.last_failure
            assert "task_arn" not in world.state(name)
        assert [row.reason for row in world.usage()] == [f"died: {r.row}" for r in REASONS.values()]
        assert world.requests.of("StopTask") == []
        assert world.platform.servers == {}


async def test_one_start_tells_of_the_last_lines_to_its_owner_only(a_world: Opens) -> None:
    async with a_world() as world:
        world.fake.on_running(lambda task: world.fake.write(task.arn, "ModuleNotFoundError: no"))
        world.http.silent = True
        world.fake.suffer(TaskStopsAt("process", bad_days.CONTAINER_EXITED, after=15, times=1))
        with pytest.raises(ServerDied) as raised:
            await world.start()
        assert "ModuleNotFoundError" not in raised.value.message
        assert world.state()["last_failure"]["detail"] == "ModuleNotFoundError: no"
        world.http.silent = False
        await world.start("bob")
        assert "last_failure" not in world.state("bob")
        # A good start forgets it.
        await world.start()
        assert "last_failure" not in world.state()


async def test_no_log_lines_are_no_reason_to_say_nothing(a_world: Opens) -> None:
    """The log group is gone, or the hub may not read it."""

    class LogsDenied(bad_days.CredentialsExpired):
        operations = ("GetLogEvents",)

    async with a_world() as world:
        server = await world.start()
        world.fake.suffer(LogsDenied())
        world.fake.end(server.task_arn, bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(75)
        assert await server.poll() == 137
        assert server.last_failure
        assert server.last_failure["detail"] == ""


async def test_the_row_ends_when_the_server_did(a_world: Opens) -> None:
    async with a_world() as world:
        server = await world.start()
        assert server.started_at
        world.fake.wall -= 86_400  # AWS ended it a day before the hub looks
        world.fake.end(server.task_arn, bad_days.SPOT_RECLAIMED)
        server.started_at -= timedelta(days=3)
        began = server.started_at
        await asyncio.sleep(75)
        await server.poll()
        await world.stop(server)
        [row] = world.usage()
        assert timedelta(days=1.9) < datetime.fromisoformat(row.stop) - began < timedelta(days=2.1)


async def test_an_exit_of_78_names_the_hub(a_world: Opens) -> None:
    """The container's start script ends so when the hub gave it no environment."""
    gave_up = Ending("EssentialContainerExited", "Essential container in task exited", 78)
    async with a_world(boot_seconds=20) as world:
        world.fake.suffer(TaskStopsAt("process", gave_up, after=5))
        with pytest.raises(ServerDied, match=r"settings from the hub"):
            await world.start()


async def test_a_home_that_could_not_be_mounted_is_asked_for_again(a_world: Opens) -> None:
    """Somebody may have deleted its access point, and the next start needs another."""
    async with a_world() as world:
        for times in (1, 2):
            ending = TaskStopsAt("PROVISIONING", bad_days.MOUNT_FAILED, after=0.1, times=1)
            world.fake.suffer(ending)
            with pytest.raises(ServerDied, match="could not be mounted"):
                await world.start()
            assert world.fake.calls["CreateAccessPoint"] == times
        server = await world.start()
        assert world.fake.calls["CreateAccessPoint"] == 3
        world.fake.end(server.task_arn, bad_days.MOUNT_FAILED)
        await asyncio.sleep(75)
        await server.poll()
        await world.stop(server)
        await world.stop(await world.start())
        assert world.fake.calls["CreateAccessPoint"] == 4
        await world.start()
        assert world.fake.calls["CreateAccessPoint"] == 4


HOME = "home could not be mounted"
NOT_STARTED = "could not be started"


@pytest.mark.parametrize(
    ("container", "code", "task", "expected"),
    [
        ("", "TaskFailedToStart", "RESOURCE: insufficient amount of memory", NOT_STARTED),
        (
            "CannotStartContainerError: Error response from daemon: failed to create shim task: "
            "OCI runtime create failed: mounting /proc to rootfs: no such file",
            "TaskFailedToStart",
            "Task failed to start",
            NOT_STARTED,
        ),
        (
            "CannotCreateContainerError: No such volume",
            "TaskFailedToStart",
            "Task failed to start",
            NOT_STARTED,
        ),
        (
            "CannotCreateVolumeError: VolumeDriver.Mount: mounting volume failed: b'mount.nfs4'",
            "TaskFailedToStart",
            "Task failed to start",
            HOME,
        ),
        ("", "TaskFailedToStart", "ResourceInitializationError: EFS utils failed", HOME),
        ("", "TaskFailedToStart", "ResourceInitializationError: no network", NOT_STARTED),
        ("", "", "Your Spot Task was interrupted.", "spot machine reclaimed"),
    ],
)
def test_whose_fault_it_is(container: str, code: str, task: str, expected: str) -> None:
    """AWS's words are alike: of a mount by Docker, of an amount, of the home's."""
    view = TaskView(
        "arn", "STOPPED", stop_code=code, stopped_reason=task, container_reason=container
    )
    assert death(view, 0)[0] == expected


@pytest.mark.parametrize(
    ("change", "placed"),
    [
        ({}, False),
        ({"address": "10.0.0.9"}, True),
        ({"pull_started_at": datetime(2026, 1, 1, tzinfo=UTC)}, True),
        ({"container_reason": "CannotPullContainerError: gone"}, True),
        ({"stopped_reason": "ResourceInitializationError: unable to attach the ENI"}, True),
        ({"stop_code": "SpotInterruption"}, True),
        ({"status": "DEPROVISIONING"}, True),
    ],
)
def test_which_task_had_no_machine(change: dict[str, Any], placed: bool) -> None:
    """Only its owner reads that no machine became free."""
    view = TaskView(
        "arn", "STOPPED", stop_code="TaskFailedToStart", stopped_reason="Capacity is unavailable"
    )
    assert (no_machine(replace(view, **change), 600) is None) == placed


def test_a_task_aws_forgot_had_perhaps_a_machine() -> None:
    assert no_machine(None, 600) is None
