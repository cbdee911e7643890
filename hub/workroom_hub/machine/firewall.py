"""What users' containers may reach of this machine: the hub's API and the data servers.

A bridge network lets a container connect to every port of every address of its host. One chain
of our own in `INPUT`, for packets that come in on the users' bridge, lets replies and these
ports through and refuses the rest; one rule in `DOCKER-USER` drops the cloud's metadata service
(169.254.0.0/16). The network has no IPv6, and what might come in over link-local addresses is
refused as well. `rules` is pure; the rest applies it in one `iptables-restore` each.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from workroom_hub.errors import NetworkError
from workroom_hub.machine.network import UsersNetwork

RULES_FILE, RULES_FILE_V6 = "firewall.v4", "firewall.v6"
_METADATA = "169.254.0.0/16"
_IPV6 = ("-j REJECT --reject-with icmp6-port-unreachable",)


@dataclass(frozen=True)
class Rules:
    """Rules of one instance.

    Attributes:
        chain: Name of our chain.
        bridge: Interface of the users' network.
        ipv4: Our chain's rules, as arguments of `iptables -A CHAIN`.
        ports: Ports of the gateway address that they open.
    """

    chain: str
    bridge: str
    ipv4: tuple[str, ...]
    ports: tuple[int, ...] = ()


def chain_name(instance: str) -> str:
    """Return the chain of an instance: at most 28 characters, unlike any other's."""
    if len(instance) <= 19:
        return f"WORKROOM-{instance}"
    return f"WORKROOM-{instance[:10]}-{hashlib.sha256(instance.encode()).hexdigest()[:8]}"


def rules(instance: str, network: UsersNetwork, *opened: int, dns: tuple[str, ...] = ()) -> Rules:
    """Return the rules for an instance.

    Args:
        instance: Name of the instance.
        network: The users' network.
        opened: Ports at the gateway address: the hub's API, the data servers.
        dns: Name servers that are addresses of this very machine.
    """
    allowed = [
        "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        *(f"-d {network.gateway}/32 -p tcp -m tcp --dport {port} -j ACCEPT" for port in opened),
    ]
    for server in dns:
        allowed += [
            f"-d {server}/32 -p udp -m udp --dport 53 -j ACCEPT",
            f"-d {server}/32 -p tcp -m tcp --dport 53 -j ACCEPT",
        ]
    allowed.append("-j REJECT --reject-with icmp-port-unreachable")
    return Rules(chain_name(instance), network.bridge, tuple(allowed), opened)


def apply(wanted: Rules) -> None:
    """Put the rules in force. Doing it again changes nothing.

    Raises:
        NetworkError: iptables is absent or refuses.
    """
    _restore("iptables-restore", wanted.chain, wanted.ipv4)
    _jump_first("iptables", wanted)
    metadata = _metadata(wanted.bridge)
    if not _runs(["iptables", "-w", "-C", "DOCKER-USER", *metadata]):
        _run(["iptables", "-w", "-I", "DOCKER-USER", "1", *metadata])
    if _has_ipv6():
        _restore("ip6tables-restore", wanted.chain, _IPV6)
        _jump_first("ip6tables", wanted)


def in_force(wanted: Rules) -> bool | None:
    """Return whether the rules are in force; None if that cannot be seen (not root)."""
    if os.geteuid() != 0 or not shutil.which("iptables"):
        return None
    return (
        _holds("iptables", wanted, wanted.ipv4)
        and _runs(["iptables", "-w", "-C", "DOCKER-USER", *_metadata(wanted.bridge)])
        and (not _has_ipv6() or _holds("ip6tables", wanted, _IPV6))
    )


def _holds(program: str, wanted: Rules, expected: tuple[str, ...]) -> bool:
    there = _output([program, "-w", "-S", wanted.chain])
    return _leads(_input_rules(program), wanted) and same_rules(there, wanted.chain, expected)


def same_rules(listed: str, chain: str, expected: tuple[str, ...]) -> bool:
    """Return whether `iptables -S CHAIN` lists exactly these rules, in this order."""
    start = f"-A {chain} "
    there = [line.removeprefix(start) for line in listed.splitlines() if line.startswith(start)]
    return [_spelled(line) for line in there] == [_spelled(line) for line in expected]


def _spelled(rule: str) -> list[str]:
    # iptables lists the states of a connection in an order of its own.
    return [
        ",".join(sorted(word.split(","))) if before == "--ctstate" else word
        for before, word in pairwise(["", *rule.split()])
    ]


def remove(instance: str, bridge: str) -> bool:
    """Remove what `apply` made.

    Returns:
        True if there was something.
    """
    if os.geteuid() != 0 or not shutil.which("iptables"):
        return False
    chain, found = chain_name(instance), False
    for program in ("iptables", "ip6tables"):
        if not shutil.which(program):
            continue
        while _runs([program, "-w", "-D", "INPUT", "-i", bridge, "-j", chain]):
            found = True
        if _runs([program, "-w", "-F", chain]):
            found = _runs([program, "-w", "-X", chain]) or found
    while _runs(["iptables", "-w", "-D", "DOCKER-USER", *_metadata(bridge)]):
        found = True
    return found


def manual_command(wanted: Rules, home: Path) -> str:
    """Return the command for somebody who may use sudo; its rules are in a file beside."""
    jump = f"INPUT -i {wanted.bridge} -j {wanted.chain}"
    metadata = f"DOCKER-USER {' '.join(_metadata(wanted.bridge))}"
    commands = []
    for program, name, lines in (
        ("iptables", RULES_FILE, wanted.ipv4),
        ("ip6tables", RULES_FILE_V6, _IPV6),
    ):
        if program == "ip6tables" and not _kernel_has_ipv6():
            continue
        (home / name).write_text(_table(wanted.chain, lines))
        commands.append(f"sudo {program}-restore --noflush {shlex.quote(str(home / name))}")
        commands.append(_unless_there(program, jump))
    commands.append(_unless_there("iptables", metadata))
    return " && ".join(commands)


def _unless_there(program: str, rule: str) -> str:
    return f"{{ sudo {program} -C {rule} 2>/dev/null || sudo {program} -I {rule}; }}"


def manual_removal(instance: str, bridge: str) -> str:
    """Return the command that removes what `manual_command` set."""
    chain = chain_name(instance)
    programs = ("iptables", "ip6tables") if _kernel_has_ipv6() else ("iptables",)
    commands = [
        f"sudo {program} {words}"
        for program in programs
        for words in (f"-D INPUT -i {bridge} -j {chain}", f"-F {chain}", f"-X {chain}")
    ]
    return "; ".join([*commands, f"sudo iptables -D DOCKER-USER {' '.join(_metadata(bridge))}"])


def local_dns(servers: list[str]) -> tuple[str, ...]:
    """Return those name servers that are addresses of this machine (loopback left out).

    Args:
        servers: Name servers set for containers; empty: those of `/etc/resolv.conf`.
    """
    if not servers:
        try:
            lines = Path("/etc/resolv.conf").read_text().splitlines()
        except OSError:
            lines = []
        words = [line.split() for line in lines]
        servers = [w[1] for w in words if len(w) > 1 and w[0] == "nameserver"]
    return tuple(s for s in servers if _is_ours(s))


def _is_ours(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.version != 4 or parsed.is_loopback:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _metadata(bridge: str) -> list[str]:
    return ["-i", bridge, "-d", _METADATA, "-j", "DROP"]


def _table(chain: str, lines: tuple[str, ...]) -> str:
    # Naming the chain empties it; --noflush leaves every other chain alone.
    body = "".join(f"-A {chain} {line}\n" for line in lines)
    return f"*filter\n:{chain} - [0:0]\n{body}COMMIT\n"


def _restore(program: str, chain: str, lines: tuple[str, ...]) -> None:
    _run([program, "-w", "--noflush"], given=_table(chain, lines))


def _jump_first(program: str, wanted: Rules) -> None:
    jump = ["-i", wanted.bridge, "-j", wanted.chain]
    rules_there = _input_rules(program)
    ours = f"-A INPUT {' '.join(jump)}"
    if _leads(rules_there, wanted) and rules_there.count(ours) == 1:
        return
    _run([program, "-w", "-I", "INPUT", "1", *jump])
    # The new first rule is in force; the ones further down are left over.
    for _ in range(rules_there.count(ours)):
        place = len(rules_there) - rules_there[::-1].index(ours) + 1
        _run([program, "-w", "-D", "INPUT", str(place)])
        del rules_there[place - 2]


def _input_rules(program: str) -> list[str]:
    listed = _output([program, "-w", "-S", "INPUT"]).splitlines()
    return [line for line in listed if line.startswith("-A ")]


def _leads(rules_there: list[str], wanted: Rules) -> bool:
    """Tell whether our jump comes before everything but those of other installations."""
    ours = f"-A INPUT -i {wanted.bridge} -j {wanted.chain}"
    if ours not in rules_there:
        return False
    before = rules_there[: rules_there.index(ours)]
    # Theirs look at other interfaces: which of them is first makes no difference.
    return all(
        re.fullmatch(r"-A INPUT -i wr-\S+ -j WORKROOM-\S+", line)
        and f" -i {wanted.bridge} " not in line
        for line in before
    )


def _has_ipv6() -> bool:
    return shutil.which("ip6tables") is not None and _kernel_has_ipv6()


def _kernel_has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists()


def _run(command: list[str], given: str | None = None) -> str:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, check=False, timeout=60
        )
    except FileNotFoundError as error:
        raise NetworkError(
            f"'{command[0]}' is not installed: this machine's ports would be open to containers.",
            "Install iptables: sudo apt-get install -y iptables",
        ) from error
    if done.returncode:
        raise NetworkError(
            f"{command[0]} refused a rule that keeps containers away from this machine's ports.",
            "Read its message above: the kernel may lack a module, or another program owns "
            "the tables.",
            details=(done.stderr or done.stdout).strip()[-800:],
        )
    return done.stdout


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout


def _runs(command: list[str]) -> bool:
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return done.returncode == 0
