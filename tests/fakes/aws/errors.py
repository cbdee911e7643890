"""How the fake says no: an answer with an error in it, or no answer."""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """An answer with an error.

    Args:
        code: AWS's name of the error, which botocore shows as `Error.Code`.
        status: HTTP status.
        more: Further members of the answer, such as `AccessPointId`.
    """

    def __init__(self, code: str, message: str, status: int = 400, **more: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.more = more


class Unreachable(Exception):
    """The connection fails; the call has no effect."""


class NeverAnswered(Exception):
    """The answer never arrives; whether the call had an effect is another matter."""


class Instead(Exception):
    """Answer `result`; the operation is not done."""

    def __init__(self, result: Any) -> None:
        super().__init__("answered instead")
        self.result = result


def invalid(message: str) -> AwsError:
    """Return the error of a parameter that cannot be right."""
    return AwsError("InvalidParameterException", message)


def client_error(message: str) -> AwsError:
    """Return the error that ECS uses for most other things that the caller got wrong."""
    return AwsError("ClientException", message)
