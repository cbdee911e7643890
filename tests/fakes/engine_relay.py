"""A Unix socket in front of the Docker engine's own, which can be cut and mended.

Whoever talks to the engine through it sees the engine die and come back, while the engine and
everything else that runs on it goes on.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class EngineRelay:
    """Hands bytes on between `path` and the engine's socket while it is not cut.

    Args:
        path: Where the relay listens; at most about 100 characters, as for any Unix socket.
        engine: The engine's own socket.
    """

    def __init__(self, path: Path, engine: str = ENGINE) -> None:
        self.path = path
        self._engine = engine
        self._listener: socket.socket | None = None
        self._open: list[socket.socket] = []

    @property
    def host(self) -> str:
        """What DOCKER_HOST must say."""
        return f"unix://{self.path}"

    def mend(self) -> None:
        """Accept connections."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """End every connection and refuse new ones, as an engine does that was killed."""
        # The socket's file stays: connecting to it is refused.
        if self._listener is not None:
            _end(self._listener)
            self._listener = None
        while self._open:
            _end(self._open.pop())

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # cut
            while True:
                client, _ = listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._engine)
                self._open += [client, engine]
                for source, target in ((client, engine), (engine, client)):
                    threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    # Only this direction has ended; the answer may still be on its way.
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
