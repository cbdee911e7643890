"""An OpenID Connect provider as a client sees it: discovery, keys, ID tokens. No JupyterHub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
from jwt.types import Options
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
# Signatures made with a key that only the provider has; never `none`, never a shared secret.
ALGORITHMS = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA"}
TIMEOUT = 10.0  # seconds
LEEWAY = 60  # seconds by which clocks may differ


class ProviderProblem(Exception):
    """The provider cannot be used now; the text says why, for the operator."""


@dataclass(frozen=True)
class Provider:
    """What the discovery document says, checked.

    Attributes:
        issuer: Exactly as ID tokens name it.
        algorithms: Signature algorithms it uses that we accept.
        basic_auth: Whether the client's secret goes in a header instead of the form.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    algorithms: tuple[str, ...]
    basic_auth: bool


async def discover(issuer: str) -> Provider:
    """Fetch and check the discovery document of `issuer`.

    Raises:
        ProviderProblem: not reachable, not https, not a discovery document, or of
            somebody else. `workroom doctor` prints the text as it is.
    """
    _need_safe("issuer", issuer)
    url = issuer.rstrip("/") + "/.well-known/openid-configuration"
    return read_discovery(issuer, await fetch_json(url))


def read_discovery(issuer: str, document: Any) -> Provider:
    """Check a discovery document; see `discover` for what is raised."""
    where = f"The discovery document of {issuer}"
    if not isinstance(document, dict):
        raise ProviderProblem(f"{where} is not a JSON object.")
    if document.get("issuer") != issuer:
        raise ProviderProblem(
            f"{where} names another issuer, {document.get('issuer')!r}. "
            "Write auth.oidc.issuer in workroom.yaml exactly as the provider does."
        )
    for endpoint in ENDPOINTS:
        if not isinstance(document.get(endpoint), str):
            raise ProviderProblem(f"{where} lacks {endpoint}. Is it an OpenID Connect provider?")
        _need_safe(endpoint, document[endpoint])
    offered = document.get("id_token_signing_alg_values_supported") or ["RS256"]
    algorithms = tuple(name for name in offered if name in ALGORITHMS)
    if not algorithms:
        raise ProviderProblem(f"{where} offers no signature we accept, only {offered}.")
    ways = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Provider(
        issuer=issuer,
        algorithms=algorithms,
        basic_auth="client_secret_basic" in ways,
        **{endpoint: document[endpoint] for endpoint in ENDPOINTS},
    )


def read_client_secret(path: Path) -> str:
    """Return the client secret.

    Raises:
        ProviderProblem: missing, empty, or readable by others; the text names the fix.
    """
    field = "auth.oidc.client_secret_file"
    try:
        mode = path.stat().st_mode
        secret = path.read_text().strip()
    except OSError as error:
        raise ProviderProblem(
            f"{field}: {path} cannot be read ({error.strerror}). "
            "Put the client secret from the provider there, mode 0600."
        ) from None
    if mode & 0o077:
        raise ProviderProblem(
            f"{field}: {path} can be read by other users of this machine. Run: chmod 600 {path}"
        )
    if not secret:
        raise ProviderProblem(f"{field}: {path} is empty. Put the client secret there.")
    return secret


def check_provider(issuer: str, client_secret_file: Path) -> str | None:
    """Return what keeps people from logging in, as a sentence with the fix, or None.

    For `workroom up`, `doctor` and `config check`; asks the provider over the network.
    """
    try:
        read_client_secret(client_secret_file)
        asyncio.run(discover(issuer))
    except ProviderProblem as problem:
        return str(problem)
    return None


def _need_safe(name: str, url: str) -> None:
    """Refuse plain http, except to this very machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return
    raise ProviderProblem(f"{name}: {url} must begin with https://.")


async def fetch_json(url: str) -> Any:
    """Return the JSON at `url`.

    Raises:
        ProviderProblem: no answer within 10 seconds, a refusal, or something else than JSON.
    """
    host = urlsplit(url).netloc
    try:
        answer = await AsyncHTTPClient().fetch(
            url, connect_timeout=TIMEOUT, request_timeout=TIMEOUT, follow_redirects=False
        )
        return json.loads(answer.body)
    except HTTPClientError as error:
        raise ProviderProblem(f"{host} answered {error.code} for {url}.") from error
    except ValueError as error:
        raise ProviderProblem(f"{url} is not JSON.") from error
    except OSError as error:
        raise ProviderProblem(f"{host} is not reachable: {error}.") from error


class Keys:
    """The keys a provider signs with, fetched when needed and again when it has changed them."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._known: jwt.PyJWKSet | None = None

    async def verify(self, id_token: object, client_id: str) -> Mapping[str, Any]:
        """Return the claims of an ID token whose signature, issuer, audience and times are right.

        A nonce adds nothing to PKCE here (RFC 9700, section 2.1.1): the code is bound
        to the browser that began.

        Raises:
            ProviderProblem: anything about the token is wrong; nobody may be logged in.
        """
        if not isinstance(id_token, str):
            raise ProviderProblem("no ID token came; is 'openid' among auth.oidc.scopes?")
        options: Options = {"require": ["iss", "sub", "aud", "exp", "iat"]}
        try:
            header = jwt.get_unverified_header(id_token)
            if header.get("alg") not in self.provider.algorithms:
                raise ProviderProblem(f"the ID token is signed with {header.get('alg')!r}")
            claims = jwt.decode(
                id_token,
                await self._find(header.get("kid")),
                algorithms=list(self.provider.algorithms),
                audience=client_id,
                issuer=self.provider.issuer,
                leeway=LEEWAY,
                options=options,
            )
        except jwt.PyJWTError as error:
            raise ProviderProblem(f"the ID token is not valid: {error}") from error
        if claims.get("azp", client_id) != client_id or not claims["sub"]:
            raise ProviderProblem("the ID token was made for another client, or for nobody")
        return claims

    async def _find(self, key_id: str | None) -> jwt.PyJWK:
        for again in (False, True):
            if self._known is None or again:
                self._known = jwt.PyJWKSet.from_dict(await fetch_json(self.provider.jwks_uri))
            for key in self._known.keys:
                if key.public_key_use in (None, "sig") and key_id in (None, key.key_id):
                    return key
        raise ProviderProblem("the ID token is signed with a key the provider does not publish")
