"""One whole installation with a person who has a key and a running server, for races over ssh.

The same OpenSSH client, with the same key, ciphers and options, takes two ways into the same
container: `gateway` and `direct`, straight to the container's sshd, with a certificate that is
signed by the installation's own authority.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
from hubs import Hub, ours

NAME = "admin"


@dataclass(frozen=True)
class Stage:
    """Both ways into one container.

    Attributes:
        folder: Holds `config`, the configuration of ssh, and the keys.
        state: State folder of the installation.
        container: Id of the person's container.
    """

    folder: Path
    state: Path
    container: str

    def ssh(self, way: str, *command: str) -> list[str]:
        """Return the command line of ssh; `way` is `gateway` or `direct`."""
        return ["ssh", "-F", str(self.folder / "config"), way, *command]

    def scp(self, source: str, target: str) -> list[str]:
        """Return the command line of scp; a path there is written `gateway:PATH`."""
        return ["scp", "-q", "-F", str(self.folder / "config"), source, target]

    def gateway_pid(self) -> int:
        """Return the process of the gateway.

        Raises:
            RuntimeError: None is listening.
        """
        for status in self.state.glob("ssh-*.json"):
            facts = json.loads(status.read_text())
            if facts["state"] == "listening":
                return int(facts["pid"])
        raise RuntimeError("no gateway is listening")


@contextmanager
def stage(folder: Path, port: int) -> Iterator[Stage]:
    """Run an installation, register a key and start a server; take all of it down afterwards.

    Args:
        folder: An empty folder of the caller's.
        port: First of three free ports; the gateway takes the one 6000 below.
    """
    with ours(port, ssh="logins_per_minute: 100000, max_connections_per_user: 1000") as hub:
        yield enter(folder, hub, port - 6000)


def enter(folder: Path, hub: Hub, ssh_port: int) -> Stage:
    """Have a key registered and a server running in an installation that is up."""
    key = folder / "id"
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(key))
    _register(hub, key.with_suffix(".pub").read_text())
    hub.click(NAME)
    state = hub.api("GET", f"/users/{NAME}").json()["servers"][""]["state"]
    _run(
        "ssh-keygen", "-q", "-s", str(hub.state / "secrets" / "ssh-user-ca"), "-I", "bench",
        "-n", state["ssh_principal"], str(key.with_suffix(".pub")),
    )  # fmt: skip
    host_keys = json.loads((hub.state / "runtime.json").read_text())["ssh_host_keys"]
    known = [f"[localhost]:{ssh_port} {line}" for line in host_keys]
    known.append(f"[{state['address']}]:{state['ssh_port']} {state['ssh_host_key']}")
    (folder / "known_hosts").write_text("\n".join(known) + "\n")
    (folder / "config").write_text(
        f"""
Host gateway
  HostName localhost
  Port {ssh_port}
  User {NAME}
  CertificateFile none
Host direct
  HostName {state["address"]}
  Port {state["ssh_port"]}
  User workroom
  CertificateFile {folder}/id-cert.pub
Host *
  IdentityFile {key}
  KexAlgorithms curve25519-sha256
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
  BatchMode yes
  UpdateHostKeys no
"""
    )
    found = _run("docker", "ps", "-q", "--filter", f"network={_network(hub)}").split()
    return Stage(folder, hub.state, found[0])


def _network(hub: Hub) -> str:
    return str(json.loads((hub.state / "runtime.json").read_text())["network"])


def _register(hub: Hub, line: str) -> None:
    """Log in as a person does, and add the key."""
    first = json.loads((hub.state / "initial-password").read_text())
    with requests.Session() as browser:
        form = browser.get(f"{hub.url}/hub/login", timeout=30).text
        xsrf = re.search(r'name="_xsrf" value="([^"]+)"', form)
        if xsrf is None:
            raise RuntimeError("the log-in page is not what it was")
        answer = browser.post(
            f"{hub.url}/hub/login",
            data={"username": first["name"], "password": first["password"], "_xsrf": xsrf[1]},
            timeout=30,
            allow_redirects=False,
        )
        answer.raise_for_status()
        answer = browser.post(
            f"{hub.url}/hub/api/workroom/users/{NAME}/ssh-keys",
            json={"key": line, "name": "bench"},
            headers={"X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/") or ""},
            timeout=30,
        )
        answer.raise_for_status()


def _run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout
