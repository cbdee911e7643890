"""HTTP of the containers that are played: the swap of a start code, and a server that answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Container
from urllib.parse import urlsplit

RETRY_FOR = 20.0  # as the image's own start script does
_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_BODY = b'{"version": "6.1.1"}'
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-JupyterHub-Version: 6.1.1\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(_BODY), _BODY)
)


class StartRefused(Exception):
    """The hub did not take the start code, or could not be reached for too long."""


async def swap_at_hub(
    url: str, code: str, address: str, patience: float = RETRY_FOR
) -> dict[str, str]:
    """Post a start code from `address`, and return the environment that the hub answers.

    Raises:
        StartRefused: The hub answered 4xx, or nothing that can be read for `patience` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    pause = _PAUSE
    while True:
        try:
            status, body = await _post(url, {"code": code, "ssh_host_key": None}, address)
            if status < 500:
                break
            problem = f"it answered {status}"
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            problem = str(error) or type(error).__name__
        if loop.time() + pause > deadline:
            raise StartRefused(f"the hub did not answer: {problem}")
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
    if status != 200:
        raise StartRefused(f"the hub refused the start code ({status})")
    environment: dict[str, str] = json.loads(body)["env"]
    return environment


async def _post(url: str, content: object, address: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    body = json.dumps(content).encode()
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port or 80, local_addr=(address, 0)
    )
    try:
        writer.write(
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            "Content-Type: application/json\r\nAccept: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        answer = await reader.read()
    finally:
        writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2:
        raise ValueError("it closed the connection")
    return int(words[1]), rest


class WebServer:
    """One listener for all containers; it answers on the addresses of those that are up.

    Args:
        port: 0 lets the system choose.
        answering: Addresses that answer; a connection to any other is accepted and reset.
        each: A listener for each of them instead, so that no other accepts a connection.
    """

    def __init__(self, port: int, answering: Container[str], *, each: bool = False) -> None:
        self.port = port
        self._answering = answering
        self._each = each
        self._all: asyncio.Server | None = None
        self._listeners: dict[str, asyncio.Task[asyncio.Server]] = {}

    async def open(self) -> None:
        """Listen, or choose where to."""
        if self._each:
            with socket.socket() as probe:
                probe.bind(("0.0.0.0", self.port))
                self.port = probe.getsockname()[1]
            return
        self._all = await self._listen("0.0.0.0")
        self.port = self._all.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no longer."""
        for address in list(self._listeners):
            self.ended(address)
        if self._all:
            self._all.close()
            await self._all.wait_closed()

    def up(self, address: str) -> None:
        """Be told that a container answers from now on."""
        if self._each:
            self._listeners[address] = asyncio.create_task(self._listen(address))

    def ended(self, address: str) -> None:
        """Be told that one has ended."""
        if listener := self._listeners.pop(address, None):
            listener.add_done_callback(lambda opened: opened.result().close())

    async def _listen(self, address: str) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        return await loop.create_server(
            lambda: _Conversation(self._answering), address, self.port, backlog=4096
        )


class _Conversation(asyncio.Protocol):
    def __init__(self, answering: Container[str]) -> None:
        self._answering = answering
        self._said = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if transport.get_extra_info("sockname")[0] not in self._answering:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        self._said += data
        if b"\r\n\r\n" in self._said and not self._transport.is_closing():
            self._transport.write(_ANSWER)
            self._transport.close()
