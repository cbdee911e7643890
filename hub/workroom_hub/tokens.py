"""API tokens of servers that have ended, which must not be good for ever.

JupyterHub takes back a server's token only if the same process gave it out; those that an earlier
hub process gave out stay in its table, valid. They are known by the note JupyterHub gives them.
"""

from __future__ import annotations

from typing import Any

from jupyterhub import orm
from jupyterhub.utils import url_escape_path, url_path_join
from sqlalchemy import delete
from sqlalchemy.orm import Session


def forget(db: Session, owner: orm.User, base_url: str) -> None:
    """Take back all tokens of the server at `base_url`; does not commit."""
    note = f"Server at {base_url}"
    theirs = delete(orm.APIToken).where(orm.APIToken.user_id == owner.id)
    db.execute(theirs.where(orm.APIToken.note == note))


def forget_after_stop(spawner: Any) -> None:
    """Take back the tokens of a server that has ended; JupyterHub's `post_stop_hook`."""
    user = spawner.user
    base_url = url_path_join(user.base_url, url_escape_path(spawner.name), "/")
    forget(user.db, user.orm_user, base_url)
    user.db.commit()
