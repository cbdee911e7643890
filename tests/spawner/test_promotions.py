"""What people get next: read from one file, at every start, and never for what runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from workroom_spawner.profiles import Catalog, Image, Profile
from workroom_spawner.promotions import (
    Promotion,
    Promotions,
    in_force,
    parse,
    standing,
    written,
)

PLAIN = "workroom/notebook:latest"
A, B, C = (f"registry.acme.internal/workroom/notebook@sha256:{x * 64}" for x in "abc")


def promoted(ref: str, image: str = "notebook", replaces: str = PLAIN) -> Promotion:
    return Promotion(image, ref, replaces, rstudio=f"of {ref[-1]}")


def named(ref: str, image: str = "notebook") -> Promotion:
    """The settings came to name another reference."""
    return Promotion(image, "", ref, action="settings")


BACK = Promotion("notebook", "", PLAIN, action="rollback")
KEPT = replace(promoted(A), action="kept")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "promotions.json"


@pytest.fixture
def catalog(file: Path) -> Catalog:
    images = (Image("notebook", PLAIN, "Data science"), Image("other", "other:1", "Other"))
    profile = Profile("small", "Small", "", 1, 2**30, 0, ("notebook", "other"))
    return Catalog((profile,), images, 2, 2**33, "small", Promotions(file))


def put(file: Path, *history: Promotion) -> None:
    """Write it as the command does: another file takes its place."""
    partial = file.with_suffix(".new")
    partial.write_text(written(history))
    partial.replace(file)


def refs(catalog: Catalog) -> list[str]:
    return [image.ref for image in catalog.images_now()]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([promoted(A)], A),
        ([promoted(A), promoted(B)], B),
        ([promoted(A), promoted(B), BACK], A),
        ([promoted(A), promoted(B), BACK, BACK], None),
        ([promoted(A), BACK, BACK, promoted(C)], C),
        ([promoted(A), promoted(B), BACK, promoted(C), BACK], A),
        ([KEPT, promoted(B), BACK], A),
        ([KEPT, promoted(B), BACK, BACK], None),
        ([promoted(A), promoted(B, "other")], A),
        ([promoted(A), promoted(B, replaces="workroom/notebook:older")], A),
    ],
)
def test_what_is_in_force_follows_from_the_history(
    history: list[Promotion], expected: str | None
) -> None:
    found = in_force(history, "notebook", PLAIN)
    assert (found.ref if found else None) == expected


def test_who_changes_the_settings_after_a_promotion_has_the_last_word() -> None:
    history = [promoted(A)]
    assert in_force(history, "notebook", "workroom/notebook:new") is None
    there_and_back = [*history, named("workroom/notebook:new"), named(PLAIN)]
    assert not standing(there_and_back, "notebook", PLAIN), "the settings have said it again"
    assert standing([*there_and_back, promoted(B)], "notebook", PLAIN) == [promoted(B)]
    assert standing([*history, named(PLAIN, "other")], "notebook", PLAIN) == history


def test_a_start_takes_what_was_promoted_a_moment_ago(catalog: Catalog, file: Path) -> None:
    assert catalog.choose({}, []).image.ref == PLAIN
    put(file, promoted(A))
    before = catalog.choose({}, [])
    assert before.image.ref == A
    assert before.image.title == "Data science"
    assert before.image.rstudio == "of a"
    put(file, promoted(A), promoted(B))
    assert catalog.choose({}, []).image.ref == B
    assert before.image.ref == A, "what runs keeps what it was started from"
    put(file, promoted(A), promoted(B), BACK)
    assert catalog.choose({}, []).image.ref == A
    file.unlink()
    assert catalog.choose({}, []).image.ref == PLAIN


def test_the_other_images_and_the_page_know_it(catalog: Catalog, file: Path) -> None:
    put(file, promoted(A))
    assert refs(catalog) == [A, "other:1"]
    shown = {row["name"]: row["rstudio"] for row in catalog.form({}, [])["images"]}
    assert shown == {"notebook": "of a", "other": None}


def row(**changed: object) -> str:
    entry = {"image": "notebook", "ref": A, "replaces": PLAIN, **changed}
    return json.dumps({"version": 1, "history": [entry]})


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", '{"history": [{"image": 1}]}', '{"history": [1]}', '{"history": {}}'),
        *(row(ref=5), row(ref=""), row(image=None), row(replaces=[PLAIN]), row(tag=1)),
        *(row(rstudio=2024.1), row(rstudio_note=None), row(at=1), row(by={}), row(more="")),
        *(row(action="demote"), row(action=None), row(action="kept", ref="")),
    ],
)
def test_a_damaged_file_changes_nothing_and_says_so(
    catalog: Catalog, file: Path, text: str
) -> None:
    put(file, promoted(A))
    assert refs(catalog)[0] == A
    file.write_text(text)
    assert refs(catalog)[0] == A
    assert catalog.promotions is not None
    assert str(file) in catalog.promotions.problem
    put(file, promoted(B))
    assert refs(catalog)[0] == B
    assert catalog.promotions.problem == ""


def test_it_is_read_again_only_when_it_changed(
    catalog: Catalog, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, promoted(A))
    catalog.images_now()
    read: list[str] = []
    monkeypatch.setattr(
        "workroom_spawner.promotions.parse", lambda text: read.append(text) or parse(text)
    )
    for _ in range(100):
        catalog.images_now()
    assert not read
    put(file, promoted(B))
    assert refs(catalog)[0] == B
    assert len(read) == 1


def test_what_is_written_is_read() -> None:
    history = (promoted(A), replace(promoted(B), at="2026-12-01T10:00:00Z", by="ann"), BACK)
    assert parse(written(history)) == history
