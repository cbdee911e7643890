"""Why AWS did not do what it was asked, free of boto3's and JupyterHub's types.

    AwsProblem
    ├── Throttled                   too many calls; later it will work
    ├── Unreachable                 no answer in time, or an answer that AWS itself failed
    ├── Denied                      credentials missing, expired or without the right
    └── Refused                     the request itself was turned down; see `code`
        ├── AlreadyExists           it is there already; `id` says where
        ├── Conflict                `clientToken` used before, with another request
        ├── QuotaFull               no more tasks may wait for a machine just now
        └── UnknownTaskDefinition   never registered, or deregistered since

After `Unreachable` nobody knows whether the call was carried out. Messages hold what AWS said, and
nothing of what was asked: requests have start codes in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoAuthTokenError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from workroom_spawner.metrics import Outcome

_LONGEST = 500  # characters of a message
_THROTTLES = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "429",
    }
)
_DENIALS = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "NotAuthorized",
        "OptInRequired",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
        "401",
        "403",
    }
)
_OUTAGES = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "InternalServiceError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServerException",
        "ServiceFault",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
_CREDENTIAL_ERRORS = (
    CredentialRetrievalError,
    NoAuthTokenError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    RefreshWithMFAUnsupportedError,
    SSOError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
# Roots of EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError and SSLError, and of
# ReadTimeoutError and ConnectionClosedError.
_NETWORK_ERRORS = (ConnectionError, HTTPClientError, IncompleteReadError, ResponseParserError)


class AwsProblem(Exception):
    """Root of all reasons why AWS did not do what it was asked.

    Attributes:
        operation: As AWS names it, such as `RunTask`.
        code: AWS's error code, or the name of the SDK's exception.
    """

    outcome: ClassVar[Outcome] = "refused"

    def __init__(self, operation: str, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code}: {message}")
        self.operation = operation
        self.code = code
        self.message = message


class Throttled(AwsProblem):
    """Too many calls, ours or somebody else's in the account; later it will work."""

    outcome: ClassVar[Outcome] = "throttled"


class Unreachable(AwsProblem):
    """No answer in time, or AWS failed; nobody knows whether the call was carried out."""

    outcome: ClassVar[Outcome] = "unreachable"


class Denied(AwsProblem):
    """Credentials are missing, expired or wrong, or do not allow this operation."""

    outcome: ClassVar[Outcome] = "denied"


class Refused(AwsProblem):
    """AWS turned the request itself down; the same request will not do better."""


class AlreadyExists(Refused):
    """What should have been created is there already, as `id`."""

    def __init__(self, operation: str, code: str, message: str, id: str) -> None:
        super().__init__(operation, code, message)
        self.id = id


class Conflict(Refused):
    """The `clientToken` was used before, with another request."""


class QuotaFull(Refused):
    """The cluster's number of tasks that wait for a machine is at its quota."""


class UnknownTaskDefinition(Refused):
    """The task definition was never registered, or was deregistered since."""


def from_botocore(operation: str, error: Exception, secrets: Iterable[str] = ()) -> AwsProblem:
    """Return what `error`, raised by a boto3 client, means.

    Args:
        secrets: Texts that must not be in the message, should AWS repeat them.

    Raises:
        Exception: `error` itself, if it is none of the SDK's: a mistake of ours.
    """
    if isinstance(error, ClientError):
        return _from_answer(operation, error, secrets)
    name = type(error).__name__
    if isinstance(error, ParamValidationError):
        return Refused(operation, name, _parameters_at_fault(error))
    message = _clean(str(error), secrets)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return Denied(operation, name, message)
    if isinstance(error, _NETWORK_ERRORS):
        return Unreachable(operation, name, message)
    if isinstance(error, BotoCoreError):
        return Refused(operation, name, message)
    raise error


def _from_answer(operation: str, error: ClientError, secrets: Iterable[str]) -> AwsProblem:
    answer = error.response
    said = answer.get("Error", {})
    code = str(said.get("Code") or "Unknown")
    text = str(said.get("Message") or said.get("message") or "no message")
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    message = _clean(text, secrets)
    kind = _kind(code, text.lower(), status)
    if kind is AlreadyExists:
        found = str(answer.get("AccessPointId") or "")
        return AlreadyExists(operation, code, message, found)
    return kind(operation, code, message)


def _kind(code: str, text: str, status: int) -> type[AwsProblem]:
    # A task's network interface can be throttled by EC2; ECS hands that on in the text only.
    if code in _THROTTLES or status == 429 or "requestlimitexceeded" in text:
        return Throttled
    # Two hubs, or a call repeated after a timeout, register the same family at once.
    if "too many concurrent attempts" in text:
        return Throttled
    # EFS says that a quota is reached with status 403, too.
    if code in _DENIALS or (status in (401, 403) and "LimitExceeded" not in code):
        return Denied
    if code in _OUTAGES or status >= 500:
        return Unreachable
    if code == "AccessPointAlreadyExists":
        return AlreadyExists
    if code in ("ConflictException", "IdempotentParameterMismatch"):
        return Conflict
    # ECS has one code for all of these; the wording is AWS's, seen in the field.
    if "provisioning capacity limit" in text:
        return QuotaFull
    if re.search(r"task ?definition", text) and re.search(
        r"not found|inactive|unable to (find|describe)|does not exist", text
    ):
        return UnknownTaskDefinition
    return Refused


def _parameters_at_fault(error: ParamValidationError) -> str:
    """Name the parameters without their values, which the SDK's own text has."""
    report = str(error.kwargs.get("report", ""))
    at_fault = re.findall(r'parameter (?:in \S+: "(\w+)"|([\w.\[\]]+))', report)
    named = sorted({"".join(names) for names in at_fault})
    return f"the request is not as the SDK knows it; look at: {', '.join(named) or 'its shape'}"


def _clean(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
