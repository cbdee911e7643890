"""Calls to AWS that do not succeed: what is said of each, and that it is the true fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from workroom_hub.deploy.calls import Clients, asked
from workroom_hub.errors import DeployError


def refusal(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


def said(error: Exception, **how: Any) -> str:
    def call() -> None:
        raise error

    with pytest.raises(DeployError) as caught:
        asked(call, **how)
    return f"{caught.value.message} {caught.value.fix}"


def test_a_profile_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "nope")
    with pytest.raises(DeployError, match="There is no profile 'nope'") as caught:
        asked(lambda: Clients("eu-central-1")("sts").get_caller_identity())
    assert "Correct AWS_PROFILE" in caught.value.fix
    assert "network" not in caught.value.fix


def test_half_of_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    with pytest.raises(DeployError, match="'AWS_SECRET_ACCESS_KEY' is missing") as caught:
        asked(lambda: Clients("eu-central-1")("sts").get_caller_identity())
    assert "Set AWS_SECRET_ACCESS_KEY too" in caught.value.fix


@pytest.mark.parametrize(
    "error",
    [
        exceptions.UnauthorizedSSOTokenError(),
        exceptions.SSOTokenLoadError(error_msg="x"),
        exceptions.TokenRetrievalError(provider="sso", error_msg="x"),
        refusal("ExpiredToken"),
        refusal("ExpiredTokenException"),
        refusal("InvalidClientTokenId"),
        exceptions.NoCredentialsError(),
    ],
)
def test_who_is_not_logged_in_any_more_logs_in_again(error: Exception) -> None:
    told = said(error)
    assert "Log in again (aws sso login)" in told
    assert "network" not in told
    assert "administrator" not in told


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), "Check the network"),
        (exceptions.CredentialRetrievalError(provider="p", error_msg="x"), "cannot be read"),
        (exceptions.ConfigParseError(path="x"), "Correct the profile"),
    ],
)
def test_what_keeps_a_call_from_aws(error: BotoCoreError, words: str) -> None:
    assert words in said(error)


def test_a_right_that_is_not_given() -> None:
    assert "AWS refuses DescribeStacks (AccessDenied)" in said(refusal("AccessDenied"))
    assert "administrator" in said(refusal("AccessDenied"), absent="does not exist")


def test_what_may_be_absent_is_none() -> None:
    def call() -> None:
        raise refusal("ValidationError", "Stack workroom does not exist")

    assert asked(call, absent="does not exist") is None
