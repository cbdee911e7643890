"""One session: a shell, a command, sftp; relayed between a person's ssh and her server's sshd."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import asyncssh

from workroom_hub.ssh.packets import Count, join, took_long_way
from workroom_hub.ssh.way import WINDOW, NoWay, Way

log = logging.getLogger(__name__)
_FAILED = 255
"""What OpenSSH itself exits with when a connection fails."""
_STDERR = asyncssh.EXTENDED_DATA_STDERR
_EXIT_FOLLOWS = 1.0
"""Seconds the end of the output waits for the exit status that mostly comes right behind it."""


class Session(asyncssh.SSHServerSession[bytes]):
    """The person's end of a session.

    Args:
        way: Into her server.
        count: Called with every piece of data.
    """

    def __init__(self, way: Way, count: Count) -> None:
        self._way = way
        self._count = count
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._far: asyncssh.SSHClientChannel[bytes] | None = None
        self._waiting: list[bytes] = []
        self._eof = False
        self._lost = False
        self._opening: asyncio.Task[None] | None = None
        self._told = _Told(self)

    # -- what she asks for ---------------------------------------------------------

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Take note of the channel."""
        self._chan = chan

    def pty_requested(self, *_: Any) -> bool:
        """Let her have a terminal; her server makes it."""
        return True

    def shell_requested(self) -> bool:
        """Let her have a shell."""
        return True

    def exec_requested(self, _command: str) -> bool:
        """Let her run a command."""
        return True

    def subsystem_requested(self, _subsystem: str) -> bool:
        """Let her ask for sftp, or whatever else her server's sshd knows."""
        return True

    def session_started(self) -> None:
        """Open the other end; what arrives meanwhile waits."""
        self._opening = asyncio.create_task(self._open())

    async def _open(self) -> None:
        chan = self.near
        try:
            upstream = await self._way.reach(self._told.tell)
            self._told.clear()
            # asyncssh has no way to decide this later than when it connects.
            upstream._agent_forward_path = chan.get_agent_path()
            terminal = chan.get_terminal_type()
            far, _ = await upstream.create_session(
                lambda: _Far(self),
                command=chan.get_command(),
                subsystem=chan.get_subsystem(),
                env=list(chan.get_environment_bytes().items()),
                request_pty="force" if terminal is not None else False,
                term_type=terminal,
                term_size=chan.get_terminal_size(),
                term_modes=dict(chan.get_terminal_modes()),
                encoding=None,
                window=WINDOW,
            )
        except NoWay as error:
            self.fail(str(error))
        except (asyncssh.Error, OSError) as error:
            log.info("a session of %r was not opened: %r", self._way.name, error)
            self.fail("Your server closed the connection. Try again.")
        except Exception:
            log.exception("a session of %r could not be opened", self._way.name)
            self.fail("Something went wrong on Workroom's side. Try again.")
        else:
            self._begin(far)

    def _begin(self, far: asyncssh.SSHClientChannel[bytes]) -> None:
        self._far = far
        if self._lost:
            far.close()
            return
        for data in self._waiting:
            far.write(data)
        self._waiting = []
        if self._eof:
            far.write_eof()
        self.near.resume_reading()
        join(self.near, far, self._count)

    @property
    def near(self) -> asyncssh.SSHServerChannel[bytes]:
        """The channel to her."""
        if self._chan is None:
            raise RuntimeError("no channel yet")
        return self._chan

    # -- from her to her server ----------------------------------------------------

    def data_received(self, data: bytes, _datatype: int | None) -> None:
        """Pass on what she sends."""
        self._count(len(data))
        if self._far is None:
            self._waiting.append(data)
            self.near.pause_reading()
        elif not self._far.is_closing():
            self._far.write(data)
            took_long_way(self.near)

    def eof_received(self) -> bool:
        """Pass on that nothing more comes from her; her server may still have something to say."""
        self._eof = True
        if self._far and not self._far.is_closing():
            self._far.write_eof()
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass on the size of her window."""
        if self._far:
            self._far.change_terminal_size(width, height, pixwidth, pixheight)

    def signal_received(self, signal: str) -> None:
        """Pass on a signal."""
        if self._far:
            self._far.send_signal(signal)

    def break_received(self, msec: int) -> bool:
        """Pass on a break."""
        if self._far:
            self._far.send_break(msec)
        return self._far is not None

    def pause_writing(self) -> None:
        """Have her server wait: she is slow."""
        if self._far:
            self._far.pause_reading()

    def resume_writing(self) -> None:
        """Have her server go on."""
        if self._far:
            self._far.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Close the other end: she is gone."""
        self._lost = True
        if self._far:
            self._far.close()
        elif self._opening:
            self._opening.cancel()

    # -- endings -------------------------------------------------------------------

    def fail(self, sentence: str) -> None:
        """End the session with a sentence on its error output."""
        chan = self.near
        if self._lost or chan.is_closing():
            return
        self._told.clear()
        self.say(f"workroom: {sentence}")
        chan.exit(_FAILED)

    def say(self, line: str) -> None:
        """Write a line to her, apart from what her server says."""
        chan = self.near
        if self._lost or chan.is_closing():
            return
        if chan.get_terminal_type() is not None:
            chan.write(line.encode() + b"\r\n")
        else:
            chan.write(line.encode() + b"\n", _STDERR)


class _Far(asyncssh.SSHClientSession[bytes]):
    """Her server's end of a session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._chan: asyncssh.SSHClientChannel[bytes] | None = None
        self._ended: Callable[[], None] | None = None
        self._eof: asyncio.TimerHandle | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._chan = chan

    def data_received(self, data: bytes, datatype: int | None) -> None:
        near = self._session.near
        self._session._count(len(data))
        if not near.is_closing():
            near.write(data, datatype)
            if self._chan:
                took_long_way(self._chan)

    def eof_received(self) -> bool:
        # A client with nothing more to send closes when it has this. asyncssh then closes as
        # well, and the exit status would come too late for ever.
        self._eof = asyncio.get_running_loop().call_later(_EXIT_FOLLOWS, self._pass_on_eof)
        return True

    def _pass_on_eof(self) -> None:
        near = self._session.near
        if not near.is_closing():
            near.write_eof()

    def pause_writing(self) -> None:
        self._session.near.pause_reading()

    def resume_writing(self) -> None:
        self._session.near.resume_reading()

    def xon_xoff_requested(self, client_can_do: bool) -> None:
        self._session.near.set_xon_xoff(client_can_do)

    def exit_status_received(self, status: int) -> None:
        self._ended = lambda: self._session.near.exit(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._ended = lambda: self._session.near.exit_with_signal(signal, core_dumped, msg, lang)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._eof:
            self._eof.cancel()
        if self._session._lost:
            return
        if self._ended:
            self._ended()
        elif exc is not None:
            self._session.fail("The connection to your server was lost: it was stopped or ended.")
        else:
            self._session.near.close()


class _Told:
    """The progress of a start, in a terminal as one line that changes, else line by line."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._stage = ""
        self._open = False

    def tell(self, message: str, stage: str) -> None:
        """Show where a start is."""
        chan = self._session.near
        if chan.is_closing():
            return
        terminal = chan.get_terminal_type()
        if terminal not in (None, "", "dumb"):
            width = max(20, (chan.get_terminal_size()[0] or 80) - 1)
            chan.write(b"\r\x1b[K" + f"workroom: {message}"[:width].encode())
            self._open = True
        elif stage != self._stage:
            self._session.say(f"workroom: {message}")
        self._stage = stage

    def clear(self) -> None:
        """Take the line that changes away."""
        if self._open and not self._session.near.is_closing():
            self._session.near.write(b"\r\x1b[K")
        self._open = False
