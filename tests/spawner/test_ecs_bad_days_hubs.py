"""Several hubs on one account, clocks that jump, a poll that cannot raise, secrets that stay."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from jupyterhub import orm
from prometheus_client import REGISTRY, generate_latest

from tests.fakes.aws import Task, bad_days
from tests.spawner.ecs_world import ECS, TOKEN, Opens, World
from workroom_spawner import server as server_module
from workroom_spawner.checkpoints import Checkpoints
from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.verdicts import Death, Verdict

pytestmark = pytest.mark.looptime


def another(task: Task, **fields: Any) -> dict[str, Any]:
    """Return a request like the one of `task`, for a container that swaps no code.

    Args:
        fields: What is different: fields of the request, or tags.
    """
    same = {name: value for name, value in task.request.items() if name != "overrides"}
    tags = {**task.tags, **{n: v for n, v in fields.items() if n in task.tags}}
    same["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
    return {**same, "clientToken": "another", **{n: fields[n] for n in fields if n not in tags}}


# -- two hubs share a cluster ---------------------------------------------------------


async def test_two_installations_leave_each_other_alone(a_world: Opens) -> None:
    async with a_world() as one:
        hubs = orm.new_session_factory("sqlite:///:memory:")()
        two = World(
            hubs, one.catalog, one.fake, one.containers, replace(ECS, installation="2" * 32)
        )
        one.platform.start()
        two.platform.start()
        servers = [
            await world.start(user, name)
            for world in (one, two)
            for user, name in (("ada", ""), ("ada", "two"), ("bob", ""))
        ]
        assert len({server.task_arn for server in servers}) == 6
        # A hub that knows nothing of these users must not take them for its orphans either.
        del two.platform.servers[servers[3].server_id]
        await asyncio.sleep(3600)
        gone = [t.tags["workroom:installation"] for t in one.tasks() if t.desired == "STOPPED"]
        assert gone == ["2" * 32], "its own orphan, and nothing else"
        assert [await s.poll() for s in servers[:3]] == [None, None, None]
        await two.platform.close()
        hubs.close()


@pytest.mark.parametrize(
    "foreign",
    [
        {"startedBy": "somebody/else"},
        {"startedBy": ECS.started_by + "x"},
        {"tags": []},
        {"workroom:installation": "2" * 32},
    ],
    ids=["same tags, other startedBy", "longer startedBy", "no tags", "tag of another"],
)
async def test_a_task_of_somebody_else_is_never_touched(
    a_world: Opens, foreign: dict[str, Any]
) -> None:
    async with a_world() as world:
        world.platform.start()
        server = await world.start()
        [ours] = world.tasks()
        theirs = world.fake.preload(another(ours, **foreign))
        await asyncio.sleep(3600)
        await world.stop(server)
        await asyncio.sleep(3600)
        assert theirs.desired == "RUNNING"
        assert ours.desired == "STOPPED"


async def test_an_orphan_of_ours_goes_after_the_grace_and_not_before(a_world: Opens) -> None:
    async with a_world() as world:
        world.platform.start()
        await world.start()
        [ours] = world.tasks()
        orphan = world.fake.preload(another(ours))
        await asyncio.sleep(ECS.orphan_grace - 10)
        assert orphan.desired == "RUNNING"
        await asyncio.sleep(140)
        assert [t.arn for t in world.living()] == [ours.arn]


# -- clocks --------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, -1])
async def test_the_wall_clock_jumps(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The hub's clock is set, or AWS's is off: nobody dies of it, no row ends before it began."""

    class Jumped(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz) + timedelta(days=days)

    async with a_world() as world:
        world.platform.start()
        starting = world.begin("eve")
        servers = [await world.start(user) for user in ("ada", "bob")]
        with monkeypatch.context() as patch:
            patch.setattr(server_module, "datetime", Jumped)
            world.fake.wall += days * 86_400
            await starting.running
            late = await world.start("late")
            await asyncio.sleep(1800)
            assert [await s.poll() for s in (*servers, starting.spawner, late)] == [None] * 4
            await world.stop(servers[0])
        world.fake.wall -= 2 * days * 86_400
        await asyncio.sleep(1800)
        assert await servers[1].poll() is None
        world.fake.end(servers[1].task_arn, bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(75)
        assert await servers[1].poll() == 137
        for server in (servers[1], late, starting.spawner):
            await world.stop(server)
        rows = world.usage()
        assert len(rows) == 4
        assert all(row.start <= row.stop for row in rows)


# -- poll ------------------------------------------------------------------------------


def broken(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken")


async def broken_later(*_: Any, **__: Any) -> Any:
    raise RuntimeError("broken")


COLLABORATORS: dict[str, Callable[[EcsSpawner, pytest.MonkeyPatch], None]] = {
    "platform": lambda s, m: m.setattr(type(s), "platform", property(broken)),
    "verdict": lambda s, m: m.setattr(type(s.platform.watcher), "verdict", broken),
    "verdict is None": lambda s, m: m.setattr(type(s.platform.watcher), "verdict", lambda *_: None),
    "log lines": lambda s, m: m.setattr(type(s.platform.api), "log_lines", broken_later),
    "database": lambda s, m: m.setattr(type(s), "db", property(broken)),
    "memory of failures": lambda s, m: m.setattr(type(s), "remember_failure", broken),
    "choice": lambda s, m: m.setattr(s, "choice", "broken"),
    "settings": lambda s, m: m.setattr(s, "task_arn", 7),
    "log": lambda s, m: m.setattr(type(s), "log", property(broken)),
}


@pytest.mark.parametrize("dead", [False, True], ids=["running", "dead"])
@pytest.mark.parametrize("what", [*COLLABORATORS, "all at once"])
async def test_poll_cannot_raise(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch, what: str, dead: bool
) -> None:
    async with a_world() as world:
        server = await world.start()
        if dead:
            world.fake.end(server.task_arn, bad_days.OUT_OF_MEMORY)
            await asyncio.sleep(75)
        with monkeypatch.context() as patch:
            # The platform last, for the others are found through it.
            for name in reversed(COLLABORATORS) if what == "all at once" else [what]:
                COLLABORATORS[name](server, patch)
            answer = await server.poll()
        assert answer in ((None, 0, 137) if dead else (None,))
        assert await server.poll() == (137 if dead else None)


async def test_a_verdict_of_death_without_a_view_is_no_trap(
    a_world: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world() as world:
        server = await world.start()
        gone = Verdict(Death.VANISHED)
        monkeypatch.setattr(world.platform.watcher, "verdict", lambda arn: gone)
        assert await server.poll() == 0


# -- secrets ---------------------------------------------------------------------------


async def test_no_secret_is_written_anywhere(
    a_world: Opens, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token nowhere; the start code nowhere but in RunTask's overrides, where it is spent."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("botocore").setLevel(logging.NOTSET)
    saved: list[str] = []
    write = Checkpoints._write

    def writing(self: Checkpoints, rows: list[dict[str, Any]]) -> None:
        saved.extend(json.dumps(row["saved"]) for row in rows)
        write(self, rows)

    monkeypatch.setattr(Checkpoints, "_write", writing)
    async with a_world() as world:
        world.platform.start()
        # A good start, one that AWS refuses, one that loses its answer, one that dies.
        server = await world.start("ada")
        world.fake.suffer(bad_days.RunTaskAnswersFailures("AGENT", times=1))
        with pytest.raises(Exception, match="refused"):
            await world.start("bob")
        world.fake.suffer(bad_days.RunTaskTimesOutAfterStarting(1))
        await world.start("eve")
        await world.start("carl")
        world.fake.end(world.spawners["carl", ""].task_arn, bad_days.OUT_OF_MEMORY)
        await asyncio.sleep(600)
        await world.spawners["carl", ""].poll()
        await world.stop(server)
        codes = {
            pair["value"]
            for request in world.requests.of("RunTask")
            for container in request["overrides"]["containerOverrides"]
            for pair in container["environment"]
            if pair["name"] == "WORKROOM_START_CODE"
        }
        assert len(codes) == 4
        states = [json.dumps(row.state) for row in world.db.query(orm.Spawner)]
        asked = json.dumps([each for each in world.requests.asked if each[0] != "RunTask"])
        described = json.dumps([t.request for t in world.tasks()])
        events = json.dumps([s.begin_progress().event() for s in world.spawners.values()])
        places = {
            "log": caplog.text,
            "checkpoints": "".join(saved),
            "states": "".join(states),
            "metrics": generate_latest(REGISTRY).decode(),
            "other requests": asked,
            "progress": events,
        }
        assert saved
        assert len(caplog.text) > 500
        for place, text in places.items():
            assert TOKEN not in text, place
            assert not [code for code in codes if code in text], place
        assert TOKEN not in described
        assert TOKEN not in json.dumps(world.requests.of("RunTask"))
