"""Makes the first admin's account when there is no account yet; then ends."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from workroom_hub.initial_password import load_initial_password
from workroom_hub.runtime import state_folder
from workroom_hub.service import api

_PATIENCE = 600.0
Ask = Callable[..., tuple[int, str]]


def make(home: Path, *, ask: Ask = api.ask, sleep: Callable[[float], None] = time.sleep) -> str:
    """Make the account if there is none; return what was done, in a sentence."""
    saved = load_initial_password(home)
    if saved is None:
        return "there is no first admin to make"
    waited = 0.0
    while True:
        try:
            status, text = ask(home, "cli-token", "api/workroom/users")
        except OSError:
            status, text = 0, ""
        if status == 200:
            break
        if waited >= _PATIENCE:
            return f"the hub did not answer in {_PATIENCE:.0f} s ({status})"
        sleep(2)
        waited += 2
    if text.strip() != "[]":
        return "there are accounts already"
    name, password = saved
    body = {"name": name, "admin": True, "password": password}
    status, _ = ask(home, "cli-token", "api/workroom/users", body)
    return f"made the account '{name}'" if status < 300 else f"the hub refused it ({status})"


if __name__ == "__main__":
    print(f"first admin: {make(state_folder())}", file=sys.stderr, flush=True)
