"""The registry's client against a registry that has bad days; tests/registry has the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.registry_bad_days import (
    CONFIG,
    LAYER,
    MANIFEST,
    TAGS,
    TOKEN,
    USER,
    RegistryOfBadDays,
    digest,
)
from workroom_hub.errors import RegistryError
from workroom_hub.machine import registry_images
from workroom_hub.registry import names
from workroom_hub.registry.client import Damaged, RegistryClient
from workroom_hub.registry.credentials import Credentials


@pytest.fixture
def there() -> Iterator[RegistryOfBadDays]:
    with RegistryOfBadDays() as running:
        yield running


def client(there: RegistryOfBadDays, token: str = TOKEN) -> RegistryClient:
    return RegistryClient(there.host, "team/notebook", Credentials(USER, token))


@pytest.mark.parametrize("flaw", ["", "bearer"])
def test_both_ways_of_log_in_see_the_same(there: RegistryOfBadDays, flaw: str) -> None:
    there.flaw = flaw
    asking = client(there)
    assert asking.tags() == TAGS
    assert asking.digest(TAGS[0]) == digest(MANIFEST)
    assert asking.digest("none") is None
    found = asking.look(TAGS[0])
    assert found is not None
    assert (found.digest, found.labels, found.size) == (digest(MANIFEST), {"a": "b"}, len(LAYER))
    assert found.blobs == (digest(CONFIG), digest(LAYER))
    assert [asking.damaged(blob) for blob in found.blobs] == ["", ""]
    assert asking.look("none") is None
    if flaw == "bearer":
        asked = [path for path, _ in there.asked if path.startswith("/token")]
        assert len(asked) == 1, "one log-in for all"


def test_tags_of_many_pages_are_all_there(there: RegistryOfBadDays) -> None:
    there.flaw = "paged"
    assert client(there).tags() == TAGS
    assert len(there.asked) == 3


@pytest.mark.parametrize("reference", [TAGS[0], digest(MANIFEST)])
def test_bytes_that_are_not_the_digests_are_damage(
    there: RegistryOfBadDays, reference: str
) -> None:
    there.flaw = "lies"
    with pytest.raises(Damaged, match=r"The manifest sha256:.* is damaged") as caught:
        client(there).look(reference)
    assert caught.value.blob == digest(MANIFEST)


def test_a_layer_that_is_cut_short_is_not_called_damaged(there: RegistryOfBadDays) -> None:
    there.flaw = "lost_half"
    with pytest.raises(RegistryError, match="could not be read to its end") as caught:
        client(there).damaged(digest(LAYER))
    assert digest(LAYER) in caught.value.message
    assert caught.value.fix == "Run it again."


def test_a_part_that_is_missing_or_something_else_is_damaged(there: RegistryOfBadDays) -> None:
    there.flaw = "other_layer"
    assert client(there).damaged(digest(LAYER)).startswith("its bytes are sha256:")
    there.flaw = "no_config"
    with pytest.raises(Damaged, match=r"The configuration sha256:.* are missing") as caught:
        client(there).look(TAGS[0])
    assert caught.value.blob == digest(CONFIG)
    assert client(there).damaged(digest(b"other")) == "it is missing"
    assert not client(there).has(digest(b"other"))


@pytest.mark.parametrize(
    ("flaw", "said"),
    [
        ("no_registry", "is no image registry"),
        ("endless", "more than 4 MiB"),
        ("closed", "refuses team/notebook to ci"),
        ("thief", "is no address that a token may be sent to"),
    ],
)
def test_what_is_no_good_registry_is_a_sentence_without_the_token(
    there: RegistryOfBadDays, flaw: str, said: str
) -> None:
    there.flaw = flaw
    with pytest.raises(RegistryError, match=said) as caught:
        client(there).look(TAGS[0])
    assert there.host in caught.value.message
    assert caught.value.fix
    assert TOKEN not in str(vars(caught.value))


def test_a_log_in_of_another_scheme_gets_no_token(there: RegistryOfBadDays) -> None:
    there.flaw = "thief"
    with pytest.raises(RegistryError):
        client(there).tags()
    assert not any(path.startswith("/token") for path, _ in there.asked)


def test_a_registry_that_is_away_says_where_to_look() -> None:
    with RegistryOfBadDays() as there:
        gone = client(there)
    with pytest.raises(RegistryError, match="does not answer") as caught:
        gone.tags()
    assert "registry.address" in caught.value.fix
    assert TOKEN not in str(vars(caught.value))


@pytest.mark.parametrize(
    ("said", "fix"),
    [
        ("unauthorized: authentication required", "Tokens"),
        ("no basic auth credentials", "Tokens"),
        ("received unexpected HTTP status: 503 Service Temporarily Unavailable", "does not run"),
        ("filesystem layer verification failed for digest sha256:" + "401" * 21, "images check"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "does not answer"),
        ("manifest unknown: manifest unknown", "workroom images list"),
        ("something new", "docs/registry.md"),
    ],
)
def test_what_an_engine_says_of_a_registry_gets_its_next_step(said: str, fix: str) -> None:
    found = registry_images._refused("r.example.com/a:1", "pulled", said)
    assert said in found.message
    assert fix in found.fix


def test_a_whole_reference_is_taken_when_it_is_in_this_repository() -> None:
    mine, digest = "127.0.0.1:5000/workroom/notebook", f"sha256:{'a' * 64}"
    for said in (f"{mine}@{digest}", digest):
        assert names.without_repository(said, mine) == digest
    assert names.without_repository(f"{mine}:tag", mine) == names.without_repository("tag", mine)
    for other in (
        f"r.example.com/workroom/notebook@{digest}",
        f"{mine}-gpu@{digest}",
        f"x@{digest}",
    ):
        with pytest.raises(RegistryError, match="is not in this image's repository") as caught:
            names.without_repository(other, mine)
        assert other in caught.value.message
        assert all(form in caught.value.fix for form in ("tag", "6 or more digits", "whole ref"))
