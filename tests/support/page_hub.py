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
from workroom_hub.account import address
from workroom_hub.account import handlers as account
from workroom_hub.configure import SSH_SCOPE
from workroom_hub.portal import handlers as portal_handlers
from workroom_hub.runtime import Runtime
from workroom_hub.settings import Settings
from workroom_hub.static_files import static_version

FILES = Path(workroom_hub.__file__).parent
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG8CDwfN1JeGfBI0n46vjlJBvUBVm4RFJLbvRNcVR1tW"
"""The public host key of a gateway, for the page that shows its fingerprint."""


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
        ours = [*accounts.handlers, *portal_handlers.handlers, *account.handlers]
        self.handlers[:0] = [
            *self.add_url_prefix(self.hub_prefix, [*ours, static]),
            (r"/user/[^/]+/(?:[a-z0-9-]+/)?(?:lab.*|rstudio/)?", ServerStandIn),
        ]


def configure(c: Any) -> None:
    """Set a hub of its own on one address, without proxy."""
    settings = Settings.model_validate_json(os.environ["HUB_SETTINGS"])
    home = Path(os.environ["WORKROOM_HOME"])
    runtime = Runtime(home, "127.0.0.1", "none", 4, 2**34, {}, ssh_host_keys=(HOST_KEY,))
    auth.configure_auth(settings, runtime, c)
    hub = c.JupyterHub
    hub.proxy_class = NoProxy
    hub.spawner_class = SlowStageSpawner
    c.SlowStageSpawner.idle_after = settings.idle.stop_after
    hub.bind_url = hub.hub_bind_url = os.environ["HUB_URL"]
    hub.db_url = f"sqlite:///{home}/hub.sqlite"
    hub.cookie_secret_file = str(home / "cookie-secret")
    hub.template_paths = [str(FILES / "templates")]
    hub.template_vars = {
        "workroom_title": settings.title,
        "workroom_version": "0.1.0",
        "workroom_static_version": static_version(),
        "workroom_measure": "this machine",
        "workroom_ssh": address.for_pages(settings, runtime),
    }
    hub.tornado_settings = {"slow_spawn_timeout": 0.5}  # the API answers "pending" sooner
    hub.default_url = "/hub/home"
    hub.allow_named_servers = True
    hub.named_server_limit_per_user = 3
    hub.services = [
        {"name": "workroom-cli", "api_token": os.environ["CLI_TOKEN"]},
        {"name": "ssh", "api_token": f"{os.environ['CLI_TOKEN']}-ssh"},
    ]
    hub.custom_scopes = {SSH_SCOPE: {"description": "Ask whose an SSH key is."}}
    scopes = ["admin:users", "admin:servers", "list:users"]
    hub.load_roles = [
        {"name": "workroom-cli", "services": ["workroom-cli"], "scopes": scopes},
        {"name": "ssh", "services": ["ssh"], "scopes": [SSH_SCOPE]},
    ]


if __name__ == "__main__":
    PageHub.launch_instance(argv=[])
