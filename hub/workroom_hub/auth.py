"""Who may log in: `workroom.yaml`'s section `auth` as JupyterHub configuration."""

from __future__ import annotations

from typing import Any

from workroom_hub.oidc import OidcAuthenticator
from workroom_hub.passwords import LocalAuthenticator
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Oidc, Settings, Web

__all__ = ["LocalAuthenticator", "OidcAuthenticator", "configure_auth"]


def configure_auth(settings: Settings, runtime: Runtime, c: Any) -> None:  # noqa: ARG001
    """Set the log-in part of a JupyterHub configuration `c`; no side effects.

    Nobody is let in by default: with passwords the account is the permission,
    with a provider it takes a group, an admin group, or `allow_all: true`.
    """
    if settings.auth.oidc is not None and settings.auth.kind == "oidc":
        _configure_oidc(settings.auth.oidc, settings, c)
    else:
        _configure_passwords(c)
    c.UserNames.keys_work_for = _keys_work_for(settings)


def _keys_work_for(settings: Settings) -> int:
    """Return how many seconds keys outlive a log-in by browser; 0 means for ever."""
    if settings.ssh.browser_login_within is not None:
        return settings.ssh.browser_login_within
    return 30 * 86400 if settings.auth.kind == "oidc" else 0


def _configure_passwords(c: Any) -> None:
    c.JupyterHub.authenticator_class = LocalAuthenticator
    # `authenticate` only ever names people who have an account, and only admins make accounts.
    c.Authenticator.allow_all = True


def _configure_oidc(oidc: Oidc, settings: Settings, c: Any) -> None:
    c.JupyterHub.authenticator_class = OidcAuthenticator
    # People who leave, or lose a group, are out of the hub's pages within a day.
    c.JupyterHub.cookie_max_age_days = 1
    c.OidcAuthenticator.issuer = oidc.issuer
    c.OidcAuthenticator.client_id = oidc.client_id
    c.OidcAuthenticator.client_secret_file = str(oidc.client_secret_file)
    c.OidcAuthenticator.login_service = oidc.title
    c.OidcAuthenticator.username_claim = oidc.username_claim
    c.OidcAuthenticator.groups_claim = oidc.groups_claim
    c.OidcAuthenticator.scope = list(oidc.scopes)
    c.OidcAuthenticator.allow_all = oidc.allow_all
    c.OidcAuthenticator.allowed_groups = set(oidc.allowed_groups)
    c.OidcAuthenticator.admin_groups = set(oidc.admin_groups)
    c.OidcAuthenticator.adopt_existing = oidc.adopt_existing
    c.OidcAuthenticator.oauth_callback_url = _callback_url(settings.web)


def _callback_url(web: Web) -> str:
    """Return the address the provider sends people back to, or "" for the one they came by.

    With a host name per user the log-in may begin on any of them, but the
    provider knows one: the hub's.
    """
    if web.public_url or web.isolation == "subdomain":
        return f"{web.address}/hub/oauth_callback"
    return ""
