"""What can be wrong with the section `ssh` on this very machine: its address, its key files."""

from __future__ import annotations

from pathlib import Path

from workroom_hub.config_problems import Problem, dotted
from workroom_hub.config_source import Path_, Source
from workroom_hub.settings import Settings


def problems(source: Source, settings: Settings) -> list[Problem]:
    """Find key files that the gateway could not use."""
    ssh = settings.ssh
    if not ssh.enabled:
        return []
    files: list[tuple[Path_, Path]] = [
        (("ssh", "host_key_files", index), path) for index, path in enumerate(ssh.host_key_files)
    ]
    if ssh.ca_key_file:
        files.append((("ssh", "ca_key_file"), ssh.ca_key_file))
    found, kinds = [], dict[str, Path]()
    for at, path in files:
        wrong, kind = _key(path)
        if not wrong and at[1] == "host_key_files":
            other = kinds.setdefault(kind, path)
            if other is not path:
                wrong = (f"'{path}' is of the kind {kind}, as '{other}' is.", "Keep one of them.")
            elif ssh.ca_key_file and _same(path, ssh.ca_key_file):
                wrong = (f"'{path}' is ssh.ca_key_file too.", "Give each a key of its own.")
        if wrong:
            found.append(Problem(source.where(at), dotted(at), *wrong))
    return found


def _key(path: Path) -> tuple[tuple[str, str] | None, str]:
    """Return what is wrong with a file and what to do, and the kind of the key in it."""
    import asyncssh

    make = f"Make one: ssh-keygen -t ed25519 -N '' -f {path}"
    if not path.is_file():
        return (f"there is no file '{path}'.", make), ""
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return (f"'{path}' can be read by others (mode {mode:o}).", f"Run: chmod 600 {path}"), ""
    try:
        key = asyncssh.read_private_key(path)
    except OSError as error:
        return (f"'{path}' cannot be read: {error.strerror}.", f"Run: sudo chown $USER {path}"), ""
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        if "passphrase" not in str(error).lower():
            return (f"'{path}' is not a private key.", make), ""
        fix = f"Take its passphrase away: ssh-keygen -p -N '' -f {path}"
        return (f"'{path}' has a passphrase, and nobody is there to type it.", fix), ""
    kind = key.get_algorithm()
    if kind == "ssh-dss":
        return (f"'{path}' is a DSA key, which no client takes any more.", make), ""
    return None, kind


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
