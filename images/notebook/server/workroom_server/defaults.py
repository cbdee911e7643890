"""Where the image's server differs from Jupyter's defaults, and why."""

from __future__ import annotations

import os

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_core.paths import jupyter_path
from traitlets import default
from traitlets.config import Config

from .activity_hooks import WatchedConnection, log_request

# Extensions beside those the image's configuration folder enables. The first two do nothing
# here: there is no language server (labconfig/page_config.json switches off JupyterLab's side of
# it), and nothing is configured for the old notebook server. The proxy is loaded by our extension,
# which knows whether RStudio is in the image.
EXTENSIONS = {
    "jupyter_lsp": False,
    "notebook_shim": False,
    "jupyter_server_proxy": False,
    "workroom_server.proxy": True,
    "workroom_server.launcher": True,
}


def server_config() -> Config:
    """The image's configuration of Jupyter Server and JupyterLab."""
    config = Config()
    server = config.ServerApp
    server.kernel_spec_manager_class = KernelFolders
    server.kernel_websocket_connection_class = WatchedConnection
    server.tornado_settings = {"log_function": log_request}
    config.FileContentsManager.delete_to_trash = False
    # Extensions would go into the image's own folder, which nobody may write.
    config.LabApp.extension_manager = "readonly"
    # A container does not update itself, and the people's browsers need not phone out.
    config.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
    config.LabApp.news_url = None
    return config


class KernelFolders(KernelSpecManager):
    """Finds kernels where Jupyter does, without importing IPython for the name of its folder."""

    @default("kernel_dirs")
    def _kernel_dirs(self) -> list[str]:
        return [*jupyter_path("kernels"), os.path.expanduser("~/.ipython/kernels")]
