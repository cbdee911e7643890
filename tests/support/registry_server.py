"""This machine's registry as `workroom up` runs it, over the real S3 server, for tests."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from tests.support.s3_server import GATEWAY, S3Server, free_port
from workroom_hub.data_environment import PLATFORM
from workroom_hub.machine import data_s3, processes, registry
from workroom_hub.machine.console import Step
from workroom_hub.machine.image import CONTENT_LABEL
from workroom_hub.registry import credentials, server_config
from workroom_hub.registry.credentials import Right
from workroom_hub.runtime import Runtime

QUIET = cast("Step", SimpleNamespace(update=lambda _: None, result=""))


class RegistryServer(S3Server):
    """A registry to start, stop and wipe; as a context it is up inside and gone after."""

    def __init__(
        self,
        home: Path,
        upstream: str = "http://127.0.0.1:1",
        settings: dict[str, Any] | None = None,
        data: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        chosen = {"kind": "machine", "port": free_port(), "upstream": upstream, **more}
        super().__init__(home, settings={**(settings or {}), "registry": chosen}, **(data or {}))
        self.programs = {"docker-registry": "docker-registry", "nginx": "/usr/sbin/nginx"}

    def __exit__(self, *_: object) -> None:
        registry.stop(self.stack.home)
        super().__exit__()

    @property
    def host(self) -> str:
        """Where it answers."""
        return self.stack.settings.registry.host

    def start(self) -> bool:
        """Start what does not run."""
        started = super().start()
        registry.ensure(self.stack, GATEWAY, self.programs, QUIET)
        return started

    def runs_as_told(self) -> bool:
        """Tell whether the cache was last started for the upstream of these settings."""
        told = json.loads((self.stack.home / server_config.FOLDER / "cache.json").read_text())
        return bool(told["proxy"]["remoteurl"] == self.stack.settings.registry.upstream)

    def stop_registry(self) -> None:
        """Stop the registry; its S3 server runs on."""
        registry.stop(self.stack.home)

    def auth(self, right: Right) -> dict[str, str]:
        """Return the token for a right, as docker-py takes it."""
        found = credentials.of(self.stack.settings.registry, self.stack.home, right)
        assert found is not None
        return found.auth_config

    def remember_gateway(self) -> None:
        """Leave word of where the S3 server is, as `up` does."""
        Runtime(self.stack.home, GATEWAY, "", 2, 2**33, {}).save()

    def platform(self) -> Any:
        """Return an S3 client that may do everything."""
        return data_s3.client(self.stack, GATEWAY, PLATFORM)

    def pid(self, role: str) -> int | None:
        """Return the process of a role."""
        found = processes.find(self.stack.home, role)
        return found.pid if found else None


class PlainRegistry:
    """A registry of somebody else's, on plain disk, without tokens: an upstream, or a baseline."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.child: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def __enter__(self) -> PlainRegistry:
        import time
        import urllib.request

        self.folder.mkdir(parents=True, exist_ok=True)
        told = {
            "version": "0.1",
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "blobs")}},
            "http": {"addr": self.host},
        }
        (self.folder / "config.json").write_text(json.dumps(told))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
        with (self.folder / "log").open("wb") as log:
            self.child = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.json")],
                env=clean,
                stdout=log,
                stderr=log,
            )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                opener.open(f"{self.url}/v2/", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def __exit__(self, *_: object) -> None:
        assert self.child is not None
        self.child.terminate()
        self.child.wait(10)


def import_image(engine: Any, tag: str, size: int, *, seed: bytes = b"", **labels: str) -> Any:
    """Make an image of one layer that does not compress, with the labels of a build.

    Args:
        engine: docker-py's client.
        tag: `repository:tag` it gets.
        size: Bytes of its layer.
        seed: Same seed, same layer; random if empty.
        labels: More labels, with `_` for `-` and the prefix `io.workroom.` added.
    """
    body = _stream(seed, size) if seed else os.urandom(size)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as layer:
        entry = tarfile.TarInfo("payload")
        entry.size = size
        layer.addfile(entry, io.BytesIO(body))
    content = hashlib.sha256(body).hexdigest()
    given = {CONTENT_LABEL: content}
    given |= {f"io.workroom.{n.replace('_', '-')}": value for n, value in labels.items()}
    repository, _, name = tag.rpartition(":")
    changes = [f'LABEL {key}="{value}"' for key, value in given.items()]
    engine.api.import_image_from_data(
        archive.getvalue(), repository=repository, tag=name, changes=changes
    )
    return engine.images.get(tag)


def _stream(seed: bytes, size: int) -> bytes:
    return hashlib.shake_128(seed).digest(size)
