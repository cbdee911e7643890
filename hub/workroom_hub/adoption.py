"""Taking over the servers that run when a hub starts: quickly, and without losing any.

JupyterHub 6.1.1 loads each user with two queries of her own, and asks each server over HTTP whether
it is there before the hub serves anybody; with thousands of servers people wait a minute for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

import aiohttp
from jupyterhub import orm
from jupyterhub.httpclient import fetch
from jupyterhub.user import User
from jupyterhub.utils import url_path_join
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

log = logging.getLogger(__name__)
_ANSWER_WITHIN = 5.0
"""Seconds in which a server answers if it is well."""
_ASKED_AT_ONCE = 5
_PAUSE = 0.15
"""Seconds between two questions of one asker, so that people's requests go first."""
_NAMED = 10
"""Servers named in the one line about all that do not answer."""

_wait_up = User._wait_up


async def keep_unreachable(self: Any, spawner: Any) -> Any:
    """Wait for a server that is being started; a server found running at start-up is kept as it is.

    JupyterHub 6.1.1 stops a server that does not answer within `http_timeout` while the hub
    starts, even if its spawner says it runs. A busy machine must not cost people their work. Nor
    is it waited for: what its spawner says is enough, and `Roll` asks them all later.
    """
    if not spawner._check_pending:
        return await _wait_up(self, spawner)
    spawner._waiting_for_response = False
    return spawner


def users_with_servers(db: Session) -> list[orm.User]:
    """Load the users whose servers run, with all their spawners, in a few queries.

    Whoever keeps the list keeps the session from forgetting them, which costs JupyterHub two
    queries a server.
    """
    running = select(orm.Spawner.user_id).where(orm.Spawner.server_id.is_not(None))
    query = select(orm.User).where(orm.User.id.in_(running))
    return list(db.scalars(query.options(selectinload(orm.User._orm_spawners))))


class Roll:
    """Asks servers that were found running whether they answer, a few at a time; stops none.

    What JupyterHub's own check would have learned is kept: the version of the server's JupyterHub,
    for the page about versions that do not go together.
    """

    def __init__(self, spawners: Iterable[Any]) -> None:
        self._spawners = list(spawners)
        self._silent: list[str] = []

    async def call(self) -> None:
        """Ask all of them, and say in one line who did not answer."""
        count = len(self._spawners)
        waiting = iter(self._spawners)
        await asyncio.gather(*(self._ask_on(waiting) for _ in range(_ASKED_AT_ONCE)))
        self._spawners = []
        if self._silent:
            some = ", ".join(self._silent[:_NAMED])
            more = f" and {len(self._silent) - _NAMED} more" if len(self._silent) > _NAMED else ""
            log.warning("%d of %d running servers do not answer yet; kept: %s%s",
                        len(self._silent), count, some, more)  # fmt: skip
        elif count:
            log.info("all %d servers that ran before the hub answer", count)

    async def _ask_on(self, waiting: Iterable[Any]) -> None:
        for spawner in waiting:
            if spawner.ready:
                try:
                    await self._ask(spawner)
                except Exception:
                    log.exception("a mistake of ours while asking %s", spawner._log_name)
            await asyncio.sleep(_PAUSE)

    async def _ask(self, spawner: Any) -> None:
        url = url_path_join(spawner.server.url, "api")
        try:
            async with asyncio.timeout(_ANSWER_WITHIN):
                answer = await fetch(
                    url,
                    raise_for_status=False,
                    allow_redirects=False,
                    headers={"Connection": "close"},
                )
                answer.release()
        except (TimeoutError, aiohttp.ClientError, OSError):
            self._silent.append(spawner._log_name)
            return
        if answer.status >= 500:
            self._silent.append(spawner._log_name)
        spawner._jupyterhub_version = answer.headers.get("X-JupyterHub-Version")
