"""What the pipelines of the machines' images put on them."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workroom_infra import machine_image

PINNED = f"registry.example.com/workroom/notebook@sha256:{'1' * 64}"
OLD = f"registry.example.com/workroom/notebook@sha256:{'2' * 64}"
LISTED = f"""REPOSITORY                              TAG     DIGEST         IMAGE ID   CREATED
registry.example.com/workroom/notebook <none>  {PINNED.partition("@")[2]}  sha256:a   5 weeks
registry.example.com/workroom/notebook <none>  {OLD.partition("@")[2]}  sha256:b   9 weeks
amazon/amazon-ecs-pause                 0.1.0   <none>         sha256:c   2 years
amazon/amazon-ecs-agent                 latest  sha256:{"3" * 64}  sha256:d   2 years
"""


class TestUnusedImages:
    """The script as it comes onto the machine, with a docker that only tells."""

    @pytest.mark.parametrize(("free", "gone"), [(31, []), (29, [OLD])])
    def test_what_is_neither_pinned_nor_the_agents_goes_when_the_disk_fills(
        self, tmp_path: Path, free: int, gone: list[str]
    ) -> None:
        assert self.removed(tmp_path, free, [PINNED]) == gone

    def test_what_is_pinned_with_a_tag_is_kept(self, tmp_path: Path) -> None:
        tagged = [PINNED.replace("@", ":2026-11@"), OLD.replace("@", ":2026-10@")]
        assert self.removed(tmp_path, 5, tagged) == []

    def test_without_the_list_nothing_goes(self, tmp_path: Path) -> None:
        assert self.removed(tmp_path, 5, None) == []

    def removed(self, folder: Path, free: int, pinned: list[str] | None) -> list[str]:
        script = self.written(machine_image.remove_unused(), "/opt/workroom/")
        kept = folder / "kept"
        script = script.replace("/etc/workroom/kept-images", str(kept))
        if pinned is not None:
            images = machine_image.pull(pinned, "registry.example.com", "arn", "eu-central-1")
            kept.write_text(self.written(images, "/etc/workroom/kept-images"))
        (folder / "listed").write_text(LISTED)
        told = f'echo "$@" >>{folder}/asked; exit 1'
        said = f'case "$2" in ls) cat {folder}/listed;; *) {told};; esac'
        for name, does in (("docker", said), ("stat", f"echo {free} 100")):
            fake = folder / name
            fake.write_text(f"#!/bin/sh\n{does}\n")
            fake.chmod(0o755)
        path = f"{folder}:{os.environ['PATH']}"
        subprocess.run(["sh", "-c", script], env={"PATH": path}, check=True, timeout=20)
        asked = folder / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return [line.removeprefix("image rm ") for line in lines]

    def written(self, document: dict[str, Any], path: str) -> str:
        """Return what a component writes into the file whose path begins so."""
        for command in _commands(document):
            words = shlex.split(command) if command.startswith("mkdir -p") else []
            if words and words[-1].startswith(f">{path}"):
                return words[-2]
        raise AssertionError(f"nothing is written to {path}")


def _commands(document: dict[str, Any]) -> list[str]:
    build = document["phases"][0]
    return [each for step in build["steps"] for each in step["inputs"]["commands"]]
