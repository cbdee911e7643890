"""How one call to AWS is made: its turn, its thread, its errors, its count, and again if throttled.

Which calls there are is in `ecs_api.py`.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, TypeVar

from botocore import xform_name

from workroom_spawner import metrics
from workroom_spawner.aws_clients import Client, Clients, Runner, Threads, quiet_logs
from workroom_spawner.aws_errors import AwsProblem, Throttled, Unreachable, from_botocore
from workroom_spawner.buckets import Priority, TokenBucket, Turn
from workroom_spawner.ecs_settings import Quotas
from workroom_spawner.task_requests import Request

_LONGEST_PAUSE = 20.0  # seconds between two attempts of a throttled call

T = TypeVar("T")
Convert = Callable[[dict[str, Any]], T]


@dataclass(frozen=True)
class Call:
    """One operation of AWS.

    Attributes:
        service: As boto3 names it.
        operation: As AWS names it.
        bucket: The field of `Quotas` whose tokens it takes.
        patient: Repeat it while it is throttled, rather than raise `Throttled`.
    """

    service: str
    operation: str
    bucket: str
    patient: bool = True


@dataclass
class Effort:
    """What a caller who may lose interest needs to know, and can say, while `ask` goes on.

    Attributes:
        calling: The call is in its thread now: whether AWS carries it out nobody can tell but by
            waiting for it. False in lines and pauses.
        last: Set by the caller: no other attempt, even of a patient call.
    """

    calling: bool = False
    last: bool = False


class Caller:
    """Makes calls; keeps the buckets and the clients."""

    def __init__(self, quotas: Quotas, clients: Clients, runner: Runner | None) -> None:
        self.buckets = {
            each.name: TokenBucket(getattr(quotas, each.name)) for each in fields(quotas)
        }
        self._make = clients
        self._made: dict[str, Client] = {}
        self._making = threading.Lock()
        self._threads = None if runner else Threads()
        self._run: Runner = runner or self._threads  # type: ignore[assignment]

    def close(self) -> None:
        if self._threads:
            self._threads.close()

    async def ask(
        self,
        call: Call,
        request: Request,
        convert: Convert[T],
        *,
        priority: Priority = Priority.LIVE,
        turn: Turn | None = None,
        secrets: Iterable[str] = (),
        effort: Effort | None = None,
    ) -> T:
        """Make a call when its turn has come, and return the answer.

        Args:
            convert: Makes of the answer what is returned; in the thread, for answers are large.
            turn: A place already taken in the call's bucket; else one of `priority` is taken now.
            secrets: Texts that no error's message may have.
            effort: Tells the caller how far it is.

        Raises:
            AwsProblem: See `aws_errors`.
        """
        effort = effort or Effort()
        try:
            # Before a token is taken, for a client is slow to make and the token would grow old.
            client = await self._client(call)
            turn = turn or self.buckets[call.bucket].line_up(priority)
            attempt = 0
            while True:
                await turn
                effort.calling = True
                try:
                    return await self._once(call, client, request, convert, secrets)
                except Throttled:
                    self.buckets[call.bucket].drain()
                    if effort.last or not call.patient:
                        raise
                finally:
                    effort.calling = False
                attempt += 1
                await asyncio.sleep(_pause(attempt))
                turn = turn.again()
        finally:
            if turn:
                turn.cancel()

    async def warm_up(self, call: Call) -> None:
        """Make the client of a call's service."""
        await self._client(call)

    async def _client(self, call: Call) -> Client:
        made = self._made.get(call.service)
        return made or await self._answer_of(call, partial(self._make_once, call.service))

    def _make_once(self, service: str) -> Client:
        with self._making:
            if service not in self._made:
                quiet_logs()
                self._made[service] = self._make(service)
            return self._made[service]

    async def _once(
        self,
        call: Call,
        client: Client,
        request: Request,
        convert: Convert[T],
        secrets: Iterable[str],
    ) -> T:
        method = getattr(client, xform_name(call.operation))

        def make() -> T:
            return _converted(call, method(**request), convert)

        try:
            answer = await self._answer_of(call, make, secrets)
        except AwsProblem as problem:
            metrics.count_call(call.operation, problem.outcome)
            raise
        metrics.count_call(call.operation, "ok")
        return answer

    async def _answer_of(
        self, call: Call, blocking: Callable[[], T], secrets: Iterable[str] = ()
    ) -> T:
        try:
            return await self._run(blocking)
        except AwsProblem:
            raise
        except Exception as error:
            # Without the SDK's own exception, which may quote the request: tracebacks are logged.
            raise from_botocore(call.operation, error, secrets) from None


def as_it_is(answer: dict[str, Any]) -> dict[str, Any]:
    """Convert nothing."""
    return answer


def _converted(call: Call, answer: dict[str, Any], convert: Convert[T]) -> T:
    try:
        return convert(answer)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # Whatever answered this, it was not AWS.
        raise Unreachable(call.operation, "Unreadable", f"{type(error).__name__}") from error


def _pause(attempt: int) -> float:
    """Return the seconds before another attempt: exponential, with full jitter."""
    return random.uniform(0, min(_LONGEST_PAUSE, 0.1 * 2 ** min(attempt, 16)))  # noqa: S311
