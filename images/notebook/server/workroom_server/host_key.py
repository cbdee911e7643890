"""The host key of this container's sshd: made at a person's first start and kept in her home.

It is the same in every server of hers, over restarts and when two start at once. A home that
cannot be written gets a key that lasts as long as the container.
"""

from __future__ import annotations

import binascii
import contextlib
import fcntl
import os
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FOLDER = Path(".workroom/ssh")
NAME = "host_ed25519"
KIND = b"ssh-ed25519"
LARGEST = 4096
LOCK_FOR = 2.0
HOME_WITHIN = 3.0

_BEGIN = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_END = b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


class BadKey(Exception):
    """A key file that cannot be used; the text says why."""


def prepare(home: Path, private: Path, say: Callable[[str], None]) -> str:
    """Put the host key where sshd reads it and return its public line.

    Args:
        home: The person's home, where the key is kept; it may be full, read-only or hang.
        private: Folder of sshd's own files, on the container's disk.
        say: Takes sentences for the container's log.

    Returns:
        Such as `ssh-ed25519 AAAA…`, without a comment.

    Raises:
        OSError: `private` cannot be written, or ssh-keygen failed.
    """
    found: list[bytes] = []
    problem: list[OSError] = []

    def look() -> None:
        try:
            found.append(kept_key(home, private, say))
        except OSError as error:
            problem.append(error)

    # A home on a dead file server blocks whoever touches it; the hub is called all the same.
    looking = threading.Thread(target=look, name="host-key", daemon=True)
    looking.start()
    looking.join(HOME_WITHIN)
    if found:
        key = found[0]
    else:
        error = problem[0] if problem else None
        reason = (error.strerror or str(error)) if error else "it does not answer"
        say(f"the ssh host key cannot be kept in {home} ({reason}); this server has its own")
        key = make_key(private)
    _write(private / NAME, key)
    return public_line(key)


def kept_key(home: Path, scratch: Path, say: Callable[[str], None]) -> bytes:
    """Return the private key kept in `home`, made first if there is none or a bad one.

    Of two servers that do this at once both get the same one.

    Raises:
        OSError: The home cannot be read or written, or no key could be made.
    """
    folder = home / FOLDER
    file = folder / NAME
    with contextlib.suppress(FileNotFoundError, BadKey):
        return read_key(file)
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    # Between reading a bad key and putting it aside another server could have put a good one
    # there, so only one at a time does both.
    with _alone(folder):
        while True:
            try:
                return read_key(file)
            except FileNotFoundError:
                _keep(make_key(scratch), file)
            except BadKey as problem:
                aside = file.with_name(f"{NAME}.bad-{time.time_ns()}")
                file.rename(aside)
                say(
                    f"the ssh host key {file} cannot be used ({problem}): it is now called "
                    f"{aside.name}, and a new one is made"
                )


def read_key(file: Path) -> bytes:
    """Return the private key in `file`, its mode put right.

    Raises:
        BadKey: Something is there, but no key of ours.
        FileNotFoundError: Nothing is there.
        OSError: It cannot be told.
    """
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if file.is_symlink():
            raise BadKey("it is a link") from None
        if isinstance(error, PermissionError) and os.access(file.parent, os.W_OK | os.X_OK):
            raise BadKey("it cannot be read") from None
        raise
    try:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            raise BadKey("it is no file")
        if found.st_uid != os.geteuid():
            raise BadKey("it belongs to somebody else")
        key = os.read(opened, LARGEST + 1)
        public_line(key)
        if found.st_mode & 0o077:
            os.fchmod(opened, 0o600)
    finally:
        os.close(opened)
    return key


def make_key(scratch: Path) -> bytes:
    """Return a new private key, made by ssh-keygen in the folder `scratch`.

    Raises:
        OSError: That failed.
    """
    import subprocess

    with tempfile.TemporaryDirectory(dir=scratch, prefix="new-") as folder:
        file = Path(folder) / NAME
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(file)]
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        except subprocess.TimeoutExpired:
            raise OSError("ssh-keygen did not end within 30 s") from None
        if done.returncode:
            raise OSError(f"ssh-keygen failed: {done.stderr.strip()[-200:]}")
        return file.read_bytes()


def public_line(key: bytes) -> str:
    """Return the public line of a private key in OpenSSH's format.

    Raises:
        BadKey: It is not whole, has a passphrase, or is of another kind than Ed25519.
    """
    body = key.strip()
    if len(key) > LARGEST or not (body.startswith(_BEGIN) and body.endswith(_END)):
        raise BadKey("it is not a whole private key of OpenSSH")
    try:
        public = _public_part(binascii.a2b_base64(body[len(_BEGIN) : -len(_END)]))
    except (binascii.Error, IndexError) as error:
        raise BadKey("it is damaged") from error
    return f"{KIND.decode()} {binascii.b2a_base64(public, newline=False).decode()}"


def _public_part(data: bytes) -> bytes:
    """Check OpenSSH's `PROTOCOL.key` layout and return the public key of it."""
    if not data.startswith(_MAGIC):
        raise BadKey("it is not in OpenSSH's format")
    outer = _Fields(data[len(_MAGIC) :])
    if (outer.text(), outer.text(), outer.text()) != (b"none", b"none", b""):
        raise BadKey("it has a passphrase")
    if outer.number() != 1:
        raise BadKey("it holds several keys")
    public, inner = outer.text(), _Fields(outer.text())
    named = _Fields(public)
    if named.text() != KIND:
        raise BadKey("it is no Ed25519 key")
    half = named.text()
    checks = inner.number(), inner.number()
    kind, half_again, whole = inner.text(), inner.text(), inner.text()
    inner.text()  # comment
    whole_one = (
        len(half) == 32
        and len(whole) == 64
        and checks[0] == checks[1]
        and (kind, half_again, whole[32:]) == (KIND, half, half)
        and inner.rest == bytes(range(1, len(inner.rest) + 1))
        and not (named.rest or outer.rest)
    )
    if not whole_one:
        raise BadKey("it is damaged")
    return public


class _Fields:
    """Reads SSH's wire format: numbers of four bytes, texts with their length before them."""

    def __init__(self, data: bytes) -> None:
        self.rest = data

    def number(self) -> int:
        """Take a number; IndexError at the end of the data."""
        return int.from_bytes(self._take(4))

    def text(self) -> bytes:
        """Take a text; IndexError at the end of the data."""
        return self._take(self.number())

    def _take(self, count: int) -> bytes:
        if count > len(self.rest):
            raise IndexError(count)
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; where locks do not work, go on without one after a while."""
    opened = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + LOCK_FOR
        while time.monotonic() < until:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        yield
    finally:
        os.close(opened)


def _keep(key: bytes, file: Path) -> None:
    """Put a key into the home, whole or not at all, and never over another's."""
    partial = _partial(file, key)
    try:
        file.hardlink_to(partial)
    except FileExistsError:
        pass
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _write(file: Path, key: bytes) -> None:
    # For this container only, so nobody waits for its disk.
    _partial(file, key, lasting=False).replace(file)


def _partial(file: Path, key: bytes, *, lasting: bool = True) -> Path:
    """Write the key to a new file of mode 0600 beside `file`; `lasting`: down to the disk."""
    opened, name = tempfile.mkstemp(dir=file.parent, prefix=f"{NAME}.partial-")
    try:
        with open(opened, "wb") as stream:
            stream.write(key)
            stream.flush()
            if lasting:
                os.fsync(opened)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
