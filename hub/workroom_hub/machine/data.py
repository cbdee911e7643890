"""The data servers of this machine: started beside everything else, waited for at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workroom_hub.errors import EngineError
from workroom_hub.machine import data_metastore, data_s3, engine, processes
from workroom_hub.machine.network import UsersNetwork
from workroom_hub.machine.stack import Stack

if TYPE_CHECKING:
    from docker import DockerClient


@dataclass(frozen=True)
class Starting:
    """Data servers under way.

    Attributes:
        s3: Done when the S3 server is usable; None without data.
        metastore: Done when the metastore answers.
    """

    s3: Future[str] | None = None
    metastore: Future[str] | None = None


def is_here(stack: Stack) -> bool:
    """Return whether this machine runs data servers of its own."""
    return stack.settings.data.enabled and (stack.spawner == "local" or stack.emulated)


@contextmanager
def starting(stack: Stack, client: DockerClient, users: UsersNetwork) -> Iterator[Starting]:
    """Start what does not run, and go on with the block meanwhile; `finish` waits.

    Without data, what may run of before is stopped.

    Raises:
        DataServerError: One of them cannot be started.
        PortTaken: Another process listens on a port of theirs.
    """
    if not is_here(stack):
        stop(stack, client)
        yield Starting()
        return
    # Processes are started here: a thread may not touch the handling of signals.
    child = data_s3.begin(stack, users.gateway)

    def s3() -> str:
        begun = time.monotonic()
        data_s3.wait(stack, users.gateway, child)
        return _told(f"{users.gateway}:{stack.settings.data.s3_port}", child is not None, begun)

    def metastore() -> str:
        begun = time.monotonic()
        anew = data_metastore.begin(stack, client, users)
        data_metastore.wait(stack, client, users.gateway)
        return _told(f"{users.gateway}:{stack.settings.data.metastore_port}", anew, begun)

    with ThreadPoolExecutor(2, thread_name_prefix="data") as pool:
        yield Starting(pool.submit(s3), pool.submit(metastore))


def finish(stack: Stack, begun: Starting) -> None:
    """Wait for the data servers, one line each.

    Raises:
        DataServerError: One of them does not answer.
    """
    for title, future in (("Object store", begun.s3), ("Hive metastore", begun.metastore)):
        if future is not None:
            with stack.report.step(title) as step:
                step.result = future.result()


@contextmanager
def stopping(stack: Stack, *, purge: bool = False) -> Iterator[Future[str]]:
    """Stop both while the block goes on; the S3 server takes a quarter of a minute.

    Before a `purge` it is killed: nothing waits for connections to data that is to go.
    """

    def both() -> str:
        try:
            client = engine.connect()
        except EngineError:
            # Its containers are stopped too then; what is left of them goes at the next `down`.
            return stop(stack, None, purge=purge)
        try:
            return stop(stack, client, purge=purge)
        finally:
            client.close()

    with ThreadPoolExecutor(1, thread_name_prefix="data") as pool:
        yield pool.submit(both)


def stop(stack: Stack, client: DockerClient | None, *, purge: bool = False) -> str:
    """Stop both; tables and the metastore's database stay. Say what was stopped."""
    stopped: list[str] = []
    if client is not None:
        ended = [data_metastore.stop(client, instance) for instance in stack.instances()]
        stopped += ["metastore"] if any(ended) else []
    if processes.stop(stack.home, data_s3.ROLE, grace=0 if purge else data_s3.STOP_WITHIN):
        stopped.append("object store")
    return f"{' and '.join(stopped)} stopped" if stopped else ""


def _told(address: str, anew: bool, begun: float) -> str:
    return f"{address}, {time.monotonic() - begun:.1f} s to start" if anew else "running"
