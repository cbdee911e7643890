"""Packets of data, passed from one ssh connection to another with nothing done twice.

asyncssh makes of every packet a chain of copies, a log line that nobody reads, an empty packet
sent ahead and a write to the socket. That is well for a client, and half the work of a relay. Here
a packet of data that goes to a channel with a partner (`join`) is opened, given the partner's
number, sealed again, and written together with whatever else was read with it. Everything else,
and every case that is out of the ordinary (no room in the window, a key exchange under way, a
cipher other than AES-GCM), takes asyncssh's own way; both may alternate packet by packet.

It needs to know asyncssh from within; tests/hub/test_ssh_packets.py fails when that changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.constants import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST, MSG_IGNORE
from asyncssh.encryption import GCMEncryption
from asyncssh.packet import UInt32
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Count = Callable[[int], None]
"""Takes the bytes that went through."""

_PARCEL = 320 * 1024
"""Bytes written to a socket at once: a little more than asyncio reads at once."""
_SPARE_PARCELS = 16
_TAG = 16
_DATA_HEAD = 10
"""Bytes before the data: the padding's length, the packet's type, the channel, the length."""
_STILL_THERE = ("open", "eof_pending", "eof")

_plain = memoryview(bytearray(2**19))
"""The packet that is open just now; there is one event loop, and never two of them at once."""
_spare: list[memoryview] = []

Channel = SSHChannel[bytes]


class _Seal:
    """The AES-GCM of one direction of a connection, which asyncssh sets up anew every packet."""

    def __init__(self, encryption: GCMEncryption) -> None:
        self.encryption = encryption
        self.cipher = encryption._cipher
        self.aes = AESGCM(self.cipher._key)


class _Joined:
    """A channel whose data goes to another channel, on another connection.

    Its window is no larger than that channel's, so that what comes in can go out and nothing
    waits here; more is allowed when the far end has taken what there was.
    """

    def __init__(self, source: Channel, target: Channel, count: Count) -> None:
        self.source, self.target, self.count = source, target, count
        self.over = target.get_connection()
        self.back = self
        self.window = source._init_recv_window
        source._init_recv_window = 0  # asyncssh does not allow more of its own accord

    def carry(self, length: int) -> bool:
        """Pass on the open packet; False if it has to take the long way."""
        source, target, over = self.source, self.target, self.over
        size = int.from_bytes(_plain[6:_DATA_HEAD], "big")
        if (
            size == 0
            or length % 16  # padded as RFC 4253 asks, or it is not ours to pass on
            or _plain[0] < 4
            or _DATA_HEAD + size + _plain[0] != length
            or size > source._recv_window
            or source._recv_paused
            or source._recv_state != "open"
            or source._send_state in ("close_pending", "closed")
            or size > target._send_window
            or size > target._send_pktsize
            or target._send_buf
            or target._send_state != "open"
            or target._send_chan is None
            or not isinstance(over, Quick)
            or not over.put(length, target._send_chan)
        ):
            return False
        target._send_window -= size
        source._recv_window -= size
        self.count(size)
        if source._recv_window < self.window // 2:
            self.allow()  # the far end may have given more room at once than it will ever use
        return True

    def allow(self) -> None:
        """Let the source send what the target has room for, if that is worth a packet."""
        source = self.source
        if source._recv_state != "open" or source._send_chan is None:
            return
        more = min(self.window, self.target._send_window) - source._recv_window
        if more >= self.window // 8 or more > source._recv_window:
            source.send_packet(MSG_CHANNEL_WINDOW_ADJUST, UInt32(more))
            source._recv_window += more

    def took_long_way(self) -> None:
        """Allow more after data that was passed on by the session, such as error output."""
        if self.source._recv_window < self.window // 2 and not self.target._send_buf:
            self.allow()


class Quick(SSHConnection):
    """A connection of either kind that passes data on quickly."""

    _stuck = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._joined: dict[int | None, _Joined] = {}
        self._opens: _Seal | None = None
        self._seals: _Seal | None = None
        self._parcel: memoryview | None = None
        self._filled = 0
        self._write_due = False

    @property
    def quick(self) -> bool:
        """Whether the cipher is one that is known here, both ways."""
        ciphers = self._recv_encryption, self._send_encryption
        return all(type(cipher) is GCMEncryption for cipher in ciphers)

    # -- what comes in -------------------------------------------------------------

    def _recv_pkthdr(self) -> bool:
        """Pass on the packets of data at the front of what has arrived; asyncssh takes the next."""
        if self._joined and not self._pass_on():
            return False
        return super()._recv_pkthdr()

    def _pass_on(self) -> bool:
        """Pass on packets of data; False if the next one is not there as a whole yet."""
        encryption = self._recv_encryption
        if type(encryption) is not GCMEncryption or self._decompressor:
            return True
        if self._opens is None or self._opens.encryption is not encryption:
            self._opens = _Seal(encryption)
        aes, cipher = self._opens.aes, self._opens.cipher
        arrived = self._inpbuf
        view, size, at = memoryview(arrived), len(arrived), 0
        try:
            while size - at >= 4:
                body = at + 4
                length = int.from_bytes(view[at:body], "big")
                if not _DATA_HEAD < length <= self._max_recv_pktlen:
                    return True
                end = body + length + _TAG
                if end > size:
                    return False
                aes.decrypt_into(cipher._iv, view[body:end], view[at:body], _plain[:length])
                joined = self._joined.get(int.from_bytes(_plain[2:6], "big"))
                if joined is None:
                    return True
                if _plain[1] == MSG_CHANNEL_DATA:
                    if not joined.carry(length):
                        return True
                elif _plain[1] != MSG_CHANNEL_WINDOW_ADJUST or not self._room_made(joined, length):
                    return True
                cipher._update_iv()
                self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF
                at = end
        except InvalidTag:
            return True  # asyncssh has the words for it
        finally:
            if at:
                self._inpbuf = arrived[at:]
        return False

    def _room_made(self, joined: _Joined, length: int) -> bool:
        """Take the news of a larger window; False if it has to take the long way."""
        channel = joined.source
        if channel._recv_state not in _STILL_THERE or length - _plain[0] != _DATA_HEAD:
            return False
        channel._send_window += int.from_bytes(_plain[6:_DATA_HEAD], "big")
        if channel._send_buf:
            channel._flush_send_buf()
        joined.back.allow()
        return True

    def allow_more(self) -> None:
        """Let what sends to this connection's channels go on: they have sent what waited."""
        for joined in list(self._joined.values()):
            joined.back.allow()

    # -- what goes out -------------------------------------------------------------

    def put(self, length: int, channel: int) -> bool:
        """Send the open packet to a channel; False if it has to take the long way."""
        encryption = self._send_encryption
        if (
            type(encryption) is not GCMEncryption
            or self._compressor
            or not self._transport
            or self._stuck
            or not self._kex_complete
            or not self._auth_complete
            or self._rekey_bytes_sent >= self._rekey_bytes
            or (self._rekey_seconds and time.monotonic() >= self._rekey_time)
        ):
            return False
        if self._seals is None or self._seals.encryption is not encryption:
            self._seals = _Seal(encryption)
        cipher = self._seals.cipher
        _plain[2:6] = channel.to_bytes(4, "big")
        header = length.to_bytes(4, "big")
        whole = 4 + length + _TAG
        parcel = self._room(whole)
        if parcel is None:
            return False
        at, self._filled = self._filled, self._filled + whole
        parcel[at : at + 4] = header
        # The padding stays as it came: it is sealed, and says nothing.
        self._seals.aes.encrypt_into(
            cipher._iv, _plain[:length], header, parcel[at + 4 : self._filled]
        )
        cipher._update_iv()
        self._send_seq = (self._send_seq + 1) & 0xFFFFFFFF
        self._rekey_bytes_sent += length
        return True

    def send_packet(self, pkttype: int, *args: bytes, **kwargs: Any) -> None:
        """Send a packet; not the empty ones, which shield ciphers that are not AES-GCM."""
        if pkttype != MSG_IGNORE or type(self._send_encryption) is not GCMEncryption:
            super().send_packet(pkttype, *args, **kwargs)

    def _send(self, data: bytes) -> None:
        """Have bytes written with what else goes out in this turn of the loop."""
        if not self._transport:
            return
        parcel = self._room(len(data))
        if parcel is None:
            self._write_out()
            super()._send(data)
            return
        at, self._filled = self._filled, self._filled + len(data)
        parcel[at : self._filled] = data

    def _room(self, size: int) -> memoryview | None:
        """Return the parcel to fill on from `_filled`, with room for so much, if it can be."""
        if self._filled + size > _PARCEL:
            self._write_out()
            if size > _PARCEL:
                return None
        if self._parcel is None:
            self._parcel = _spare.pop() if _spare else memoryview(bytearray(_PARCEL))
        if not self._write_due:
            self._write_due = True
            self._loop.call_soon(self._write_now)
        return self._parcel

    def _write_now(self) -> None:
        self._write_due = False
        self._write_out()

    def _write_out(self) -> None:
        """Write what is gathered."""
        parcel, filled = self._parcel, self._filled
        self._parcel, self._filled = None, 0
        if parcel is None:
            return
        transport = self._transport
        if transport and filled:
            whole, waits = parcel[:filled], transport.get_write_buffer_size() > 0
            with suppress(ConnectionError):  # its loss is told in another way
                # What it cannot send yet asyncio keeps, from Python 3.12 on as it was given: a
                # whole parcel for a small packet. So of parcels themselves it gets one at most.
                transport.write(bytes(whole) if waits else whole)
            if not waits and transport.get_write_buffer_size():
                return  # which may hold on to the parcel
        if len(_spare) < _SPARE_PARCELS:
            _spare.append(parcel)

    def _force_close(self, exc: Exception | None) -> None:
        """Close, after the last words."""
        self._write_out()
        super()._force_close(exc)

    def remove_channel(self, recv_chan: int) -> None:
        """Forget a channel, and where its data went."""
        self._joined.pop(recv_chan, None)
        super().remove_channel(recv_chan)


def took_long_way(source: Channel) -> None:
    """Be told by a session that it passed on data itself."""
    over = source.get_connection()
    if isinstance(over, Quick) and (joined := over._joined.get(source._recv_chan)):
        joined.took_long_way()


def join(one: Channel, other: Channel, count: Count) -> None:
    """Pass the data that comes from either of two channels to the other one.

    The sessions of both channels must do the same for what takes the long way: their
    `data_received` writes to the other channel. Where a cipher is not AES-GCM, all does.
    """
    here, there = one.get_connection(), other.get_connection()
    if isinstance(here, Quick) and isinstance(there, Quick) and here.quick and there.quick:
        forth, back = _Joined(one, other, count), _Joined(other, one, count)
        forth.back, back.back = back, forth
        here._joined[one._recv_chan], there._joined[other._recv_chan] = forth, back
