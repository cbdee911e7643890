"""What proves who somebody is at a provider, and what does not; settings of the log-in."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from tornado import web
from traitlets.config import Config

from workroom_hub import oidc_provider
from workroom_hub.auth import configure_auth
from workroom_hub.oidc import OidcAuthenticator
from workroom_hub.oidc_provider import (
    Keys,
    Provider,
    ProviderProblem,
    check_provider,
    discover,
    read_client_secret,
    read_discovery,
)
from workroom_hub.passwords import LocalAuthenticator
from workroom_hub.runtime import Runtime, write_private
from workroom_hub.settings import Settings

ISSUER = "https://login.example.com/realm"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "userinfo_endpoint": f"{ISSUER}/me",
    "jwks_uri": f"{ISSUER}/keys",
    "id_token_signing_alg_values_supported": ["none", "HS256", "RS256"],
    "token_endpoint_auth_methods_supported": ["client_secret_post"],
}
FIRST = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_a_discovery_document_gives_endpoints_and_safe_algorithms() -> None:
    provider = read_discovery(ISSUER, DOCUMENT)
    assert provider.token_endpoint == f"{ISSUER}/token"
    assert provider.algorithms == ("RS256",)
    assert provider.basic_auth is False


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"issuer": "https://elsewhere.example.com"}, "names another issuer"),
        ({"userinfo_endpoint": None}, "lacks userinfo_endpoint"),
        ({"token_endpoint": "http://login.example.com/token"}, "must begin with https"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "no signature we accept"),
    ],
)
def test_a_discovery_document_that_will_not_do_says_why(
    change: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ProviderProblem, match=complaint):
        read_discovery(ISSUER, {**DOCUMENT, **change})


async def test_the_issuer_must_be_https_or_this_machine() -> None:
    with pytest.raises(ProviderProblem, match="must begin with https"):
        await discover("http://login.example.com")
    with pytest.raises(ProviderProblem, match="not reachable"):
        await discover("http://127.0.0.1:1")


def published(**keys: rsa.RSAPrivateKey) -> dict[str, Any]:
    """Return the document with the public halves of `keys`."""
    found = []
    for key_id, key in keys.items():
        public = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        found.append({**public, "kid": key_id, "use": "sig", "alg": "RS256"})
    return {"keys": found}


@pytest.fixture
def provider() -> Provider:
    return read_discovery(ISSUER, DOCUMENT)


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Return what sets the answer of the provider's `jwks_uri`."""

    def answer(document: dict[str, Any]) -> None:
        async def fetch(url: str) -> Any:
            assert url == DOCUMENT["jwks_uri"]
            return json.loads(json.dumps(document))

        monkeypatch.setattr(oidc_provider, "fetch_json", fetch)

    answer(published(first=FIRST))
    return answer


def token(
    key: Any = FIRST, kid: str | None = "first", algorithm: str = "RS256", **claims: Any
) -> str:
    """Return a signed ID token, good unless told otherwise; a claim of None is left out."""
    now = int(time.time())
    good = {"iss": ISSUER, "sub": "248289", "aud": "workroom", "iat": now, "exp": now + 300}
    headers = {"kid": kid} if kid else {}
    body = {name: value for name, value in {**good, **claims}.items() if value is not None}
    return jwt.encode(body, key, algorithm, headers)


@pytest.mark.usefixtures("publish")
async def test_a_good_token_proves_its_subject(provider: Provider) -> None:
    claims = await Keys(provider).verify(token(preferred_username="ann"), "workroom")
    assert claims["sub"] == "248289"
    assert claims["preferred_username"] == "ann"
    assert await Keys(provider).verify(token(kid=None), "workroom")


@pytest.mark.usefixtures("publish")
@pytest.mark.parametrize(
    "forged",
    [
        None,
        "not a token",
        token(OTHER),
        token(kid="unknown"),
        token(iss="https://elsewhere.example.com"),
        token(aud="another-client"),
        token(aud=["workroom", "another"], azp="another"),
        token(exp=int(time.time()) - 3600),
        token(exp=None),
        token(sub=None),
        token(sub=""),
        token(None, algorithm="none"),
        token("a-shared-secret-of-thirty-two-bytes", algorithm="HS256"),
    ],
    ids=[
        *("missing", "garbage", "other-key", "unknown-key", "issuer", "audience", "party"),
        *("expired", "no-end", "no-subject", "empty-subject", "unsigned", "shared-secret"),
    ],
)
async def test_no_other_token_does(provider: Provider, forged: str | None) -> None:
    with pytest.raises(ProviderProblem):
        await Keys(provider).verify(forged, "workroom")


async def test_a_provider_may_change_its_keys(
    provider: Provider, publish: Callable[[dict[str, Any]], None]
) -> None:
    keys = Keys(provider)
    assert await keys.verify(token(), "workroom")
    publish(published(second=OTHER))
    assert await keys.verify(token(OTHER, "second"), "workroom")
    with pytest.raises(ProviderProblem, match="does not publish"):
        await keys.verify(token(), "workroom")


def test_the_client_secret_comes_from_a_private_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    with pytest.raises(ProviderProblem, match=r"client_secret_file: .*secret cannot be read"):
        read_client_secret(file)
    file.write_text("hush\n")
    file.chmod(0o640)
    with pytest.raises(ProviderProblem, match="chmod 600"):
        read_client_secret(file)
    file.chmod(0o600)
    assert read_client_secret(file) == "hush"
    file.write_text("\n")
    with pytest.raises(ProviderProblem, match="is empty"):
        read_client_secret(file)


def test_what_keeps_people_out_is_told_before_the_hub_starts(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    assert "cannot be read" in str(check_provider("http://127.0.0.1:1", secret))
    write_private(secret, "hush")
    assert "127.0.0.1:1 is not reachable" in str(check_provider("http://127.0.0.1:1", secret))


def test_the_hub_does_not_start_without_its_secret() -> None:
    with pytest.raises(SystemExit):
        OidcAuthenticator(config=configured(auth=oidc()))


def configured(**settings: Any) -> Config:
    c = Config()
    nowhere = Runtime(Path("/nonexistent"), "127.0.0.1", "none", 1, 2**30, {})
    configure_auth(Settings.model_validate(settings), nowhere, c)
    return c


def oidc(**more: Any) -> dict[str, Any]:
    given = {"issuer": ISSUER, "client_id": "workroom", "client_secret_file": "/nonexistent"}
    return {"kind": "oidc", "oidc": {**given, **more}}


def test_passwords_are_the_default() -> None:
    assert configured().JupyterHub.authenticator_class is LocalAuthenticator


def test_with_a_provider_nobody_is_let_in_by_default() -> None:
    c = configured(auth=oidc())
    assert c.JupyterHub.authenticator_class is OidcAuthenticator
    assert c.OidcAuthenticator.allow_all is False
    assert c.OidcAuthenticator.allowed_groups == set()
    assert c.OidcAuthenticator.admin_groups == set()
    assert c.OidcAuthenticator.adopt_existing is False
    assert "client_secret" not in c.OidcAuthenticator


@pytest.mark.parametrize(
    ("web", "callback"),
    [
        ({}, ""),
        (
            {"public_url": "https://work.example.com/"},
            "https://work.example.com/hub/oauth_callback",
        ),
        ({"isolation": "subdomain", "port": 8100}, "http://localhost:8100/hub/oauth_callback"),
    ],
)
def test_the_provider_sends_people_back_to_the_hubs_own_host(
    web: dict[str, Any], callback: str
) -> None:
    assert configured(web=web, auth=oidc()).OidcAuthenticator.oauth_callback_url == callback


@pytest.fixture
def at_provider(tmp_path: Path) -> Callable[..., OidcAuthenticator]:
    """Return what makes an authenticator with the given settings."""
    secret = tmp_path / "secret"
    write_private(secret, "hush")

    def make(**more: Any) -> OidcAuthenticator:
        auth = oidc(client_secret_file=str(secret), title="Example Corp", **more)
        return OidcAuthenticator(config=configured(auth=auth))

    return make


@pytest.mark.parametrize("verified", [False, "false"])
def test_an_address_that_is_not_verified_names_nobody(
    at_provider: Callable[..., OidcAuthenticator], verified: Any
) -> None:
    claims = {"email": "ann@example.com", "email_verified": verified, "preferred_username": "ann"}
    with pytest.raises(web.HTTPError, match="not verified at Example Corp") as refused:
        at_provider(username_claim="email").user_info_to_username(claims)
    assert refused.value.status_code == 403
    assert at_provider().user_info_to_username(claims) == "ann"  # the address names nothing here


@pytest.mark.parametrize("more", [{"email_verified": True}, {"email_verified": "true"}, {}])
def test_an_address_that_is_verified_or_not_spoken_of_names_its_owner(
    at_provider: Callable[..., OidcAuthenticator], more: dict[str, Any]
) -> None:
    claims = {"email": "ann@example.com", **more}
    authenticator = at_provider(username_claim="email")
    assert authenticator.user_info_to_username(claims) == "ann@example.com"


@pytest.mark.parametrize(
    ("groups", "meant"),
    [
        (["a", "b"], {"a", "b"}),
        (None, set()),
        ("abc", set()),
        ({"a": 1}, set()),
        (["a", 5, ""], {"a"}),
    ],
)
async def test_only_a_list_of_texts_is_a_list_of_groups(
    at_provider: Callable[..., OidcAuthenticator], groups: Any, meant: set[str]
) -> None:
    authenticator = at_provider()
    assert authenticator.client_secret == "hush"
    assert await authenticator.get_user_groups({"oauth_user": {"groups": groups}}) == meant
