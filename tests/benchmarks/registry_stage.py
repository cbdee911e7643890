"""What the registry benchmarks share: ours over S3, the same on plain disk, and blobs to move.

Blobs are moved over the registry's HTTP API as an engine does it, several at once, without the
engine's compression, which is slower than either registry and would hide both. What an engine
makes of it is printed beside.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urljoin

import docker
import requests

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.registry_server import PlainRegistry, RegistryServer, import_image

LAYERS = 4
MIB = int(os.environ.get("WORKROOM_BENCH_MIB", "512"))
"""Size of all layers together."""
ROUNDS = int(os.environ.get("WORKROOM_BENCH_ROUNDS", "5"))
_CHUNK = 2**20
_IMAGE = "workroom-benchmark/registry"


@dataclass(frozen=True)
class Place:
    """A registry to measure.

    Attributes:
        name: What it is called in what is printed.
        host: Where it answers.
        auth: User name and token that may push; None where nothing is asked.
    """

    name: str
    host: str
    auth: tuple[str, str] | None

    def url(self, path: str) -> str:
        """Return an address in the benchmark's repository."""
        return f"http://{self.host}/v2/workroom/benchmark/{path}"


@contextmanager
def places() -> Iterator[tuple[Place, Place]]:
    """Run both registries; ours first."""
    with TemporaryDirectory(prefix="workroom-bench-") as name:
        folder = Path(name)
        with (
            PlainRegistry(folder / "plain") as plain,
            RegistryServer(folder / "home", plain.url) as ours,
        ):
            given = ours.auth("push")
            auth = (given["username"], given["password"])
            yield Place("over S3", ours.host, auth), Place("plain disk", plain.host, None)


def blobs() -> list[bytes]:
    """Return layers that nobody has seen yet; they do not compress, as real ones do not."""
    return [os.urandom(MIB * 2**20 // LAYERS) for _ in range(LAYERS)]


def send(place: Place, layers: list[bytes]) -> float:
    """Push layers side by side; return MB a second."""
    named = [(layer, digest(layer)) for layer in layers]
    began = time.monotonic()
    with ThreadPoolExecutor(LAYERS) as pool:
        list(pool.map(lambda each: _send_one(place, *each), named))
    return MIB * 1.048576 / (time.monotonic() - began)


def _send_one(place: Place, layer: bytes, name: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = place.auth
        begun = session.post(place.url("blobs/uploads/"), timeout=60)
        begun.raise_for_status()
        at = urljoin(place.url(""), begun.headers["Location"])
        chunks = (layer[i : i + _CHUNK] for i in range(0, len(layer), _CHUNK))
        sent = session.patch(
            at,
            data=chunks,
            headers={"Content-Type": "application/octet-stream"},
            timeout=600,
        )
        sent.raise_for_status()
        at = urljoin(place.url(""), sent.headers["Location"])
        session.put(at, params={"digest": name}, timeout=600).raise_for_status()


def receive(place: Place, layers: list[bytes]) -> float:
    """Pull layers side by side, each compared with its digest; return MB a second."""
    names = [digest(layer) for layer in layers]
    began = time.monotonic()
    with ThreadPoolExecutor(LAYERS) as pool:
        list(pool.map(lambda name: _receive_one(place, name), names))
    return MIB * 1.048576 / (time.monotonic() - began)


def _receive_one(place: Place, name: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        session.auth = place.auth
        found = hashlib.sha256()
        with session.get(place.url(f"blobs/{name}"), stream=True, timeout=600) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(_CHUNK):
                found.update(chunk)
        if f"sha256:{found.hexdigest()}" != name:
            raise SystemExit(f"{place.name} sent other bytes than {name}")


def digest(layer: bytes) -> str:
    """Return a layer's digest."""
    return f"sha256:{hashlib.sha256(layer).hexdigest()}"


def say(number: int, figures: dict[str, float]) -> None:
    """Print a round on the way."""
    told = ", ".join(f"{name} {value:.0f} MB/s" for name, value in figures.items())
    print(f"{number:2} {told}", file=sys.stderr, flush=True)


def with_an_engine(ours: Place, plain: Place) -> None:
    """Print what an engine makes of a fifth of it: its compression is part of a push."""
    engine = docker.from_env(timeout=600)
    size = max(1, MIB // 5) * 2**20
    try:
        for place in (ours, plain):
            image = import_image(engine, f"{_IMAGE}:1", size)
            target = f"{place.host}/workroom/engine"
            auth = dict(zip(("username", "password"), place.auth or ("any", "any"), strict=True))
            image.tag(target, "1")
            began = time.monotonic()
            for event in engine.api.push(target, "1", stream=True, decode=True, auth_config=auth):
                if "error" in event:
                    raise SystemExit(event["error"])
            pushed = time.monotonic() - began
            engine.images.remove(image.id, force=True)
            began = time.monotonic()
            engine.api.pull(target, "1", auth_config=auth)
            pulled = time.monotonic() - began
            engine.images.remove(image.id, force=True)
            megabytes = size / 1e6
            print(
                f"engine, {place.name}: push {megabytes / pushed:.0f} MB/s, "
                f"pull {megabytes / pulled:.0f} MB/s",
                file=sys.stderr,
                flush=True,
            )
    finally:
        engine.close()
