"""Files of a warehouse, where somebody else acts at an awkward moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workroom_data.settings import Settings
from workroom_data.storage import Storage


class StorageOvertaken(Storage):
    """Calls `others` once: right after the first file of a batch has been written."""

    def __init__(self, settings: Settings, others: Callable[[], object]) -> None:
        super().__init__(settings)
        self._others: Callable[[], object] | None = others

    def create(self, path: str, content: bytes | Iterable[bytes]) -> int:
        size = super().create(path, content)
        if self._others is not None and "/_workroom/" not in path:
            others, self._others = self._others, None
            others()
        return size
