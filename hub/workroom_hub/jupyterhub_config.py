"""JupyterHub's configuration file; everything is decided in `configure.py`."""

from workroom_hub import config_file, configure
from workroom_hub.registry import promotions
from workroom_hub.runtime import Runtime, state_folder

settings = config_file.load(None)
runtime = Runtime.load(state_folder())
promotions.note_start(runtime.home, {image.name: image.ref for image in settings.images})
configure.build(settings, runtime, c)  # type: ignore[name-defined] # noqa: F821
