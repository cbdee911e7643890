"""The gateway's keys: its host keys, and the authority whose certificates servers let in.

Both are made once and kept in the state folder, unless the settings name files, such as ones
mounted from a secret store.
"""

from __future__ import annotations

import itertools
import secrets
import time
from pathlib import Path

import asyncssh

from workroom_hub.errors import SshError
from workroom_hub.runtime import make_secret
from workroom_hub.settings import Settings

_HOST_KEYS = {"ssh-host-ed25519": "ssh-ed25519", "ssh-host-ecdsa": "ecdsa-sha2-nistp256"}
"""Of two kinds, because clients that keep to FIPS 140 refuse the first."""
_CA_KEY = "ssh-user-ca"
_CLOCKS_DIFFER = 120
"""Seconds by which a server's clock may be behind ours."""


def host_keys(settings: Settings, home: Path) -> list[asyncssh.SSHKey]:
    """Return the gateway's private host keys, made first if need be.

    Raises:
        SshError: A file of the settings cannot be used.
    """
    files = settings.ssh.host_key_files
    if files:
        return [_read(path, "ssh.host_key_files") for path in files]
    return [_kept(home, name, kind) for name, kind in _HOST_KEYS.items()]


def host_keys_public(settings: Settings, home: Path) -> tuple[str, ...]:
    """Return the gateway's public host keys, a line each, without comment."""
    return tuple(_line(key) for key in host_keys(settings, home))


def user_ca_public(settings: Settings, home: Path) -> str:
    """Return the public key of the authority, a line without comment."""
    return _line(_user_ca(settings, home))


def _user_ca(settings: Settings, home: Path) -> asyncssh.SSHKey:
    path = settings.ssh.ca_key_file
    return _read(path, "ssh.ca_key_file") if path else _kept(home, _CA_KEY, "ssh-ed25519")


class Authority:
    """Gives out certificates that open one server for a few minutes.

    Args:
        ca: Private key that servers trust.
        lifetime: Seconds until a certificate is dead.
    """

    def __init__(self, ca: asyncssh.SSHKey, lifetime: int) -> None:
        self._ca = ca
        self._lifetime = lifetime
        # It never leaves this process; what it opens is said by the certificate.
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._serials = itertools.count(secrets.randbits(48))

    @classmethod
    def of(cls, settings: Settings, home: Path) -> Authority:
        """Return the authority of an installation.

        Raises:
            SshError: The file of the settings cannot be used.
        """
        return cls(_user_ca(settings, home), settings.ssh.certificate_lifetime)

    def credentials(self, principal: str) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        """Return a key and a certificate of its own for one connection to one server."""
        now, serial = int(time.time()), next(self._serials)
        certificate = self._ca.generate_user_certificate(
            self._key,
            f"{principal} {serial}",
            principals=[principal],
            serial=serial,
            valid_after=now - _CLOCKS_DIFFER,
            valid_before=now + self._lifetime,
            permit_x11_forwarding=False,
            permit_user_rc=False,
        )
        return self._key, certificate


def _kept(home: Path, name: str, kind: str) -> asyncssh.SSHKey:
    def new() -> str:
        return asyncssh.generate_private_key(kind).export_private_key().decode()

    text = make_secret(home, name, new)
    try:
        return asyncssh.import_private_key(text)
    except (asyncssh.KeyImportError, ValueError) as error:
        path = home / "secrets" / name
        raise SshError(
            f"The key in {path} cannot be read.",
            "Put it back from a backup. Or remove the file: a new key is made, which people's ssh "
            "will ask about, and servers that run now must be restarted before ssh reaches them.",
        ) from error


def _read(path: Path, field: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not an unencrypted private key"
        raise SshError(
            f"{field}: '{path}' cannot be used: {why}.",
            "Make one with: ssh-keygen -t ed25519 -N '' -f FILE",
        ) from error


def _line(key: asyncssh.SSHKey) -> str:
    words = key.export_public_key("openssh").decode().split()
    return " ".join(words[:2])
