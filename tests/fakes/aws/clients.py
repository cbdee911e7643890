"""Real boto3 clients whose requests the fake answers before they reach a socket."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

from tests.fakes.aws.errors import NeverAnswered, Unreachable
from tests.fakes.aws.wire import Reply

Answer = Callable[[str, str, Any, bytes], Reply]

# One session for all: reading botocore's service models is what takes time.
_session = boto3.session.Session(
    aws_access_key_id="AKIAFAKEFAKEFAKEFAKE", aws_secret_access_key="fake", region_name="eu-west-1"
)
_making = threading.Lock()  # sessions are not safe to share between threads; clients are


def client(service: str, answer: Answer, config: Config | None = None) -> Any:
    """Return a boto3 client for `service` that is answered by `answer`.

    It does not retry, unless `config` says so.
    """
    once = Config(retries={"total_max_attempts": 1, "mode": "standard"})
    with _making:
        made = _session.client(service, config=once.merge(config) if config else once)

    def before_send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        body = request.body or b""
        try:
            reply = answer(
                request.method,
                request.url,
                request.headers,
                body.encode() if isinstance(body, str) else bytes(body),
            )
        except Unreachable as error:
            raise EndpointConnectionError(endpoint_url=request.url, error=error) from error
        except NeverAnswered as error:
            raise ReadTimeoutError(endpoint_url=request.url, error=error) from error
        return AWSResponse(request.url, reply.status, reply.headers, _Raw(reply.body))

    made.meta.events.register("before-send", before_send)
    return made


class _Raw(io.BytesIO):
    """As much of urllib3's response as botocore reads."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()
