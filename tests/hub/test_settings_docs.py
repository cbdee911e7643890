"""docs/settings.md names every field, and is what the code writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from workroom_hub import settings_docs

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def test_the_page_is_the_one_the_code_writes() -> None:
    assert PAGE.read_text() == settings_docs.page(), "run: make docs"


def test_every_field_has_a_description_or_is_a_section() -> None:
    named = [name for name, field in settings_docs.fields() if field.description]
    plain = [n for n, f in settings_docs.fields() if settings_docs._inner(f.annotation)[0] is None]
    assert set(plain) <= set(named)
    assert len(plain) > 40


@pytest.mark.parametrize("name", [name for name, _ in settings_docs.fields()])
def test_every_field_is_on_the_page(name: str) -> None:
    section, _, field = name.rpartition(".")
    text = PAGE.read_text()
    start = text.index(f"## `{section}`" if section else "## Top level")
    end = text.find("\n## ", start + 1)
    assert f"| `{field}` |" in text[start : end if end > 0 else None]
