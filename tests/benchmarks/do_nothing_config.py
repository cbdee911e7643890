"""Configuration of the hub to compare with: JupyterHub as released, whose servers are always alive.

Reads `bench.json` of the folder it is run in, which `running_servers.do_nothing` writes.
"""

import json
import sys
from pathlib import Path

from jupyterhub.spawner import SimpleLocalProcessSpawner, Spawner

sys.path.insert(0, str(Path(__file__).parent))

import give_back

give_back.begin()
bench = json.loads(Path("bench.json").read_text())


class Alive:
    """Has nothing to do: somebody else has started what runs."""

    async def start(self):
        raise NotImplementedError

    async def stop(self, now=False):
        pass

    async def poll(self):
        return None


class DoNothing(Alive, Spawner):
    """The least that a spawner can be."""


class LocalProcess(Alive, SimpleLocalProcessSpawner):
    """JupyterHub's own, without looking whether its processes are there."""


port = bench["port"]
config = c  # type: ignore[name-defined] # noqa: F821
config.JupyterHub.bind_url = f"http://127.0.0.1:{port}"
config.JupyterHub.hub_bind_url = f"http://127.0.0.1:{port + 2}"
config.JupyterHub.db_url = "sqlite:///hub.sqlite"
config.JupyterHub.spawner_class = {"Spawner": DoNothing, "Local": LocalProcess}[bench["spawner"]]
config.JupyterHub.authenticator_class = "dummy"
config.Authenticator.allow_all = True
config.JupyterHub.last_activity_interval = 0
config.JupyterHub.cleanup_servers = False
config.JupyterHub.cleanup_proxy = False
config.ConfigurableHTTPProxy.should_start = False
config.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{port + 1}"
config.ConfigurableHTTPProxy.auth_token = bench["proxy_token"]
config.JupyterHub.services = [{"name": "workroom-cli", "api_token": bench["token"]}]
config.JupyterHub.load_roles = [
    {
        "name": "workroom-cli",
        "services": ["workroom-cli"],
        "scopes": ["admin:users", "admin:servers", "list:users", "read:hub"],
    }
]
