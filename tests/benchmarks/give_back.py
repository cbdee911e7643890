"""Has a hub give back memory that it does not use, when it gets SIGUSR2."""

from __future__ import annotations

import ctypes
import gc
import signal


def begin() -> None:
    """Listen for the signal."""
    signal.signal(signal.SIGUSR2, lambda *_: _give_back())


def _give_back() -> None:
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    # Python's own allocator frees whole arenas by itself; this is for the C library's.
    ctypes.CDLL(None).malloc_trim(0)
