"""boto3 clients as we want them, and the threads they are called in."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import parse_timestamp

from workroom_spawner.ecs_settings import EcsSettings

T = TypeVar("T")
Client = Any
"""A boto3 client; its methods are made at run time."""
Clients = Callable[[str], Client]
"""Makes the client of a service, named as boto3 names it; may take its time."""

THREADS = 32  # RunTask may take most of a second, and 40 a second may be made
_CONNECT_TIMEOUT = 5  # seconds
_READ_TIMEOUT = 20  # seconds
# The fields of tasks that `task_view.py` reads. boto3 turns every field that it knows into Python's
# types, of a hundred tasks in 22 ms, while the event loop's thread waits; these few take half.
_READ = {
    "Task": {
        "taskArn", "lastStatus", "desiredStatus", "stopCode", "stoppedReason", "createdAt",
        "pullStartedAt", "pullStoppedAt", "startedAt", "stoppedAt", "attachments", "containers",
        "tags",
    },
    "Container": {"name", "exitCode", "reason"},
    "Attachment": {"type", "details"},
}  # fmt: skip
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
        self._closed = False

    async def __call__(self, call: Callable[[], T], /) -> T:
        if self._closed:
            # The hub is ending. No start may fail of that: the next hub goes on with it.
            await asyncio.get_running_loop().create_future()
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        """Take no more calls: they wait for the end of the process; those taken are carried out."""
        self._closed = True
        self._pool.shutdown(wait=False)


def boto3_clients(settings: EcsSettings) -> Clients:
    """Return what makes clients for `settings`' region and endpoint.

    Credentials come from boto3's usual places, whatever the endpoint, which may be a VPC's. None
    are made up, stored or logged; `workroom up` gives the emulator's to the hub's process.
    """
    options: dict[str, Any] = {"region_name": settings.region, "config": _config(settings)}
    if settings.endpoint_url:
        options["endpoint_url"] = settings.endpoint_url

    session = cache(_session)  # takes long, so it is made with the first client, in its thread

    def make(service: str) -> Client:
        with _making:
            return session().client(service, **options)

    return make


def quiet_logs() -> None:
    """Keep the SDK's loggers from DEBUG, at which they print whole requests, start codes included.

    Even where the hub logs everything.
    """
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if logger.level < logging.INFO:  # NOTSET too, which inherits the root's
            logger.setLevel(logging.INFO)


def on_this_machine(endpoint_url: str) -> bool:
    """Tell whether an endpoint is reached without any proxy that the environment names."""
    return urlsplit(endpoint_url).hostname in ("127.0.0.1", "::1", "localhost")


def _config(settings: EcsSettings) -> Config:
    direct: dict[str, Any] = {"proxies": {}} if on_this_machine(settings.endpoint_url) else {}
    return Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
        # Buckets, back-off and the watcher repeat calls, with the right priorities.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=THREADS,
        tcp_keepalive=True,
        # Requests are made by pure functions whose tests compare and validate them whole.
        parameter_validation=False,
        **direct,
    )


class _FewFields(Loader):  # type: ignore[misc]
    """Loads boto3's service models; of ECS's tasks with only the fields that are read."""

    def load_service_model(self, service_name: str, type_name: str, **more: Any) -> Any:
        model = super().load_service_model(service_name, type_name, **more)
        if (service_name, type_name) != ("ecs", "service-2"):
            return model
        shapes = dict(model["shapes"])
        for name, read in _READ.items():
            members = shapes[name]["members"]
            shapes[name] = {
                **shapes[name],
                "members": {member: members[member] for member in members if member in read},
            }
        return {**model, "shapes": shapes}


_making = threading.Lock()  # clients, unlike what makes them, are for several threads
_models = _FewFields()  # reading them from disk is what takes time


def _session() -> boto3.session.Session:
    session = Session()
    session.register_component("data_loader", _models)
    parsers = session.get_component("response_parser_factory")
    parsers.set_parser_defaults(timestamp_parser=_timestamp)
    return boto3.session.Session(botocore_session=session)


def _timestamp(value: Any) -> datetime:
    """Read a time as UTC; the SDK's own way asks for the local time zone, slowly."""
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return parse_timestamp(value)  # type: ignore[no-any-return]
