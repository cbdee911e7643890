"""Configuration of the hub to compare with: JupyterHub as released, whose spawner only sleeps.

The sleep is what AWS's buckets and a container's start cost at best; nothing is called.
"""

import asyncio
import gc
import json
import sys
from functools import partialmethod
from pathlib import Path

from jupyterhub.spawner import Spawner
from tornado.httpserver import HTTPServer

from workroom_spawner import database

FOLDER = Path.cwd()
sys.path.insert(0, str(Path(__file__).parent))

import loop_probe  # noqa: E402

bench = json.loads((FOLDER / "bench.json").read_text())


class SleepingSpawner(Spawner):
    """Starts nothing: it waits as long as RunTask's bucket and a container would take."""

    next_token = 0.0

    async def start(self):
        now = asyncio.get_running_loop().time()
        burst, rate = bench["burst"], bench["rate"]
        # The bucket as a virtual schedule: `burst` at once, then one every 1/rate seconds.
        turn = max(SleepingSpawner.next_token, now - burst / rate) + 1 / rate
        SleepingSpawner.next_token = turn
        await asyncio.sleep(max(0.0, turn - now) + bench["start_seconds"])
        self.up = True
        return bench["address"], bench["web_port"]

    async def stop(self, now=False):
        self.up = False

    async def poll(self):
        return None if getattr(self, "up", False) else 0


config = c  # type: ignore[name-defined] # noqa: F821
config.JupyterHub.bind_url = f"http://127.0.0.1:{bench['port']}"
config.JupyterHub.hub_bind_url = f"http://127.0.0.1:{bench['port'] + 2}"
config.JupyterHub.db_url = f"sqlite:///{FOLDER / 'hub.sqlite'}"
config.JupyterHub.spawner_class = SleepingSpawner
config.JupyterHub.authenticator_class = "dummy"
config.JupyterHub.concurrent_spawn_limit = 0
config.JupyterHub.last_activity_interval = 0
config.JupyterHub.cleanup_servers = False
config.JupyterHub.cleanup_proxy = False
config.ConfigurableHTTPProxy.should_start = False
config.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{bench['port'] + 1}"
config.ConfigurableHTTPProxy.auth_token = bench["proxy_token"]
config.SleepingSpawner.start_timeout = 600
config.SleepingSpawner.http_timeout = 60
config.JupyterHub.services = [{"name": "bench", "api_token": bench["token"]}]
config.JupyterHub.load_roles = [
    {
        "name": "bench",
        "services": ["bench"],
        "scopes": ["admin:users", "admin:servers", "list:users", "read:hub"],
    }
]
# The same database settings and the same queue of connections as ours, or the hub itself would be
# what is compared: as released it waits for the disk at every commit and turns connections away.
if bench["tuned"]:
    config.JupyterHub.trust_user_provided_tokens = True
    database.use_write_ahead_log()
    HTTPServer.listen = partialmethod(HTTPServer.listen, backlog=4096)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
loop_probe.begin(FOLDER)
