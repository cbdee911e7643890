"""How long a silent metastore is waited for, without one: sockets that refuse, hang or babble."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from workroom_data import hive_wire
from workroom_data.errors import SettingsError, Unavailable
from workroom_data.hive_wire import PATIENCE_SECONDS, PAUSES, Wire


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """A socket that takes connections; what comes of them is the test's affair."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield door


def address(door: socket.socket) -> str:
    return f"thrift://127.0.0.1:{door.getsockname()[1]}"


def answering(door: socket.socket, answer: bytes) -> list[int]:
    """Answer every connection's first bytes in the same way and break it; count them."""
    seen: list[int] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = door.accept()
                with client:
                    seen.append(len(client.recv(65536)))
                    client.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return seen


def test_refused_every_time(clock: Clock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        place = address(closed)
    wire = Wire(place, clock.sleep, clock)
    with pytest.raises(Unavailable, match=place) as caught:
        wire.ask("list databases", lambda c: c.get_all_databases())
    both = zip(PAUSES, clock.slept, strict=True)
    assert all(pause / 2 <= slept <= pause for pause, slept in both)
    assert wire.calls == 0
    assert "list databases" in str(caught.value)
    assert "refused" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


def test_breaks_off_every_time(clock: Clock, door: socket.socket) -> None:
    seen = answering(door, b"")
    wire = Wire(address(door), clock.sleep, clock)
    with pytest.raises(Unavailable):
        wire.ask("list databases", lambda c: c.get_all_databases())
    assert wire.calls == len(seen) == len(PAUSES) + 1


def test_never_answers(clock: Clock, door: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that takes too long is not asked for again and again."""
    monkeypatch.setattr(hive_wire, "ANSWER_SECONDS", 0.2)

    def hangs(client: Any) -> Any:
        try:
            return client.get_all_databases()
        finally:
            clock.now += PATIENCE_SECONDS + 1

    wire = Wire(address(door), clock.sleep, clock)
    with pytest.raises(Unavailable):
        wire.ask("list databases", hangs)
    assert clock.slept == []
    assert wire.calls == 1


def test_something_else_answers(clock: Clock, door: socket.socket) -> None:
    answering(door, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    wire = Wire(address(door), clock.sleep, clock)
    with pytest.raises(Unavailable, match="WORKROOM_DATA_METASTORE"):
        wire.ask("list databases", lambda c: c.get_all_databases())
    assert clock.slept == []


def test_the_second_address_is_tried(clock: Clock, door: socket.socket) -> None:
    seen = answering(door, b"HTTP")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        first = address(closed)
    wire = Wire(f"{first},{address(door)}", clock.sleep, clock)
    with pytest.raises(Unavailable):
        wire.ask("list databases", lambda c: c.get_all_databases())
    assert seen


@pytest.mark.parametrize("given", ["http://host:9083", "thrift://", "thrift://host:port", ""])
def test_an_address_that_is_none(given: str) -> None:
    with pytest.raises(SettingsError, match="thrift://HOST:PORT"):
        Wire(given)
