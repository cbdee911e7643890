"""What the README and the docs promise is there: commands, targets, links, the sample settings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from workroom_hub import cli, config_file

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def test_the_sample_settings_load(tmp_path: Path) -> None:
    [sample] = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "workroom.yaml"
    path.write_text(sample)
    settings = config_file.load(path, {})
    config_file.check_against_machine(settings, 2, 16 * 2**30, path=path)
    assert settings.title == "Data team"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, section = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if section:
            titles = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert section in slugs, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    root = typer.main.get_command(cli.app)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for tool, rest in re.findall(r"(?:`|^)(make|workroom) ([a-z][^`\n#]*)", page.read_text(), re.M):
        words = rest.split()
        if tool == "make":
            assert words[0] in targets, f"make {rest}"
            continue
        command = root
        for word in words:
            subcommands = getattr(command, "commands", None)
            if subcommands is None:
                break
            assert word in subcommands, f"workroom {rest}"
            command = subcommands[word]
