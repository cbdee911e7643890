"""A container's environment once more, for the one moment at which a killed hub can lose it.

That a start code was swapped is saved before the environment goes out, so a hub that dies between
the two leaves a container that still asks, with a code that counts as used. The next hub answers it
once more, with another token: what the first one was nobody knows any more, only its hash is kept.

The chance is over when the server answers, or a start's time after the first hub that gave it; that
moment is noted, so that hubs that come and go do not give it again and again.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jupyterhub import orm
from jupyterhub.utils import hash_token
from sqlalchemy import select

from workroom_spawner.startcode import ALARMS, START_CODES, Refused, Ticket

if TYPE_CHECKING:
    from workroom_spawner.ecs import EcsSpawner

log = logging.getLogger("workroom.alarm")
_LOOK_EVERY = 2.0
"""Seconds between two looks whether the server answers."""
_LOOK_WITHIN = 5.0
_SAVE_AGAIN = 10.0
"""Seconds after a database that refused."""


class NothingToRenew(Exception):
    """The server's token, its OAuth client or the server itself has been deleted meanwhile."""


def issue(spawner: EcsSpawner, code: str) -> Ticket:
    """Make a code good again until the chance ends; the task's address must be right."""
    seconds = float(spawner.start_deadline)
    if spawner._chance_ends:
        # Never longer than a whole chance, should a clock have been set back.
        seconds = min(seconds, (spawner._chance_ends - _now()).total_seconds())
    else:
        spawner._chance_ends = _now() + timedelta(seconds=seconds)
    _, ticket = START_CODES.issue(
        spawner._log_name, max(0.0, seconds), spawner._own_address, {}, code
    )

    async def before(ssh_host_key: str | None) -> None:
        spawner.log.warning("%s: its container asks once more", spawner._log_name)
        try:
            renew_token(spawner)
        except NothingToRenew as gone:
            START_CODES.limit(ticket, 0.0)
            raise _refused(spawner, gone) from gone
        spawner.ssh_host_key = ssh_host_key
        ticket.environment = spawner.server_environment()
        await spawner._save()

    ticket.before = before
    spawner._chance = spawner.platform.beside(_end(spawner, ticket, seconds))
    return ticket


async def _end(spawner: EcsSpawner, ticket: Ticket, seconds: float) -> None:
    """Wait until the chance is over, and write down that it is."""
    try:
        async with asyncio.timeout(seconds):
            await _saved(spawner)  # when it ends
            await _answered(spawner)
    except TimeoutError:
        spawner.log.warning("%s: its start code is not answered any more", spawner._log_name)
    START_CODES.limit(ticket, 0.0)
    spawner._doubtful = spawner._chance_ends = None
    await _saved(spawner)


async def _saved(spawner: EcsSpawner) -> None:
    while True:
        try:
            return await spawner._save()
        except Exception:
            spawner.log.exception("%s: its state is not saved yet", spawner._log_name)
        await asyncio.sleep(_SAVE_AGAIN)


async def _answered(spawner: EcsSpawner) -> None:
    while True:
        if await _answers(spawner):
            return
        await asyncio.sleep(_LOOK_EVERY)


async def _answers(spawner: EcsSpawner) -> bool:
    if not spawner.address:
        return False
    try:
        async with asyncio.timeout(_LOOK_WITHIN):
            return await spawner.answers()
    except Exception:
        return False


def _refused(spawner: EcsSpawner, why: Exception) -> Refused:
    ALARMS.labels(reason="expired").inc()
    log.error("ALARM start code refused: reason=expired server=%s: %s", spawner._log_name, why)
    return Refused("expired")


def renew_token(spawner: EcsSpawner) -> None:
    """Give a server that is there another token in place of its own, with the same scopes.

    Raises:
        NothingToRenew: And nothing has changed.
    """
    row = spawner.orm_spawner
    db = spawner.user.db
    if row.server is None or row.oauth_client is None:
        raise NothingToRenew("it has no server or no OAuth client any more")
    note = f"Server at {row.server.base_url}"  # JupyterHub's way to tell them apart
    theirs = orm.APIToken.user_id == row.user_id, orm.APIToken.note == note
    old = db.scalars(select(orm.APIToken).where(*theirs).order_by(orm.APIToken.id)).all()
    if not old:
        raise NothingToRenew("its token has been deleted")
    scopes = list(old[-1].scopes)
    for each in old:
        db.delete(each)
    spawner.api_token = row.user.new_api_token(note=note, scopes=scopes)
    row.oauth_client.secret = hash_token(spawner.api_token)
    db.commit()


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
