"""Hubs on a fake AWS account, for the ECS benchmarks; everything is a process of its own.

    with fake_cloud() as cloud, ours(cloud) as hub:
        hub.add_users(["ada"])
        hub.api("POST", "/users/ada/server", json=OPTIONS)

Ours is the real WorkroomHub with EcsSpawner, its configuration made by `configure`, its database
on the disk; in front of it runs the real configurable-http-proxy. `Hub.kill` and `Hub.start` make
the same hub die and come back.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hubs
import requests
import urllib3

from workroom_hub import configure, configure_ecs
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_spawner.ecs_settings import Bucket, Quotas
from workroom_spawner.platform import EcsPlatform

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
OPTIONS = {"profile": "bench", "image": "notebook"}
INSTALLATION = "b" * 32
_PAGES = {"Accept": "application/jupyterhub-pagination+json"}
# The fake account takes any keys; nobody's own are sent to it.
os.environ |= {"AWS_ACCESS_KEY_ID": "fake", "AWS_SECRET_ACCESS_KEY": "fake"}
urllib3.disable_warnings()  # the fake signs its own certificate
_SESSION = requests.Session()
_SESSION.trust_env = False


@dataclass(frozen=True)
class Cloud:
    """The fake AWS account's process (tests/fakes/aws/server.py)."""

    url: str
    web_port: int
    certificate: str
    process: subprocess.Popen[str]

    def state(self) -> dict[str, Any]:
        """Return its counters and how its tasks are."""
        answer: dict[str, Any] = _SESSION.get(f"{self.url}/_fake", verify=False, timeout=60).json()
        return answer

    def order(self, **knobs: Any) -> dict[str, Any]:
        """Turn knobs of the fake; see tests/fakes/aws/control.py."""
        answer = _SESSION.post(f"{self.url}/_fake", json=knobs, verify=False, timeout=300)
        answer.raise_for_status()
        done: dict[str, Any] = answer.json()
        return done

    def calls(self) -> dict[str, int]:
        """Return the calls since the last reset, by operation."""
        counted: dict[str, int] = self.state()["calls"]
        return counted


@contextmanager
def fake_cloud(*options: str, web: bool = True, tls: bool = False) -> Iterator[Cloud]:
    """Run the fake account with the documented token buckets.

    Args:
        options: More of its command line's.
        web: Its containers answer HTTP, each on its address, all on one port (8888 in real ones,
            but benchmarks must be able to run beside whatever uses that).
    """
    command = [sys.executable, "-m", "tests.fakes.aws.server", "--port", "0", *options]
    command += ["--tls"] if tls else []
    command += ["--web-port", "0"] if web else []
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the fake AWS account did not start; its error is above")
        where = json.loads(line)
        yield Cloud(where["url"], where["web_port"] or 0, where["certificate"] or "", process)
    finally:
        _end(process)


@dataclass
class Hub:
    """A hub behind its proxy: `port` is the proxy's, `port + 2` the hub's own."""

    folder: Path
    port: int
    token: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    session: requests.Session = field(default_factory=requests.Session)

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the API must carry."""
        return {"Authorization": f"token {self.token}"}

    @property
    def log(self) -> str:
        """What the hub has written to its log."""
        return (self.folder / "hub.log").read_text()

    def start(self, within: float = 120) -> float:
        """Start the process; return the seconds until it serves."""
        begin = time.perf_counter()
        with (self.folder / "hub.log").open("a") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, env=_environment()
            )
        while time.perf_counter() - begin < within:
            if self.process.poll() is not None:
                break
            try:
                if _SESSION.get(f"http://127.0.0.1:{self.port + 2}/hub/api", timeout=5).ok:
                    return time.perf_counter() - begin
            except requests.RequestException:
                time.sleep(0.1)
        raise RuntimeError(f"the hub did not start:\n{self.log[-3000:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it in an orderly way; servers run on."""
        if self.process is not None:
            _end(self.process)

    def memory(self) -> int:
        """Return the process's resident memory in bytes."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) * 1024

    def api(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        """Call the REST API through the proxy; anything but success raises."""
        self.session.trust_env = False
        headers = {**self.headers, **kwargs.pop("headers", {})}
        answer = self.session.request(
            method, f"{self.url}/hub/api{path}", headers=headers, timeout=300, **kwargs
        )
        answer.raise_for_status()
        return answer

    def add_users(self, names: list[str]) -> None:
        """Make hub users; they need no password, for nobody logs in."""
        for start in range(0, len(names), 500):
            self.api("POST", "/users", json={"usernames": names[start : start + 500]})

    def servers(self, state: str = "ready") -> set[str]:
        """Return the users whose servers are in `state`, as the API says."""
        found: set[str] = set()
        offset: int | None = 0
        while offset is not None:
            page = self.api(
                "GET", f"/users?state={state}&limit=200&offset={offset}", headers=_PAGES
            ).json()
            found |= {user["name"] for user in page["items"]}
            following = page["_pagination"]["next"]
            offset = following["offset"] if following else None
        return found


def settings(cloud: Cloud, port: int, **ecs: Any) -> dict[str, Any]:
    """Return a `workroom.yaml` for the fake account, as data."""
    return {
        "spawner": "ecs",
        "web": {"port": port, "proxy_api_port": port + 1},
        "local": {"hub_port": port + 2},
        "homes": {"kind": "efs", "file_system": "fs-0123456789abcdef0"},
        "idle": {"stop_after": 0},
        "profiles": [{"name": "bench", "title": "Bench", "cpu": 1, "memory": "1G"}],
        "ecs": {
            "region": "eu-west-1",
            "cluster": "bench",
            "subnets": ["subnet-0123456789abcdef0"],
            "hub_url": f"http://127.0.0.1:{port + 2}",
            "capacity_providers": [{"name": "machines"}],
            "task_role": "arn:aws:iam::123456789012:role/workroom-task",
            "endpoint_url": cloud.url,
            **ecs,
        },
    }


def prepare(cloud: Cloud, users: list[str], port: int = 8000) -> None:
    """Make homes and task definitions of users, as if they had all been here before.

    Before our hub is started, which then finds them.
    """
    asyncio.run(_prepare(cloud, users, port))


async def _prepare(cloud: Cloud, users: list[str], port: int) -> None:
    chosen = Settings.model_validate(settings(cloud, port))
    runtime = Runtime(ROOT, "", "", 2, 8 * 2**30, {}, installation=INSTALLATION)
    plenty = Bucket(1e6, 1e6)
    ecs = replace(
        configure_ecs.ecs_settings(chosen, runtime),
        quotas=Quotas(plenty, plenty, plenty, plenty, plenty),
    )
    images = {image.ref: None for image in configure.catalog(chosen, runtime).images}
    before = cloud.state()["pace"]["access_point_seconds"]
    cloud.order(buckets={"on": False}, pace={"access_point_seconds": 0})
    platform = EcsPlatform.of(ecs)
    await platform.definitions.prewarm(platform._definitions(_each(users), images))
    await platform.close()
    platform.api.close()
    cloud.order(buckets={"on": True}, pace={"access_point_seconds": before}, reset=True)


async def _each(users: list[str]) -> AsyncIterator[str]:
    for user in users:
        yield user


@contextmanager
def ours(cloud: Cloud, port: int = 0, *, probe: bool = False, **ecs: Any) -> Iterator[Hub]:
    """Run WorkroomHub with EcsSpawner on `cloud`, and its proxy.

    Args:
        port: Of the proxy; 0 lets the system choose.
        probe: Watch its event loop; see `loop_probe`.
        ecs: More of the section `ecs` of `workroom.yaml`.
    """
    port = port or _free_ports()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workroom-bench-")))
        bench = {
            "settings": settings(cloud, port, **ecs),
            "installation": INSTALLATION,
            "web_port": cloud.web_port,
            "probe": probe,
        }
        (folder / "bench.json").write_text(json.dumps(bench))
        (folder / "secrets").mkdir(mode=0o700)
        tokens = {name: secrets.token_hex(32) for name in ("cli-token", "proxy-token")}
        for name, token in tokens.items():
            (folder / "secrets" / name).write_text(token)
        stack.enter_context(proxy(port, tokens["proxy-token"]))
        config = str(FOLDER / "ecs_hub_config.py")
        command = [sys.executable, "-m", "workroom_hub.app", "-f", config]
        hub = Hub(folder, port, tokens["cli-token"], command)
        stack.callback(hub.stop)
        hub.start()
        yield hub


@contextmanager
def sleeping(
    cloud: Cloud,
    *,
    burst: float,
    rate: float,
    start_seconds: float,
    tuned: bool = True,
) -> Iterator[Hub]:
    """Run JupyterHub as released, with a spawner that sleeps; its loop is watched.

    Args:
        cloud: One task of it, made here, answers for all servers; nothing else of it is used.
        burst: Of the bucket it plays.
        rate: Likewise.
        start_seconds: How long a container takes.
        tuned: Give it our hub's database settings and queue of connections.
    """
    port = _free_ports()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workroom-bench-")))
        token, proxy_token = secrets.token_hex(16), secrets.token_hex(16)
        bench = {
            "port": port,
            "token": token,
            "proxy_token": proxy_token,
            "web_port": cloud.web_port,
            "address": cloud.order(preload=[{}])["preloaded"][0]["address"],
            "burst": burst,
            "rate": rate,
            "start_seconds": start_seconds,
            "tuned": tuned,
        }
        (folder / "bench.json").write_text(json.dumps(bench))
        stack.enter_context(proxy(port, proxy_token))
        config = str(FOLDER / "sleeping_hub_config.py")
        hub = Hub(folder, port, token, [sys.executable, "-m", "jupyterhub", "-f", config])
        stack.callback(hub.stop)
        hub.start()
        yield hub


@contextmanager
def proxy(port: int, token: str) -> Iterator[None]:
    """Run configurable-http-proxy on `port`, its API on `port + 1`, for a hub on `port + 2`."""
    hub = f"http://127.0.0.1:{port + 2}"
    command = [*hubs._proxy_command(), "--ip", "127.0.0.1", "--port", str(port)]
    command += ["--api-ip", "127.0.0.1", "--api-port", str(port + 1), "--log-level", "error"]
    command += ["--default-target", hub, "--error-target", f"{hub}/hub/error"]
    env = {**_environment(), "CONFIGPROXY_AUTH_TOKEN": token, "NODE_ENV": "production"}
    process = subprocess.Popen(command, env=env)
    try:
        _listens(port + 1, process)
        yield
    finally:
        _end(process)


def say(text: str) -> None:
    """Tell the person who runs the benchmark."""
    print(text, file=sys.stderr, flush=True)


def load() -> str:
    """Return the machine's load, for a figure is worth no more than the quiet it was taken in."""
    one, five, _ = os.getloadavg()
    return f"load {one:.1f} (1 min), {five:.1f} (5 min) on {os.cpu_count()} cores"


def report(name: str, value: float, unit: str, baseline: float) -> None:
    """Print the benchmark's one JSON line."""
    hubs.report(name, value, unit, baseline)


def _environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if not n.lower().endswith("_proxy")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def _free_ports() -> int:
    """Return the first of three ports in a row that nobody uses."""
    while True:
        first = 20_000 + secrets.randbelow(10_000)
        with ExitStack() as stack:
            try:
                for port in range(first, first + 3):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first


def _listens(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}; its error is above")


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
