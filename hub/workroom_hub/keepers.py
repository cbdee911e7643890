"""What a hub does beside its spawners so that nothing is lost and nothing is left over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.httpclient import fetch
from jupyterhub.utils import url_path_join
from sqlalchemy import Select, Text, inspect, literal_column, or_, select

from workroom_hub import tokens
from workroom_hub.configure import CLI_SERVICE
from workroom_spawner.local import engine_client
from workroom_spawner.platform import EcsPlatform
from workroom_spawner.requests import LABEL

if TYPE_CHECKING:
    from workroom_hub.app import WorkroomHub

_RESUMED_AT_ONCE = 20
_SET_ASIDE = "set_aside"
"""In the state of a start that is to be gone on with; the first checkpoint takes it out."""
_NOT_RESUMED = (
    "The hub was started anew while your server was starting, and could not go on with it. "
    "Start it again; your files are as they were."
)
_LOOK_EVERY, _LOOKS = 0.05, 200
"""Seconds between two looks whether a start goes on, and how many there are."""


class Keeper(Protocol):
    """What the hub calls; one implementation a spawner."""

    def before_spawners(self) -> None:
        """Called when the database is there and no spawner is yet."""

    async def begin(self) -> None:
        """Called once the hub serves."""

    async def sweep(self) -> None:
        """Called now and then; what it raises is logged."""

    async def close(self) -> None:
        """Called when the hub ends."""


class ContainerKeeper:
    """Removes this installation's containers that no server owns.

    An engine that was away when a server had to stop may leave its container running.
    """

    def __init__(self, app: WorkroomHub) -> None:
        self.app = app

    def before_spawners(self) -> None:
        """Nothing: the engine knows its containers by name."""

    async def begin(self) -> None:
        """Nothing: the first sweep follows at once."""

    async def sweep(self) -> None:
        """Remove containers whose server the hub does not know as active."""
        instance, log = self.app.config.LocalSpawner.instance, self.app.log
        client = engine_client()
        found = await asyncio.to_thread(
            client.containers, all=True, filters={"label": f"{LABEL}.instance={instance}"}
        )
        for container in found:
            labels = container["Labels"]
            user, server = labels.get(f"{LABEL}.user", ""), labels.get(f"{LABEL}.server", "")
            if self.app.is_active(user, server):
                continue
            log.warning("removing orphaned container %s", container["Names"][0])
            try:
                await asyncio.to_thread(client.remove_container, container["Id"], force=True)
            except Exception:
                log.exception("%s could not be removed; tried again later", container["Id"])

    async def close(self) -> None:
        """Nothing goes on in the background."""


class TaskKeeper:
    """Adopts the tasks of an earlier hub process, resumes its starts, stops orphans."""

    def __init__(self, app: WorkroomHub) -> None:
        self.app = app
        self.platform = EcsPlatform.of(app.config.EcsSpawner.platform_settings)
        self._starting: list[Any] = []
        self._stopping: list[Any] = []
        self._warm: set[str] = set()
        self._warm_for: set[str] = set()
        self._resuming: asyncio.Future[list[None]] | None = None
        self._asked: set[asyncio.Future[Any]] = set()

    def before_spawners(self) -> None:
        """Set aside starts that were under way when the hub died, and stops that were.

        JupyterHub takes every server in its table for one that runs. A start whose container has
        not reported in yet is none: it is started once more, and goes on where it was.
        """
        db = self.app.db
        remembered = list(db.scalars(_remembered_without_server()))
        half_stopped = [row for row in remembered if _SET_ASIDE not in row.state]
        starting = [row for row in remembered if _SET_ASIDE in row.state]
        for row in db.scalars(_with_server()):
            if _under_way(row.state or {}):
                self._set_aside(row)
                starting.append(row)
        for row in half_stopped:
            row.state = {"stopping": "stopped", **row.state}
        db.commit()
        self._starting = [self._spawner(row) for row in starting]
        self._stopping = [self._spawner(row) for row in half_stopped]
        for spawner in self._starting:
            # Made now, so that the reconciler knows its task and the start code is not refused.
            spawner.expect_code()

    def _set_aside(self, row: orm.Spawner) -> None:
        """Take a start out of JupyterHub's hands, so that this hub may be killed, too."""
        # No container has these tokens yet, and none will.
        tokens.forget(self.app.db, row.user, row.server.base_url)
        self.app.db.delete(row.server)
        row.server = None
        row.state = {**(row.state or {}), _SET_ASIDE: True}

    def _spawner(self, row: orm.Spawner) -> Any:
        return self.app.users[row.user].spawners[row.name]

    async def begin(self) -> None:
        """Begin to watch over the cluster, let the starts go on and put away what has ended."""
        self.platform.start()
        for spawner in self._stopping:
            await self._put_away(spawner)
        if self._starting:
            self.app.log.warning("%d starts were under way; going on", len(self._starting))
        turns = asyncio.Semaphore(_RESUMED_AT_ONCE)
        self._resuming = asyncio.gather(*(self._resume(each, turns) for each in self._starting))

    async def _put_away(self, spawner: Any) -> None:
        try:
            if not spawner.active:
                await spawner.user.stop(spawner.name)
        except Exception:
            self.app.log.exception("what is left of %s could not be put away", spawner._log_name)

    async def _resume(self, spawner: Any, turns: asyncio.Semaphore) -> None:
        """Start a server as a click would, unless its owner has clicked or left meanwhile."""
        async with turns:
            try:
                if not _exists(spawner):
                    spawner.let_go()
                elif not spawner.active:
                    await self._click(spawner)
            except Exception:
                self._give_up(spawner, "a mistake of ours", exc_info=True)

    async def _click(self, spawner: Any) -> None:
        """Ask the hub for the server, so that the hub's own rules hold; returns once it starts."""
        named = f"servers/{quote(spawner.name, safe='')}" if spawner.name else "server"
        user = quote(spawner.user.name, safe="")
        [token] = [s["api_token"] for s in self.app.services if s["name"] == CLI_SERVICE]
        answer = asyncio.ensure_future(
            fetch(
                url_path_join(self.app.hub.api_url, "users", user, named),
                method="POST",
                headers={"Authorization": f"token {token}"},
                raise_for_status=False,
            )
        )
        self._asked.add(answer)
        answer.add_done_callback(partial(self._answered, spawner, spawner.last_failure))
        # The answer may take 10 s, and who waits for a turn has a container that waits.
        for _ in range(_LOOKS):
            if answer.done() or spawner.pending:
                return
            await asyncio.sleep(_LOOK_EVERY)

    def _answered(self, spawner: Any, failure: Any, answer: asyncio.Future[Any]) -> None:
        self._asked.discard(answer)
        if answer.cancelled() or (_exists(spawner) and spawner.active):
            return
        error = answer.exception()
        if error or answer.result().status >= 400:
            # Of an error its name only: the text may have the request's headers in it.
            why = type(error).__name__ if error else f"HTTP {answer.result().status}"
            told = spawner.last_failure not in (None, failure)
            self._give_up(spawner, why, told)

    def _give_up(self, spawner: Any, why: str, told: bool = False, **more: Any) -> None:
        """End a start that cannot go on, and tell its owner why, unless the start itself has."""
        self.app.log.error("the start of %s could not go on: %s", spawner._log_name, why, **more)
        spawner.let_go()
        if _exists(spawner):
            if not told:
                spawner.remember_failure(_NOT_RESUMED)
            spawner.orm_spawner.state = spawner.get_state()
            self.app.db.commit()

    async def sweep(self) -> None:
        """Prepare the next start of everybody who has come since the last time.

        After a promotion that is everybody: a task definition names its image.
        """
        names = set(self.app.db.scalars(select(orm.User.name)))
        images = {i.ref: None for i in self.app.config.EcsSpawner.catalog.images_now()}
        if images.keys() - self._warm_for:
            self._warm = set()
        self._warm_for = set(images)
        new, self._warm = sorted(names - self._warm), names
        if new:
            self.platform.prewarm(_each(new), images)

    async def close(self) -> None:
        """End what goes on in the background; tasks run on."""
        under_way = [*([self._resuming] if self._resuming else []), *self._asked]
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self.platform.close()


def _with_server() -> Select[tuple[orm.Spawner]]:
    """Return the servers of the hub's table, but for the thousands that had started well."""
    state = literal_column("spawners.state", Text)
    unsettled = or_(state.is_(None), state.like('%"start"%'), state.not_like('%"task_arn"%'))
    return select(orm.Spawner).where(orm.Spawner.server_id.is_not(None), unsettled)


def _remembered_without_server() -> Select[tuple[orm.Spawner]]:
    """Return what a hub set aside, or had ended but for putting away what it remembers."""
    state = literal_column("spawners.state", Text)  # the text, not what it says
    memory = or_(*(state.like(f'%"{key}"%') for key in ("task_arn", "start", _SET_ASIDE)))
    return select(orm.Spawner).where(orm.Spawner.server_id.is_(None), memory)


def _exists(spawner: Any) -> bool:
    """Tell whether a server's user and name have not been deleted meanwhile."""
    return bool(inspect(spawner.orm_spawner).persistent)


def _under_way(state: dict[str, Any]) -> bool:
    """Tell from its state whether a server in the hub's table was being started."""
    if "start" in state:
        return not (state["start"].get("redeemed") or "stopping" in state)
    # Before its first checkpoint there is nothing; the memory of a failure outlives the server.
    return not state.keys() - {"last_failure"}


async def _each(names: list[str]) -> AsyncIterator[str]:
    for name in names:
        yield name
