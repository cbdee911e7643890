"""`promote` and `rollback`: a history that several may write and that is never half written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from workroom_hub.errors import RegistryError
from workroom_hub.registry import promotions
from workroom_spawner.promotions import FILE, Promotion, in_force, standing

PLAIN = "workroom/notebook:latest"


def ref(number: int) -> str:
    return f"127.0.0.1:5000/workroom/notebook@sha256:{number:064x}"


def promote(home: Path, number: int, image: str = "notebook") -> Promotion:
    return promotions.promote(home, Promotion(image, ref(number), PLAIN, by="ann"))


def rollback(home: Path) -> tuple[Promotion, Promotion | None]:
    """Take back what stands now."""
    seen = standing(promotions.read(home), "notebook", PLAIN)
    return promotions.rollback(home, "notebook", PLAIN, "bob", expected=seen)


def test_promote_and_rollback_keep_every_step(tmp_path: Path) -> None:
    assert promotions.read(tmp_path) == ()
    assert promote(tmp_path, 1).at.endswith("Z")
    promote(tmp_path, 2)
    taken, now = rollback(tmp_path)
    assert (taken.ref, now and now.ref) == (ref(2), ref(1))
    taken, now = rollback(tmp_path)
    assert (taken.ref, now) == (ref(1), None)
    told = [(e.action, e.ref, e.by) for e in promotions.read(tmp_path)]
    assert told == [
        ("promote", ref(1), "ann"),
        ("promote", ref(2), "ann"),
        ("rollback", ref(1), "bob"),
        ("rollback", "", "bob"),
    ]
    with pytest.raises(RegistryError, match="Nothing was promoted for 'notebook'"):
        rollback(tmp_path)
    assert len(promotions.read(tmp_path)) == 4
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_what_is_in_force_already_is_not_promoted_twice(tmp_path: Path) -> None:
    first = promote(tmp_path, 1)
    assert promote(tmp_path, 1) == first
    assert len(promotions.read(tmp_path)) == 1
    promote(tmp_path, 2)
    promote(tmp_path, 1)
    assert [each.ref for each in promotions.read(tmp_path)] == [ref(1), ref(2), ref(1)]


def test_what_a_tag_named_is_kept_once_before_the_first_promotion(tmp_path: Path) -> None:
    def kept(number: int) -> Promotion:
        return Promotion("notebook", ref(number), PLAIN, action="kept")

    for number in (1, 2):
        new = Promotion("notebook", ref(number), PLAIN)
        promotions.promote(tmp_path, new, kept(10 * number))
    told = [(each.action, each.ref) for each in promotions.read(tmp_path)]
    assert told == [("kept", ref(10)), ("promote", ref(1)), ("promote", ref(2))]
    for expected in (ref(1), ref(10)):
        _, now = rollback(tmp_path)
        assert now
        assert now.ref == expected
    assert rollback(tmp_path)[1] is None


def test_a_rollback_takes_back_what_was_seen_or_nothing(tmp_path: Path) -> None:
    promote(tmp_path, 1)
    seen = standing(promotions.read(tmp_path), "notebook", PLAIN)
    promote(tmp_path, 2)
    before = promotions.read(tmp_path)
    with pytest.raises(RegistryError, match=f"Somebody changed it meanwhile.*{ref(2)}") as caught:
        promotions.rollback(tmp_path, "notebook", PLAIN, "bob", expected=seen)
    assert "workroom images history notebook" in caught.value.fix
    assert promotions.read(tmp_path) == before
    assert rollback(tmp_path)[0].ref == ref(2)


def test_of_two_that_roll_back_at_once_one_is_told(tmp_path: Path) -> None:
    for number in (1, 2):
        promote(tmp_path, number)
    seen = standing(promotions.read(tmp_path), "notebook", PLAIN)
    promotions.rollback(tmp_path, "notebook", PLAIN, "ann", expected=seen)
    with pytest.raises(RegistryError, match="Somebody changed it meanwhile"):
        promotions.rollback(tmp_path, "notebook", PLAIN, "bob", expected=seen)


def test_settings_that_changed_end_what_was_promoted_for_good(tmp_path: Path) -> None:
    def started(**refs: str) -> str | None:
        promotions.note_settings(tmp_path, refs, "ann")
        found = in_force(promotions.read(tmp_path), "notebook", refs["notebook"])
        return found.ref if found else None

    assert started(notebook=PLAIN) is None
    assert not (tmp_path / FILE).exists(), "without a promotion there is nothing to end"
    promote(tmp_path, 1)
    promote(tmp_path, 5, "other")
    for _ in range(2):
        assert started(notebook=PLAIN, other=PLAIN) == ref(1)
    assert len(promotions.read(tmp_path)) == 2
    for _ in range(2):
        assert started(notebook="b", other=PLAIN) is None
    assert started(notebook=PLAIN, other=PLAIN) is None, "the file's word is the newest"
    told = [(e.image, e.action, e.replaces, e.by) for e in promotions.read(tmp_path)[2:]]
    assert told == [("notebook", "settings", ref, "ann") for ref in ("b", PLAIN)]
    assert in_force(promotions.read(tmp_path), "other", PLAIN)
    promote(tmp_path, 3)
    assert started(notebook=PLAIN) == ref(3)
    rollback(tmp_path)
    assert started(notebook=PLAIN) is None


def test_many_at_once_lose_nothing_and_no_reader_sees_half_of_it(tmp_path: Path) -> None:
    promote(tmp_path, 0)
    stop, seen = threading.Event(), list[int]()

    def read() -> None:
        while not stop.is_set():
            seen.append(len(json.loads((tmp_path / FILE).read_text())["history"]))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(target=lambda n=n: [promote(tmp_path, 10 * n + i) for i in range(1, 6)])
        for n in range(6)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert len(promotions.read(tmp_path)) == 31
    assert seen == sorted(seen)
    assert in_force(promotions.read(tmp_path), "notebook", PLAIN)


def test_a_file_that_is_not_ours_is_named_and_not_written_over(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}")
    for act in (
        lambda: promote(tmp_path, 1),
        lambda: rollback(tmp_path),
        lambda: promotions.read(tmp_path),
    ):
        with pytest.raises(RegistryError, match=FILE):
            act()
    assert (tmp_path / FILE).read_text() == "{}"
