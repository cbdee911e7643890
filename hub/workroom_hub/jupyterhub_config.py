"""JupyterHub's configuration file; everything is decided in `configure.py`."""

from workroom_hub import config_file, configure
from workroom_hub.runtime import Runtime, state_folder

settings = config_file.load(None)
configure.build(settings, Runtime.load(state_folder()), c)  # type: ignore[name-defined] # noqa: F821
