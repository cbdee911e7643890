"""Calls to AWS whose refusals become sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from workroom_hub.errors import DeployError

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError


class Clients:
    """AWS's clients of one region, each made once.

    Args:
        region: The region.
    """

    def __init__(self, region: str) -> None:
        self._region = region
        self._made: dict[str, Any] = {}

    def __call__(self, service: str) -> Any:
        """Return the client of a service."""
        if service not in self._made:
            import boto3

            self._made[service] = boto3.Session().client(service, region_name=self._region)
        return self._made[service]


def asked(call: Callable[[], Any], *, absent: str = "", lenient: bool = False) -> Any:
    """Return what AWS answers.

    Args:
        call: The call.
        absent: Words of the refusal that means "there is none"; then the answer is None.
        lenient: Take every refusal for None.

    Raises:
        DeployError: AWS refuses, is not reached, or there are no credentials.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return call()
    except ClientError as error:
        told = error.response.get("Error", {})
        code, message = str(told.get("Code", "unknown")), str(told.get("Message", ""))
        if lenient or (absent and absent in message):
            return None
        if code in _EXPIRED:
            raise DeployError(
                f"The AWS credentials have expired ({code}).", _LOG_IN, details=message
            ) from error
        if code in _UNKNOWN:
            raise DeployError(
                f"AWS does not know these credentials ({code}).",
                f"{_LOG_IN} If they are right, aws.region is not enabled in their account.",
                details=message,
            ) from error
        raise DeployError(
            f"AWS refuses {error.operation_name} ({code}).",
            "The account's administrator can give the right: docs/deploy-aws.md, Rights.",
            details=message,
        ) from error
    except BotoCoreError as error:
        raise DeployError(*_before_aws(error)) from error


_LOG_IN = (
    "Log in again (aws sso login), with AWS_PROFILE set; or set AWS_ACCESS_KEY_ID, "
    "AWS_SECRET_ACCESS_KEY and, if they are temporary, AWS_SESSION_TOKEN."
)
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch")


def _before_aws(error: BotoCoreError) -> tuple[str, str]:
    """Return what keeps a call from reaching AWS, and what to do."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError):
        return "There are no AWS credentials here.", _LOG_IN
    if isinstance(error, exceptions.ProfileNotFound):
        return (
            f"There is no profile '{error.kwargs['profile']}' in the files of the AWS CLI.",
            "Correct AWS_PROFILE (aws configure list-profiles tells them), or unset it.",
        )
    if isinstance(error, exceptions.PartialCredentialsError):
        lacks, provider = error.kwargs["cred_var"], error.kwargs["provider"]
        return (
            f"The AWS credentials of '{provider}' are not whole: '{lacks}' is missing.",
            f"Set {lacks} too, or log in with AWS_PROFILE set.",
        )
    if isinstance(error, exceptions.SSOError | exceptions.TokenRetrievalError):
        return f"The log-in to AWS is over or was never made ({type(error).__name__}).", _LOG_IN
    if isinstance(
        error,
        exceptions.CredentialRetrievalError
        | exceptions.ConfigParseError
        | exceptions.ConfigNotFound
        | exceptions.InvalidConfigError,
    ):
        return (
            f"The AWS credentials cannot be read ({type(error).__name__}).",
            "Correct the profile in ~/.aws/config and ~/.aws/credentials (aws sts "
            "get-caller-identity tries it), or set AWS_PROFILE to another.",
        )
    return f"AWS is not reached ({type(error).__name__}).", "Check the network and aws.region."
