"""Which user names there are, which spellings mean the same one, and who may have servers."""

from __future__ import annotations

import unicodedata
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.utils import maybe_future
from tornado import web
from traitlets import Integer

from workroom_hub.account import standing

MAX_NAME = 200


class UserNames(Authenticator):  # type: ignore[misc]
    """Mixed into an Authenticator, before it."""

    keys_work_for = Integer(
        0,
        config=True,
        help="Seconds that SSH keys work after their owner's last log-in by browser; 0: for ever.",
    )

    def normalize_username(self, username: str) -> str:
        """Return the one spelling of a name: lower case, Unicode NFC."""
        composed = unicodedata.normalize("NFC", username)
        return unicodedata.normalize("NFC", str(super().normalize_username(composed)))

    def validate_username(self, username: str) -> bool:
        """Accept up to 200 printable characters, with what JupyterHub refuses left out.

        That is: slashes, dots only, and spaces at either end.
        """
        return (
            len(username) <= MAX_NAME
            and username.isprintable()
            and bool(super().validate_username(username))
        )

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        """Start nothing for somebody who is disabled, whoever asks for it.

        Raises:
            web.HTTPError: 403 if she is.
        """
        if standing.disabled_since(user.db, user.id) is not None:
            raise web.HTTPError(403, f"The account '{user.name}' is disabled.")
        await maybe_future(super().pre_spawn_start(user, spawner))
