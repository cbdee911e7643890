"""Log-in at an OpenID Connect provider, on OAuthenticator.

What OAuthenticator leaves to its operator is decided here: the endpoints come
from the issuer's discovery document, the ID token is verified, the user info
must be about the same subject, and a user name belongs for good to the first
subject that came with it.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote_plus

from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import Bool, Unicode, default

from workroom_hub.account import standing
from workroom_hub.oidc_provider import (
    Keys,
    Provider,
    ProviderProblem,
    discover,
    read_client_secret,
)
from workroom_hub.user_names import UserNames

LIFETIME = (
    30.0  # seconds; short, so that a click on "Sign in" finds out whether the provider is there
)


class OidcLoginHandler(OAuthLoginHandler):  # type: ignore[misc]
    """Send people to the provider, once we know where that is."""

    async def get(self) -> None:
        """Redirect, or say that the provider is away."""
        await self.authenticator.ready()
        super().get()


class OidcCallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]
    """Where the provider sends people back to."""

    def check_error(self) -> None:
        """Say that the provider refused; its own words go to the log only."""
        error = self.get_argument("error", "")
        if error:
            self.log.warning(
                "The provider refused a log-in: %r, %r",
                error[:100],
                self.get_argument("error_description", "")[:300],
            )
            cancelled = error == "access_denied"
            raise web.HTTPError(
                403 if cancelled else 502,
                "The sign-in was cancelled or refused there. You can try again."
                if cancelled
                else "The sign-in failed there. Try again, or tell your platform engineer.",
            )

    async def get(self) -> None:
        """Log in with the code, or say why not."""
        await self.authenticator.ready()
        await super().get()

    async def login_user(self, data: Any = None) -> Any:
        """Log in, and note when: keys may have an end that counts from here."""
        user = await super().login_user(data)
        if user:
            standing.record_log_in(self.db, user.id)
        return user


class OidcAuthenticator(UserNames, GenericOAuthenticator):  # type: ignore[misc]
    """Log-in at one OpenID Connect provider; who may, is up to its groups."""

    login_handler = OidcLoginHandler
    callback_handler = OidcCallbackHandler

    issuer = Unicode(config=True, help="Issuer URL of the provider.")
    client_secret_file = Unicode(config=True, help="File with the client secret, mode 0600.")
    enable_pkce = Bool(True, help="Always: it binds the code to the browser that began.")
    manage_groups = Bool(True, help="Groups are the provider's word, at every log-in.")
    groups_claim = Unicode("groups", config=True, help="Claim that lists the user's groups.")
    adopt_existing = Bool(
        False, config=True, help="Whether users without an account of the provider may get one."
    )

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._provider: Provider | None = None
        self._provider_until = 0.0
        self._keys: Keys | None = None
        try:
            self.client_secret = read_client_secret(Path(self.client_secret_file))
        except ProviderProblem as problem:
            self.log.critical("The hub cannot start: %s", problem)
            raise SystemExit(1) from None

    @default("custom_403_message")
    def _not_allowed(self) -> str:
        return (
            f"You are signed in at {self.login_service}, but your account may not use this "
            "platform. Ask your platform engineer to add you to a group that may."
        )

    async def ready(self) -> Provider:
        """Return the provider, from memory or from its discovery document.

        Raises:
            web.HTTPError: 503, with a sentence for people; the reason goes to the log.
        """
        if self._provider is None or time.monotonic() > self._provider_until:
            try:
                self._use(await discover(self.issuer))
            except ProviderProblem as problem:
                self.log.error("Log-in is not possible: %s", problem)
                raise web.HTTPError(
                    503,
                    f"{self.login_service} cannot be reached, so nobody can sign in right now. "
                    "Running servers are not affected. Try again in a minute.",
                ) from problem
        assert self._provider is not None
        return self._provider

    def _use(self, provider: Provider) -> None:
        self._provider, self._provider_until = provider, time.monotonic() + LIFETIME
        self._keys = Keys(provider)
        self.authorize_url = provider.authorization_endpoint
        self.token_url = provider.token_endpoint
        self.userdata_url = provider.userinfo_endpoint
        self.basic_auth = provider.basic_auth

    def build_token_info_request_headers(self) -> dict[str, str]:
        """Encode id and secret as RFC 6749, section 2.3.1 asks, which OAuthenticator does not."""
        headers: dict[str, str] = super().build_token_info_request_headers()
        if self.basic_auth:
            pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        return headers

    async def get_token_info(self, handler: Any, params: Any) -> dict[str, Any]:
        """Swap the code for tokens; what the provider says instead is never shown to people."""
        try:
            tokens: dict[str, Any] = await super().get_token_info(handler, params)
        except web.HTTPError as error:
            # A 403 holds the provider's own description, anything else maybe a token.
            self._refuse(str(error) if error.status_code == 403 else "no access token came")
        except (HTTPClientError, OSError) as error:
            self._refuse(f"the provider refused the code or was not reached: {error!r}")
        return tokens

    async def token_to_user(self, token_info: Mapping[str, Any]) -> dict[str, Any]:
        """Return the claims about the person: the user info, and what only the ID token has.

        Raises:
            web.HTTPError: 502 when the tokens do not prove who it is.
        """
        await self.ready()
        assert self._keys is not None
        try:
            claims = await self._keys.verify(token_info.get("id_token"), self.client_id)
            info = await super().token_to_user(token_info)
        except (ProviderProblem, HTTPClientError, OSError) as problem:
            self._refuse(str(problem))
        if not isinstance(info, dict) or info.get("sub") != claims["sub"]:
            self._refuse("the user info is about another subject than the ID token")
        return {**claims, **info}

    def _refuse(self, why: str) -> NoReturn:
        self.log.error("Log-in refused: %s", why)
        raise web.HTTPError(
            502,
            f"{self.login_service} did not prove who you are. Try again; "
            "if it fails again, tell your platform engineer (the hub's log has the reason).",
        )

    def user_info_to_username(self, user_info: Mapping[str, Any]) -> str:
        """Return the user name.

        Raises:
            web.HTTPError: 403 when the account has none that can be used.
        """
        name = user_info.get(self.username_claim)
        # Anybody can type in somebody else's address. Some providers send the text "false".
        if self.username_claim == "email" and user_info.get("email_verified") in (False, "false"):
            self.log.error("Log-in refused: the address %r is not verified", str(name)[:80])
            raise web.HTTPError(
                403,
                f"Your e-mail address is not verified at {self.login_service}, and it names your "
                "home here. Verify it there, then sign in again.",
            )
        if isinstance(name, str) and self.validate_username(self.normalize_username(name)):
            return name
        self.log.error("Log-in refused: claim %r is %r", self.username_claim, str(name)[:80])
        raise web.HTTPError(
            403,
            f"Your account at {self.login_service} has no usable '{self.username_claim}', "
            "which names your home here. Ask your platform engineer.",
        )

    async def get_user_groups(self, auth_state: Mapping[str, Any]) -> set[str]:
        """Return the groups in the claim; anything but a list of texts counts as none."""
        groups = auth_state[self.user_auth_state_key].get(self.groups_claim)
        if not isinstance(groups, list):
            return set()
        return {group for group in groups if isinstance(group, str) and 0 < len(group) <= 255}

    async def authenticate(self, handler: Any, data: Any = None, **kwargs: Any) -> Any:
        """Log in, settle who is an admin, and keep each name with its first owner."""
        model = await super().authenticate(handler, data, **kwargs)
        claims = model["auth_state"][self.user_auth_state_key]
        # The provider alone says who is an admin, so leaving the group is enough to stop being one.
        model["admin"] = bool(set(model["groups"]) & self.admin_groups)
        model["user_info"] = {"iss": self.issuer, "sub": claims["sub"]}
        self._keep_owner(handler, model)
        self._keep_disabled_out(handler, model)
        return model

    def _keep_disabled_out(self, handler: Any, model: Mapping[str, Any]) -> None:
        user = handler.find_user(model["name"])
        if user is None or standing.disabled_since(handler.db, user.id) is None:
            return
        self.log.warning("Log-in refused: %s is disabled", model["name"])
        raise web.HTTPError(
            403,
            f"The account '{model['name']}' is disabled here. Ask your platform engineer.",
        )

    def _keep_owner(self, handler: Any, model: Mapping[str, Any]) -> None:
        """Refuse a name that another subject had first: it would get that person's files.

        A user from before the provider has no subject. Nothing proves that the first
        account with that name is the same person, so an admin has to say so.
        """
        user = handler.find_user(model["name"])
        if user is None:
            return
        owner = user.user_info or {}
        if "sub" not in owner and not self.adopt_existing:
            self.log.error(
                "Log-in refused: the user %s was here before the provider. If it is the same "
                "person: auth.oidc.adopt_existing: true in workroom.yaml and workroom up, or for "
                "this one alone: workroom users remove %s (the home is kept)",
                model["name"],
                model["name"],
            )
            raise web.HTTPError(
                403,
                f"The user '{model['name']}' was here before {self.login_service}, and an admin "
                "has to say that it is you. Ask your platform engineer "
                "(auth.oidc.adopt_existing in workroom.yaml).",
            )
        if "sub" in owner and owner != model["user_info"]:
            self.log.error(
                "Log-in refused: %s belongs to another subject of the provider. If it is the "
                "same person with a new account: workroom users remove %s (the home is kept)",
                model["name"],
                model["name"],
            )
            raise web.HTTPError(
                403,
                f"The name '{model['name']}' belongs to another account here. "
                "Ask your platform engineer.",
            )
