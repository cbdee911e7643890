"""The connections of this process: made once, when they are first needed, and shared by threads."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from workroom_data.catalogue import Catalogue
from workroom_data.hive import HiveCatalogue
from workroom_data.settings import Settings
from workroom_data.storage import Storage

_lock = threading.Lock()
_current: Session | None = None


@dataclass(frozen=True)
class Session:
    """What the verbs work with.

    Attributes:
        settings: Where the warehouse and the servers are.
        storage: The warehouse's files.
        catalogue: The metastore.
        process: The process that made it. After a fork the child makes its own: two processes
            on one connection would read each other's answers.
        chosen: Given to `connect`, and so kept whatever the environment says.
    """

    settings: Settings
    storage: Storage
    catalogue: Catalogue
    process: int
    chosen: bool = False


def current() -> Session:
    """Return this process's session; make it from the environment if there is none.

    Cheap: nothing is asked of a server. When the environment's settings have changed since, a new
    session is made, so that a cell that sets a variable is heeded.

    Raises:
        SettingsError: The environment has no usable settings.
    """
    session = _current
    if session is not None and session.process == os.getpid():
        if session.chosen or session.settings == Settings.from_environment():
            return session
    elif session is not None and session.chosen:
        return connect(session.settings)
    return _make(Settings.from_environment(), None, chosen=False)


def connect(settings: Settings | None = None, catalogue: Catalogue | None = None) -> Session:
    """Work with `settings` from here on, in this process, instead of the environment's.

    Args:
        settings: Where the warehouse and the servers are; None goes back to the environment.
        catalogue: A metastore other than the Hive Metastore of the settings.
    """
    if settings is None:
        return _make(Settings.from_environment(), catalogue, chosen=False)
    return _make(settings, catalogue, chosen=True)


def _make(settings: Settings, catalogue: Catalogue | None, *, chosen: bool) -> Session:
    """Make a session and put it in place; whoever was first under the same settings is kept."""
    global _current
    with _lock:
        there = _current
        same = there is not None and there.process == os.getpid() and there.settings == settings
        if there is not None and same and catalogue is None and there.chosen == chosen:
            return there
        session = Session(
            settings,
            Storage(settings),
            catalogue if catalogue is not None else HiveCatalogue(settings),
            os.getpid(),
            chosen,
        )
        _current = session
        return session


def _after_fork() -> None:
    """A lock that some thread held while the process forked would stay held in the child."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
