"""The swap of the start code: it fails, comes late, comes twice, comes from elsewhere."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from tests.fakes.aws import Pace, Task
from tests.spawner.ecs_world import TOKEN, Opens, World, swap, until
from workroom_spawner import second_chance
from workroom_spawner.checkpoints import Checkpoints
from workroom_spawner.errors import ServerDied, StartTimeout
from workroom_spawner.startcode import ALARMS, START_CODES, Refused

pytestmark = pytest.mark.looptime


def alarms(reason: str) -> float:
    return ALARMS.labels(reason=reason)._value.get()


def code_of(task: Task) -> str:
    return task.environment["WORKROOM_START_CODE"]


async def test_a_checkpoint_that_is_refused_at_the_swap_keeps_the_code_good(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing goes out before it is written down; the container asks again and gets it."""
    write, refused = Checkpoints._write, []

    def sometimes(self: Checkpoints, rows: list[dict[str, Any]]) -> None:
        if rows[0]["saved"].get("start", {}).get("redeemed") and len(refused) < 3:
            refused.append(rows)
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        write(self, rows)

    monkeypatch.setattr(Checkpoints, "_write", sometimes)
    async with a_world() as world:
        server = await world.start()
        assert len(refused) == 3
        assert await server.poll() is None
        assert len(world.tasks()) == 1


async def test_a_swap_after_the_deadline_is_refused_and_the_task_stopped(a_world: Opens) -> None:
    async with a_world(boot_seconds=150) as world:
        before = alarms("expired")
        beginning = world.begin()
        await until(world.tasks)
        [task] = world.tasks()
        with pytest.raises(StartTimeout, match=r"within 120 seconds.*Container starting"):
            await beginning.running
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), task.address)
        assert alarms("expired") == before, "its own container is slow, and no thief"
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), "10.9.9.9")
        assert alarms("expired") == before + 1
        await until(lambda: not world.living(), 30)
        assert world.containers.swapped == set()
        assert [row.reason for row in world.usage()] == ["failed: timeout"]


async def test_a_second_swap_is_refused_and_alarmed_and_harms_nobody(
    a_world: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    async with a_world() as world:
        server = await world.start()
        [task] = world.tasks()
        before = alarms("used")
        for address in (task.address, "10.9.9.9"):
            with pytest.raises(Refused, match="used"):
                await START_CODES.redeem(code_of(task), address)
        assert alarms("used") == before + 2
        assert "ALARM start code refused: reason=used" in caplog.text
        await asyncio.sleep(300)
        assert await server.poll() is None
        assert len(world.living()) == 1


async def test_a_swap_from_another_address_is_refused_and_the_owner_still_starts(
    a_world: Opens,
) -> None:
    async with a_world(boot_seconds=10) as world:
        beginning = world.begin()
        await until(lambda: world.tasks("RUNNING"))
        [task] = world.tasks()
        before = alarms("address")
        with pytest.raises(Refused, match="address"):
            await START_CODES.redeem(code_of(task), "10.9.9.9")
        assert alarms("address") == before + 1
        await beginning.running
        assert beginning.spawner.address == task.address


async def test_the_code_of_a_cancelled_start_is_good_for_nothing(a_world: Opens) -> None:
    async with a_world(boot_seconds=30) as world:
        beginning = world.begin()
        await until(lambda: world.tasks("RUNNING"))
        [task] = world.tasks()
        await asyncio.sleep(12)  # until AWS has said where it is
        beginning.running.cancel()
        await asyncio.sleep(0.1)  # before JupyterHub gets to stop the server
        before = alarms("expired")
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), task.address)
        await beginning.cancel()
        again = world.begin()  # the next server's address is not the cancelled one's
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), task.address)
        assert alarms("expired") == before, "its container may come late"
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), "10.9.9.9")
        assert alarms("expired") == before + 1
        await again.running


async def test_a_container_quicker_than_aws_s_records_waits(a_world: Opens) -> None:
    """RunTask has not answered, or DescribeTasks does not show the address: no alarm, no loss."""
    async with a_world(pace=Pace(visible_after=30)) as world:
        before = {reason: alarms(reason) for reason in ("unknown", "address", "expired", "used")}
        world.wire.back = 8.0
        server = await world.start()
        assert await server.poll() is None
        assert {reason: alarms(reason) for reason in before} == before


async def test_a_hub_that_never_answers_the_swap_ends_the_container(a_world: Opens) -> None:
    """After its patience the container exits; its owner reads a sentence."""
    async with a_world() as world:

        async def away(code: str, address: str) -> object:
            await asyncio.sleep(60)
            raise TimeoutError("the hub did not say")

        world.containers.swap = away
        with pytest.raises(ServerDied, match="ended by itself"):
            await world.start()
        world.containers.swap = swap
        await world.start()


async def test_what_describetasks_shows_is_a_code_that_is_spent(a_world: Opens) -> None:
    async with a_world() as world:
        await world.start()
        [task] = world.tasks()
        shown = world.fake.client("ecs").describe_tasks(
            cluster=world.settings.cluster, tasks=[task.arn], include=["TAGS"]
        )
        assert code_of(task) in str(shown), "by design: overrides are readable"
        assert TOKEN not in str(shown)
        with pytest.raises(Refused, match="used"):
            await START_CODES.redeem(code_of(task), task.address)


# -- the hub is killed between the swap and its answer --------------------------------------


async def killed_in_a_swap(world: World) -> tuple[World, Task]:
    """Return the next hub, which takes the server over, and its task."""
    world.http.silent = True
    beginning = world.begin()
    await until(lambda: (world.state().get("start") or {}).get("redeemed"))
    beginning.running.cancel()  # nothing is done about it
    [task] = world.tasks()
    return await next_hub(world), task


async def next_hub(world: World) -> World:
    hub = await world.restarted()
    START_CODES._tickets.clear()  # they were of the process
    hub.http.silent = True
    hub.spawner()
    return hub


async def test_a_code_is_not_good_again_once_its_server_has_answered(
    a_world: Opens, caplog: pytest.LogCaptureFixture
) -> None:
    """The chance that a killed hub's container gets is one; later hubs do not give it again."""
    async with a_world() as world:
        hub, task = await killed_in_a_swap(world)
        await asyncio.sleep(10)
        assert hub.state()["start"]["redeemed"]
        hub.http.silent = False
        await until(lambda: "start" not in hub.state())
        assert "chance_ends" not in hub.state()
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), task.address)
        hub = await next_hub(hub)
        before = alarms("unknown")
        with pytest.raises(Refused, match="unknown"):
            await START_CODES.redeem(code_of(task), task.address)
        assert alarms("unknown") == before + 1
        assert "ALARM start code refused: reason=unknown" in caplog.text
        assert await hub.spawners["ada", ""].poll() is None
        await hub.stop(hub.spawners["ada", ""])
        assert hub.state() == {}


async def test_hubs_that_come_and_go_do_not_prolong_a_second_chance(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world() as world:
        clock, began = asyncio.get_running_loop().time, datetime(2030, 1, 1)
        monkeypatch.setattr(second_chance, "_now", lambda: began + timedelta(seconds=clock()))
        hub, task = await killed_in_a_swap(world)
        for _ in range(2):
            await asyncio.sleep(50)
            hub = await next_hub(hub)
            assert "start" in hub.state()
        await asyncio.sleep(25)
        with pytest.raises(Refused, match="expired"):
            await START_CODES.redeem(code_of(task), task.address)
        await until(lambda: "start" not in hub.state(), 5)
        assert len(world.living()) == 1


async def test_a_second_chance_without_a_token_to_replace_is_refused(a_world: Opens) -> None:
    """Its owner has deleted the token: the container is told no, instead of asking on and on."""
    async with a_world() as world:
        hub, task = await killed_in_a_swap(world)
        before = alarms("expired")
        for time in (1, 2):
            with pytest.raises(Refused, match="expired"):
                await START_CODES.redeem(code_of(task), task.address)
            assert alarms("expired") == before + time
        assert len(hub.living()) == 1
