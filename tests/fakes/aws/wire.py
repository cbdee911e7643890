"""AWS's protocols, as bytes: JSON 1.1 (ECS, Logs), REST-JSON (EFS), query and XML (Auto Scaling).

Both ways of using the fake go through here, so botocore parses the same bytes in both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from xml.sax.saxutils import escape

from tests.fakes.aws.errors import AwsError

_TARGETS = {"AmazonEC2ContainerServiceV20141113": "ecs", "Logs_20140328": "logs"}
_EFS = "/2015-02-01/access-points"
_AUTOSCALING = "http://autoscaling.amazonaws.com/doc/2011-01-01/"
_JSON = {"Content-Type": "application/x-amz-json-1.1"}


@dataclass(frozen=True)
class Call:
    """One call of one operation."""

    service: str
    operation: str
    params: dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """An HTTP response."""

    status: int
    headers: dict[str, str]
    body: bytes


def read(method: str, url: str, headers: Mapping[str, Any], body: bytes) -> Call:
    """Tell what a request asks for.

    Args:
        headers: Must find names whatever their case.

    Raises:
        AwsError: It is nothing the fake knows, or it is not signed.
    """
    if "Authorization" not in headers:
        raise AwsError("MissingAuthenticationTokenException", "Missing Authentication Token")
    target = _text(headers.get("X-Amz-Target", ""))
    if target:
        prefix, _, operation = target.partition(".")
        if prefix in _TARGETS:
            return Call(_TARGETS[prefix], operation, json.loads(body or b"{}"))
    parts = urlsplit(url)
    if parts.path == _EFS:
        if method == "POST":
            return Call("efs", "CreateAccessPoint", json.loads(body))
        return Call("efs", "DescribeAccessPoints", dict(parse_qsl(parts.query)))
    if b"Action=" in body:
        form = dict(parse_qsl(body.decode()))
        return Call("autoscaling", form.pop("Action"), form)
    raise AwsError("UnknownOperationException", f"{method} {parts.path} {target}".strip())


def answer(call: Call, result: Any) -> Reply:
    """Return the response that carries `result`."""
    if call.service == "autoscaling":
        name = call.operation
        text = (
            f'<{name}Response xmlns="{_AUTOSCALING}"><{name}Result>{_xml(result)}</{name}Result>'
            "<ResponseMetadata><RequestId>fake</RequestId></ResponseMetadata>"
            f"</{name}Response>"
        )
        return Reply(200, {"Content-Type": "text/xml"}, text.encode())
    if call.service == "efs":
        return Reply(200, {"Content-Type": "application/json"}, _json(result))
    if call.operation == "DescribeTasks":
        tasks = ",".join(task.json for task in result["tasks"])
        rest = _json(result["failures"])
        return Reply(200, _JSON, b'{"tasks":[%b],"failures":%b}' % (tasks.encode(), rest))
    return Reply(200, _JSON, _json(result))


def refusal(service: str, error: AwsError) -> Reply:
    """Return the response that says no."""
    if service == "autoscaling":
        text = (
            f'<ErrorResponse xmlns="{_AUTOSCALING}"><Error><Type>Sender</Type>'
            f"<Code>{escape(error.code)}</Code><Message>{escape(error.message)}</Message>"
            "</Error><RequestId>fake</RequestId></ErrorResponse>"
        )
        return Reply(error.status, {"Content-Type": "text/xml"}, text.encode())
    if service == "efs":
        body = {"ErrorCode": error.code, "Message": error.message, **error.more}
        headers = {"Content-Type": "application/json", "x-amzn-errortype": error.code}
        return Reply(error.status, headers, _json(body))
    body = {"__type": error.code, "message": error.message, **error.more}
    return Reply(error.status, _JSON, _json(body))


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _xml(value: Any) -> str:
    if isinstance(value, dict):
        return "".join(f"<{name}>{_xml(each)}</{name}>" for name, each in value.items())
    if isinstance(value, list):
        return "".join(f"<member>{_xml(each)}</member>" for each in value)
    if isinstance(value, bool):
        return str(value).lower()
    return escape(str(value))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
