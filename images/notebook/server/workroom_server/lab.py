"""JupyterLab by itself, for an image that is started without a hub."""

from __future__ import annotations

from typing import Any

from jupyterlab.labapp import LabApp

from .defaults import EXTENSIONS, server_config


class WorkroomLab(LabApp):
    """JupyterLab with the image's defaults, on every address of the container."""

    @classmethod
    def get_extension_package(cls) -> str:
        """The extension it starts from is JupyterLab's own."""
        return "jupyterlab"

    @classmethod
    def make_serverapp(cls, **kwargs: Any) -> Any:
        """Make the server with Workroom's defaults; a person's own configuration goes above."""
        kwargs.setdefault("jpserver_extensions", {}).update(EXTENSIONS)
        serverapp = super().make_serverapp(**kwargs)
        config = server_config()
        config.ServerApp.ip = "0.0.0.0"  # noqa: S104
        config.ServerApp.open_browser = False
        serverapp.update_config(config)
        return serverapp
