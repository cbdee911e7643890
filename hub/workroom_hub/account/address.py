"""The way in over ssh as pages show it: commands, and blocks for `~/.ssh/config`."""

from __future__ import annotations

import re
import shlex
import zlib
from typing import Any
from urllib.parse import quote

from workroom_hub import ssh_line as words
from workroom_hub.account.keys import fingerprint
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings

_CALLED = {"ssh-ed25519": "ED25519", "ssh-rsa": "RSA"}
_REFUSED = re.compile(r"""^-|['`";&<>|(){}]|\\$""")
"""Names that OpenSSH's client takes from its configuration only (`valid_ruser` in ssh.c)."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_NAMED = "# ssh has no way to name this server: its name has control characters."


def ssh_address(settings: Settings) -> tuple[str, int]:
    """Return the host name and port people type."""
    return words.host(settings), words.port(settings)


def for_pages(settings: Settings, runtime: Runtime) -> dict[str, Any]:
    """Return what pages know of the gateway: `enabled`, `host`, `port`, `host_keys`.

    Each of the host keys has its `type`, `fingerprint`, and `line` for a known_hosts file.
    """
    host, port = ssh_address(settings)
    place = host if port == 22 else f"[{host}]:{port}"
    keys = []
    for line in runtime.ssh_host_keys:
        algorithm, key = line.split()[:2]
        called = _CALLED.get(algorithm, "ECDSA")
        known = f"{place} {algorithm} {key}"
        keys.append({"type": called, "fingerprint": fingerprint(line), "line": known})
    return {"enabled": settings.ssh.enabled, "host": host, "port": port, "host_keys": keys}


def log_in_name(user: str, server: str = "") -> str:
    """Return what stands before the @: `ann`, or `ann+gpu` for her server `gpu`.

    A user name may have a + in it. The gateway takes the whole text for a user name first, and
    only where there is no such user the part after the last + for the name of a server.
    """
    return f"{user}+{server}" if server else user


def fits_command(name: str) -> bool:
    """Tell whether OpenSSH takes this log-in name on its command line."""
    return not _REFUSED.search(name)


def ssh_line(user: str, server: str, host: str, port: int) -> str:
    """Return the command, fit for a shell; where it needs the configuration, by its alias."""
    name = log_in_name(user, server)
    if _CONTROL.search(name):
        return _NOT_NAMED
    if not fits_command(name):
        return f"ssh {shlex.quote(alias(server))}"
    where = shlex.quote(f"{name}@{host}")
    return f"ssh {where}" + ("" if port == 22 else f" -p {port}")


def alias(server: str) -> str:
    """Return what the configuration calls a server."""
    if not server:
        return "workroom"
    # Patterns, quotes and blanks mean something in ssh's configuration, to shells and to editors.
    plain = re.sub(r"[^\w.-]+", "-", server)
    told_apart = zlib.crc32(server.encode(errors="backslashreplace"))
    return f"workroom-{plain}" + ("" if plain == server else f"-{told_apart:08x}")


def config_block(user: str, server: str, host: str, port: int) -> str:
    """Return the lines for `~/.ssh/config` that make the alias lead to a server."""
    name = log_in_name(user, server)
    if _CONTROL.search(name):
        return _NOT_NAMED  # a line break would begin a line of its own there
    if re.search(r"""[\s"'\\#=]""", name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    lines = [f"Host {alias(server)}", f"    HostName {host}"]
    if port != 22:
        lines.append(f"    Port {port}")
    return "\n".join([*lines, f"    User {name}"])


def vscode_link(server: str) -> str:
    """Return the link that opens Visual Studio Code there; it knows the configuration."""
    return f"vscode://vscode-remote/ssh-remote+{quote(alias(server))}/home/workroom"
