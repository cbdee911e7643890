"""What the registry's container runs (`infra/registry/start.py`), as a process, over real S3."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.errors import APIError

from tests.registry.conftest import MINE, forget
from tests.support.registry_server import PlainRegistry, RegistryServer, import_image
from tests.support.s3_server import free_port
from workroom_hub.data_environment import PLATFORM
from workroom_hub.machine import registry_config
from workroom_hub.runtime import read_secret

pytestmark = pytest.mark.docker
ROOT = Path(__file__).resolve().parents[2]
START = ROOT / "infra" / "registry" / "start.py"
TOKENS = {right: {"username": right, "password": right * 8} for right in ("push", "pull")}


class Container:
    """The container's command in a folder of its own."""

    def __init__(self, folder: Path, server: RegistryServer, **more: str) -> None:
        self.port, self.log = free_port(), folder / "log"
        self.variables = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT / "hub" / "workroom_hub" / "registry"),
            "REGISTRY_FOLDER": str(folder),
            "REGISTRY_PORT": f"127.0.0.1:{self.port}",
            "REGISTRY_BUCKET": registry_config.BUCKET,
            "REGISTRY_REGION": "us-east-1",
            "REGISTRY_S3_ENDPOINT": server.url,
            "REGISTRY_HTTP_SECRET": "0" * 64,
            "REGISTRY_PUSH": json.dumps(TOKENS["push"]),
            "REGISTRY_PULL": json.dumps(TOKENS["pull"]),
            "REGISTRY_UPSTREAM": "http://127.0.0.1:1",
            "AWS_ACCESS_KEY_ID": PLATFORM,
            "AWS_SECRET_ACCESS_KEY": read_secret(server.stack.home, "s3-platform-secret"),
            **more,
        }

    def run(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(START)], env=self.variables, stdout=log, stderr=log
            )

    @contextmanager
    def up(self) -> Iterator[subprocess.Popen[bytes]]:
        child = self.run()
        try:
            deadline = time.monotonic() + 15
            while self.health() != 200:
                assert child.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.05)
            yield child
        finally:
            child.terminate()
            child.wait(30)

    def health(self) -> int:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/", timeout=5).status_code
        except requests.ConnectionError:
            return 0

    def ask(self, path: str, who: str) -> requests.Response:
        given = TOKENS[who]
        auth = (given["username"], given["password"])
        return requests.get(f"http://127.0.0.1:{self.port}{path}", auth=auth, timeout=10)


def test_it_serves_pushes_and_pulls_and_ends_when_told(
    engine: Any, server: RegistryServer, tmp_path: Path
) -> None:
    container = Container(tmp_path, server)
    image = import_image(engine, f"{MINE}/container:1", 2**20)
    name = f"127.0.0.1:{container.port}/workroom/container"
    try:
        with container.up() as child:
            image.tag(name, "1")
            for right, refused in (("pull", True), ("push", False)):
                events = engine.api.push(
                    name, "1", stream=True, decode=True, auth_config=TOKENS[right]
                )
                assert any("error" in event for event in events) is refused
            forget(engine, image.id)
            with pytest.raises(APIError, match="no basic auth"):
                engine.api.pull(name, "1", auth_config={"username": "", "password": ""})
            engine.api.pull(name, "1", auth_config=TOKENS["pull"])
            assert engine.images.get(f"{name}:1").id == image.id
            assert container.ask("/v2/library/x/tags/list", "pull").status_code == 503
            # No program of it can be asked for the tokens.
            told = [
                Path(f"/proc/{pid}/environ").read_bytes()
                for pid in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
            ]
            assert len(told) >= 2
            assert not any(b"REGISTRY_PUSH" in each for each in told)
        assert child.returncode == 0
        folder = tmp_path / "registry"
        written = [*folder.glob("*.json"), *(folder / "rights").iterdir()]
        assert len(written) == 4
        assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    finally:
        forget(engine, image.id)


def test_a_cache_whose_upstream_comes_back_is_started_again_and_our_half_is_not_missed(
    server: RegistryServer, tmp_path: Path
) -> None:
    theirs = PlainRegistry(tmp_path / "theirs")
    container = Container(tmp_path, server, REGISTRY_UPSTREAM=theirs.url)
    with container.up() as child:
        assert container.ask("/v2/library/x/tags/list", "pull").status_code == 503
        with theirs:
            deadline = time.monotonic() + 20
            while container.ask("/v2/library/x/manifests/1", "pull").status_code == 503:
                assert time.monotonic() < deadline, container.log.read_text()
                time.sleep(0.1)
        # What ends our half ends the container, so that whoever runs it starts another.
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        ours = next(
            pid for pid in children if b"local.json" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
        os.kill(int(ours), signal.SIGKILL)
        assert child.wait(30) == 1
    assert "'local' ended with exit code -9" in container.log.read_text()


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("REGISTRY_PUSH", "token", 'REGISTRY_PUSH must be {"username"'),
        ("REGISTRY_PULL", '{"username": "a:b", "password": "c"}', "REGISTRY_PULL must be"),
        ("REGISTRY_PUSH", '{"username": "a", "password": "short-secret"}', "12 characters"),
        ("REGISTRY_PULL", json.dumps(TOKENS["push"]), "must differ"),
        ("REGISTRY_BUCKET", "", "REGISTRY_BUCKET is not set"),
        ("REGISTRY_HTTP_SECRET", "", "REGISTRY_HTTP_SECRET is not set"),
    ],
)
def test_what_is_wrong_in_its_environment_is_one_line_without_a_token(
    one: RegistryServer, tmp_path: Path, variable: str, text: str, said: str
) -> None:
    container = Container(tmp_path, one, **{variable: text})
    assert container.run().wait(20) == 78
    told = container.log.read_text()
    assert said in told
    assert len(told.splitlines()) == 1
    assert "short-secret" not in told
