"""The commands that lead to this server over ssh, quoted for a shell or ssh's configuration.

The hub's pages show the same ones (`hub/workroom_hub/account/address.py`); a test compares them.
"""

from __future__ import annotations

import re
import shlex
import zlib
from urllib.parse import quote

_REFUSED = re.compile(r"""^-|['`";&<>|(){}]|\\$""")
"""Names that OpenSSH's client takes from its configuration only (`valid_ruser` in ssh.c)."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_NAMED = "# ssh has no way to name this server: its name has control characters."
HOME = "/home/workroom"


def parse(address: str) -> tuple[str, int] | None:
    """Return host and port of `host:port` or `[host]:port`, or None if it is neither."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    return (host, int(port)) if host and port.isascii() and port.isdecimal() else None


def panel(user: str, server: str, host: str, port: int) -> list[dict[str, str]]:
    """Return what the SSH panel shows: `id`, `title`, `text`, and a `link` where there is one."""
    alias = alias_of(server)
    options, place = _scp(log_in_name(user, server), alias, host, port)
    return [
        {"id": "ssh", "title": "Log in", "text": ssh_line(user, server, host, port)},
        {
            "id": "config",
            "title": "Lines for ~/.ssh/config",
            "text": config_block(user, server, host, port),
        },
        {
            "id": "scp-here",
            "title": "Copy a file here",
            "text": f"scp{options} data.csv {shlex.quote(place)}",
        },
        {
            "id": "scp-back",
            "title": "Copy a folder back",
            "text": f"scp{options} -r {shlex.quote(f'{place}results')} .",
        },
        {
            "id": "vscode",
            "title": "Visual Studio Code (after the lines above are in ~/.ssh/config)",
            "text": f"code --remote {shlex.quote(f'ssh-remote+{alias}')} {HOME}",
            "link": f"vscode://vscode-remote/ssh-remote+{quote(alias)}{HOME}",
        },
    ]


def log_in_name(user: str, server: str) -> str:
    """Return what stands before the @: `ann`, or `ann+gpu` for her server `gpu`."""
    return f"{user}+{server}" if server else user


def alias_of(server: str) -> str:
    """Return what the configuration calls the server."""
    if not server:
        return "workroom"
    # Patterns, quotes and blanks mean something in ssh's configuration, to shells and to editors.
    plain = re.sub(r"[^\w.-]+", "-", server)
    told_apart = zlib.crc32(server.encode(errors="backslashreplace"))
    return f"workroom-{plain}" + ("" if plain == server else f"-{told_apart:08x}")


def ssh_line(user: str, server: str, host: str, port: int) -> str:
    """Return the command; by its alias where ssh refuses the name on its command line."""
    name = log_in_name(user, server)
    if _CONTROL.search(name):
        return _NOT_NAMED
    if _REFUSED.search(name):
        return f"ssh {shlex.quote(alias_of(server))}"
    where = shlex.quote(f"{name}@{host}")
    return f"ssh {where}" + ("" if port == 22 else f" -p {port}")


def _scp(name: str, alias: str, host: str, port: int) -> tuple[str, str]:
    """Return scp's options, and what stands before a path of this server."""
    if _REFUSED.search(name) or re.search(r"[:\s]", name):
        # scp would take what follows a colon for a path.
        return "", f"{alias}:"
    options = "" if port == 22 else f" -P {port}"
    return options, f"{name}@{f'[{host}]' if ':' in host else host}:"


def config_block(user: str, server: str, host: str, port: int) -> str:
    """Return the lines for `~/.ssh/config` that make the alias lead here."""
    name = log_in_name(user, server)
    if _CONTROL.search(name):
        return _NOT_NAMED  # a line break would begin a line of its own there
    if re.search(r"""[\s"'\\#=]""", name):
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        name = f'"{escaped}"'
    lines = [f"Host {alias_of(server)}", f"    HostName {host}"]
    if port != 22:
        lines.append(f"    Port {port}")
    return "\n".join([*lines, f"    User {name}"])
