"""asyncssh's connections with bounds: what one peer can make this process do and hold.

asyncssh is written for a peer that reads what it is sent and asks for what it needs. Here both
peers may be hostile, the person's ssh and the sshd in her container, and everybody's sessions are
in one process. What is bounded:

- **before log-in**: bytes, key exchanges and refusals;
- **channels**: how many, and the data that may wait in them (`limits.Channels`);
- **what a peer does not read**: while it does not, its channels are as if their windows were
  closed, so that the other side waits too; a peer that goes on asking is not listened to;
- **what waits**: for a key exchange that the peer does not finish, or for an answer before it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncssh
from asyncssh.channel import SSHAgentChannel, SSHChannel
from asyncssh.connection import _connect
from asyncssh.packet import SSHPacket

from workroom_hub.ssh.limits import Attempts, Channels
from workroom_hub.ssh.packets import Quick

_BEFORE_LOGIN = 256 * 2**10
"""Bytes; a dozen of the longest keys, offered and signed with, are a third of it."""
_KEYS_BEFORE_LOGIN = 2
_KEYS_A_MINUTE = 600
"""Key exchanges; the fastest transfer needs fifty."""
_REFUSALS = 30
_SESSIONS = 64
_FORWARDED = 256
_AGENTS = 16
"""Channels of each kind on one connection; VS Code has a dozen in all."""
SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ssh-ed448",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
"""How a person may sign: all that OpenSSH takes, so nothing over SHA-1."""
LISTENERS = 64
"""Ports and sockets of her server that one connection may have forwarded from there."""
_UNSENT = 512 * 2**10
"""Bytes that wait for a peer to read before the other side waits as well."""
_UNSENT_ANSWERS = 4 * 2**20
"""Bytes from which a peer that does not read is not listened to either."""
_WAITING_PACKETS = 4096
_WAITING_REQUESTS = 256
_VARIABLES = 128
_VARIABLES_SIZE = 64 * 2**10


class Bounded(Quick):
    """What both kinds of connection have in common."""

    channels: Channels
    _stuck = False
    _deaf = False
    _bytes_before_login = 0
    _keys_before_login = 0
    _key_exchanges: Attempts | None = None

    def holder(self) -> str:
        """Return the user whose channels these are."""
        raise NotImplementedError

    # -- what comes in -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and be told when the peer does not read."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=_UNSENT)  # type: ignore[attr-defined]

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Take what the peer sends, within bounds."""
        if not self._auth_complete:
            self._bytes_before_login += len(data)
            if self._bytes_before_login > _BEFORE_LOGIN:
                self._enough("Too much was sent before the log-in.")
                return
        super().data_received(data, datatype)
        if (
            len(self._deferred_packets) > _WAITING_PACKETS
            or len(self._global_request_queue) > _WAITING_REQUESTS
        ):
            self._enough("Too many requests at once.")
        elif (
            self._stuck
            and not self._deaf
            and self._transport
            and self._transport.get_write_buffer_size() > _UNSENT_ANSWERS
        ):
            self._deaf = True
            self._transport.pause_reading()

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """Finish a key exchange, if there have not been too many; then send what waited for it.

        Raises:
            asyncssh.ProtocolError: There have been too many.
        """
        if not self._auth_complete:
            self._keys_before_login += 1
            too_many = self._keys_before_login > _KEYS_BEFORE_LOGIN
        else:
            self._key_exchanges = self._key_exchanges or Attempts(_KEYS_A_MINUTE)
            too_many = not self._key_exchanges.take("")
        if too_many:
            raise asyncssh.ProtocolError("Too many key exchanges")
        super().send_newkeys(k, h)
        self._flush()

    def _enough(self, reason: str) -> None:
        if self._transport:
            error = asyncssh.ProtocolError(reason)
            self._send_disconnect(error.code, error.reason, error.lang)
            self._force_close(error)

    # -- what goes out -------------------------------------------------------------

    def pause_writing(self) -> None:
        """Hold the channels: the peer does not read."""
        self._stuck = True

    def resume_writing(self) -> None:
        """Let the channels go on: the peer has read."""
        self._stuck = False
        if self._deaf and self._transport:
            self._transport.resume_reading()
        self._deaf = False
        self._flush()

    def _flush(self) -> None:
        for channel in list(self._channels.values()):
            channel._flush_send_buf()
        self.allow_more()

    # -- channels ------------------------------------------------------------------

    def add_channel(self, chan: SSHChannel[Any]) -> int:
        """Take up a channel, if there is room.

        Raises:
            asyncssh.ChannelOpenError: There is none.
        """
        self._check_room(chan)
        holder = self.holder()
        window = self.channels.take(holder)
        if not window:
            raise no_room("workroom: you have too many channels open")
        try:
            number = super().add_channel(chan)
        except BaseException:
            self.channels.leave(holder)
            raise
        chan._init_recv_window = min(chan._init_recv_window, window)
        chan._recv_window = chan._init_recv_window
        flush = chan._flush_send_buf

        def flush_if_it_reads() -> None:
            if self._stuck or not self._kex_complete:
                chan._pause_resume_writing()
            else:
                flush()

        chan._flush_send_buf = flush_if_it_reads  # type: ignore[method-assign]
        if isinstance(chan, asyncssh.SSHServerChannel):
            _bound_environment(chan)
        return number

    def remove_channel(self, recv_chan: int) -> None:
        """Let go of a channel."""
        chan = self._channels[recv_chan]
        super().remove_channel(recv_chan)
        for bounded in ("_flush_send_buf", "_process_env_request"):
            vars(chan).pop(bounded, None)  # they refer to their own channel
        self.channels.leave(self.holder())

    def _check_room(self, chan: SSHChannel[Any]) -> None:
        """Refuse a channel that is one too many of its kind.

        Raises:
            asyncssh.ChannelOpenError: It is.
        """
        kind: type[SSHChannel[Any]] = SSHChannel
        most, what = _SESSIONS + _FORWARDED, "channels"
        if isinstance(chan, asyncssh.SSHServerChannel):
            kind, most, what = asyncssh.SSHServerChannel, _SESSIONS, "sessions"
        elif isinstance(chan, SSHAgentChannel):
            kind, most, what = SSHAgentChannel, _AGENTS, "uses of its agent"
        if sum(isinstance(other, kind) for other in self._channels.values()) >= most:
            raise no_room(f"workroom: this connection has too many {what} open")


class Near(Bounded, asyncssh.SSHServerConnection):
    """A connection with a person's ssh.

    Args:
        options: asyncssh's options of a connection.
        channels: Everybody's channels.
    """

    def __init__(self, options: asyncssh.SSHServerConnectionOptions, channels: Channels) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self.channels = channels
        self.user = ""
        self._refusals = 0
        self._agent_lock = asyncio.Lock()

    def holder(self) -> str:
        """Return the user who logged in."""
        return self.user

    @property
    def progress(self) -> int:
        """How far it has come: 0 not a word, 1 its version, 2 keys exchanged."""
        return 2 if self._session_id else 1 if self._client_version else 0

    @property
    def listeners(self) -> int:
        """Ports and sockets forwarded from her server."""
        return len(self._local_listeners)

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Refuse, so many times."""
        self._refusals += 1
        if self._refusals > _REFUSALS:
            self._enough("Too many attempts to log in.")
        else:
            super().send_userauth_failure(partial_success)

    async def validate_public_key(
        self, username: str, key_data: bytes, msg: bytes, signature: bytes
    ) -> bool:
        """Tell whether a key is known and, if there is one, its signature good and modern."""
        if msg:
            try:
                how = SSHPacket(signature).get_string().decode("ascii")
            except ValueError:
                return False
            if how not in SIGNATURES:
                return False
        return await super().validate_public_key(username, key_data, msg, signature)

    async def create_agent_listener(self) -> bool:
        """Make the socket of a forwarded agent, once, however many sessions ask at a time."""
        async with self._agent_lock:
            return await super().create_agent_listener()


class Far(Bounded, asyncssh.SSHClientConnection):
    """A connection with an sshd in a container."""

    user: str

    def holder(self) -> str:
        """Return the user whose server it is."""
        return self.user


async def connect(
    address: str, port: int, user: str, channels: Channels, **options: Any
) -> asyncssh.SSHClientConnection:
    """Connect to an sshd, as `asyncssh.connect` does, within bounds.

    Args:
        address: IP address.
        port: Port.
        user: Whose server it is.
        channels: Everybody's channels.
        options: asyncssh's options of a connection.

    Raises:
        OSError: It cannot be reached.
        asyncssh.Error: It is not who it should be, or does not let us in.
        TimeoutError: It takes too long.
    """
    loop = asyncio.get_running_loop()
    own = await asyncssh.SSHClientConnectionOptions.construct(
        None, config=None, host=address, port=port, **options
    )

    def made() -> Far:
        far = Far(loop, own, wait="auth")
        far.user, far.channels = user, channels
        return far

    return await asyncio.wait_for(
        _connect(own, None, loop, 0, None, made, "Opening SSH connection to"),
        own.connect_timeout,
    )


def no_room(reason: str) -> asyncssh.ChannelOpenError:
    """Return the error that tells a peer why there is no channel for it."""
    return asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, reason)


def _bound_environment(chan: asyncssh.SSHServerChannel[Any]) -> None:
    """Have a session refuse more variables than an sshd would take."""
    take = chan._process_env_request

    def take_within_bounds(packet: SSHPacket) -> bool:
        before = dict(chan._env)
        taken = take(packet)
        size = sum(len(name) + len(value) for name, value in chan._env.items())
        if len(chan._env) > _VARIABLES or size > _VARIABLES_SIZE:
            chan._env = before
            return False
        return taken

    chan._process_env_request = take_within_bounds  # type: ignore[method-assign]
