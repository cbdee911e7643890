"""Calls of an S3 server: who we are there, when to try again, and what went wrong in words."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import ContainerProvider, CredentialResolver
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
)

from workroom_data.errors import Damaged, DataError, NotFound, SettingsError, Unavailable
from workroom_data.storage import Exists

if TYPE_CHECKING:
    from workroom_data.settings import Settings

CONNECTIONS = 64
"""Connections kept open: lanes of one file times files that are read at once."""

GONE = {"NoSuchKey", "404", "NoSuchVersion"}
TAKEN = {"PreconditionFailed", "412"}
BROKEN = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "XAmzContentChecksumMismatch"}
PASSING = BROKEN | {
    "ConditionalRequestConflict",  # another request for this name is under way
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeout",
    "SlowDown",
    "Throttling",
    "TooManyRequests",
}
REFUSED = {
    "AccessDenied",
    "403",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
}

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds.

    Attributes:
        connect, answer: For a connection; for the next bytes of an answer.
        silent: For a server that is not there, in all, over several attempts.
        busy: For a server that answers 500 or 503 Slow Down, in all.
        attempts: At least so many, however long they took.
        pause: The longest pause between two attempts.
    """

    connect: float = 5
    answer: float = 40
    silent: float = 15
    busy: float = 90
    attempts: int = 3
    pause: float = 8


def patiently(patience: Patience, path: str, call: Callable[[bool], T]) -> T:
    """Call until there is an answer that counts.

    Args:
        patience: When to give up.
        path: What it is about, for messages.
        call: Gets whether an attempt was made before.

    Raises:
        DataError: The server's answer in words: NotFound, Damaged, Unavailable.
    """
    began = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        try:
            return call(attempt > 1)
        except (BotoCoreError, ClientError) as error:
            waited = time.monotonic() - began
            limit = patience.busy if isinstance(error, ClientError) else patience.silent
            if not _passes(error) or (attempt >= patience.attempts and waited > limit):
                raise in_words(error, path) from error
            if _is_broken(error) and attempt > patience.attempts:
                raise in_words(error, path) from error
        # Drawn, so that fifty who were refused together do not come back together.
        time.sleep(random.uniform(0, min(patience.pause, 0.1 * 2**attempt)))  # noqa: S311


def where(path: str) -> dict[str, str]:
    """Split `s3://BUCKET/KEY`."""
    bucket, _, key = path[len("s3://") :].partition("/")
    return {"Bucket": bucket, "Key": key}


def taken(path: str) -> Exists:
    """Say that a name is taken."""
    return Exists(f"{path} is there already.", "Nothing was written.")


def error_code(error: ClientError) -> str:
    """Return S3's code of an error ("NoSuchKey"); of an answer without a body its status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def in_words(error: BotoCoreError | ClientError, path: str) -> DataError:
    """Say an error of the SDK for people; no key and no secret is ever in it."""
    if not isinstance(error, ClientError):
        return _no_answer(error, path)
    code = error_code(error)
    said = error.response.get("Error", {}).get("Message") or "no reason given"
    if code in GONE:
        return NotFound(f"{path} is not there.")
    if code == "NoSuchBucket":
        return NotFound(
            f"There is no bucket for {path}.",
            "Check WORKROOM_DATA_WAREHOUSE and WORKROOM_DATA_S3_ENDPOINT.",
        )
    if code in TAKEN:
        return Damaged(
            f"{path} was written over while it was read.",
            "This package never does that: ask who has the keys of the bucket.",
        )
    if code in BROKEN:
        return Damaged(
            f"{path} arrived at the S3 server otherwise than it was sent, several times.",
            "Something between here and there changes bytes; nothing was written.",
        )
    if code in REFUSED:
        return Unavailable(
            f"The S3 server refuses {path} ({code}).",
            "Your server may lack the right to it, or its keys ran out: start it again, "
            "then ask whoever runs the platform.",
        )
    if code == "RequestTimeTooSkewed":
        return Unavailable(
            f"The S3 server refuses {path}: the clocks of it and of this machine differ.",
            "Set this machine's clock.",
        )
    return Unavailable(
        f"The S3 server fails at {path} ({code}: {said}).",
        "Try again later; if it stays, tell whoever runs the platform.",
    )


def _no_answer(error: BotoCoreError, path: str) -> DataError:
    if isinstance(error, FlexibleChecksumError):
        return Damaged(
            f"{path} arrived otherwise than it was written, several times.",
            "It is damaged on the server, or something on the way changes bytes.",
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return SettingsError(
            "There are no keys for the S3 server.",
            "Set WORKROOM_DATA_S3_KEY_ID and WORKROOM_DATA_S3_SECRET, or give the task a role.",
        )
    if isinstance(error, ParamValidationError):
        return SettingsError(f"{path} is not a name S3 accepts.", "Check WORKROOM_DATA_WAREHOUSE.")
    return Unavailable(
        f"The S3 server does not answer about {path} ({type(error).__name__}).",
        "Try again later; if it stays, tell whoever runs the platform.",
    )


def _passes(error: BotoCoreError | ClientError) -> bool:
    """Whether the same call may succeed a moment later."""
    if isinstance(error, ClientError):
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        return status >= 500 or status == 429 or error_code(error) in PASSING
    return not isinstance(
        error, NoCredentialsError | PartialCredentialsError | ParamValidationError
    )


def _is_broken(error: BotoCoreError | ClientError) -> bool:
    if isinstance(error, ClientError):
        return error_code(error) in BROKEN
    return isinstance(error, FlexibleChecksumError)


@functools.lru_cache(maxsize=8)
def connect(settings: Settings, patience: Patience, _process: int) -> Any:
    """Return the process's client: a forked process gets one of its own.

    A notebook's own AWS settings (profile, keys, AWS_ENDPOINT_URL) are for its own buckets. The
    warehouse is where the platform says, with the identity that the platform gives.
    """
    session = botocore.session.Session(session_vars=_variables(settings))
    if not settings.s3_key_id and _has_role():
        session.register_component("credential_provider", CredentialResolver([ContainerProvider()]))
    try:
        return boto3.session.Session(botocore_session=session).client(
            "s3",
            endpoint_url=settings.s3_endpoint or None,
            region_name=settings.s3_region or ("us-east-1" if settings.s3_endpoint else None),
            aws_access_key_id=settings.s3_key_id or None,
            aws_secret_access_key=settings.s3_secret or None,
            config=Config(
                signature_version="s3v4",
                # A server under an address of its own has no names for its buckets.
                s3={"addressing_style": "path" if settings.s3_endpoint else "auto"},
                ignore_configured_endpoint_urls=True,
                max_pool_connections=CONNECTIONS,
                connect_timeout=patience.connect,
                read_timeout=patience.answer,
                retries={"mode": "standard", "total_max_attempts": 1},
                tcp_keepalive=True,
            ),
        )
    except CredentialRetrievalError:
        raise  # the role's keys come from a server too, which may answer a moment later
    except (BotoCoreError, ValueError) as error:
        raise SettingsError(
            f"There is no S3 client for WORKROOM_DATA_S3_ENDPOINT={settings.s3_endpoint!r}, "
            f"WORKROOM_DATA_S3_REGION={settings.s3_region!r}: {error}"
        ) from error


def _variables(settings: Settings) -> dict[str, tuple[str | None, None, str | None, None]]:
    """Where the SDK looks for settings of its own: nowhere, if the platform gave an identity."""
    if not (settings.s3_key_id or _has_role()):
        return {}
    return {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }


def _has_role() -> bool:
    """Whether this container was given a role by ECS."""
    return any(
        f"AWS_CONTAINER_CREDENTIALS_{kind}_URI" in os.environ for kind in ("RELATIVE", "FULL")
    )
