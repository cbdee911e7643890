"""One real installation, brought up and down by the `workroom` command like anybody's."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import docker
import requests
from docker.models.containers import Container

LABEL = "io.workroom"
COMMAND = (sys.executable, "-m", "workroom_hub.cli")
REPOSITORY = Path(__file__).resolve().parents[2]
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, seconds: float = 30) -> Found:
    """Return the first truthy answer of `look`, asked every quarter of a second.

    Raises:
        AssertionError: It did not come within `seconds`; the message names `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.25)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@dataclass
class Installation:
    """An installation with a state folder and settings of its own.

    Attributes:
        folder: Where its settings and its state are.
        settings: The content of `workroom.yaml`.
        engine: The engine it runs on.
        admin_password: Of the first admin, as `workroom up` printed it.
        passwords: Of the users made here.
        variables: What its commands have in their environment beside this process's own.
        words: What `up` is given, such as `--cloud local`.
    """

    folder: Path
    settings: dict[str, Any]
    engine: docker.DockerClient
    admin_password: str = ""
    passwords: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()

    # -- the command ---------------------------------------------------------------

    @property
    def home(self) -> Path:
        """State folder."""
        return self.folder / "state"

    @property
    def instance(self) -> str:
        """Prefix of everything it makes."""
        return str(self.settings["instance"])

    @property
    def admin(self) -> str:
        """Name of the first admin."""
        return str(self.settings["auth"]["first_admin"])

    @property
    def subdomain(self) -> bool:
        """True if every user has a host name of her own."""
        return bool(self.settings["web"]["isolation"] == "subdomain")

    @property
    def url(self) -> str:
        """Address of the pages, without a slash at the end."""
        return f"http://localhost:{self.settings['web']['port']}"

    def workroom(
        self, *words: str, check: bool = True, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the `workroom` command; with `check`, it must succeed."""
        done = subprocess.run(
            [*COMMAND, *words],
            cwd=REPOSITORY,
            env={**self.environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        assert not check or done.returncode == 0, f"workroom {words}:\n{done.stdout}{done.stderr}"
        return done

    def environment(self) -> dict[str, str]:
        """Return the environment of its commands; settings of the caller's own do not leak in."""
        own = {k: v for k, v in os.environ.items() if not k.startswith("WORKROOM_")}
        source = os.pathsep.join([str(REPOSITORY / "hub"), str(REPOSITORY / "spawner")])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH", "")]))
        config = str(self.folder / "workroom.yaml")
        return {
            **own,
            "PYTHONPATH": path,
            "WORKROOM_HOME": str(self.home),
            "WORKROOM_CONFIG": config,
            **self.variables,
        }

    def write_settings(self) -> None:
        """Write its `workroom.yaml`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (self.folder / "workroom.yaml").write_text(json.dumps(self.settings, indent=1))

    def up(self) -> str:
        """Bring it up, or up again; return what was printed."""
        self.write_settings()
        printed = self.workroom("up", *self.words).stdout
        password = re.search(r"Password\W+(\S+)", printed)
        if password:
            self.admin_password = self.passwords[self.admin] = password[1]
        return printed

    def down(self) -> None:
        """Remove every trace of it."""
        self.workroom("down", "--purge", "--yes")

    # -- the hub -------------------------------------------------------------------

    @property
    def gateway(self) -> str:
        """Address of this machine on the users' network."""
        return str(json.loads((self.home / "runtime.json").read_text())["gateway"])

    @property
    def hub_url(self) -> str:
        """Where containers reach the hub's API."""
        return f"http://{self.gateway}:{self.settings['local']['hub_port']}/hub/api"

    def hub(self, method: str, path: str, body: Any = None, token: str = "") -> requests.Response:
        """Send one request to the hub's API, as the command line does unless a token is given."""
        token = token or (self.home / "secrets" / "cli-token").read_text().strip()
        return requests.request(
            method,
            f"{self.hub_url}/{path}",
            json=body,
            headers={"Authorization": f"token {token}"},
            timeout=60,
        )

    def add_user(self, name: str) -> str:
        """Make an account; return its name as the hub spells it."""
        made = json.loads(self.workroom("users", "add", name, "--json").stdout)
        self.passwords[made["name"]] = made["password"]
        return str(made["name"])

    def server(self, user: str, server: str = "") -> dict[str, Any]:
        """Return the hub's word on a server, {} if it is not active."""
        user_model = self.hub("GET", f"users/{quote(user, safe='')}").json()
        found: dict[str, Any] = user_model.get("servers", {}).get(server, {})
        return found

    def start(self, user: str, server: str = "", **options: str) -> None:
        """Start a server through the API and wait until it is ready."""
        self.begin(user, server, **options)
        wait_for(lambda: self.server(user, server).get("ready"), f"server of {user} is ready", 60)

    def begin(self, user: str, server: str = "", **options: str) -> None:
        """Start a server through the API and return once its container runs."""
        # The hub answers after ten seconds, or when the server is up.
        request = partial(self.hub, "POST", self.server_path(user, server), options)
        threading.Thread(target=request, daemon=True).start()

        def runs() -> bool:
            return any(c.status == "running" for c in self.containers(user, server))

        wait_for(runs, f"container of {user} runs", 30)

    def stop(self, user: str, server: str = "") -> None:
        """Stop a server, or cancel its start, and wait for the end."""
        self.hub("DELETE", self.server_path(user, server))

        def stopped() -> bool:
            model = self.server(user, server)
            return not (model.get("ready") or model.get("pending"))

        wait_for(stopped, f"server of {user} stopped", 60)

    def server_path(self, user: str, server: str = "") -> str:
        """Return the path of a server in the hub's API."""
        return f"users/{quote(user, safe='')}/servers/{quote(server, safe='')}"

    def log(self) -> str:
        """Return the hub's log."""
        return (self.home / "hub.log").read_text()

    def rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Read from the hub's database."""
        address = f"file:{self.home / 'hub.sqlite'}?mode=ro"
        with sqlite3.connect(address, uri=True, timeout=10) as database:
            return list(database.execute(query, values))

    def usage(self, user: str, server: str = "") -> list[dict[str, Any]]:
        """Return a server's usage rows, oldest first."""
        names = ("profile", "image", "start", "stop", "reason")
        query = f"SELECT {', '.join(names)} FROM usage WHERE user=? AND server=? ORDER BY id"  # noqa: S608
        return [dict(zip(names, row, strict=True)) for row in self.rows(query, user, server)]

    def processes(self) -> dict[int, str]:
        """Return processes of this installation: their ids and command lines."""
        marks = (f"WORKROOM_HOME={self.home}\0".encode(), f":{self.home}\0".encode())
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                variables = (process / "environ").read_bytes() + b"\0"
                words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if any(mark in variables for mark in marks):
                found[int(process.name)] = words.strip()
        return found

    def traces(self) -> list[str]:
        """Return everything of this installation that is on this machine, the image left out."""
        label = {"label": f"{LABEL}.instance={self.instance}"}
        data = {"label": f"{LABEL}.data={self.instance}"}
        rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
        bridge = rf"(WORKROOM|wr)-{self.instance}\b"
        return [
            *(f"container {c.name}" for c in [*self.containers(), *self.emulated()]),
            *(
                f"container {c.name}"
                for c in self.engine.containers.list(all=True, ignore_removed=True, filters=data)
            ),
            *(f"volume {v.name}" for v in self.engine.volumes.list(filters=data)),
            *(f"network {n.name}" for n in self.engine.networks.list(filters=label)),
            *(f"volume {v.name}" for v in self.engine.volumes.list(filters=label)),
            *(f"process {pid}: {words}" for pid, words in self.processes().items()),
            *(f"rule {rule}" for rule in rules.splitlines() if re.search(bridge, rule)),
            *(f"interface {p.name}" for p in Path("/sys/class/net").glob(f"wr-{self.instance}")),
            *([f"folder {self.home}"] if self.home.exists() else []),
        ]

    # -- the engine ------------------------------------------------------------------

    def containers(self, user: str | None = None, server: str | None = None) -> list[Container]:
        """Return containers of this installation, also ended ones."""
        labels = [f"{LABEL}.instance={self.instance}"]
        if user is not None:
            labels.append(f"{LABEL}.user={user}")
        if server is not None:
            labels.append(f"{LABEL}.server={server}")
        found: list[Container] = self.engine.containers.list(
            all=True, ignore_removed=True, filters={"label": labels}
        )
        return found

    def emulated(self) -> list[Container]:
        """Return containers of the AWS emulator and of its tasks, also ended ones."""
        cluster = f"arn:aws:ecs:us-east-1:000000000000:cluster/{self.instance}"
        labels = (f"com.amazonaws.ecs.cluster={cluster}", f"{LABEL}.emulator={self.instance}")
        found: list[Container] = []
        for label in labels:
            found += self.engine.containers.list(
                all=True, ignore_removed=True, filters={"label": label}
            )
        return found

    def container(self, user: str, server: str = "") -> Container:
        """Return the one container of a server."""
        [container] = self.containers(user, server)
        return container

    @contextmanager
    def held(self, user: str) -> Iterator[None]:
        """Freeze the user's next container as it starts, and let it go on after the block."""
        filters = {"event": "start", "label": [f"{LABEL}.instance={self.instance}"]}
        events = self.engine.events(decode=True, filters=filters)

        def freeze() -> None:
            event = next(events)
            self.engine.containers.get(event["id"]).pause()

        freezing = threading.Thread(target=freeze, daemon=True)
        freezing.start()
        try:
            yield
        finally:
            freezing.join(30)
            events.close()
            for container in self.containers(user):
                if container.status == "paused":
                    container.unpause()

    def sh(self, user: str, script: str, server: str = "") -> str:
        """Run a shell script in a container as its user; it must succeed."""
        code, output = self.container(user, server).exec_run(["bash", "-c", script])
        text = output.decode()
        assert code == 0, text
        return str(text)
