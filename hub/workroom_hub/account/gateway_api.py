"""What the SSH gateway asks the hub: whose key is this, and may she in?

Contract (JSON, scope `custom:workroom:ssh-log-in`): POST `/ssh/log-in` with `{"user", "key"}`
answers `{"name", "key_id"}`, or `{"name": null}` for everybody who is not let in, whatever the
reason. POST `/ssh/logged-in` with `{"key_id", "address"}` notes the use of a key.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from jupyterhub import orm
from jupyterhub.utils import maybe_future
from sqlalchemy import select
from tornado import web

from workroom_hub.account import standing, store
from workroom_hub.account.api import JsonHandler
from workroom_hub.account.keys import KeyRefused, read
from workroom_hub.configure import SSH_SCOPE
from workroom_hub.passwords import LocalAuthenticator
from workroom_hub.user_names import MAX_NAME


class _GatewayHandler(JsonHandler):
    def need_gateway(self) -> None:
        """Let nobody but the gateway go on.

        Raises:
            web.HTTPError: 403 for everybody else.
        """
        # Not a decorator: where the gateway is switched off, the hub knows no such scope.
        if not self.current_user or SSH_SCOPE not in self.parsed_scopes:
            raise web.HTTPError(403, "Only the SSH gateway may ask this.")


class LogInHandler(_GatewayHandler):
    """Who logs in with a key."""

    async def post(self) -> None:
        """Say who it is, or that nobody is let in; all that is asked for is always looked up."""
        self.need_gateway()
        asked = self.read_object("user", "key")
        name, fingerprint = self._name(asked["user"]), self._fingerprint(asked["key"])
        known = self.db.execute(
            select(orm.User.id, orm.User.admin).where(orm.User.name == name)
        ).first()
        user_id, admin = known or (standing.NOBODY, False)
        key_id = store.find(self.db, user_id, fingerprint)
        let_in = [
            known is not None,
            key_id is not None,
            standing.disabled_since(self.db, user_id) is None,
            standing.logged_in_within(self.db, user_id, self.authenticator.keys_work_for),
            await self._still_allowed(name, user_id, admin=bool(admin)),
        ]
        self.answer(200, {"name": name, "key_id": key_id} if all(let_in) else {"name": None})

    def _name(self, typed: str) -> str:
        """Return the one spelling of a name, or "", which nobody has."""
        if len(typed) > 4 * MAX_NAME or not typed.isprintable():
            return ""
        name = str(self.authenticator.normalize_username(typed))
        return name if self.authenticator.validate_username(name) else ""

    def _fingerprint(self, key: str) -> str:
        try:
            return read(key).fingerprint
        except KeyRefused:
            return ""

    async def _still_allowed(self, name: str, user_id: int, *, admin: bool) -> bool:
        """Tell whether she could log in by browser, as far as that is known without her doing it.

        With a provider, her groups are those of her last log-in.
        """
        groups = select(orm.Group.name).join(orm.Group.users).where(orm.User.id == user_id)
        model: dict[str, Any] = {
            "name": name,
            "admin": admin or None,
            "groups": list(self.db.execute(groups).scalars()),
            "auth_state": {},
        }
        checks: list[bool] = []
        if isinstance(self.authenticator, LocalAuthenticator):
            checks.append(self.authenticator.has_account(name))
        for check in (self.authenticator.check_blocked_users, self.authenticator.check_allowed):
            try:
                checks.append(bool(await maybe_future(check(name, model))))
            except web.HTTPError:
                checks.append(False)
        return all(checks)


class LoggedInHandler(_GatewayHandler):
    """That somebody did log in."""

    async def post(self) -> None:
        """Note when a key was used, and from where."""
        self.need_gateway()
        asked: dict[str, Any] = self.read_object("key_id", "address")
        if not 0 < asked["key_id"] < 2**31:
            raise web.HTTPError(400, "key_id: the number that the log-in answered is needed.")
        try:
            address = str(ipaddress.ip_address(asked["address"].partition("%")[0]))
        except ValueError:
            raise web.HTTPError(400, "address: an IP address is needed.") from None
        store.used(self.db, asked["key_id"], address)
        self.answer(204)


handlers: list[tuple[str, type[JsonHandler]]] = [
    (r"/api/workroom/ssh/log-in", LogInHandler),
    (r"/api/workroom/ssh/logged-in", LoggedInHandler),
]
