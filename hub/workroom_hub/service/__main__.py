"""`workroom-service hub`, `proxy`, `ssh`, and `check hub` or `check proxy`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import workroom_hub
from workroom_hub import config_file
from workroom_hub.errors import ConfigError, WorkroomError
from workroom_hub.runtime import read_secret, state_folder
from workroom_hub.service import environment

_USAGE = "workroom-service hub | proxy | ssh | check hub | check proxy"
_PYTHON = [sys.executable, "-m"]


def main() -> int:
    """Prepare the state folder and become the service that the first word names."""
    words = sys.argv[1:]
    try:
        if words[:1] == ["check"] and words[1:] in (["hub"], ["proxy"]):
            return check(words[1])
        if len(words) != 1 or words[0] not in _SERVICES:
            raise ConfigError(f"'{' '.join(words)}' is no service.", f"Write: {_USAGE}")
        home = state_folder()
        variables = environment.prepare(home, os.environ)
        command = _SERVICES[words[0]](home, variables)
    except WorkroomError as error:
        print(f"workroom-service: {error.message} {error.fix}", file=sys.stderr)
        return 1
    os.chdir(home)
    return os.execvpe(command[0], command, variables)  # noqa: S606


def check(service: str) -> int:
    """Return 0 if the service of this container answers."""
    port, path = (8081, "/hub/health") if service == "hub" else (8000, "/_chp_healthz")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=8) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError) as error:
        print(f"workroom-service: {service} does not answer: {error}", file=sys.stderr)
        return 1


def _hub(home: Path, variables: dict[str, str]) -> list[str]:
    # Beside the hub, not before it: the first makes an account, and both ask the hub.
    for beside in ("first_admin", "measure"):
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *_PYTHON, f"workroom_hub.service.{beside}"],
            env={**variables, "WORKROOM_HOME": str(home)},
            stdin=subprocess.DEVNULL,
        )
    return [
        *_PYTHON,
        "workroom_hub.app",
        "-f",
        str(Path(workroom_hub.__file__).parent / "jupyterhub_config.py"),
    ]


def _proxy(home: Path, variables: dict[str, str]) -> list[str]:
    program = shutil.which("configurable-http-proxy")
    if program is None:
        raise ConfigError(
            "There is no configurable-http-proxy in this image.", "Build it from images/hub."
        )
    settings = config_file.load(home / "workroom.yaml")
    variables["CONFIGPROXY_AUTH_TOKEN"] = read_secret(home, "proxy-token")
    variables["NODE_ENV"] = "production"
    hub = settings.ecs.hub_url
    options = ["--ip", settings.web.host, "--port", str(settings.web.port)]
    # Its security group lets the hub in, and its token nobody else.
    options += ["--api-ip", "0.0.0.0", "--api-port", str(settings.web.proxy_api_port)]  # noqa: S104
    # No default target: until the hub has told it every route, it knows none (`proxy_watch`).
    options += ["--error-target", f"{hub}/hub/error"]
    options += ["--log-level", "warn"]
    if settings.web.isolation == "subdomain":
        options.append("--host-routing")
    return [program, *options]


def _ssh(_: Path, variables: dict[str, str]) -> list[str]:
    # Strangers talk to it.
    for name in [name for name in variables if name.startswith("AWS_")]:
        del variables[name]
    return [*_PYTHON, "workroom_hub.ssh"]


_SERVICES: dict[str, Callable[[Path, dict[str, str]], list[str]]] = {
    "hub": _hub,
    "proxy": _proxy,
    "ssh": _ssh,
}

if __name__ == "__main__":
    sys.exit(main())
