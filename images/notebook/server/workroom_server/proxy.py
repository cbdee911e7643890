"""Loads the web proxy (jupyter-server-proxy) and answers for RStudio where it is missing.

jupyter-rsession-proxy finds RStudio's `rserver` on PATH or in RStudio's own folder. Where there
is none, its tile and address stay: the tile says so, and the address shows why and what to do.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import jupyter_server_proxy
from jupyter_rsession_proxy import get_rstudio_executable
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from jupyter_server_proxy.api import ServersInfoHandler
from tornado import web

NOTE = Path("/opt/workroom/share/rstudio-note")
TITLE = "RStudio (not installed)"


def rstudio_installed() -> bool:
    """Whether `rserver` is found now, where jupyter-rsession-proxy will look for it."""
    try:
        get_rstudio_executable("rserver")
    except FileNotFoundError:
        return False
    return True


def missing_note() -> str:
    """Why RStudio is not in this image and how it is added, as the build wrote it down."""
    try:
        return NOTE.read_text().strip()
    except OSError:
        return "It was left out when this image was built."


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "workroom_server.proxy"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    if not rstudio_installed():
        base = serverapp.web_app.settings["base_url"]
        # Added before the proxy's own rules, so these are found first.
        serverapp.web_app.add_handlers(
            ".*",
            [
                (url_path_join(base, r"/rstudio(?:/.*)?"), MissingRStudio),
                (url_path_join(base, "/server-proxy/servers-info"), ServersWithoutRStudio),
            ],
        )
    jupyter_server_proxy._load_jupyter_server_extension(serverapp)


class MissingRStudio(JupyterHandler):
    """The page at `rstudio/` where RStudio is not installed."""

    @web.authenticated
    def get(self) -> None:
        """Say what is missing and who can add it."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_status(404)
        self.finish(
            PAGE.format(note=html.escape(missing_note()), lab=html.escape(self.base_url + "lab"))
        )


class ServersWithoutRStudio(ServersInfoHandler):
    """The launcher's tiles, with RStudio's saying that it is not there."""

    def initialize(self) -> None:
        """Describe what the proxy serves."""
        processes = jupyter_server_proxy.get_entrypoint_server_processes()
        for process in processes:
            if process.name == "rstudio":
                process.launcher_entry.title = TITLE
        configured = jupyter_server_proxy.ServerProxyConfig(parent=self.serverapp).servers
        super().initialize(server_processes=[*configured.values(), *processes])


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>RStudio is not installed</title>
<style>
  body {{ font: 16px/1.6 system-ui, sans-serif; color: #1f2933; background: #fff;
         max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem; }}
  h1 {{ font-size: 1.6rem; }}
  .note {{ border-left: 4px solid #d69e2e; padding: .5rem 1rem; background: #fffbeb;
          white-space: pre-line; }}
  a {{ color: #1d4ed8; }}
  @media (prefers-color-scheme: dark) {{
    body {{ color: #e5e7eb; background: #111827; }}
    .note {{ background: #292111; }}
    a {{ color: #93c5fd; }}
  }}
</style>
<h1>RStudio is not in this image</h1>
<p>R itself is: open an R notebook, or type <code>R</code> in a terminal.</p>
<p class="note">{note}</p>
<p>That is a job for whoever runs this platform; send them this page.</p>
<p><a href="{lab}">Back to JupyterLab</a></p>
</html>
"""
