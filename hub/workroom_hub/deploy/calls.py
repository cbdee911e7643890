"""Calls to AWS whose refusals become sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workroom_hub.errors import DeployError


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
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    try:
        return call()
    except NoCredentialsError as error:
        raise DeployError(
            "There are no AWS credentials here.",
            "Log in (aws sso login), and set AWS_PROFILE; or set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY.",
        ) from error
    except ClientError as error:
        told = error.response.get("Error", {})
        message = str(told.get("Message", ""))
        if lenient or (absent and absent in message):
            return None
        raise DeployError(
            f"AWS refuses {error.operation_name} ({told.get('Code', 'unknown')}).",
            "The account's administrator can give the right: docs/deploy-aws.md, Rights.",
            details=message,
        ) from error
    except BotoCoreError as error:
        raise DeployError(
            f"AWS is not reached ({type(error).__name__}).", "Check the network and aws.region."
        ) from error
