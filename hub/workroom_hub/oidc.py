"""Log-in at an OpenID Connect provider."""

from __future__ import annotations

from oauthenticator.generic import GenericOAuthenticator


class OidcAuthenticator(GenericOAuthenticator):  # type: ignore[misc]
    """Log-in at one OpenID Connect provider."""
