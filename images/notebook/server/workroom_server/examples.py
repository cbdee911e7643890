"""Example notebooks: listed, and copied into the home without ever overwriting a file."""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path
from typing import Any

FOLDER = "Workroom examples"


class NotCopied(Exception):
    """The home could not be written; the text is a sentence for the person."""


def list_examples(examples: Path, home: Path) -> list[dict[str, Any]]:
    """Return name, title and whether `home` has a copy (`yours`) of each notebook."""
    return [
        {"name": file.name, "title": _title(file), "yours": (home / FOLDER / file.name).is_file()}
        for file in sorted(examples.glob("*.ipynb"))
    ]


def _title(notebook: Path) -> str:
    """The first heading in it, or its name."""
    try:
        for cell in json.loads(notebook.read_bytes())["cells"]:
            for line in "".join(cell["source"]).splitlines():
                if cell["cell_type"] == "markdown" and line.startswith("# "):
                    return str(line[2:].strip())
    except (OSError, ValueError, LookupError, TypeError):
        pass  # the notebook itself says what is wrong with it when it is opened
    return notebook.stem.replace("_", " ").replace("-", " ")


def take_example(examples: Path, home: Path, name: str, *, fresh: bool) -> str | None:
    """Copy an example into the home.

    Args:
        examples: Folder of the examples.
        home: Where the person's files are.
        name: Its file name, as listed.
        fresh: Make one more copy, also where there is one.

    Returns:
        The copy's path below `home`, or None if there is no such example.

    Raises:
        NotCopied: It could not be read or written.
    """
    source = next((file for file in examples.glob("*.ipynb") if file.name == name), None)
    if source is None:
        return None
    folder = home / FOLDER
    if not fresh and (folder / name).is_file():
        return f"{FOLDER}/{name}"
    try:
        content = source.read_bytes()
        folder.mkdir(exist_ok=True)
        return f"{FOLDER}/{_write_new(folder, source, content).name}"
    except OSError as error:
        raise NotCopied(
            f"The example could not be copied to '{FOLDER}' in your home: {error.strerror}."
        ) from error


def _write_new(folder: Path, source: Path, content: bytes) -> Path:
    """Write a file under the first name that nothing has: `a.ipynb`, `a (2).ipynb`, …"""
    for number in count(1):
        target = folder / (source.name if number == 1 else f"{source.stem} ({number}).ipynb")
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            continue
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        except OSError:
            target.unlink(missing_ok=True)  # half a notebook is none
            raise
        return target
    raise AssertionError("numbers do not end")
