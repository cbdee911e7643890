"""The pages' style sheet and scripts, and the stamp that lets browsers keep them for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path

STATIC = Path(__file__).parent / "static"


def static_version(folder: Path = STATIC) -> str:
    """Return a short hash of every file's content: addresses change with it, caches follow."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
