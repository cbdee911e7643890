"""What a starting hub makes of its table of servers, without a cluster; `test_ecs_hub_killed` has
the whole of it in real processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from jupyterhub import orm
from sqlalchemy.orm import Session

from workroom_hub import keepers, tokens
from workroom_hub.configure import CLI_SERVICE

START: dict[str, Any] = {
    "client_token": "t",
    "request": {},
    "options": {},
    "arn": None,
    "redeemed": False,
}
ARN = "arn:aws:ecs:eu-west-1:1:task/team/a"

STATES: dict[str, tuple[Any, bool]] = {
    "before its first checkpoint": ({}, True),
    "never had a server": (None, True),
    "after a failure": ({"last_failure": {"message": "no room"}}, True),
    "checkpointed": ({"start": START}, True),
    "with a task": ({"start": {**START, "arn": ARN}, "started_at": "…"}, True),
    "reported in": ({"start": {**START, "redeemed": True}, "task_arn": ARN}, False),
    "running": ({"task_arn": ARN, "address": "10.0.0.1"}, False),
    "being stopped": ({"task_arn": ARN, "stopping": "stopped"}, False),
    "start being cancelled": ({"start": START, "stopping": "cancelled"}, False),
    "of another spawner": ({"object_id": "a container's id"}, False),
}


class Spawner:
    """Remembers what the keeper did with it."""

    user: ClassVar = SimpleNamespace(name="ada")

    def __init__(self, row: orm.Spawner) -> None:
        self.orm_spawner, self.name, self._log_name = row, row.name, f"ada:{row.name}"
        self.active = self.pending = False
        self.did: list[str] = []
        self.last_failure: Any = None

    def expect_code(self) -> None:
        self.did.append("expects its code")

    def let_go(self) -> None:
        self.did.append("let go")

    def remember_failure(self, message: str) -> None:
        self.did.append(message)
        self.last_failure = message

    def get_state(self) -> dict[str, str]:
        return {"last_failure": self.last_failure}


class Spawners(dict[str, Spawner]):
    """Made at the first look, as the hub does."""

    def __init__(self, user: orm.User) -> None:
        super().__init__()
        self.user = user

    def __missing__(self, name: str) -> Spawner:
        self[name] = Spawner(self.user.orm_spawners[name])
        return self[name]


class Users(dict[orm.User, Any]):
    def __missing__(self, user: orm.User) -> Any:
        self[user] = SimpleNamespace(spawners=Spawners(user))
        return self[user]


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def warning(self, text: str, *values: object, **_: object) -> None:
        self.lines.append(text % values)

    error = exception = warning


@pytest.fixture
def db() -> Iterator[Session]:
    with closing(orm.new_session_factory("sqlite:///:memory:")()) as session:
        session.add(orm.OAuthClient(identifier="jupyterhub"))
        session.commit()
        yield session


@pytest.fixture
def keeper(db: Session, monkeypatch: pytest.MonkeyPatch) -> keepers.TaskKeeper:
    async def close() -> None:
        """Nothing goes on there."""

    monkeypatch.setattr(keepers.EcsPlatform, "of", lambda _: SimpleNamespace(close=close))
    app = SimpleNamespace(
        db=db,
        config=SimpleNamespace(EcsSpawner=SimpleNamespace(platform_settings=None)),
        users=Users(),
        log=Log(),
        hub=SimpleNamespace(api_url="http://127.0.0.1:8081/hub/api/"),
        services=[{"name": CLI_SERVICE, "api_token": "secret"}],
    )
    return keepers.TaskKeeper(app)  # type: ignore[arg-type]


def add(db: Session, name: str, state: Any, server: bool = True) -> orm.Spawner:
    owner = orm.User.find(db, "ada") or orm.User(name="ada")
    row = orm.Spawner(name=name, user=owner, state=state)
    if server:
        row.server = orm.Server(base_url=f"/user/ada/{name}/")
    db.add_all([owner, row])
    db.commit()
    return row


@pytest.mark.parametrize(("state", "under_way"), STATES.values(), ids=STATES)
def test_only_starts_that_nobody_has_heard_of_are_set_aside(
    db: Session, keeper: keepers.TaskKeeper, state: Any, under_way: bool
) -> None:
    row = add(db, "lab", state)
    keeper.before_spawners()
    assert [spawner.name for spawner in keeper._starting] == ["lab"] * under_way
    assert keeper._stopping == []
    assert (row.server is None) is under_way
    if under_way:
        assert keeper._starting[0].did == ["expects its code"]


def test_a_hub_killed_before_it_went_on_leaves_the_start_to_the_next(
    db: Session, keeper: keepers.TaskKeeper
) -> None:
    add(db, "lab", {"start": START})
    keeper.before_spawners()
    db.expire_all()
    keeper.before_spawners()
    assert [spawner.name for spawner in keeper._starting] == ["lab"]
    assert keeper._stopping == []


@pytest.mark.parametrize("state", [{"task_arn": ARN}, {"start": START}])
def test_what_had_been_stopped_but_for_its_state_is_put_away(
    db: Session, keeper: keepers.TaskKeeper, state: Any
) -> None:
    row = add(db, "lab", state, server=False)
    add(db, "quiet", {"last_failure": {"message": "no room"}}, server=False)
    keeper.before_spawners()
    assert [spawner.name for spawner in keeper._stopping] == ["lab"]
    assert row.state == {"stopping": "stopped", **state}


def test_tokens_of_a_start_that_goes_on_are_taken_back(
    db: Session, keeper: keepers.TaskKeeper
) -> None:
    row = add(db, "lab", {"start": START})
    for note in ("Server at /user/ada/lab/", "Server at /user/ada/other/", "mine"):
        row.user.new_api_token(note=note, scopes=[])
    keeper.before_spawners()
    assert sorted(token.note for token in row.user.api_tokens) == [
        "Server at /user/ada/other/",
        "mine",
    ]


def test_tokens_of_a_server_that_ended_are_taken_back(db: Session) -> None:
    owner = add(db, "", {}).user
    for note in ("Server at /user/ada/", "Server at /user/ada/lab/"):
        owner.new_api_token(note=note, scopes=[])
    user = SimpleNamespace(base_url="/user/ada/", orm_user=owner, db=db)
    tokens.forget_after_stop(SimpleNamespace(user=user, name="lab"))
    db.expire_all()
    assert [token.note for token in owner.api_tokens] == ["Server at /user/ada/"]


@pytest.fixture
def posted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    urls: list[str] = []

    async def fetch(url: str, **_: Any) -> Any:
        urls.append(url)
        return SimpleNamespace(status=503)

    monkeypatch.setattr(keepers, "fetch", fetch)
    return urls


async def resume(keeper: keepers.TaskKeeper, spawner: Any) -> None:
    await keeper._resume(spawner, asyncio.Semaphore(1))
    await asyncio.sleep(0)


@pytest.mark.parametrize(("name", "path"), [("", "server"), ("lab", "servers/lab")])
async def test_a_start_that_cannot_go_on_is_told_to_its_owner(
    db: Session, keeper: keepers.TaskKeeper, posted: list[str], name: str, path: str
) -> None:
    row = add(db, name, {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    await resume(keeper, spawner)
    assert posted == [f"http://127.0.0.1:8081/hub/api/users/ada/{path}"]
    assert "let go" in spawner.did
    assert "Start it again" in row.state["last_failure"]
    assert keeper.app.log.lines == [f"the start of ada:{name} could not go on: HTTP 503"]


async def test_what_the_start_itself_told_its_owner_stays(
    db: Session, keeper: keepers.TaskKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went on, and failed within the time in which the hub answers a request."""
    row = add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    spawner.last_failure = "of last week"

    async def fails(url: str, **_: Any) -> Any:
        spawner.remember_failure("It ran out of memory.")
        return SimpleNamespace(status=500)

    monkeypatch.setattr(keepers, "fetch", fails)
    await resume(keeper, spawner)
    assert row.state == {"last_failure": "It ran out of memory."}


async def test_an_older_failure_is_not_taken_for_that_of_this_start(
    db: Session, keeper: keepers.TaskKeeper, posted: list[str]
) -> None:
    row = add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    spawner.last_failure = "of last week"
    await resume(keeper, spawner)
    assert "Start it again" in row.state["last_failure"]


async def test_the_log_does_not_tell_the_token(
    db: Session, keeper: keepers.TaskKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of aiohttp may hold the whole request."""
    add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting

    async def fails(url: str, headers: Any, **_: Any) -> Any:
        raise ConnectionError(headers)

    monkeypatch.setattr(keepers, "fetch", fails)
    await resume(keeper, spawner)
    assert keeper.app.log.lines == ["the start of ada:lab could not go on: ConnectionError"]


@pytest.mark.parametrize("pending", [False, True], ids=["not there yet", "starting"])
async def test_a_hub_that_ends_goes_on_with_no_start(
    db: Session, keeper: keepers.TaskKeeper, monkeypatch: pytest.MonkeyPatch, pending: bool
) -> None:
    row = add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    spawner.pending = pending
    ended: list[bool] = []

    async def never(url: str, **_: Any) -> Any:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    monkeypatch.setattr(keepers, "fetch", never)
    keeper._resuming = asyncio.gather(keeper._resume(spawner, asyncio.Semaphore(1)))
    await asyncio.sleep(0.1)
    await keeper.close()
    assert keeper._resuming.done()
    assert ended == [True]
    # The next hub goes on with it.
    assert "let go" not in spawner.did
    assert row.state["start"] == START


async def test_who_has_clicked_already_is_left_alone(
    db: Session, keeper: keepers.TaskKeeper, posted: list[str]
) -> None:
    add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    spawner.active = True
    await resume(keeper, spawner)
    assert posted == []
    assert spawner.did == ["expects its code"]


async def test_a_server_that_was_deleted_is_not_started_anew(
    db: Session, keeper: keepers.TaskKeeper, posted: list[str]
) -> None:
    row = add(db, "lab", {"start": START})
    keeper.before_spawners()
    [spawner] = keeper._starting
    db.delete(row)
    db.commit()
    await resume(keeper, spawner)
    assert posted == []
    assert spawner.did[-1] == "let go"


async def test_what_everybody_gets_next_is_prepared_for_everybody(
    db: Session, keeper: keepers.TaskKeeper
) -> None:
    """A task definition names its image, so a promotion is a new one for each user."""
    prepared: list[tuple[list[str], list[str]]] = []
    asked: list[Any] = []
    keeper.platform = SimpleNamespace(  # type: ignore[assignment]
        prewarm=lambda names, images: asked.append((names, images))
    )
    images = [SimpleNamespace(ref="old")]
    catalog = SimpleNamespace(images_now=lambda: images)
    keeper.app.config.EcsSpawner = SimpleNamespace(catalog=catalog)

    async def sweep() -> None:
        await keeper.sweep()
        for names, refs in asked:
            prepared.append(([name async for name in names], list(refs)))
        asked.clear()

    for name in ("ada", "bob"):
        db.add(orm.User(name=name))
    db.commit()
    await sweep()
    await sweep()
    assert prepared == [(["ada", "bob"], ["old"])], "once is enough"
    db.add(orm.User(name="cyd"))
    db.commit()
    await sweep()
    images[:] = [SimpleNamespace(ref="new")]
    await sweep()
    await sweep()
    assert prepared[1:] == [(["cyd"], ["old"]), (["ada", "bob", "cyd"], ["new"])]
