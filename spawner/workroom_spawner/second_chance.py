"""A container's environment once more, for the one moment at which a killed hub can lose it.

That a start code was swapped is saved before the environment goes out, so a hub that dies between
the two leaves a container that still asks, with a code that counts as used. The next hub answers it
once more, with another token: what the first one was nobody knows any more, only its hash is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyterhub import orm
from jupyterhub.utils import hash_token
from sqlalchemy import select

from workroom_spawner.startcode import START_CODES, Ticket

if TYPE_CHECKING:
    from workroom_spawner.ecs import EcsSpawner


def issue(spawner: EcsSpawner, code: str) -> Ticket:
    """Make a code good again, for as long as a start may take; the task's address must be right."""
    _, ticket = START_CODES.issue(
        spawner._log_name, spawner.start_deadline, spawner._own_address, {}, code
    )

    async def before(ssh_host_key: str | None) -> None:
        spawner.log.warning("%s: its container asks once more", spawner._log_name)
        spawner.ssh_host_key = ssh_host_key
        renew_token(spawner)
        ticket.environment = spawner.server_environment()
        await spawner._save()

    ticket.before = before
    return ticket


def renew_token(spawner: EcsSpawner) -> None:
    """Give a server that is there another token in place of its own, with the same scopes."""
    row = spawner.orm_spawner
    db = spawner.user.db
    note = f"Server at {row.server.base_url}"  # JupyterHub's way to tell them apart
    theirs = orm.APIToken.user_id == row.user_id, orm.APIToken.note == note
    old = db.scalars(select(orm.APIToken).where(*theirs).order_by(orm.APIToken.id)).all()
    scopes = list(old[-1].scopes)
    for each in old:
        db.delete(each)
    spawner.api_token = row.user.new_api_token(note=note, scopes=scopes)
    row.oauth_client.secret = hash_token(spawner.api_token)
    db.commit()
