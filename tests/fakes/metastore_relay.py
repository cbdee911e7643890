"""A relay before a real metastore: it loses answers (requests pass, the connection breaks then), is
down, or lets others act before a request is passed on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

_CALL = b"\x80\x01"


class MetastoreRelay:
    """Relays bytes both ways, until it is told to lose an answer.

    Args:
        address: The metastore's, `thrift://HOST:PORT`.

    Attributes:
        address: The relay's own.
        connections: How many have been opened to it.
        lost: Answers lost so far.
        before: Called with the name of each request ("alter_partition…") before it is passed on;
            what it raises (ConnectionError) breaks the connection.
        down: Every request breaks its connection.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._target = (parts.hostname or "", parts.port or 0)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.address = f"thrift://127.0.0.1:{self._door.getsockname()[1]}"
        self.connections = 0
        self.lost = 0
        self.before: Callable[[str], object] = lambda _: None
        self.down = False
        self._pass = 0
        self._lose = 0
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> MetastoreRelay:
        return self

    def __exit__(self, *_: object) -> None:
        # A thread that waits in accept() is not woken by close().
        with suppress(OSError):
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for one in self._open:
            _break(one)

    def lose_answers(self, count: int, after: int = 0) -> None:
        """Lose the next answers, once `after` more have passed. One request at a time, please."""
        with self._lock:
            self._pass, self._lose = after, count

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                self.connections += 1
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for work in (self._requests, self._answers):
                    threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while content := client.recv(65536):
                if content[:2] == _CALL:  # Thrift's strict form: version, then the name
                    length = int.from_bytes(content[4:8], "big")
                    self.before(content[8 : 8 + length].decode())
                if self.down:
                    break
                server.sendall(content)
        _break(server)
        _break(client)

    def _answers(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while content := server.recv(65536):
                if self._is_lost():
                    break
                client.sendall(content)
        _break(client)

    def _is_lost(self) -> bool:
        with self._lock:
            if self._pass:
                self._pass -= 1
                return False
            if not self._lose:
                return False
            self._lose -= 1
            self.lost += 1
            return True


def _break(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
