"""The users' Docker network: a bridge whose containers cannot reach each other."""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workroom_hub.errors import NetworkError
from workroom_hub.machine import processes

if TYPE_CHECKING:
    from docker import DockerClient

    from workroom_hub.settings import Settings

LABEL = "io.workroom.instance"
HOME = "io.workroom.home"
"""Label of the network: state folder of the installation it belongs to."""
INSTALLATION = "io.workroom.installation"
"""Label of servers and homes: id of the installation that made them."""
PROBE = "io.workroom.probe"
"""Label of `doctor`'s own containers, which are no one's server."""
_ICC = "com.docker.network.bridge.enable_icc"
_BRIDGE = "com.docker.network.bridge.name"


@dataclass(frozen=True)
class UsersNetwork:
    """The users' network as the engine has it.

    Attributes:
        name: Its Docker name.
        bridge: Its interface on this machine.
        gateway: IPv4 address of this machine on it.
    """

    name: str
    bridge: str
    gateway: str


def network_name(instance: str) -> str:
    """Return the name of the users' network of an instance."""
    return f"{instance}-users"


def bridge_name(instance: str) -> str:
    """Return the interface name of an instance: at most 15 characters, unlike any other's."""
    if len(instance) <= 12:
        return f"wr-{instance}"
    return f"wr-{instance[:5]}-{hashlib.sha256(instance.encode()).hexdigest()[:6]}"


def ensure(client: DockerClient, settings: Settings, home: Path) -> UsersNetwork:
    """Return the users' network, made if absent, made anew if it is not as it must be.

    Raises:
        NetworkError: Containers still use a network that must be made anew, another
            installation has it, or the engine refuses (the address range is taken, for one).
    """
    name = network_name(settings.instance)
    require_ours(client, settings.instance, home)
    for network in client.networks.list(names=[name]):
        if network.name != name:
            continue
        network.reload()
        wrong = _wrong(network.attrs, settings, home)
        if not wrong:
            return _described(network.attrs, settings)
        if network.attrs["Containers"]:
            raise NetworkError(
                f"The network '{name}' is not as Workroom makes it ({wrong}), "
                "and containers use it.",
                "Run `workroom down`, then `workroom up`.",
            )
        network.remove()
    return _create(client, settings, home)


def require_ours(client: DockerClient, instance: str, home: Path) -> None:
    """Do nothing unless another installation of the same instance name is up on this engine.

    Raises:
        NetworkError: It is; its servers would be taken for ours.
    """
    name = network_name(instance)
    for network in client.networks.list(names=[name]):
        owner = (network.attrs.get("Labels") or {}).get(HOME)
        if network.name != name or owner in (None, str(home)):
            continue
        if processes.find(Path(owner), "hub"):
            raise NetworkError(
                f"Another installation named '{instance}' is up on this engine (state folder "
                f"{owner}).",
                "Give this one a name of its own in workroom.yaml, such as\ninstance: second",
            )


def find(client: DockerClient, settings: Settings) -> UsersNetwork | None:
    """Return the users' network if it exists, whatever its options."""
    name = network_name(settings.instance)
    for network in client.networks.list(names=[name]):
        if network.name == name:
            network.reload()
            return _described(network.attrs, settings)
    return None


def remove(client: DockerClient, instance: str) -> bool:
    """Remove the users' network; its containers must be gone.

    Returns:
        True if there was one.
    """
    name = network_name(instance)
    found = [n for n in client.networks.list(names=[name]) if n.name == name]
    for network in found:
        network.remove()
    return bool(found)


def _create(client: DockerClient, settings: Settings, home: Path) -> UsersNetwork:
    from docker.errors import APIError
    from docker.types import IPAMConfig, IPAMPool

    ipam = None
    if settings.local.subnet:
        first = next(ipaddress.ip_network(settings.local.subnet, strict=False).hosts())
        pool = IPAMPool(subnet=settings.local.subnet, gateway=str(first))
        ipam = IPAMConfig(pool_configs=[pool])
    try:
        network = client.networks.create(
            network_name(settings.instance),
            driver="bridge",
            ipam=ipam,
            options={_ICC: "false", _BRIDGE: bridge_name(settings.instance)},
            labels={LABEL: settings.instance, HOME: str(home)},
            enable_ipv6=False,
        )
    except APIError as error:
        raise NetworkError(
            f"The engine did not make the network '{network_name(settings.instance)}': "
            f"{error.explanation or error}",
            "Set a free address range in workroom.yaml, such as\nlocal:\n  subnet: 172.30.0.0/16",
        ) from error
    network.reload()
    return _described(network.attrs, settings)


def _wrong(attrs: dict[str, Any], settings: Settings, home: Path) -> str:
    options = attrs.get("Options") or {}
    config = (attrs.get("IPAM") or {}).get("Config") or [{}]
    if attrs.get("Driver") != "bridge":
        return f"driver {attrs.get('Driver')}"
    if options.get(_ICC) != "false":
        return "its containers can reach each other"
    if options.get(_BRIDGE) != bridge_name(settings.instance):
        return "its interface has another name"
    if attrs.get("EnableIPv6"):
        return "IPv6 is on"
    labels = attrs.get("Labels") or {}
    if (labels.get(LABEL), labels.get(HOME)) != (settings.instance, str(home)):
        return "its labels are of another installation"
    wanted = settings.local.subnet
    if wanted and ipaddress.ip_network(wanted, strict=False) != ipaddress.ip_network(
        config[0].get("Subnet", "0.0.0.0/0")
    ):
        return f"its address range is {config[0].get('Subnet')}"
    return ""


def _described(attrs: dict[str, Any], settings: Settings) -> UsersNetwork:
    bridge = (attrs.get("Options") or {}).get(_BRIDGE) or bridge_name(settings.instance)
    return UsersNetwork(attrs["Name"], bridge, gateway_of(attrs))


def gateway_of(attrs: dict[str, Any]) -> str:
    """Return this machine's address on a network, from what the engine says of it."""
    config = attrs["IPAM"]["Config"][0]
    # Older engines leave the gateway out when they chose it themselves: it is the first address.
    gateway = config.get("Gateway") or str(next(ipaddress.ip_network(config["Subnet"]).hosts()))
    return gateway.split("/")[0]
