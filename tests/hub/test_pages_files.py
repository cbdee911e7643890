"""What can be told of the pages without a browser: they compile; nothing is inline or missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jinja2 import Environment, FileSystemLoader
from jupyterhub._data import DATA_FILES_PATH

import workroom_hub
from workroom_hub.static_files import STATIC, static_version

TEMPLATES = Path(workroom_hub.__file__).parent / "templates"
PAGES = sorted(path.name for path in TEMPLATES.glob("*.html"))
JUPYTERHUBS = Path(DATA_FILES_PATH) / "templates"


@pytest.mark.parametrize("name", PAGES)
def test_each_page_compiles_and_keeps_to_its_own_policy(name: str) -> None:
    Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template(name)
    text = (TEMPLATES / name).read_text()
    # The policy allows scripts and styles in files only.
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\s(style|on[a-z]+)=", text)
    assert not re.search(r"(src|href)=[\"']https?:", text)


def test_every_file_a_page_names_is_there() -> None:
    named = {
        file
        for page in PAGES
        for file in re.findall(r"\{\{ files \}\}([\w.-]+)", (TEMPLATES / page).read_text())
    }
    assert {"base.css", "parts.css", "pages.css"} <= named
    assert {path.name for path in STATIC.iterdir()} == named


def test_every_page_of_jupyterhub_has_ours_instead() -> None:
    theirs = {path.name for path in JUPYTERHUBS.glob("*.html")}
    assert theirs <= set(PAGES)


def test_the_stamp_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("a")
    before = static_version(tmp_path)
    assert before == static_version(tmp_path)
    (tmp_path / "a.css").write_text("b")
    assert static_version(tmp_path) != before
