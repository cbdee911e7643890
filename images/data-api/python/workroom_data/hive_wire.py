"""Requests to a Hive Metastore: connections, attempts, and what its silences and refusals mean."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pymetastore.hive_metastore.ThriftHiveMetastore import Client
from pymetastore.hive_metastore.ttypes import MetaException
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.protocol.TProtocol import TProtocolException
from thrift.Thrift import TApplicationException, TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from workroom_data.errors import DataError, SchemaError, SettingsError, Unavailable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 60.0
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts, each drawn from half of it to all of it: a metastore that is started
again is back by then."""

PATIENCE_SECONDS = 15.0
"""After this long there is no further attempt."""

IDLE_SECONDS = 240.0
"""A connection unused for longer is not used again: firewalls forget them without a word."""

KEPT = 8
"""Idle connections that are kept, each for one thread at a time."""

_BUFFER = 64 * 1024


@dataclass
class _Connection:
    client: Any
    transport: Any
    used: float


@dataclass
class Wire:
    """The way to a metastore; may be shared by threads.

    Args:
        address: `thrift://HOST:PORT`, or several with commas between, tried in turn.
        sleep, clock: For tests.

    Attributes:
        calls: Requests sent so far, those that were sent again among them.
    """

    address: str
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    calls: int = 0
    _idle: list[_Connection] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._places = [_place(one) for one in self.address.split(",")]

    def ask(self, what: str, request: Callable[[Any], Any]) -> Any:
        """Send a request and return its answer; try again when the metastore is silent.

        Every request here may be sent twice: what reads changes nothing, what alters sets the
        same again, and what adds is told "already there", which callers must expect anyway.

        Args:
            what: What is asked, for the message ("read table sales.orders").
            request: Calls one method of the thrift client.

        Raises:
            Unavailable: No answer after all attempts, or the metastore failed at it.
            Exception: An answer that is an exception of the metastore's interface
                (NoSuchObjectException, …), which callers translate.
        """
        begun = self.clock()
        for pause in (*PAUSES, None):
            try:
                return self._once(request)
            except (TTransportException, OSError) as error:
                tired = self.clock() - begun > PATIENCE_SECONDS
                if pause is None or tired:
                    raise self._silent(what) from error
                self.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            except MetaException as error:
                raise self.failed(what) from error
            except (TApplicationException, TProtocolException) as error:
                raise self._not_a_metastore(what) from error
            except UnicodeEncodeError as error:
                raise SchemaError(
                    f"The request to {what} holds text that is no Unicode: {error.object!r}.",
                    "Replace half surrogates (\\ud800 to \\udfff).",
                ) from error
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Close the idle connections. The next request opens a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.transport.close()

    def failed(self, what: str) -> DataError:
        """Return the error of a metastore that answered, and could not do it."""
        return Unavailable(
            f"The metastore at {self.address} failed to {what}.",
            "Its log says why (on one machine: workroom logs metastore).",
        )

    def _once(self, request: Callable[[Any], Any]) -> Any:
        connection = self._take()
        with self._lock:
            self.calls += 1
        try:
            answer = request(connection.client)
        except BaseException as error:
            if _is_answer(error):
                self._give_back(connection)
            else:  # what comes next on this connection would be the rest of this answer
                connection.transport.close()
            raise
        self._give_back(connection)
        return answer

    def _take(self) -> _Connection:
        """Return an idle connection that is still open, or a new one."""
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open()
            fresh = self.clock() - connection.used < IDLE_SECONDS
            if fresh and connection.transport.isOpen():
                return connection
            connection.transport.close()

    def _give_back(self, connection: _Connection) -> None:
        connection.used = self.clock()
        with self._lock:
            if len(self._idle) < KEPT:
                self._idle.append(connection)
                return
        connection.transport.close()

    def _open(self) -> _Connection:
        failure: OSError | None = None
        for place in self._places:
            try:
                # Not TSocket.open, which logs each refusal into the user's notebook.
                handle = socket.create_connection(place, timeout=CONNECT_SECONDS)
            except OSError as error:
                failure = error
                continue
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            wire = TSocket(*place)
            wire.setHandle(handle)
            wire.setTimeout(ANSWER_SECONDS * 1000)
            transport = TBufferedTransport(wire, _BUFFER)
            # Strict: else four bytes of another protocol are taken for a length, and waited for.
            protocol = TBinaryProtocolAccelerated(transport, strictRead=True)
            return _Connection(Client(protocol), transport, self.clock())
        assert failure is not None
        raise failure

    def _silent(self, what: str) -> Unavailable:
        return Unavailable(
            f"The metastore at {self.address} does not answer; asked to {what}.",
            "What is stored is safe. Try again in a minute; if it stays so, tell who runs the "
            "platform (on one machine: workroom status).",
        )

    def _not_a_metastore(self, what: str) -> Unavailable:
        return Unavailable(
            f"What answers at {self.address} could not be understood; asked to {what}.",
            "Is a Hive Metastore of version 2.3 or 3 there? See WORKROOM_DATA_METASTORE.",
        )


def _is_answer(error: BaseException) -> bool:
    """Say whether an exception is one of the metastore's interface: a whole answer was read."""
    broken = (TApplicationException, TProtocolException, TTransportException)
    return isinstance(error, TException) and not isinstance(error, broken)


def _place(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address.strip())
        if parts.scheme == "thrift" and parts.hostname:
            return parts.hostname, parts.port or 9083
    except ValueError:
        pass
    raise SettingsError(
        f"WORKROOM_DATA_METASTORE is {address!r}.", "It must be thrift://HOST:PORT."
    )
