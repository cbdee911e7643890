"""Files of a warehouse that are given out to several readers at once, or to none."""

from __future__ import annotations

import threading

from workroom_data.settings import Settings
from workroom_data.storage import Storage


class StorageInStep(Storage):
    """Reads a data file only when `readers` ask for one at the same time.

    Fewer break the barrier after some seconds, and every read with it.
    """

    def __init__(self, settings: Settings, readers: int) -> None:
        super().__init__(settings)
        self._barrier = threading.Barrier(readers, timeout=5)

    def read(self, path: str) -> bytes:
        if "/_workroom/" not in path:
            self._barrier.wait()
        return super().read(path)
