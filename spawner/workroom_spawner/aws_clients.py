"""boto3 clients as we want them, and the threads they are called in."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import boto3
from botocore.config import Config

from workroom_spawner.ecs_settings import EcsSettings

T = TypeVar("T")
Client = Any
"""A boto3 client; its methods are made at run time."""
Clients = Callable[[str], Client]
"""Makes the client of a service, named as boto3 names it; may take its time."""

THREADS = 24
_CONNECT_TIMEOUT = 5  # seconds
_READ_TIMEOUT = 20  # seconds
_TALKATIVE = ("boto3", "botocore", "s3transfer", "urllib3")


class Runner(Protocol):
    """Runs a blocking call somewhere and returns what it returned."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


class Threads:
    """The default runner: a pool of threads of its own, so that nobody else's work delays AWS's.

    A call whose waiting task is cancelled goes on to its end; threads cannot be stopped.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="aws")

    async def __call__(self, call: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Take no more calls; those under way end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def boto3_clients(settings: EcsSettings) -> Clients:
    """Return what makes clients for `settings`' region and endpoint.

    Credentials come from boto3's usual places; none are stored or logged. Only an emulator
    (`endpoint_url`) with none in the environment gets made-up ones.
    """
    options: dict[str, Any] = {"region_name": settings.region, "config": _config(settings)}
    if settings.endpoint_url:
        options["endpoint_url"] = settings.endpoint_url
        if not any(os.environ.get(name) for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE")):
            options |= {"aws_access_key_id": "emulator", "aws_secret_access_key": "emulator"}

    def make(service: str) -> Client:
        # A session each: sessions, unlike clients, are not for several threads.
        return boto3.session.Session().client(service, **options)

    return make


def quiet_logs() -> None:
    """Keep the SDK's loggers from DEBUG, at which they print whole requests, start codes included.

    Even where the hub logs everything.
    """
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO:  # NOTSET too, which inherits the root's
            logger.setLevel(logging.INFO)


def _config(settings: EcsSettings) -> Config:
    emulator: dict[str, Any] = {"proxies": {}} if settings.endpoint_url else {}
    return Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        # Buckets, back-off and the watcher repeat calls, with the right priorities.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=THREADS,
        tcp_keepalive=True,
        # Requests are made by pure functions whose tests compare and validate them whole.
        parameter_validation=False,
        **emulator,
    )
