"""docs/failure-modes.md names tests and sentences that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "failure-modes.md").read_text()
FILES = [path for path in ROOT.glob("tests/*/test_*.py") if path != Path(__file__)]
TESTS = {
    name
    for path in FILES
    for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.M)
}
SOURCES = [*ROOT.glob("spawner/*/*.py"), *ROOT.glob("images/data-api/python/*/*.py")]
CODE = re.sub(r"\"\s*\n\s*f?\"", "", "\n".join(path.read_text() for path in SOURCES))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_a_test_that_is_named_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE))))
def test_a_file_that_is_named_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_bad_day_of_ecs_is_on_the_page() -> None:
    told = set(re.findall(r"`(test_\w+)`", PAGE))
    for path in ROOT.glob("tests/spawner/test_ecs_bad_days_*.py"):
        assert str(path.relative_to(ROOT)) in PAGE
        tests = set(re.findall(r"^async def (test_\w+)", path.read_text(), re.M))
        assert len(tests & told) >= 0.8 * len(tests), tests - told


@pytest.mark.parametrize("sentence", sorted(set(re.findall(r"\"([A-Z][^\"]{20,})\"", PAGE))))
def test_a_sentence_is_what_people_read(sentence: str) -> None:
    """Figures and names are filled in; the rest is the code's, word for word."""
    stage = "|: Container starting|Your server stopped\\.|Start it again; your"
    filled_in = r"…|\d+ \w+,?|\(exit code \d+\)" + stage
    for part in re.split(filled_in, sentence):
        words = part.strip(" .;)(")
        if len(words) > 12:
            assert words in CODE, words
