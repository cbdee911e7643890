"""One server as data: from a small spec to the container engine's whole request. Pure.

What becomes of a server on ECS is in `task_requests.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Not 1000: that is the first person's account on most machines, and whoever has this number there
# owns the containers' processes and files. Above people's numbers, below Debian's own (60000).
UID = 59000
HOME = "/home/workroom"
LABEL = "io.workroom"


@dataclass(frozen=True)
class ServerSpec:
    """Everything the engine has to know of one server.

    Attributes:
        cpu: Limit in cores.
        memory: Limit in bytes; swap is not added to it.
        gpu: Whole GPUs.
        pids: Limit of processes and threads.
        environment: Variables visible to whoever may inspect the container; never a secret.
        installation: Id of the installation, by which its homes are told from those of another
            one with the same `instance`.
        home_volume: Volume mounted at the home.
        shared_data: Folder of the machine mounted read-only at `/shared`, or "".
    """

    instance: str
    user: str
    server: str
    profile: str
    name: str
    hostname: str
    image: str
    cpu: float
    memory: int
    gpu: int
    pids: int
    network: str
    home_volume: str
    installation: str = ""
    shared_data: str = ""
    dns: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


def labels(spec: ServerSpec) -> dict[str, str]:
    """Return the labels by which a container or volume is known to be ours, and whose."""
    return {
        f"{LABEL}.instance": spec.instance,
        f"{LABEL}.installation": spec.installation,
        f"{LABEL}.user": spec.user,
    }


def container_request(spec: ServerSpec) -> dict[str, Any]:
    """Return the keyword arguments of the Docker SDK's `APIClient.create_container`."""
    host: dict[str, Any] = {
        "NetworkMode": spec.network,
        "NanoCpus": int(spec.cpu * 10**9),
        "Memory": spec.memory,
        "MemorySwap": spec.memory,
        "PidsLimit": spec.pids,
        # The engine's 64 MB are too little for data loaders; what is used counts as memory.
        "ShmSize": spec.memory // 2,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
        "Mounts": _mounts(spec),
    }
    if spec.dns:
        host["Dns"] = list(spec.dns)
    if spec.gpu:
        host["DeviceRequests"] = [
            {"Driver": "nvidia", "Count": spec.gpu, "Capabilities": [["gpu"]]}
        ]
    return {
        "image": spec.image,
        "name": spec.name,
        "hostname": spec.hostname,
        "user": f"{UID}:{UID}",
        "environment": dict(spec.environment),
        "labels": {
            **labels(spec),
            f"{LABEL}.server": spec.server,
            f"{LABEL}.profile": spec.profile,
        },
        "host_config": host,
    }


def _mounts(spec: ServerSpec) -> list[dict[str, Any]]:
    # Docker gives an empty volume the owner of the image's folder at that place, which is the user.
    mounts: list[dict[str, Any]] = [
        {
            "Type": "volume",
            "Source": spec.home_volume,
            "Target": HOME,
            "VolumeOptions": {"Labels": labels(spec)},
        }
    ]
    if spec.shared_data:
        mounts.append(
            {"Type": "bind", "Source": spec.shared_data, "Target": "/shared", "ReadOnly": True}
        )
    return mounts
