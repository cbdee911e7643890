"""What a hub does with its spawners, without a hub: a real database, JupyterHub's order of steps.

Source of the order: `User.spawn` and `User.stop` of JupyterHub 6.1, and the handler that cancels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from jupyterhub import orm
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from workroom_spawner.server import WorkroomServer
from workroom_spawner.startcode import START_CODES, NotYet, Refused

TOKEN = "secret-token"
S = TypeVar("S", bound=WorkroomServer)


class HubDouble(Generic[S]):
    """One hub process on one database.

    Attributes:
        spawners: The last one made for each user and server name.
    """

    db: Session
    spawners: dict[tuple[str, str], S]

    def spawner(self, user: str = "ada", server: str = "", **options: str) -> S:
        """Return a server's spawner as the hub makes it, with the state in the database."""
        raise NotImplementedError

    def row(self, user: str, server: str) -> tuple[Any, orm.Spawner]:
        """Return a user as spawners see her, and her server's row; made if there is none."""
        owner = orm.User.find(self.db, user) or orm.User(name=user)
        self.db.add(owner)
        row = owner.orm_spawners.get(server) or orm.Spawner(name=server, user=owner)
        self.db.add(row)
        self.db.commit()
        person = SimpleNamespace(
            name=user, groups=owner.groups, url=f"/user/{user}", id=owner.id, db=self.db
        )
        return person, row

    async def start(self, user: str = "ada", server: str = "", **options: str) -> S:
        """Start a server as the hub does; after it its state is in the database."""
        spawner = self.spawner(user, server, **options)
        await self.go(spawner)
        return spawner

    async def go(self, spawner: S) -> None:
        """Start with a spawner that is there."""
        spawner.clear_state()
        try:
            await spawner.start()
        except Exception:
            await self.stop(spawner)
            raise
        spawner.orm_spawner.state = spawner.get_state()
        self.db.commit()

    def begin(self, user: str = "ada", server: str = "", **options: str) -> Beginning[S]:
        """Begin to start a server; await the result, or have it cancelled."""
        spawner = self.spawner(user, server, **options)
        return Beginning(self, spawner, asyncio.ensure_future(self.go(spawner)))

    async def stop(self, spawner: S) -> None:
        """Stop as the hub does."""
        spawner._stop_pending = True
        if await spawner.poll() is None:
            await spawner.stop()
        await spawner.run_post_stop_hook()
        spawner.clear_state()
        spawner.orm_spawner.state = spawner.get_state()
        self.db.commit()
        spawner._stop_pending = False

    def usage(self) -> list[Any]:
        """Return the rows of the usage table, oldest first."""
        if not inspect(self.db.connection()).has_table("usage"):
            return []
        return list(self.db.execute(text('select * from "usage" order by id')))

    def state(self, user: str = "ada", server: str = "") -> dict[str, Any]:
        """Return what the hub's table has of a server."""
        row = orm.User.find(self.db, user).orm_spawners[server]
        self.db.expire(row)
        return row.state or {}


@dataclass
class Beginning(Generic[S]):
    """A start under way."""

    hub: HubDouble[S]
    spawner: S
    running: asyncio.Future[None]

    @property
    def says(self) -> str:
        """The sentence its owner reads now."""
        return str(self.spawner.begin_progress().event()["message"])

    @property
    def stage(self) -> str:
        """The stage under way."""
        return str(self.spawner.begin_progress().event()["stage"])

    async def cancel(self) -> None:
        """Do what JupyterHub does when a user cancels: end the waiting, then stop the server."""
        self.running.cancel()
        await asyncio.sleep(1)
        await self.hub.stop(self.spawner)
        with suppress(asyncio.CancelledError):
            await self.running


async def until(condition: Callable[[], Any], within: float = 60.0) -> None:
    """Wait in steps of a tenth of a second until `condition` holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.1)


async def swap(code: str, address: str) -> object:
    """Swap a start code as a container does: again, for five minutes, until the hub has an answer.

    Raises:
        Refused: The hub does not accept the code.
        TimeoutError: The hub had no answer; the container exits.
    """
    for _ in range(300):
        try:
            return await START_CODES.redeem(code, address, "ssh-ed25519 AAAA")
        except NotYet:
            await asyncio.sleep(1)
        except Refused:
            raise
        except Exception:  # the hub answered 500
            await asyncio.sleep(1)
    raise TimeoutError("the hub did not say in 300 s")
