"""Saves spawners' state while they start, in a thread, many in one transaction.

JupyterHub stores a spawner's state only after `start()` returned; what a start must not lose is
written here, past the hub's session: its commits would block the event loop, and expire every
object the hub has loaded.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from jupyterhub import orm
from sqlalchemy import Engine, bindparam, update
from sqlalchemy.pool import StaticPool

from workroom_spawner.database import to_disk

_TOGETHER = 0.03
"""Seconds in which those who save share a transaction."""
_SPAWNERS: Any = orm.Spawner.__table__
_SAVE = update(_SPAWNERS).where(_SPAWNERS.c.id == bindparam("row")).values(state=bindparam("saved"))


class Checkpoints:
    """Writes into the hub's `spawners` table through one thread of its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # Of its own: whoever fills the default pool (looks at the engine, the disk) waits alone.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        # A database in memory has one connection only, and that is the hub's.
        self._inline = isinstance(engine.pool, StaticPool)
        self._waiting: dict[int, dict[str, Any]] = {}
        self._written: asyncio.Future[None] | None = None
        self._busy = asyncio.Lock()

    async def save(self, row: int, state: dict[str, Any]) -> None:
        """Write the state of the spawner with this id; returns when it is on the disk.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: The database refused; nothing was written.
        """
        self._waiting[row] = state
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
            self._flush = asyncio.ensure_future(self._soon(self._written))
        await asyncio.shield(self._written)

    async def settled(self) -> None:
        """Wait until nothing is being written any more."""
        if self._written:
            await asyncio.wait([self._written])
        async with self._busy:
            pass

    async def _soon(self, written: asyncio.Future[None]) -> None:
        await asyncio.sleep(_TOGETHER)
        async with self._busy:
            batch, self._waiting, self._written = self._waiting, {}, None
            rows = [{"row": row, "saved": state} for row, state in batch.items()]
            try:
                if self._inline:
                    self._write(rows)
                else:
                    loop = asyncio.get_running_loop()
                    await loop.run_in_executor(self._thread, self._write, rows)
            except Exception as error:
                written.set_exception(error)
            else:
                written.set_result(None)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        with self._engine.begin() as connection:
            connection.execute(_SAVE, rows)
        to_disk(self._engine)
