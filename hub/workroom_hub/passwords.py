"""Local accounts: a name and a bcrypt hash, made by admins only.

NativeAuthenticator keeps the hashes (table `users_info`) and counts failed
log-ins; this module takes away its sign-up, keeps bcrypt off the event loop,
and gives every failed log-in the same answer in the same time.
"""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import bcrypt
from jupyterhub import orm
from jupyterhub.handlers.base import BaseHandler
from jupyterhub.handlers.login import LoginHandler
from nativeauthenticator import NativeAuthenticator
from nativeauthenticator.orm import UserInfo
from tornado import web
from traitlets import Bool, Integer, default

from workroom_hub.account import standing
from workroom_hub.initial_password import forget_initial_password
from workroom_hub.user_names import MAX_NAME, UserNames

MIN_LENGTH = 10
MAX_BYTES = 72  # bcrypt reads no further, so anything longer is refused instead of cut
MAX_COUNTED_NAMES = 10_000
MAX_WAITING = 64


class PasswordRefused(ValueError):
    """A new password breaks a rule; the text says which."""


class LocalAuthenticator(UserNames, NativeAuthenticator):  # type: ignore[misc]
    """Log-in with a password, for accounts that an admin has made."""

    enable_signup = Bool(False, help="Accounts are made with `workroom users add` only.")
    minimum_password_length = Integer(MIN_LENGTH, help="Shortest new password, in characters.")
    allowed_failed_logins = Integer(
        10, config=True, help="Failed log-ins for one name before it has to wait."
    )
    seconds_before_next_try = Integer(
        300, config=True, help="How long it then has to wait, in seconds."
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._hasher = ThreadPoolExecutor(2, thread_name_prefix="bcrypt")
        self._waiting = 0
        # Checked when there is no such account, so that the answer takes as long.
        self._nobody = bcrypt.hashpw(secrets.token_bytes(32), bcrypt.gensalt())

    @default("db")
    def _hub_session(self) -> Any:
        # The hub's own session: accounts live in the hub's database. JupyterHub's
        # default does the same after a warning that would mean nothing to an operator.
        return self._deprecated_db_session

    async def authenticate(self, handler: Any, data: dict[str, Any] | None) -> str | None:  # noqa: ARG002
        """Return the name if name and password belong together, else None.

        Raises:
            web.HTTPError: 429 after too many failures for this name, known or not;
                503 when more log-ins are waiting than can be checked soon.
        """
        data = data if isinstance(data, dict) else {}
        name = self.normalize_username(str(data.get("username") or ""))[: MAX_NAME + 1]
        if self.is_blocked(name):
            minutes = -(-self.seconds_before_next_try // 60)
            raise web.HTTPError(
                429,
                "Too many failed attempts for this name. "
                f"Wait {minutes} minutes, or ask an admin for a new password.",
            )
        # Counted before the check: a burst of guesses cannot slip in while one is checked.
        self.add_login_attempt(name)
        account = self.get_user(name)
        # Without a user of the hub (renamed, say) a left-over password opens nothing.
        user = orm.User.find(self.db, name)
        user_id = user.id if user else standing.NOBODY
        known = bool(account and account.is_authorized and user)
        digest = account.password if account is not None and known else self._nobody
        if not await self._matches(str(data.get("password") or ""), digest) or not known:
            return None
        # Asked last: somebody may be disabled while her password is checked.
        if standing.disabled_since(self.db, user_id):
            return None
        self.successful_login(name)
        return str(name)

    def has_account(self, name: str) -> bool:
        """Tell whether there is an account of this name that may log in."""
        account = self.get_user(name)
        return account is not None and bool(account.is_authorized)

    async def check_password(self, name: str, password: str) -> bool:
        """Tell whether `password` is the one of account `name`; same rules as a log-in."""
        return await self.authenticate(None, {"username": name, "password": password}) == name

    async def set_password(self, name: str, password: str) -> None:
        """Give `name` an account with this password, replacing any earlier one.

        Raises:
            PasswordRefused: the password is too short, too long, common, or the name.
        """
        if reason := self.why_refused(name, password):
            raise PasswordRefused(reason)
        digest = await self._in_thread(bcrypt.hashpw, password.encode(), bcrypt.gensalt())
        account = self.get_user(name)
        if account is None:
            account = UserInfo(username=name)
            self.db.add(account)
        account.password = digest
        account.is_authorized = True
        self.db.commit()
        self.successful_login(name)

    def why_refused(self, name: str, password: str) -> str | None:
        """Return the sentence that says why a new password will not do, or None."""
        if len(password) < self.minimum_password_length:
            return f"Use at least {self.minimum_password_length} characters."
        if len(password.encode()) > MAX_BYTES:
            return f"Use at most {MAX_BYTES} bytes (accents and emoji count for more than one)."
        if password.lower() == name or self.is_password_common(password):
            return "That password is too easy to guess. Choose another."
        return None

    def is_blocked(self, username: str) -> bool:
        """Tell whether log-ins for this name must wait."""
        seen = self.login_attempts.get(username)
        if seen and (datetime.now() - seen["time"]).total_seconds() > self.seconds_before_next_try:
            # Native compares `timedelta.seconds`, which starts again at 0 every day.
            del self.login_attempts[username]
        return bool(super().is_blocked(username))

    def add_login_attempt(self, username: str) -> None:
        """Count an attempt; the names counted longest ago make room for new ones."""
        super().add_login_attempt(username)
        self.login_attempts[username] = self.login_attempts.pop(username)
        while len(self.login_attempts) > MAX_COUNTED_NAMES:
            del self.login_attempts[next(iter(self.login_attempts))]

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:  # noqa: ARG002
        """Expose the log-in and the change of one's own password, and none of native's pages."""
        return [(r"/login", PasswordLoginHandler), (r"/change-password", ChangePasswordHandler)]

    async def _matches(self, password: str, digest: bytes) -> bool:
        raw = password.encode("utf-8", "replace")
        same = await self._in_thread(bcrypt.checkpw, raw[:MAX_BYTES], digest)
        return bool(same) and len(raw) <= MAX_BYTES

    async def _in_thread(self, work: Any, *args: Any) -> Any:
        """Run one bcrypt call (about 0.2 s of one core) outside the event loop."""
        if self._waiting >= MAX_WAITING:
            raise web.HTTPError(503, "Many people are signing in. Try again in a moment.")
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._hasher, work, *args)
        finally:
            self._waiting -= 1


def end_everything(db: Any, user: Any) -> None:
    """Sign `user` out everywhere, and take back every token she has, made by hand or not."""
    end_sessions(db, user)
    for credential in [*user.api_tokens, *user.oauth_codes]:
        db.delete(credential)
    db.commit()


def end_sessions(db: Any, user: Any) -> None:
    """Sign `user` out everywhere: the hub's cookies and the ones of the servers.

    Tokens that servers and scripts use stay; only those a browser session got go.
    """
    user.cookie_id = orm.new_token()
    for token in list(user.api_tokens):
        if token.session_id:
            db.delete(token)
    db.commit()


class PasswordLoginHandler(LoginHandler):  # type: ignore[misc]
    """JupyterHub's log-in page, with our sentences and the name given back as typed."""

    async def post(self) -> None:
        """Check the form and go where the person wanted to go."""
        name = self.get_body_argument("username", "")
        password = self.get_body_argument("password", "", strip=False)
        user = await self.login_user({"username": name, "password": password})
        if user:
            standing.record_log_in(self.db, user.id)
            self._jupyterhub_user = user
            self.redirect(self.get_next_url(user))
            return
        self.set_status(403)
        self.finish(await self._render(login_error="Wrong user name or password.", username=name))


class ChangePasswordHandler(BaseHandler):  # type: ignore[misc]
    """The page where people change their own password."""

    @web.authenticated
    async def get(self) -> None:
        """Show the form."""
        await self._show(done=bool(self.get_query_argument("done", "")))

    @web.authenticated
    async def post(self) -> None:
        """Change the password, ending every other session of this person."""
        user = self.current_user
        old, new, again = (
            self.get_body_argument(field, "", strip=False)
            for field in ("old_password", "new_password", "new_password_again")
        )
        try:
            if not await self.authenticator.check_password(user.name, old):
                await self._show(403, "old", "That is not your current password.")
                return
            if new != again:
                await self._show(400, "again", "The two new passwords are not the same.")
                return
            await self.authenticator.set_password(user.name, new)
        except PasswordRefused as error:
            await self._show(400, "new", str(error))
            return
        except web.HTTPError as error:
            await self._show(error.status_code, "old", error.get_message() or "Try again later.")
            return
        end_sessions(self.db, user)
        forget_initial_password(user.name)
        self.log.info("%s changed the password", user.name)
        self.set_login_cookie(user)
        self.redirect(self.hub.base_url + "change-password?done=1")

    async def _show(
        self, status: int = 200, field: str = "", error: str = "", *, done: bool = False
    ) -> None:
        self.set_status(status)
        page = await self.render_template(
            "change-password.html",
            error_field=field,
            error_message=error,
            done=done,
            min_length=self.authenticator.minimum_password_length,
        )
        self.finish(page)
