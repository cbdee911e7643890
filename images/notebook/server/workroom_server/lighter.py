"""Which modules the single-user server does without until somebody needs them.

`docs/image.md` has the figures. Every entry is safe by construction (`deferred.py`): what is
asked for is imported then. tests/images/test_start.py checks in a running server that each of
them is still put off when it answers, and that the features behind them work afterwards.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType

from .deferred import defer

# module, names that are only called, names that are only compared with
PUT_OFF: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    # Compiles a grammar of all URIs, a second of CPU, to check a format no message uses.
    ("rfc3987_syntax", ("is_valid_syntax",), ()),
    # Date arithmetic for one format check.
    ("isoduration", ("parse_duration",), ("DurationParsingException",)),
    # The hub's data base layer, of which a single-user server uses a scope comparison.
    ("jupyterhub.orm", (), ()),
    ("jupyterhub.roles", (), ()),
    ("sqlalchemy", (), ()),
    ("sqlalchemy.exc", (), ("SQLAlchemyError",)),
    # The hub's request handlers; our server logs with Jupyter Server's own function.
    ("jupyterhub.log", ("log_request",), ()),
    # HTTP clients: the hub is first called when the server is up.
    ("jupyterhub.httpclient", ("fetch",), ()),
    ("aiohttp", (), ()),
    ("requests", (), ()),
    # Names of languages for the language menu.
    ("babel", (), ()),
    # Installs extensions into the image's own folder, which nobody may write.
    ("jupyterlab.extensions.pypi", ("PyPIExtensionManager",), ()),
)


def put_off_imports() -> None:
    """Place every stand-in; to be called before anything of Jupyter is imported."""
    for module, functions, classes in PUT_OFF:
        defer(module, functions, classes)


def singleuser_without_mixins() -> None:
    """Make `jupyterhub.singleuser.extension` importable without its package's `__init__`.

    That `__init__` imports the mixins of the old notebook server. The parts of the package
    import one another by name, so the package itself can stay empty.
    """
    import jupyterhub

    name = "jupyterhub.singleuser"
    if name in sys.modules:
        return
    spec = PathFinder.find_spec(name, jupyterhub.__path__)
    if spec is None or spec.submodule_search_locations is None:
        return  # laid out differently: the stock import decides
    package = ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = spec
    sys.modules[name] = package


def import_server() -> None:
    """Import what every kind of server needs and no setting changes."""
    for module in ("jupyter_server.serverapp", "jupyterlab.labapp", "jupyter_server_proxy"):
        import_module(module)
