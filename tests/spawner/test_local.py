"""LocalSpawner's life on fake engines: start, death, stop, and a hub that comes back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from tests.fakes.engines import (
    ContainerDiesDuringStart,
    Engine,
    EngineUnreachableNow,
    EngineWithFullDisk,
    EngineWithoutImage,
)
from workroom_spawner.errors import (
    DiskFull,
    EngineUnreachable,
    ImageMissing,
    NotOffered,
    ServerDied,
    SpawnProblem,
    StartTimeout,
    Unexpected,
)
from workroom_spawner.local import LocalSpawner
from workroom_spawner.profiles import Catalog
from workroom_spawner.startcode import START_CODES

Make = Callable[..., LocalSpawner]


async def _serve(answer: bytes) -> AsyncIterator[int]:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(65536)).startswith(b"GET /user/ada/api HTTP/1.1"):
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A port on loopback that answers as a started server does."""
    async for number in _serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"):
        yield number


@pytest.fixture
async def hanging_port() -> AsyncIterator[int]:
    """A port that accepts connections and then says nothing of use."""
    async for number in _serve(b""):
        yield number


async def report_in(engine: Engine) -> None:
    """Do what the container's start script does."""
    while not engine.requests or not any(c["State"]["Running"] for c in engine.containers.values()):
        await asyncio.sleep(0.01)
    code = engine.requests[-1]["environment"]["WORKROOM_START_CODE"]
    await START_CODES.redeem(code, engine.ADDRESS)


async def started(spawner: LocalSpawner, engine: Engine, port: int) -> None:
    spawner.port = port
    _, address = await asyncio.gather(report_in(engine), spawner.start())
    assert address == (engine.ADDRESS, port)


def rows(spawner: LocalSpawner) -> list[Any]:
    found = spawner.db.execute(text('select user, profile, reason, start, stop from "usage"'))
    return list(found)


async def test_start_stop_and_the_usage_row(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine, user_options={"profile": "large", "image": "notebook"})
    await started(spawner, engine, port)
    assert await spawner.poll() is None
    await spawner.stop()
    await spawner.run_post_stop_hook()
    assert engine.containers == {}
    [(user, profile, reason, start, stop)] = rows(spawner)
    assert (user, profile, reason) == ("ada", "large", "stopped")
    assert start <= stop


async def test_an_idle_server_s_row_says_so(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine, idle_after=3600)
    await started(spawner, engine, port)
    now = datetime.now(UTC).replace(tzinfo=None)
    spawner.orm_spawner.last_activity = now - timedelta(hours=2)
    await spawner.stop()
    spawner.orm_spawner.last_activity = now  # the hub does this before it calls the hook
    await spawner.run_post_stop_hook()
    assert [row.reason for row in rows(spawner)] == ["idle"]


async def test_container_is_given_a_code_and_no_token(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    [request] = engine.requests
    assert set(request["environment"]) == {"WORKROOM_START_URL", "WORKROOM_START_CODE"}
    assert "secret-token" not in json.dumps(request)
    state = spawner.get_state()
    assert "secret-token" not in json.dumps(state)
    assert request["environment"]["WORKROOM_START_CODE"] not in json.dumps(state)
    assert {"address", "ssh_port", "ssh_host_key", "object_id"} <= set(state)


@pytest.mark.parametrize(
    ("engine", "problem", "says"),
    [
        (EngineWithoutImage(), ImageMissing, "workroom build"),
        (EngineWithFullDisk(), DiskFull, "disk is full"),
        (EngineUnreachableNow(), EngineUnreachable, "does not answer"),
        (ContainerDiesDuringStart(1), ServerDied, "exit code 1"),
        (ContainerDiesDuringStart(137, oom=True), ServerDied, "out of memory"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Engine) else None,
)
async def test_failed_start_says_why_and_leaves_nothing(
    make_spawner: Make, engine: Engine, problem: type[SpawnProblem], says: str
) -> None:
    spawner = make_spawner(engine)
    with pytest.raises(problem, match=re.escape(says)) as raised:
        await spawner.start()
    assert "Traceback" not in raised.value.message
    await spawner.run_post_stop_hook()
    assert engine.containers == {}
    assert spawner.last_failure is not None
    assert says in spawner.last_failure["message"]
    assert rows(spawner)[0].reason == f"failed: {problem.reason}"
    assert spawner.begin_progress().event()["stages"][-1]["state"] != "done"


async def test_container_that_never_reports_in_meets_our_deadline(make_spawner: Make) -> None:
    engine = Engine()
    spawner = make_spawner(engine, start_deadline=1)
    with pytest.raises(StartTimeout, match=r"1 seconds.*Container starting"):
        await spawner.start()
    await spawner.run_post_stop_hook()
    assert engine.containers == {}


async def test_a_server_that_accepts_but_never_answers_meets_it_too(
    make_spawner: Make, hanging_port: int
) -> None:
    engine = Engine()
    spawner = make_spawner(engine, start_deadline=1)
    spawner.port = hanging_port
    reported = asyncio.create_task(report_in(engine))
    with pytest.raises(StartTimeout, match="getting ready"):
        await spawner.start()
    await reported
    await spawner.run_post_stop_hook()
    assert engine.containers == {}


async def test_api_cannot_get_what_the_form_does_not_offer(make_spawner: Make) -> None:
    engine = Engine()
    spawner = make_spawner(engine, user_options={"profile": "small", "image": "evil:latest"})
    with pytest.raises(NotOffered):
        await spawner.start()
    assert engine.requests == []


async def test_cancelled_while_the_engine_creates_leaks_nothing(make_spawner: Make) -> None:
    class Slow(Engine):
        def create_container(self, **request: Any) -> dict[str, Any]:
            import time

            time.sleep(0.3)
            return super().create_container(**request)

    engine = Slow()
    spawner = make_spawner(engine)
    start = asyncio.create_task(spawner.start())
    await asyncio.sleep(0.1)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await spawner.run_post_stop_hook()
    assert engine.requests, "the engine did make it"
    assert engine.containers == {}


async def test_a_stop_ends_a_start_that_is_still_under_way(make_spawner: Make) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    start = asyncio.create_task(spawner.start())
    while not engine.containers:
        await asyncio.sleep(0.01)
    await spawner.stop()
    await spawner.run_post_stop_hook()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert engine.containers == {}
    assert spawner.last_failure is None
    assert [row.reason for row in rows(spawner)] == ["cancelled"]


async def test_left_over_container_of_a_dead_hub_is_replaced(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    left = engine.create_container(name=spawner.object_name, image="x")["Id"]
    await started(spawner, engine, port)
    assert left not in engine.containers


async def test_poll_never_raises_and_unknown_means_running(make_spawner: Make, port: int) -> None:
    engine = EngineUnreachableNow()
    engine.away = False
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    engine.away = True
    assert await spawner.poll() is None
    for broken in ("_state", "docker"):

        async def explode(*args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("lie")

        original = getattr(spawner, broken)
        setattr(spawner, broken, explode)
        assert await spawner.poll() is None
        setattr(spawner, broken, original)
    engine.away = False
    assert await spawner.poll() is None


@pytest.mark.parametrize(
    ("code", "oom", "says", "reason"),
    [
        (137, True, "out of memory", "died: out of memory"),
        (139, False, "exit code 139", "died: exit code 139"),
        (137, False, "from outside", "died: exit code 137"),
    ],
)
async def test_death_is_told_with_the_last_lines(
    make_spawner: Make, port: int, code: int, oom: bool, says: str, reason: str
) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    engine.die(spawner.object_id, code, oom)
    assert await spawner.poll() == code
    await spawner.run_post_stop_hook()
    spawner.clear_state()
    assert spawner.last_failure is not None
    assert says in spawner.last_failure["message"]
    assert spawner.last_failure["detail"] == "last words\n"
    assert spawner.get_state()["last_failure"] == spawner.last_failure
    assert [row.reason for row in rows(spawner)] == [reason]


async def test_a_good_start_forgets_the_last_failure(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    spawner.remember_failure("It ran out of memory.")
    await started(spawner, engine, port)
    assert spawner.last_failure is None


async def test_container_removed_from_outside(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    engine.containers.clear()
    assert await spawner.poll() == 0
    assert spawner.last_failure is not None
    assert "removed by somebody" in spawner.last_failure["message"]


async def test_another_hub_process_takes_over(make_spawner: Make, port: int) -> None:
    engine = Engine()
    first = make_spawner(engine, user_options={"profile": "large"})
    await started(first, engine, port)
    second = make_spawner(engine, server="again")
    second.load_state(json.loads(json.dumps(first.get_state())))
    assert await second.poll() is None
    assert second.choice is not None
    assert (second.choice.profile.name, second.mem_limit) == ("large", 8 * 2**30)
    assert (second.address, second.started_at) == (first.address, first.started_at)
    await second.stop()
    await second.run_post_stop_hook()
    assert engine.containers == {}


async def test_settings_may_change_under_a_running_server(
    make_spawner: Make, port: int, catalog: Catalog
) -> None:
    engine = Engine()
    first = make_spawner(engine, user_options={"profile": "large"})
    await started(first, engine, port)
    second = make_spawner(engine, server="again")
    second.catalog = replace(catalog, profiles=catalog.profiles[:1])
    second.load_state(json.loads(json.dumps(first.get_state())))
    engine.die(second.object_id, 137, oom=True)
    assert await second.poll() == 137
    assert second.last_failure is not None
    assert "8 GiB" in second.last_failure["message"]
    await second.run_post_stop_hook()
    assert [row.profile for row in rows(second)] == ["large"]


async def test_usage_ends_when_the_server_did_not_when_it_was_noticed(
    make_spawner: Make, port: int
) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    assert spawner.started_at is not None
    spawner.started_at -= timedelta(days=3)
    ended = spawner.started_at + timedelta(hours=1)
    engine.die(spawner.object_id, 137)
    state = engine.inspect_container(spawner.object_id)["State"]
    state["FinishedAt"] = ended.isoformat() + "123Z"
    await spawner.poll()
    await spawner.run_post_stop_hook()
    assert [row.stop for row in rows(spawner)] == [str(ended)]


async def test_a_mistake_of_ours_is_not_blamed_on_the_engine(make_spawner: Make) -> None:
    class Surprising(Engine):
        def create_container(self, **request: Any) -> dict[str, Any]:
            return {"no": "Id"}

    spawner = make_spawner(Surprising())
    with pytest.raises(Unexpected, match="Workroom's side") as raised:
        await spawner.start()
    assert "KeyError" in raised.value.log_message
    assert "KeyError" not in raised.value.message


async def test_stop_twice_is_harmless(make_spawner: Make, port: int) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    await spawner.stop()
    await spawner.run_post_stop_hook()
    await spawner.stop()
    await spawner.run_post_stop_hook()
    assert len(rows(spawner)) == 1


def test_a_forged_form_is_refused(make_spawner: Make) -> None:
    spawner = make_spawner(Engine())
    good = {"profile": ["large"], "image": ["other"], "_xsrf": ["x"]}
    assert spawner.options_from_form(good) == {"profile": "large", "image": "other"}
    for forged in (
        {**good, "mem_limit": ["64G"]},
        {**good, "profile": ["large", "gpu"]},
        {**good, "profile": ["gpu"]},
        {**good, "image": ["workroom/other:latest"]},
    ):
        with pytest.raises(NotOffered):
            spawner.options_from_form(forged)


async def test_no_usage_row_is_lost_silently(
    make_spawner: Make, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine()
    spawner = make_spawner(engine)
    await started(spawner, engine, port)
    spawner.db.execute(text('create table "usage" (wrong int)'))
    await spawner.stop()
    spawner.log.propagate = True
    await spawner.run_post_stop_hook()
    assert engine.containers == {}
    assert "usage row" in caplog.text
