"""Generated passwords, and the first admin's as long as it is the generated one.

Apart from `passwords.py` because `workroom up` needs it without loading JupyterHub.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from workroom_hub.runtime import state_folder, write_private

# No 0/o, 1/l/i: a password that is read out or typed off a screen.
_READABLE = "abcdefghjkmnpqrstuvwxyz23456789"


def generate_password() -> str:
    """Return a password of four readable groups, 79 bits of chance, such as `k7mp-x2wd-…`."""
    return "-".join("".join(secrets.choice(_READABLE) for _ in range(4)) for _ in range(4))


def save_initial_password(name: str, password: str, home: Path | None = None) -> Path:
    """Keep the first admin's generated password where `workroom up` can show it again."""
    path = (home or state_folder()) / "initial-password"
    write_private(path, json.dumps({"name": name, "password": password}) + "\n")
    return path


def load_initial_password(home: Path | None = None) -> tuple[str, str] | None:
    """Return the first admin's name and password while they are still the generated ones."""
    try:
        data = json.loads(((home or state_folder()) / "initial-password").read_text())
        return str(data["name"]), str(data["password"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget_initial_password(name: str, home: Path | None = None) -> None:
    """Remove the saved password if it is the one of `name`: it is no longer true."""
    saved = load_initial_password(home)
    if saved and saved[0].lower() == name.lower():
        ((home or state_folder()) / "initial-password").unlink(missing_ok=True)
