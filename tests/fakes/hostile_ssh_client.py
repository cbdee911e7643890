"""An ssh client that exchanges keys properly, and then says whatever it is told to say."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
from asyncssh.connection import _connect
from asyncssh.packet import Boolean, Byte, NameList, String, UInt32

DISCONNECT, IGNORE, UNIMPLEMENTED, SERVICE_REQUEST, KEXINIT = 1, 2, 3, 5, 20
USERAUTH_REQUEST, USERAUTH_FAILURE, USERAUTH_SUCCESS = 50, 51, 52
PK_OK, INFO_REQUEST, INFO_RESPONSE = 60, 60, 61
GLOBAL_REQUEST, CHANNEL_OPEN, OPEN_CONFIRMATION, OPEN_FAILURE = 80, 90, 91, 92
WINDOW_ADJUST, CHANNEL_DATA, CHANNEL_REQUEST = 93, 94, 98


class _Every(dict[int, Any]):
    """Has a channel of every number: the client itself, which hears everything."""

    def __init__(self, client: HostileClient) -> None:
        super().__init__()
        self._client = client

    def __missing__(self, _number: int) -> HostileClient:
        return self._client


class HostileClient(asyncssh.SSHClientConnection):
    """Sends what it is told, and keeps what it hears.

    Attributes:
        heard: Messages, as number and payload, of log-in and later.
        farewell: The gateway's reason for ending the connection.
        unfinished: Whether it leaves key exchanges in the middle.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.heard: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
        self.farewell = ""
        self.gone = asyncio.Event()
        self.unfinished = False
        self._channels = _Every(self)

    def process_packet(self, pkttype: int, pktid: int, packet: Any) -> Any:
        """Keep what is said after the keys are exchanged."""
        payload = packet.get_remaining_payload()
        if pkttype == DISCONNECT:
            self.farewell = payload[8 : 8 + int.from_bytes(payload[4:8], "big")].decode()
        if self.unfinished and pkttype == KEXINIT:
            return True
        if pkttype < 50:
            return super().process_packet(pkttype, pktid, packet)
        self.heard.put_nowait((pkttype, payload))
        return True

    def log_received_packet(self, *_: Any) -> None:
        """Log nothing."""

    def try_next_auth(self, *, next_method: bool = False) -> None:
        """Wait for what it is told: this is where a client would begin to log in."""
        self._auth = self  # type: ignore[assignment]  # hears what is for the one who logs in
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)
        self._wait = None

    def cancel(self) -> None:
        """Be no log-in that could be cancelled."""

    def connection_lost(self, exc: Exception | None = None) -> None:
        """Take note of the end."""
        self.gone.set()
        super().connection_lost(exc)

    async def hear(self, *kinds: int, within: float = 10) -> tuple[int, bytes]:
        """Return the next message of these kinds."""
        async with asyncio.timeout(within):
            while True:
                heard = await self.heard.get()
                if heard[0] in kinds:
                    return heard

    async def ended(self, within: float = 20) -> str:
        """Wait for the end; returns the reason that was given."""
        async with asyncio.timeout(within):
            await self.gone.wait()
        return self.farewell

    # -- what it says --------------------------------------------------------------

    def say(self, kind: int, *parts: bytes) -> None:
        """Send a message, whether it makes sense or not."""
        complete, self._auth_complete = self._auth_complete, True
        try:
            self.send_packet(kind, *parts)
        finally:
            self._auth_complete = complete

    def ask(self, user: bytes | str, method: bytes, *rest: bytes) -> None:
        """Ask to be logged in by a method."""
        self.say(USERAUTH_REQUEST, String(user), String("ssh-connection"), String(method), *rest)

    def query(self, user: bytes | str, key: asyncssh.SSHKey, data: bytes | None = None) -> None:
        """Ask whether a key would do."""
        blob = key.public_data if data is None else data
        self.ask(user, b"publickey", Boolean(False), String(key.algorithm), String(blob))

    def sign(
        self,
        user: str,
        key: asyncssh.SSHKey,
        by: asyncssh.SSHKey | None = None,
        as_user: str | None = None,
        algorithm: bytes | None = None,
    ) -> None:
        """Log in with a key; `by` another one, or with a signature for another user, if told."""
        algorithm = algorithm or key.algorithm
        parts = (Boolean(True), String(algorithm), String(key.public_data))
        said = b"".join(
            (
                Byte(USERAUTH_REQUEST),
                String(user if as_user is None else as_user),
                String("ssh-connection"),
                String("publickey"),
                *parts,
            )
        )
        signer = by or key
        own = algorithm if signer is key and algorithm in key.all_sig_algorithms else None
        signature = signer.sign(String(self._session_id) + said, own or signer.algorithm)
        if algorithm not in signer.all_sig_algorithms:
            signature = String(algorithm) + signature[4 + len(signer.algorithm) :]
        self.ask(user, b"publickey", *parts, String(signature))

    def open_session(self, number: int = 0, window: int = 2**31) -> None:
        """Ask for a session."""
        self.say(CHANNEL_OPEN, String("session"), UInt32(number), UInt32(window), UInt32(32768))

    def run(self, command: str, channel: int = 0) -> None:
        """Ask for a command."""
        self.say(CHANNEL_REQUEST, UInt32(channel), String("exec"), Boolean(True), String(command))

    def begin_keys(self) -> None:
        """Begin another key exchange."""
        self._send_kexinit()
        self._kexinit_sent = True

    def deaf(self) -> None:
        """Read nothing any more."""
        if self._transport:
            self._transport.pause_reading()


async def hostile(port: int, **options: Any) -> HostileClient:
    """Connect and exchange keys."""
    loop = asyncio.get_running_loop()
    own = await asyncssh.SSHClientConnectionOptions.construct(
        None, config=None, host="127.0.0.1", port=port, known_hosts=None, agent_path=None,
        client_keys=None, username="nobody", **options,
    )  # fmt: skip
    return await _connect(
        own, None, loop, 0, None, lambda: HostileClient(loop, own, wait="auth"), "Opening"
    )


async def logged_in(port: int, user: str, key: asyncssh.SSHKey) -> HostileClient:
    """Connect and log in properly."""
    client = await hostile(port)
    client.sign(user, key)
    await client.hear(USERAUTH_SUCCESS)
    client._auth_complete = True
    client._auth = None
    return client


__all__ = ["HostileClient", "NameList", "hostile", "logged_in"]
