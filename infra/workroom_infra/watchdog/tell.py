"""What the watchdog tells: systemd, the journal, and `state.json`. None of it can hold it up."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

RUNBOOK = "docs/runbooks/mount-hangs.md"


def log(text: str) -> None:
    """One line on standard error. Lost, not waited for, where nobody reads it."""
    with suppress(OSError):
        os.write(2, f"mount-watchdog: {text}\n".encode(errors="replace"))


def alarm(text: str) -> None:
    """One line for the people on call."""
    log(f"ALARM {text} (see {RUNBOOK})")


def systemd(text: str, environment: Mapping[str, str]) -> None:
    """Notify systemd as sd_notify(3) does; nothing where there is none."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.setblocking(False)
        to.sendto(text.encode(), address)


class StateFile:
    """What runs on the machine may read, and what a restarted watchdog goes on from."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "state.json"
        self._written = ""

    def read(self) -> dict[str, Any]:
        """What an earlier process wrote; nothing if there was none, or not in this format."""
        try:
            state = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) and state.get("version") == 1 else {}

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace it, if anything changed. No fsync: it is for this boot only."""
        text = json.dumps({"version": 1, **state}, indent=1)
        if text == self._written:
            return
        aside = self.path.with_suffix(".new")
        try:
            aside.write_text(text + "\n")
            aside.replace(self.path)
            self._written = text
        except OSError as error:
            log(f"{self.path} cannot be written: {error.strerror}")
