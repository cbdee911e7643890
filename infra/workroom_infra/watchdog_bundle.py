"""What the machines' mount watchdog consists of: its package, and boto3 with what that needs.

It all goes to the machine in one archive, so that making an image asks no package index, and has
the releases that the environment of the deployment was locked to. Every file is plain Python.
"""

from __future__ import annotations

import shutil
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

PYTHON = "python3.11"
"""What it runs on there: a package of Amazon Linux 2023, whose own Python is too old for boto3."""
DISTRIBUTIONS = (
    *("boto3", "botocore", "jmespath"),
    *("python-dateutil", "s3transfer", "six", "urllib3"),
)
SERVICES = ("autoscaling", "cloudwatch", "ecs")
"""Of some four hundred services that botocore describes, those the watchdog asks."""
_KEPT = (".py", ".json", ".gz", ".pem", ".txt")


def bundle(folder: Path, package: Path) -> None:
    """Fill a folder with everything that belongs into the machine's `site-packages`.

    Args:
        folder: An empty folder.
        package: The watchdog's package, below `workroom_infra`.
    """
    ours = folder / package.parent.name
    shutil.copytree(package, ours / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(package.parent / "__init__.py", ours / "__init__.py")
    for name in DISTRIBUTIONS:
        theirs = distribution(name)
        for file in theirs.files or ():
            if _belongs(file):
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(theirs.locate_file(file)), target)


def _belongs(file: PurePosixPath) -> bool:
    top, *inner = file.parts
    if top == ".." or "__pycache__" in inner:
        return False
    if top.endswith(".dist-info"):
        return file.name == "METADATA" or file.name.startswith(("LICENSE", "NOTICE"))
    if inner[:1] == ["data"] and len(inner) > 2:
        return top == "botocore" and inner[1] in SERVICES
    return file.suffix in _KEPT
