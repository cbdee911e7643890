"""The home: filled when it is empty, worked around when it cannot be written.

A full disk, a quota or a read-only mount must not keep people from the page where they would
delete files. What servers and kernels need to write while running never lies in the home.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

SKELETON = Path("/etc/skel")
STATE = Path("/var/lib/workroom")
NOTICE = "notice"
# What an untouched home may hold: a file system's own folder, and the ssh host key (`host_key.py`).
NOT_THEIRS = frozenset({"lost+found", ".workroom"})
# What would be written in the home and is needed even when nothing can be written there.
MOVABLE = {
    "IPYTHONDIR": "ipython",
    "JUPYTER_CONFIG_DIR": "jupyter-config",
    "JUPYTER_DATA_DIR": "jupyter-data",
    "JUPYTERLAB_SETTINGS_DIR": "lab/user-settings",
    "JUPYTERLAB_WORKSPACES_DIR": "lab/workspaces",
    "MPLCONFIGDIR": "matplotlib",
    "R_HISTFILE": "Rhistory",
    "XDG_CACHE_HOME": "cache",
    "XDG_STATE_HOME": "state",
}


def prepare(environment: MutableMapping[str, str], state: Path = STATE) -> list[str]:
    """Make the home usable, go there, and return what the person must know.

    The sentences are also written to the file `notice` in `state`, which log-in shells print.
    """
    home = Path(environment.get("HOME") or "/home/workroom")
    private = _private_folder(state)
    environment["JUPYTER_RUNTIME_DIR"] = str(_folder(private / "jupyter"))
    notices: list[str] = []
    reason = why_not_writable(home) or why_not_filled(home)
    if reason:
        _move_out(home, private / "instead-of-home", environment)
        notices.append(
            f"your home {home} cannot be written ({reason}). The server runs all the same; "
            "delete what you do not need there, then restart your server. "
            "Settings and history are kept until it stops."
        )
    if not _enter(home):
        environment["HOME"] = str(_folder(private / "instead-of-home"))
        _enter(Path(environment["HOME"]))
    _write_notice(private, notices)
    return notices


def _move_out(home: Path, instead: Path, environment: MutableMapping[str, str]) -> None:
    """Point what writes into the home elsewhere; what the home holds is still read."""
    for name, part in MOVABLE.items():
        target = instead / part
        _folder(target.parent if name == "R_HISTFILE" else target)
        environment[name] = str(target)
    for name, part in {
        "JUPYTER_PATH": ".local/share/jupyter",
        "JUPYTER_CONFIG_PATH": ".jupyter",
    }.items():
        before = environment.get(name)
        environment[name] = ":".join([str(home / part), *([before] if before else [])])


def why_not_writable(home: Path) -> str | None:
    """Try to write a block in `home`; None if that works, else the system's reason."""
    try:
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or str(error)
    return None


def why_not_filled(home: Path, skeleton: Path = SKELETON) -> str | None:
    """Copy the skeleton's files to an empty home; one with anything in it is left alone.

    Returns:
        None if that worked, else the system's reason.
    """
    try:
        if any(entry.name not in NOT_THEIRS for entry in home.iterdir()):
            return None
        for file in skeleton.iterdir():
            shutil.copyfile(file, home / file.name)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _private_folder(state: Path) -> Path:
    """`state`, or a new folder under /tmp where that cannot be written."""
    return state if why_not_writable(state) is None else Path(tempfile.mkdtemp(prefix="workroom-"))


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _enter(folder: Path) -> bool:
    try:
        os.chdir(folder)
    except OSError:
        return False
    return True


def _write_notice(folder: Path, notices: list[str]) -> None:
    file = folder / NOTICE
    if notices:
        file.write_text("\n".join(notices) + "\n")
    else:
        file.unlink(missing_ok=True)
