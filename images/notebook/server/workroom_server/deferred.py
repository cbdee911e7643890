"""Load heavy modules when they are first used instead of when the server starts.

The single-user server imports some 1,500 modules, most of them for a few names it may never
call. `defer` puts a stand-in into `sys.modules`; its first real use imports the module proper and
takes the stand-in away. Kernels and terminals are processes of their own and never see any of it.

A stand-in offers three kinds of name:

* functions: imports the module when called;
* classes: a placeholder that nothing is an instance of, for names the server only ever hands to
  `isinstance` or `except`, and only the hub ever instantiates;
* everything else: imports the module when asked for.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

_lock = threading.RLock()


def defer(name: str, functions: Iterable[str] = (), classes: Iterable[str] = ()) -> bool:
    """Put off the import of module `name`.

    Args:
        name: Full name of the module. Its package is imported as ever, unless it was put off
            itself; loading a package that was put off takes along what was put off inside it.
        functions: Names that are only ever called.
        classes: Names that are only ever compared with.

    Returns:
        Whether a stand-in was placed; not if the module is there already.
    """
    with _lock:
        if name in sys.modules:
            return False
        stand_in = _StandIn(name)
        for function in functions:
            stand_in.__dict__[function] = _deferred_function(name, function)
        for placeholder in classes:
            stand_in.__dict__[placeholder] = type(placeholder, (), {"__module__": name})
        sys.modules[name] = stand_in
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
        return True


def is_deferred(name: str) -> bool:
    """Whether `name` is put off and has not been used yet."""
    return isinstance(sys.modules.get(name), _StandIn)


def load(name: str) -> ModuleType:
    """Import the module proper; stand-ins of it, its parents and its parts go away."""
    with _lock:
        top = name
        while (parent := top.rpartition(".")[0]) and is_deferred(parent):
            top = parent
        below = top + "."
        for known, module in list(sys.modules.items()):
            if (known == top or known.startswith(below)) and isinstance(module, _StandIn):
                del sys.modules[known]
    return importlib.import_module(name)


class _StandIn(ModuleType):
    """A module that is imported when something real is asked of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # submodules are found by _Finder

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") and attribute.endswith("__"):
            # What the import system and `inspect` ask of every module is no use of it.
            raise AttributeError(attribute)
        name = self.__name__
        submodule = sys.modules.get(f"{name}.{attribute}")
        if isinstance(submodule, _StandIn) and is_deferred(name):
            return submodule
        return getattr(load(name), attribute)


class _Finder(importlib.abc.MetaPathFinder):
    """Loads the package proper when a submodule of a stand-in is imported."""

    def find_spec(
        self, fullname: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        parent = fullname.rpartition(".")[0]
        if not parent or not is_deferred(parent):
            return None
        package = load(parent)
        if fullname in sys.modules:  # the package itself imported it: it must not run twice
            return importlib.machinery.ModuleSpec(fullname, _Existing(sys.modules[fullname]))
        return importlib.machinery.PathFinder.find_spec(fullname, package.__path__)


class _Existing(importlib.abc.Loader):
    """Hands out a module that is loaded already, unchanged."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.spec = module.__spec__

    def create_module(self, _spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _deferred_function(module: str, name: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(load(module) if is_deferred(module) else sys.modules[module], name)(
            *args, **kwargs
        )

    call.__name__ = call.__qualname__ = name
    return call
