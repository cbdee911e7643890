"""The API behind `workroom users`: make, reset, disable, remove and list accounts.

Contract (JSON, scope `admin:users`): POST `/users` makes an account, POST
`/users/NAME/password` gives it a new password, DELETE `/users/NAME` removes
it and keeps the home, PUT and DELETE `/users/NAME/disabled` disable and enable
it, GET `/users` lists all. Errors are `{"status", "message"}`.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyterhub import orm
from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.roles import assign_default_roles
from jupyterhub.scopes import needs_scope
from jupyterhub.utils import isoformat, maybe_future
from tornado import web

from workroom_hub.account import standing
from workroom_hub.initial_password import forget_initial_password, generate_password
from workroom_hub.passwords import LocalAuthenticator, end_everything, end_sessions
from workroom_hub.user_names import MAX_NAME


class _AccountsHandler(APIHandler):  # type: ignore[misc]
    def need_passwords(self) -> LocalAuthenticator:
        """Return the authenticator, if accounts have passwords here.

        Raises:
            web.HTTPError: 400 where people log in through a provider.
        """
        if isinstance(self.authenticator, LocalAuthenticator):
            return self.authenticator
        raise web.HTTPError(
            400,
            "Passwords are not used here: people sign in with "
            f"{self.authenticator.login_service}. Add or remove them at that provider "
            "(workroom.yaml, auth.oidc).",
        )

    def find_or_404(self, name: str) -> Any:
        """Return the hub's user of this name, in any spelling."""
        user = self.find_user(self.authenticator.normalize_username(name))
        if user is None:
            raise web.HTTPError(
                404, f"There is no user '{name}'. See who there is with: workroom users list"
            )
        return user

    def keep_an_admin(self, user: Any, what: str) -> None:
        """Refuse to take away oneself, or the last admin who can log in.

        Raises:
            web.HTTPError: 400 or 409.
        """
        if user.name == self.current_user.name and self.current_user.kind == "user":
            raise web.HTTPError(400, f"You cannot {what} yourself. Ask another admin.")
        admins = {admin.id for admin in self.db.query(orm.User).filter_by(admin=True)}
        if user.admin and not admins - standing.all_disabled(self.db) - {user.id}:
            raise web.HTTPError(
                409,
                f"'{user.name}' is the only admin, and nobody could make another. "
                "Make one first: workroom users add NAME --admin",
            )

    async def stop_servers(self, user: Any, if_not: str) -> None:
        """Stop what runs, cancel what starts, and wait for the end of both.

        Raises:
            web.HTTPError: 409 with `if_not`, if one of them takes longer than a minute.
        """
        for server_name, spawner in list(user.spawners.items()):
            started = spawner.active
            if spawner.pending == "spawn" and spawner._spawn_future:
                spawner._spawn_future.cancel()
            await _settled(spawner)
            if started and not spawner.pending:
                # Also after a cancelled start, which may have left a container behind.
                await self.stop_single_user(user, server_name)
                await _settled(spawner)
            if spawner.active:
                raise web.HTTPError(409, f"A server of '{user.name}' is still stopping. {if_not}")

    def answer(self, status: int, body: Any) -> None:
        """Finish with JSON."""
        self.set_status(status)
        self.finish(json.dumps(body))


class AccountListHandler(_AccountsHandler):
    """All accounts."""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def get(self) -> None:
        """List every account, by name."""
        users = self.db.query(orm.User).order_by(orm.User.name)
        disabled = standing.all_disabled(self.db)
        self.answer(
            200,
            [
                {
                    "name": user.name,
                    "admin": bool(user.admin),
                    "disabled": user.id in disabled,
                    "created": isoformat(user.created),
                    "last_activity": isoformat(user.last_activity),
                    "servers": sum(server.server is not None for server in user._orm_spawners),
                }
                for user in users
            ],
        )

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Make an account; its password, generated or given, is in this answer only."""
        authenticator = self.need_passwords()
        name, admin, password = self._asked_for()
        if admin and not self.current_user.admin and self.current_user.kind != "service":
            raise web.HTTPError(403, "Only admins can make admins.")
        if self.find_user(name) is not None:
            raise web.HTTPError(
                409,
                f"There is already a user '{name}'. "
                f"For a new password: workroom users reset {name}",
            )
        if reason := authenticator.why_refused(name, password):
            raise web.HTTPError(400, f"password: {reason}")
        user = self.user_from_username(name)
        user.admin = admin
        assign_default_roles(self.db, entity=user)
        self.db.commit()
        try:
            await maybe_future(authenticator.add_user(user))
            await authenticator.set_password(name, password)
        except BaseException:
            self.users.delete(user)  # never half an account
            raise
        self.log.info("%s made the account %s", self.current_user.name, name)
        self.answer(201, {"name": name, "password": password, "admin": admin})

    def _asked_for(self) -> tuple[str, bool, str]:
        body = self.get_json_body()
        if not isinstance(body, dict) or set(body) - {"name", "admin", "password"}:
            raise web.HTTPError(400, 'Send a JSON object such as {"name": "ann", "admin": false}.')
        name, admin = body.get("name"), body.get("admin", False)
        # `workroom up` saves the first admin's password before it asks for the account.
        password = body.get("password") or generate_password()
        if not (isinstance(name, str) and isinstance(admin, bool) and isinstance(password, str)):
            raise web.HTTPError(400, "name: a text is needed; admin: true or false.")
        name = self.authenticator.normalize_username(name)
        if not self.authenticator.validate_username(name):
            raise web.HTTPError(
                400,
                f"name: '{name[:40]}' cannot be a user name. Use 1 to {MAX_NAME} printable "
                "characters without spaces, commas and slashes, and not only dots.",
            )
        return name, admin, password


class AccountPasswordHandler(_AccountsHandler):
    """The password of one account."""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def post(self, name: str) -> None:
        """Give the account a new generated password and sign the person out everywhere."""
        authenticator = self.need_passwords()
        user = self.find_or_404(name)
        if user.admin and not self.current_user.admin and self.current_user.kind != "service":
            raise web.HTTPError(403, "Only admins can reset the password of an admin.")
        password = generate_password()
        await authenticator.set_password(user.name, password)
        end_sessions(self.db, user)
        forget_initial_password(user.name)
        self.log.info("%s reset the password of %s", self.current_user.name, user.name)
        self.answer(200, {"name": user.name, "password": password})


class AccountHandler(_AccountsHandler):
    """One account."""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def delete(self, name: str) -> None:
        """Remove the account: stop the servers, forget the password, keep the home."""
        user = self.find_or_404(name)
        self.keep_an_admin(user, "remove")
        await self.stop_servers(user, "Nothing was removed; try again in a minute.")
        end_sessions(self.db, user)
        await maybe_future(self.authenticator.delete_user(user))
        await user.delete_spawners()
        removed = user.name
        self.users.delete(user)
        forget_initial_password(removed)
        self.log.info("%s removed the account %s", self.current_user.name, removed)
        self.set_status(204)
        self.finish()


class AccountDisabledHandler(_AccountsHandler):
    """Whether one account is disabled."""

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def put(self, name: str) -> None:
        """Keep somebody out, at once: log-in, sessions, tokens, keys, servers. Nothing is lost."""
        user = self.find_or_404(name)
        self._need_admin_for(user)
        self.keep_an_admin(user, "disable")
        # In this order nothing that ends can be had again meanwhile.
        standing.disable(self.db, user.id)
        end_everything(self.db, user)
        self.log.info("%s disabled the account %s", self.current_user.name, user.name)
        await self.stop_servers(user, "The account is disabled; do it again in a minute.")
        end_everything(self.db, user)
        self.set_status(204)
        self.finish()

    @needs_scope("admin:users")  # type: ignore[untyped-decorator]
    async def delete(self, name: str) -> None:
        """Let somebody in again, with the password and the keys of before."""
        user = self.find_or_404(name)
        self._need_admin_for(user)
        standing.enable(self.db, user.id)
        self.log.info("%s enabled the account %s", self.current_user.name, user.name)
        self.set_status(204)
        self.finish()

    def _need_admin_for(self, user: Any) -> None:
        if user.admin and not self.current_user.admin and self.current_user.kind != "service":
            raise web.HTTPError(403, "Only admins can disable or enable an admin.")


async def _settled(spawner: Any, seconds: float = 60) -> None:
    """Wait until nothing is pending on a server, or the time is up."""
    for _ in range(int(seconds * 10)):
        if not spawner.pending:
            return
        await asyncio.sleep(0.1)


handlers: list[tuple[str, type[_AccountsHandler]]] = [
    (r"/api/workroom/users", AccountListHandler),
    (r"/api/workroom/users/([^/]+)/password", AccountPasswordHandler),
    (r"/api/workroom/users/([^/]+)/disabled", AccountDisabledHandler),
    (r"/api/workroom/users/([^/]+)", AccountHandler),
]
