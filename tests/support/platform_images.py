"""The platform's own images, built from the sources as docs/deploy-aws.md says."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from workroom_hub.machine import image
from workroom_hub.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
_SENT = (
    *("pyproject.toml", "README.md", "LICENSE", ".dockerignore", "hub", "spawner", "requirements"),
    *("infra/workroom_infra", "infra/registry", "images/hub"),
)


def build(dockerfile: str, tag: str) -> str:
    """Build one of the two images whose context is the repository; return its tag.

    Raises:
        AssertionError: It cannot be built; the message is Docker's.
    """
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        for path in _SENT:
            _copy(ROOT / path, context / path)
        if bundle := image.ca_bundle(Settings()):
            (context / "images/hub/ca-bundle.crt").write_bytes(bundle)
        done = subprocess.run(
            ["docker", "build", "-q", "-f", dockerfile, "-t", tag, "."],
            cwd=context,
            capture_output=True,
            text=True,
            timeout=570,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    return tag


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, target)
    else:
        # What was installed beside the sources would change the layer, and is not sent to CI.
        left_out = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(source, target, ignore=left_out)
