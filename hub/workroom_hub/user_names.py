"""Which user names there are, and which spellings mean the same one, for every log-in."""

from __future__ import annotations

import unicodedata

from jupyterhub.auth import Authenticator
from traitlets import Integer

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
