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


# In the look of the hub's pages, and whole in itself: nothing else is asked for.
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>RStudio is not installed</title>
<style>
  :root {{ --bg: #f5f5f1; --surface: #fff; --text: #1b1f27; --muted: #565e6c; --line: #dbdbd3;
          --accent: #3450dc; --on-accent: #fff; --warn: #fbf0d9; --code: #ecece6; }}
  @media (prefers-color-scheme: dark) {{
    :root {{ --bg: #111318; --surface: #1a1d24; --text: #e9ebf0; --muted: #a6aebb; --line: #333844;
            --accent: #97aaff; --on-accent: #10142a; --warn: #382b12; --code: #252932; }}
  }}
  * {{ box-sizing: border-box; margin: 0; }}
  body {{ background: var(--bg); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }}
  header {{ border-bottom: 1px solid var(--line); background: var(--surface); }}
  header div {{ display: flex; gap: .6rem; align-items: center; max-width: 68rem; margin: auto;
               min-height: 3.75rem; padding: 0 1.25rem; font-weight: 680; }}
  main {{ display: grid; gap: 1.25rem; max-width: 42rem; margin: auto; padding: 2.25rem 1.25rem; }}
  h1 {{ font-size: 1.75rem; line-height: 1.2; letter-spacing: -.02em; }}
  code {{ padding: .1rem .35rem; border-radius: 5px; background: var(--code); }}
  .note {{ padding: .9rem 1.1rem; border-radius: 12px; background: var(--warn);
          white-space: pre-line; overflow-wrap: anywhere; }}
  .muted {{ color: var(--muted); }}
  .btn {{ justify-self: start; padding: .6rem 1.15rem; border-radius: 10px;
         background: var(--accent); color: var(--on-accent); font-weight: 600;
         text-decoration: none; }}
  :focus-visible {{ outline: 3px solid var(--accent); outline-offset: 2px; }}
</style>
<header><div><svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true"><rect
  width="32" height="32" rx="8" fill="#3450dc"/><path d="M7 10.5l3.6 11.5h1.3L16 12.4 20.1 22h1.3L25
  10.5" fill="none" stroke="#fff" stroke-width="2.7" stroke-linecap="round"
  stroke-linejoin="round"/></svg>Workroom</div></header>
<main>
<h1>RStudio is not in this image</h1>
<p>R itself is: open an R notebook, or type <code>R</code> in a terminal.</p>
<p class="note">{note}</p>
<p class="muted">Adding it is a job for whoever runs this platform; send them this page.</p>
<a class="btn" href="{lab}">Back to JupyterLab</a>
</main>
</html>
"""
