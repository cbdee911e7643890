"""JupyterHub with our pages, log-in and accounts on slow stages; everything from the environment.

    HUB_SETTINGS='{}' HUB_URL=http://127.0.0.1:8000 CLI_TOKEN=… ANSWERING_PORT=… \
        WORKROOM_HOME=… python -m tests.support.page_hub
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyterhub.app import JupyterHub
from tornado.web import RequestHandler, StaticFileHandler
from traitlets.config import Config

import workroom_hub
from tests.fakes.slow_stage_spawner import NoProxy, SlowStageSpawner
from workroom_hub import accounts, auth
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_hub.static_files import static_version

FILES = Path(workroom_hub.__file__).parent


class ServerStandIn(RequestHandler):
    """Where a proxy would lead to a user's server."""

    def get(self) -> None:
        self.finish("<!doctype html><link rel=icon href='data:,'><title>Server</title>Your server")


class PageHub(JupyterHub):  # type: ignore[misc]
    """The hub under test."""

    def load_config_file(self, *args: Any, **kwargs: Any) -> None:
        """Take the configuration from `configure` instead of a file."""
        config = Config()
        configure(config)
        self.update_config(config)

    def init_handlers(self) -> None:
        """Add ours as the real application does, and the stand-in for servers."""
        super().init_handlers()
        static = (r"/workroom-static/(.*)", StaticFileHandler, {"path": str(FILES / "static")})
        self.handlers[:0] = [
            *self.add_url_prefix(self.hub_prefix, [*accounts.handlers, static]),
            (r"/user/[^/]+/(?:[a-z0-9-]+/)?(?:lab.*)?", ServerStandIn),
        ]


def configure(c: Any) -> None:
    """Set a hub of its own on one address, without proxy."""
    settings = Settings.model_validate_json(os.environ["HUB_SETTINGS"])
    home = Path(os.environ["WORKROOM_HOME"])
    auth.configure_auth(settings, Runtime(home, "127.0.0.1", "none", 4, 2**34, {}), c)
    hub = c.JupyterHub
    hub.proxy_class = NoProxy
    hub.spawner_class = SlowStageSpawner
    hub.bind_url = hub.hub_bind_url = os.environ["HUB_URL"]
    hub.db_url = f"sqlite:///{home}/hub.sqlite"
    hub.cookie_secret_file = str(home / "cookie-secret")
    hub.template_paths = [str(FILES / "templates")]
    hub.template_vars = {
        "workroom_title": settings.title,
        "workroom_version": "0.1.0",
        "workroom_static_version": static_version(),
        "workroom_measure": "this machine",
    }
    hub.tornado_settings = {"slow_spawn_timeout": 0.5}  # the API answers "pending" sooner
    hub.default_url = "/hub/home"
    hub.allow_named_servers = True
    hub.named_server_limit_per_user = 3
    hub.services = [{"name": "workroom-cli", "api_token": os.environ["CLI_TOKEN"]}]
    scopes = ["admin:users", "admin:servers", "list:users"]
    hub.load_roles = [{"name": "workroom-cli", "services": ["workroom-cli"], "scopes": scopes}]


if __name__ == "__main__":
    PageHub.launch_instance(argv=[])
