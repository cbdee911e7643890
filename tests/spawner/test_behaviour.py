"""What every Workroom spawner does, whatever runs its servers: one suite for all of them."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from sqlalchemy.orm import Session

from tests.spawner.hub_double import TOKEN
from tests.spawner.installations import INSTALLATIONS, Opens
from workroom_spawner.errors import NotOffered, ServerDied
from workroom_spawner.profiles import Catalog
from workroom_spawner.startcode import START_CODES, Refused

# On ECS time is virtual; the local engine's client works in threads, whose time is real.
KINDS = [pytest.param("local"), pytest.param("ecs", marks=pytest.mark.looptime)]


@pytest.fixture(params=KINDS)
def installation(request: pytest.FixtureRequest, db: Session, catalog: Catalog) -> Opens:
    """Return what opens an installation; in the test, for virtual time begins there."""
    return partial(INSTALLATIONS[request.param], db, catalog)


# -- start ---------------------------------------------------------------------------


async def test_a_start_returns_where_the_server_is(installation: Opens) -> None:
    async with installation() as it:
        spawner = it.hub.spawner()
        spawner.clear_state()
        address, port = await spawner.start()
        assert address == it.codes()[0][1] == spawner.address
        assert port == spawner.port
        assert await spawner.poll() is None
        assert it.living() == 1


async def test_nothing_runs_before_a_start(installation: Opens) -> None:
    async with installation() as it:
        assert await it.hub.spawner().poll() == 0


async def test_a_start_under_way_is_no_death(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_hangs()
        beginning = it.hub.begin()
        await it.under_way(beginning.spawner)
        assert await beginning.spawner.poll() is None
        await beginning.cancel()


async def test_a_failed_start_leaves_nothing_and_tells_why(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_dies()
        with pytest.raises(ServerDied, match="ran out of memory") as raised:
            await it.hub.start()
        await asyncio.sleep(2)
        assert it.living() == 0
        spawner = it.hub.spawners["ada", ""]
        assert await spawner.poll() == 0
        assert spawner.last_failure
        assert spawner.last_failure["message"] == raised.value.message
        assert it.hub.state() == {"last_failure": spawner.last_failure}
        assert [row.reason for row in it.hub.usage()] == ["failed: died"]


@pytest.mark.parametrize(
    "options",
    [{"profile": "gpu"}, {"profile": "huge"}, {"profile": "small", "image": "other"}],
    ids=["of another group", "unknown", "image of another profile"],
)
async def test_what_is_not_on_offer_is_refused(
    installation: Opens, options: dict[str, str]
) -> None:
    async with installation() as it:
        with pytest.raises(NotOffered):
            await it.hub.start(**options)
        assert it.codes() == []


async def test_a_cancelled_start_leaves_nothing(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_hangs()
        beginning = it.hub.begin()
        await it.under_way(beginning.spawner)
        await beginning.cancel()
        await asyncio.sleep(1)
        assert it.living() == 0
        assert await beginning.spawner.poll() == 0
        assert beginning.spawner.last_failure is None
        assert it.hub.state() == {}
        assert [row.reason for row in it.hub.usage()] == ["cancelled"]


async def test_a_stop_ends_a_start_under_way(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_hangs()
        beginning = it.hub.begin()
        await it.under_way(beginning.spawner)
        await it.hub.stop(beginning.spawner)
        with pytest.raises(asyncio.CancelledError):
            await beginning.running
        await asyncio.sleep(1)
        assert it.living() == 0
        assert [row.reason for row in it.hub.usage()] == ["cancelled"]


async def test_a_code_that_comes_late_is_refused(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_hangs()
        beginning = it.hub.begin()
        await it.under_way(beginning.spawner)
        [(code, address)] = it.codes()
        await beginning.cancel()
        with pytest.raises(Refused):
            await START_CODES.redeem(code, address)


async def test_a_code_is_good_once_and_from_its_own_address(installation: Opens) -> None:
    async with installation() as it:
        it.next_start_hangs()
        beginning = it.hub.begin()
        await it.under_way(beginning.spawner)
        [(code, address)] = it.codes()
        with pytest.raises(Refused, match="address"):
            await START_CODES.redeem(code, "192.0.2.1")
        environment = await START_CODES.redeem(code, address, "ssh-ed25519 AAAA")
        assert environment["JUPYTERHUB_API_TOKEN"] == TOKEN
        assert environment["WORKROOM_PROFILE"] == "small"
        assert environment["WORKROOM_SSH_ADDRESS"] == beginning.spawner.ssh_address
        with pytest.raises(Refused, match="used"):
            await START_CODES.redeem(code, address)
        assert beginning.spawner.ssh_host_key in (None, "ssh-ed25519 AAAA")
        await it.hub.stop(beginning.spawner)
        beginning.running.cancel()


# -- who is who ------------------------------------------------------------------------


async def test_named_servers_do_not_collide(installation: Opens) -> None:
    async with installation() as it:
        first, second = await it.hub.start("ada"), await it.hub.start("ada", "gpu")
        assert it.living() == 2
        await it.hub.stop(first)
        assert (await first.poll(), await second.poll()) == (0, None)
        assert it.living() == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [(("ada", ""), ("Ada", "")), (("a-b", "c"), ("a", "b-c")), (("ada.l", ""), ("ada-l", ""))],
)
async def test_users_who_look_alike_do_not_collide(
    installation: Opens, one: tuple[str, str], other: tuple[str, str]
) -> None:
    async with installation() as it:
        first, second = await it.hub.start(*one), await it.hub.start(*other)
        assert it.living() == 2
        await it.hub.stop(second)
        assert (await first.poll(), await second.poll()) == (None, 0)


# -- state -----------------------------------------------------------------------------


async def test_the_next_hub_process_goes_on_with_the_server(installation: Opens) -> None:
    async with installation() as it:
        before = await it.hub.start(profile="large", image="other")
        hub = await it.next_hub()
        after = hub.spawner()
        assert after is not before
        assert await after.poll() is None
        assert (after.address, after.ssh_host_key) == (before.address, before.ssh_host_key)
        assert (after.profile_title, after.mem_limit) == ("Large", 8 * 2**30)
        assert after.started_at == before.started_at
        assert after.get_state() == before.get_state()
        await hub.stop(after)
        await asyncio.sleep(1)
        assert it.living() == 0
        [row] = hub.usage()
        assert (row.profile, row.reason) == ("large", "stopped")


async def test_the_state_says_where_and_no_secret(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        state = it.hub.state()
        assert state["address"] == spawner.address
        assert (state["ssh_port"], state["ssh_host_key"]) == (2222, "ssh-ed25519 AAAA")
        text = json.dumps(state)
        [(code, _)] = it.codes()
        assert TOKEN not in text
        assert code not in text


# -- the end ---------------------------------------------------------------------------


async def test_stopping_twice_is_harmless(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        await it.hub.stop(spawner)
        await spawner.stop()
        await it.hub.stop(spawner)
        await asyncio.sleep(1)
        assert it.living() == 0
        assert [row.reason for row in it.hub.usage()] == ["stopped"]


async def test_a_death_is_noticed_and_told(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        await it.out_of_memory(spawner)
        assert await spawner.poll() == 137
        assert spawner.last_failure
        assert (
            "ran out of memory (the limit of this profile is 2 GiB)"
            in (spawner.last_failure["message"])
        )
        await it.hub.stop(spawner)
        assert it.hub.state() == {"last_failure": spawner.last_failure}
        assert [row.reason for row in it.hub.usage()] == ["died: out of memory"]


async def test_a_dead_server_can_be_stopped(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        await it.out_of_memory(spawner)
        await spawner.stop()
        await it.hub.stop(spawner)
        assert it.living() == 0
        assert len(it.hub.usage()) == 1
        assert await (await it.hub.start()).poll() is None


async def test_a_server_gone_without_a_trace_is_noticed(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        await it.wiped_out(spawner)
        assert await spawner.poll() == 0
        assert spawner.last_failure
        assert "your files are kept" in spawner.last_failure["message"]
        await it.hub.stop(spawner)
        assert await (await it.hub.start()).poll() is None


async def test_a_good_start_forgets_the_last_failure(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start()
        await it.out_of_memory(spawner)
        await spawner.poll()
        await it.hub.stop(spawner)
        assert (await it.hub.start()).last_failure is None
        assert "last_failure" not in it.hub.state()


# -- what is written of it ---------------------------------------------------------------


async def test_the_usage_row(installation: Opens) -> None:
    async with installation() as it:
        spawner = await it.hub.start("ada", "two", profile="large", image="other")
        await it.hub.stop(spawner)
        [row] = it.hub.usage()
        assert (row.user, row.server, row.profile, row.image, row.reason) == (
            "ada",
            "two",
            "large",
            "workroom/other:latest",
            "stopped",
        )
        assert row.start <= row.stop


async def test_progress_has_one_schema_and_ends_at_answering(installation: Opens) -> None:
    async with installation() as it:
        spawner = it.hub.spawner()
        spawner.clear_state()
        spawner.begin_progress()
        events: list[dict[str, Any]] = []

        async def follow() -> None:
            async for event in spawner.progress():
                events.append(event)

        following = asyncio.create_task(follow())
        await asyncio.sleep(0)
        await spawner.start()
        await asyncio.sleep(0.01)
        following.cancel()
        order = [stage.id for stage in spawner.stages]
        for event in events:
            assert set(event) == {"progress", "message", "stage", "elapsed", "stages"}
            assert event["message"]
            assert 0 <= event["progress"] <= 100
            assert [stage["id"] for stage in event["stages"]] == order
            states = {stage["state"] for stage in event["stages"]}
            assert states <= {"waiting", "active", "done", "failed"}
        reached = [order.index(event["stage"]) for event in events]
        assert reached == sorted(reached)
        assert (events[0]["stage"], events[-1]["stage"]) == ("requested", "answering")
