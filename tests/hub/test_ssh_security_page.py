"""docs/security.md names tests that are there, and every test of an attack over ssh is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
ATTACKS = [
    ROOT / "tests" / "hub" / f"test_ssh_{name}.py"
    for name in ("log_in", "floods", "inside", "hostile_server", "bad_days")
]
ELSEWHERE = [path for path in ROOT.glob("tests/*/test_*.py") if path != Path(__file__)]


def names_in(paths: list[Path]) -> set[str]:
    return {
        name
        for path in paths
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.M)
    }


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_test_that_is_named_exists(name: str) -> None:
    assert name in names_in(ELSEWHERE)


def test_nearly_every_attack_that_is_tried_is_on_the_page() -> None:
    tried, told = names_in(ATTACKS), set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(tried & told) >= 0.9 * len(tried), sorted(tried - told)


def test_the_sentences_are_what_people_read() -> None:
    code = "".join(path.read_text() for path in ROOT.glob("hub/workroom_hub/ssh/*.py"))
    for sentence in re.findall(r"\| [^|]*?\"([A-Za-z][^\"…]{10,})[…\"]", PAGE):
        assert sentence.strip() in code, sentence
