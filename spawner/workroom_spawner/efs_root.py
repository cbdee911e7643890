"""Which folder of a file system can hold everybody's access points. Pure; the hub asks it, too."""

from __future__ import annotations

import re

_LONGEST_PATH = 100
"""Characters of an access point's root directory; EFS's limit, as are four folders in it."""
_LONGEST_NAME = 32 + len("home") + 12 + 12 + 12 + 4
"""Characters of a home's: an instance's 32, home, 12 readable ones, two hashes of 12, 4 hyphens."""
_ROOM = _LONGEST_PATH - len("/") - _LONGEST_NAME
_FOLDERS = re.compile(r"(/[A-Za-z0-9_-][A-Za-z0-9_.-]*){1,3}/?|/")


def problem_of_root(root: str) -> str:
    """Return why EFS takes no access points below `root`, and what to write; "" if it does.

    Source: Amazon EFS API reference, `RootDirectory`.
    """
    if not _FOLDERS.fullmatch(root):
        return (
            f"{root!r} is no folder for access points; EFS takes up to three names of letters, "
            "digits, - _ and . such as /homes"
        )
    if len(root.rstrip("/")) > _ROOM:
        return (
            f"{root!r} is too long; {_ROOM} characters leave room for the homes' names within "
            f"EFS's {_LONGEST_PATH}"
        )
    return ""
