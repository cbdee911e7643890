"""The registry's container: writes what its three programs are told, starts them, watches them.

The half with our images and the front end the container with them, so that whoever runs it starts
another. The cache does not: it ends whenever its upstream cannot be reached at its start, and is
started again, later and later.

    REGISTRY_BUCKET, REGISTRY_REGION    where images are kept
    REGISTRY_REPOSITORY                 what our images' names begin with (default: workroom)
    REGISTRY_PUSH, REGISTRY_PULL        {"username": …, "password": …}, as Secrets Manager has them
    REGISTRY_HTTP_SECRET                the same in every copy of the container
    REGISTRY_UPSTREAM                   what is cached (default: Docker Hub)
    REGISTRY_UPSTREAM_LOGIN             user name and token there, JSON like the others
    REGISTRY_S3_ENDPOINT                an S3 that is not AWS's
    REGISTRY_PORT                       port to listen on (default: 5000)

Keys for S3 come from the role of the task, or from the usual variables of AWS.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import server_config
from server_config import FOLDER, HALVES

PLACE = Path(os.environ.get("REGISTRY_FOLDER", "/run"))
TEMPLATE = Path(__file__).with_name("virtual.conf.template")
DOCKER_HUB = "https://registry-1.docker.io"
END_WITHIN = 100.0
"""Seconds that uploads under way get to end."""
AGAIN, AGAIN_AT_MOST = 2.0, 60.0
"""Seconds until a cache that ended is started again, doubled each time."""


class Wrong(Exception):
    """The environment is not usable; the text names the variable and what belongs there."""


def value(name: str, default: str | None = None) -> str:
    """Return a variable."""
    found = os.environ.get(name) or default
    if found is None:
        raise Wrong(f"{name} is not set.")
    return found


def login(name: str) -> tuple[str, str]:
    """Return the user name and token of a variable; neither is ever printed."""
    try:
        found = json.loads(value(name))
        user, token = found["username"], found["password"]
    except (ValueError, TypeError, KeyError):
        user = token = None
    if not (isinstance(user, str) and isinstance(token, str) and user and token) or ":" in user:
        raise Wrong(f'{name} must be {{"username": "NAME", "password": "TOKEN"}}.')
    if len(token) < 20:
        raise Wrong(f"{name} has a token of {len(token)} characters; make it 32 random ones.")
    return user, token


def write(name: str, text: str) -> None:
    """Write a file that nobody else can read."""
    path = PLACE / FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def prepare() -> None:
    """Write everything that the programs read."""
    push, pull = login("REGISTRY_PUSH"), login("REGISTRY_PULL")
    if push[0] == pull[0] or push[1] == pull[1]:
        raise Wrong("REGISTRY_PUSH and REGISTRY_PULL must differ in user name and in token.")
    for half in HALVES:
        text = server_config.server(
            half,
            bucket=value("REGISTRY_BUCKET"),
            region=value("REGISTRY_REGION"),
            http_secret=value("REGISTRY_HTTP_SECRET"),
            endpoint=value("REGISTRY_S3_ENDPOINT", ""),
            upstream=value("REGISTRY_UPSTREAM", DOCKER_HUB),
            login=login("REGISTRY_UPSTREAM_LOGIN")
            if os.environ.get("REGISTRY_UPSTREAM_LOGIN")
            else None,
        )
        write(f"{half}.json", text)
    write("rights/push.htpasswd", server_config.htpasswd([push]))
    write("rights/read.htpasswd", server_config.htpasswd([push, pull]))
    front = server_config.front(
        TEMPLATE.read_text(),
        listen=value("REGISTRY_PORT", "5000"),
        repository=value("REGISTRY_REPOSITORY", "workroom"),
        user="root" if os.geteuid() == 0 else "",
    )
    write("front.conf", front)


def start(name: str) -> subprocess.Popen[bytes]:
    """Start one of the three. None gets the tokens of the environment."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("REGISTRY_")}
    if name == "front":
        command = ["nginx", "-p", str(PLACE), "-c", f"{FOLDER}/front.conf", "-e", "stderr"]
        environment = {k: v for k, v in environment.items() if not k.startswith("AWS_")}
    else:
        (PLACE / FOLDER / f"{name}.sock").unlink(missing_ok=True)
        command = ["docker-registry", "serve", f"{FOLDER}/{name}.json"]
    return subprocess.Popen(command, cwd=PLACE, env=environment, start_new_session=True)


def end(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Let requests under way end, then the programs; the halves serve them meanwhile."""
    deadline = time.monotonic() + END_WITHIN
    for name in ("front", *HALVES):
        process = running[name]
        if process.poll() is None:
            # nginx waits for its requests at QUIT, and drops them at TERM.
            process.send_signal(signal.SIGQUIT if name == "front" else signal.SIGTERM)
        try:
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def watch(running: dict[str, subprocess.Popen[bytes]]) -> str:
    """Return the name of a program that ended and must not; start a cache that did anew."""
    wait, since, ended = AGAIN, time.monotonic(), 0.0
    while True:
        for name in ("local", "front"):
            if running[name].poll() is not None:
                return name
        if running["cache"].poll() is not None:
            now = time.monotonic()
            if not ended:
                ended = now
                wait = AGAIN if now - since > AGAIN_AT_MOST else min(wait * 2, AGAIN_AT_MOST)
                print(f"The cache ended; it is started again in {wait:.0f} s.", flush=True)
            if now - ended >= wait:
                running["cache"], since, ended = start("cache"), now, 0.0
        time.sleep(0.2)


def main() -> int:
    """Run the registry until it is told to end, or a part that it needs does."""

    def told(*_: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    try:
        prepare()
    except Wrong as wrong:
        print(f"The registry cannot start: {wrong}", file=sys.stderr)
        return 78
    running = {name: start(name) for name in (*HALVES, "front")}
    try:
        name = watch(running)
        print(f"'{name}' ended with exit code {running[name].returncode}.", file=sys.stderr)
        return 1
    finally:
        end(running)


if __name__ == "__main__":
    sys.exit(main())
