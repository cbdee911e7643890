"""What the launcher in JupyterLab shows of Workroom: ssh lines, RStudio, the examples.

The page gets it with its configuration (`page_config_data`), so no tile costs a request. Where
there is nothing to show, JupyterLab's side (images/notebook/labextension) makes no tile.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from . import ssh_words
from .examples import NotCopied, list_examples, take_example
from .proxy import rstudio_installed

EXAMPLES = Path("/opt/workroom/examples")


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "workroom_server.launcher"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    page = serverapp.web_app.settings.setdefault("page_config_data", {})
    page["workroom"] = {
        "ssh": ssh_panel(os.environ),
        "rstudio": rstudio_installed(),
        "examples": has_data(os.environ) and any(EXAMPLES.glob("*.ipynb")),
    }
    base = serverapp.web_app.settings["base_url"]
    pattern = url_path_join(base, "/api/workroom/examples")
    serverapp.web_app.add_handlers(".*", [(pattern, ExamplesHandler)])


def has_data(environment: Mapping[str, str]) -> bool:
    """Say whether this server was told of a warehouse: without one, no example runs."""
    return bool(environment.get("WORKROOM_DATA_WAREHOUSE"))


def ssh_panel(environment: Mapping[str, str]) -> list[dict[str, str]] | None:
    """Return the lines of the SSH panel, or None where nobody gets in by ssh."""
    place = ssh_words.parse(environment.get("WORKROOM_SSH_ADDRESS", ""))
    user = environment.get("JUPYTERHUB_USER", "")
    if place is None or not user:
        return None
    return ssh_words.panel(user, environment.get("JUPYTERHUB_SERVER_NAME", ""), *place)


class ExamplesHandler(APIHandler):
    """The notebooks of the image that people start from."""

    auth_resource = "contents"

    @web.authenticated
    @authorized  # type: ignore[untyped-decorator]
    def get(self) -> None:
        """List them: name, title, and whether there is a copy in the home."""
        self.finish(json.dumps(list_examples(EXAMPLES, Path(self.serverapp.root_dir))))

    @web.authenticated
    @authorized  # type: ignore[untyped-decorator]
    def post(self) -> None:
        """Make a copy in the home, or find the one made before unless `fresh`; say where it is."""
        body = self.get_json_body()
        asked = body if isinstance(body, dict) else {}
        home, fresh = Path(self.serverapp.root_dir), asked.get("fresh") is True
        try:
            path = take_example(EXAMPLES, home, str(asked.get("name")), fresh=fresh)
        except NotCopied as error:
            raise web.HTTPError(507, str(error)) from error
        if path is None:
            raise web.HTTPError(404, "name: there is no such example; GET lists them.")
        self.finish(json.dumps({"path": path}))
