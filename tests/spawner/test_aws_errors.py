"""What boto3 raises, as our tree: by code, by wording, by kind of failure."""

from __future__ import annotations

from typing import Any

import botocore.exceptions as sdk
import pytest
from botocore.parsers import ResponseParserError

from workroom_spawner.aws_errors import (
    AlreadyExists,
    AwsProblem,
    Conflict,
    Denied,
    QuotaFull,
    Refused,
    Throttled,
    UnknownTaskDefinition,
    Unreachable,
    from_botocore,
)

URL = "https://ecs.eu-west-1.amazonaws.com/"


def answer(code: str, message: str = "", status: int = 400, **fields: Any) -> sdk.ClientError:
    response = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
        **fields,
    }
    return sdk.ClientError(response, "RunTask")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (answer("ThrottlingException", "Rate exceeded"), Throttled),
        (answer("Throttling"), Throttled),
        (answer("RequestLimitExceeded"), Throttled),
        (answer("TooManyRequestsException"), Throttled),
        (answer("SlowDown", status=503), Throttled),
        (answer("Odd", status=429), Throttled),
        (
            answer(
                "InvalidParameterException",
                "Error retrieving subnet information: (ErrorCode: RequestLimitExceeded)",
            ),
            Throttled,
        ),
        (
            answer("ClientException", "Too many concurrent attempts to create a new revision"),
            Throttled,
        ),
        (answer("ServerException", status=500), Unreachable),
        (answer("ServiceUnavailable", status=503), Unreachable),
        (answer("Nobody knows", status=502), Unreachable),
        (answer("InternalFailure"), Unreachable),
        (answer("AccessDeniedException", "User … is not authorized"), Denied),
        (answer("ExpiredTokenException"), Denied),
        (answer("ExpiredToken"), Denied),
        (answer("UnrecognizedClientException"), Denied),
        (answer("InvalidSignatureException", "Signature expired"), Denied),
        (answer("InvalidClientTokenId"), Denied),
        (answer("Odd", status=403), Denied),
        (answer("ClientException", "Tasks provisioning capacity limit exceeded."), QuotaFull),
        (answer("ClientException", "TaskDefinition not found."), UnknownTaskDefinition),
        (answer("ClientException", "TaskDefinition is inactive"), UnknownTaskDefinition),
        (
            answer("ClientException", "Unable to find task definition: gone"),
            UnknownTaskDefinition,
        ),
        (
            answer("ClientException", "Unable to describe task definition."),
            UnknownTaskDefinition,
        ),
        (answer("ConflictException", "Client token already used"), Conflict),
        (answer("AccessPointAlreadyExists", status=409, AccessPointId="fsap-1"), AlreadyExists),
        (answer("ClusterNotFoundException", "Cluster not found."), Refused),
        (answer("InvalidParameterException", "The referenced task was not found."), Refused),
        (answer("AccessPointLimitExceeded", status=403), Refused),
        (sdk.NoCredentialsError(), Denied),
        (sdk.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), Denied),
        (sdk.CredentialRetrievalError(provider="process", error_msg="exit 1"), Denied),
        (sdk.ProfileNotFound(profile="prod"), Denied),
        (sdk.TokenRetrievalError(provider="sso", error_msg="expired"), Denied),
        (sdk.UnauthorizedSSOTokenError(), Denied),
        (sdk.EndpointConnectionError(endpoint_url=URL), Unreachable),
        (sdk.ConnectTimeoutError(endpoint_url=URL), Unreachable),
        (sdk.ReadTimeoutError(endpoint_url=URL), Unreachable),
        (sdk.ConnectionClosedError(endpoint_url=URL), Unreachable),
        (sdk.ProxyConnectionError(proxy_url="http://proxy", error="refused"), Unreachable),
        (sdk.SSLError(endpoint_url=URL, error="CERTIFICATE_VERIFY_FAILED"), Unreachable),
        (sdk.HTTPClientError(error="odd"), Unreachable),
        (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), Unreachable),
        (ResponseParserError("not XML"), Unreachable),
        (sdk.NoRegionError(), Refused),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else None,
)
def test_what_the_sdk_raises_is_exactly_one_kind(error: Exception, kind: type[AwsProblem]) -> None:
    problem = from_botocore("RunTask", error)
    assert type(problem) is kind
    assert problem.operation == "RunTask"
    assert problem.outcome in ("throttled", "unreachable", "denied", "refused")
    assert str(problem).startswith("RunTask: ")


def test_every_exception_of_the_sdk_has_a_kind() -> None:
    """Also those of the next version: none of them may end a watcher or reach a user."""
    for name, kind in vars(sdk).items():
        if isinstance(kind, type) and issubclass(kind, sdk.BotoCoreError):
            error = kind.__new__(kind)
            Exception.__init__(error, name)
            error.kwargs = {}
            assert isinstance(from_botocore("RunTask", error), AwsProblem), name


def test_codes_and_words_are_kept() -> None:
    problem = from_botocore("RunTask", answer("ClientException", "No Container Instances"))
    assert isinstance(problem, Refused)
    assert (problem.code, problem.message) == ("ClientException", "No Container Instances")


def test_an_access_point_that_is_there_says_where() -> None:
    error = answer("AccessPointAlreadyExists", status=409, AccessPointId="fsap-1")
    problem = from_botocore("CreateAccessPoint", error)
    assert isinstance(problem, AlreadyExists)
    assert problem.id == "fsap-1"


def test_an_answer_without_anything_is_still_a_refusal() -> None:
    problem = from_botocore("RunTask", sdk.ClientError({}, "RunTask"))
    assert str(problem) == "RunTask: Unknown: no message"


def test_what_aws_repeats_of_the_request_is_hidden() -> None:
    error = answer("ClientException", "Invalid value 's3cret-c0de' for environment")
    problem = from_botocore("RunTask", error, ["s3cret-c0de"])
    assert problem.message == "Invalid value '***' for environment"


def test_messages_are_short() -> None:
    assert len(str(from_botocore("RunTask", answer("ClientException", "x" * 9000)))) < 600


def test_the_sdks_own_validation_is_told_without_values() -> None:
    report = (
        'Missing required parameter in input: "taskDefinition"\n'
        "Invalid type for parameter overrides.containerOverrides[0].environment[0].value, "
        "value: {'s3cret': 1}, type: <class 'dict'>, valid types: <class 'str'>"
    )
    problem = from_botocore("RunTask", sdk.ParamValidationError(report=report))
    assert problem.message == (
        "the request is not as the SDK knows it; look at: "
        "overrides.containerOverrides[0].environment[0].value, taskDefinition"
    )


def test_our_own_mistakes_are_not_blamed_on_aws() -> None:
    with pytest.raises(KeyError):
        from_botocore("RunTask", KeyError("cluster"))
