"""image-cold-start: from the order to start a server to its answer, on a machine without the image.

Bytes and seconds of four machines, each an engine of its own with an empty disk, fetching by digest
from the registry over S3:

    one layer      the image without its layers' order, as any change makes it: all of it is fetched
    empty          the image as it is, on a machine that has nothing
    after a change the image as it is, on a machine that has the one before, where only our own
                   files differed: what the order of the layers is for
    pre-pulled     the image is there

The figure is the last one's seconds, the baseline the first one's. `WORKROOM_BENCH_IMAGE` names
another image, `WORKROOM_BENCH_ROUNDS` how often (default 3).
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from containers import Notebook, bridge_address
from hub_double import HubDouble
from hubs import report

from tests.support.registry_server import RegistryServer

IMAGE = os.environ.get("WORKROOM_BENCH_IMAGE", "workroom/notebook:latest")
ROUNDS = int(os.environ.get("WORKROOM_BENCH_ROUNDS", "3"))
_LAST_OF_OTHERS = "/tmp/build/rstudio.sh"
"""The step of the Dockerfile after which come our own files, which change most often."""
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_BRIDGE, _ADDRESS = "wr-bench0", "172.31.254.1/24"


@dataclass(frozen=True)
class Machine:
    """A machine that is to start a server.

    Attributes:
        name: What it is called in what is printed.
        image: Digest of what it starts.
        has: Digest of what it has already, or "".
        size: Bytes it must fetch.
    """

    name: str
    image: str
    has: str
    size: int


class Repository:
    """The benchmark's repository in the registry."""

    def __init__(self, server: RegistryServer) -> None:
        self.name = f"{server.host}/workroom/cold-start"
        self._base = f"http://{server.host}/v2/workroom/cold-start/"
        self.auth = server.auth("push")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.auth = (self.auth["username"], self.auth["password"])

    def push(self, engine: Any, source: str, tag: str) -> str:
        """Push an image of the engine; return its digest."""
        print(f"pushing {tag}", file=sys.stderr, flush=True)
        engine.images.get(source).tag(self.name, tag)
        digest = ""
        for event in engine.api.push(
            self.name, tag, stream=True, decode=True, auth_config=self.auth
        ):
            if "error" in event:
                raise SystemExit(event["error"])
            digest = (event.get("aux") or {}).get("Digest", digest)
        engine.images.remove(f"{self.name}:{tag}")
        return digest

    def manifest(self, digest: str) -> dict[str, Any]:
        """Return a manifest."""
        answer = self._session.get(
            f"{self._base}manifests/{digest}", headers={"Accept": _MANIFEST}, timeout=60
        )
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def before_our_files(self, digest: str) -> tuple[str, int]:
        """Make an image of the layers below our own files; return its digest and their bytes."""
        manifest = self.manifest(digest)
        blob = self._session.get(
            f"{self._base}blobs/{manifest['config']['digest']}", timeout=60
        ).json()
        steps = [step.get("created_by", "") for step in blob["history"]]
        last = max((i for i, step in enumerate(steps) if _LAST_OF_OTHERS in step), default=-1)
        if last < 0:
            raise SystemExit(f"'{IMAGE}' has no step {_LAST_OF_OTHERS}: its order is not known.")
        blob["history"] = blob["history"][: last + 1]
        count = sum(not step.get("empty_layer") for step in blob["history"])
        blob["rootfs"]["diff_ids"] = blob["rootfs"]["diff_ids"][:count]
        manifest["layers"] = manifest["layers"][:count]
        body = json.dumps(blob).encode()
        manifest["config"] |= {"digest": _digest(body), "size": len(body)}
        began = self._session.post(f"{self._base}blobs/uploads/", timeout=60)
        at = requests.compat.urljoin(self._base, began.headers["Location"])
        self._session.put(
            at, params={"digest": _digest(body)}, data=body, timeout=60
        ).raise_for_status()
        text = json.dumps(manifest).encode()
        self._session.put(
            f"{self._base}manifests/before",
            data=text,
            headers={"Content-Type": _MANIFEST},
            timeout=60,
        ).raise_for_status()
        return _digest(text), _size(manifest)


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _size(manifest: dict[str, Any]) -> int:
    return sum(int(layer["size"]) for layer in manifest["layers"])


def flattened(engine: Any, tag: str) -> None:
    """Make an image of one layer with the same content and configuration."""
    found = engine.images.get(IMAGE).attrs["Config"]
    variables = (each.partition("=") for each in found["Env"])
    changes = [f"ENV {name}={json.dumps(value)}" for name, _, value in variables]
    for word, key in (("ENTRYPOINT", "Entrypoint"), ("CMD", "Cmd")):
        changes += [f"{word} {json.dumps(found[key])}"] if found[key] else []
    for word, key in (("USER", "User"), ("WORKDIR", "WorkingDir")):
        changes += [f"{word} {found[key]}"] if found[key] else []
    container = engine.containers.create(IMAGE, "true")
    words = [word for change in changes for word in ("--change", change)]
    try:
        with subprocess.Popen(
            ["docker", "export", container.id], stdout=subprocess.PIPE
        ) as archive:
            subprocess.run(
                ["docker", "import", *words, "-", tag],
                stdin=archive.stdout,
                stdout=subprocess.DEVNULL,
                check=True,
            )
    finally:
        container.remove(force=True)


@contextmanager
def other_engine(folder: Path) -> Iterator[Any]:
    """Run an engine with a disk and a bridge of its own; `docker` means it meanwhile.

    Never one without a bridge: that would remove the other engine's docker0.
    """
    subprocess.run(["ip", "link", "add", _BRIDGE, "type", "bridge"], check=True)
    socket = f"unix://{folder / 'socket'}"
    child = None
    try:
        subprocess.run(["ip", "addr", "add", _ADDRESS, "dev", _BRIDGE], check=True)
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(
                [
                    *("dockerd", "--host", socket, "--data-root", str(folder / "data")),
                    *("--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid")),
                    *("--bridge", _BRIDGE, "--iptables=false", "--ip-masq=false"),
                    "--userland-proxy=false",
                ],
                stdout=log,
                stderr=log,
            )
        engine = docker.DockerClient(base_url=socket, timeout=1800, version="1.41")
        for _ in range(300):
            try:
                engine.ping()
                break
            except (docker.errors.DockerException, requests.RequestException):
                if child.poll() is not None:
                    raise SystemExit((folder / "log").read_text()[-2000:]) from None
                time.sleep(0.1)
        os.environ["DOCKER_HOST"] = socket
        yield engine
    finally:
        os.environ.pop("DOCKER_HOST", None)
        if child is not None:
            child.terminate()
            child.wait(60)
        subprocess.run(["ip", "link", "delete", _BRIDGE], check=True)


def start(engine: Any, there: Repository, machine: Machine) -> float:
    """Have the machine as it is to be, start a server; return the seconds until it answers."""
    engine.containers.prune()
    for image in engine.images.list(all=False):
        engine.images.remove(image.id, force=True)
    if machine.has:
        engine.api.pull(f"{there.name}@{machine.has}", auth_config=there.auth)
    ref = f"{there.name}@{machine.image}"
    with HubDouble(bridge_address()) as hub:
        began = time.monotonic()
        if machine.has != machine.image:
            engine.api.pull(ref, auth_config=there.auth)
        container = Notebook(ref, hub=hub, options=["--memory=2g"])
        container.prefix = f"/user/{hub.user}"
        with container:
            container.wait_until_up()
            return time.monotonic() - began


def main() -> None:
    engine = docker.from_env(timeout=1800)
    flat_tag = "workroom-benchmark/flat:1"
    seconds: dict[Machine, list[float]] = {}
    with TemporaryDirectory(prefix="workroom-bench-") as name:
        folder = Path(name)
        with RegistryServer(folder / "home") as server:
            there = Repository(server)
            flattened(engine, flat_tag)
            flat = there.push(engine, flat_tag, "flat")
            engine.images.remove(flat_tag, force=True)
            whole = there.push(engine, IMAGE, "ordered")
            before, below = there.before_our_files(whole)
            size, flat_size = _size(there.manifest(whole)), _size(there.manifest(flat))
            machines = (
                Machine("one layer", flat, "", flat_size),
                Machine("empty", whole, "", size),
                Machine("after a change", whole, before, size - below),
                Machine("pre-pulled", whole, whole, 0),
            )
            (folder / "engine").mkdir()
            with other_engine(folder / "engine") as other:
                for number in range(ROUNDS):
                    for machine in machines if number % 2 else reversed(machines):
                        taken = start(other, there, machine)
                        seconds.setdefault(machine, []).append(taken)
                        print(f"{number + 1:2} {machine.name}: {taken:.1f} s", file=sys.stderr)
                other.containers.prune()
                for image in other.images.list():
                    other.images.remove(image.id, force=True)
    medians = {each: statistics.median(seconds[each]) for each in machines}
    for machine, median in medians.items():
        told = f"{machine.name:<15} {machine.size / 1e6:8.1f} MB fetched {median:7.2f} s"
        print(told, file=sys.stderr, flush=True)
    report("image-cold-start", medians[machines[3]], "s", medians[machines[0]])


if __name__ == "__main__":
    main()
