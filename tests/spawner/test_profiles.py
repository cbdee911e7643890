from typing import Any

import pytest

from workroom_spawner.errors import NotOffered
from workroom_spawner.profiles import Catalog


def test_nothing_chosen_means_the_default(catalog: Catalog) -> None:
    choice = catalog.choose({}, [])
    assert (choice.profile.name, choice.image.name) == ("small", "notebook")


@pytest.mark.parametrize(
    ("options", "groups"),
    [
        ({"profile": "huge"}, []),
        ({"profile": "gpu", "image": "other"}, []),
        ({"profile": "gpu", "image": "notebook"}, ["vision"]),
        ({"profile": "small", "image": "other"}, []),
        ({"profile": "small", "image": "evil/image:latest"}, []),
        ({"profile": "small", "memory": "64G"}, []),
        ({"profile": ["small"]}, []),
        ({"profile": "small", "image": {"ref": "x"}}, []),
        ({"mem_limit": 1}, []),
    ],
)
def test_what_is_not_offered_is_refused_by_name(
    catalog: Catalog, options: dict[str, Any], groups: list[str]
) -> None:
    with pytest.raises(NotOffered) as refused:
        catalog.choose(options, groups)
    assert refused.value.status_code == 400
    assert refused.value.message.count("'") >= 2, "names what was asked for"


def test_groups_open_profiles(catalog: Catalog) -> None:
    assert [p.name for p in catalog.offered_to([])] == ["small", "large"]
    assert catalog.choose({"profile": "gpu"}, ["vision"]).image.name == "other"


def test_somebody_without_any_profile_is_told_whom_to_ask(catalog: Catalog) -> None:
    only_gpu = Catalog(catalog.profiles[2:], catalog.images, 4, 2**34, "gpu")
    with pytest.raises(NotOffered, match="Ask your platform engineer"):
        only_gpu.choose({}, [])
    assert only_gpu.form({}, []) == {"profiles": [], "images": []}


def test_form_remembers_the_last_choice_and_shows_shares(catalog: Catalog) -> None:
    form = catalog.form({"profile": "large", "image": "other"}, [])
    assert [(p["name"], p["selected"]) for p in form["profiles"]] == [
        ("small", False),
        ("large", True),
    ]
    assert [(i["name"], i["selected"]) for i in form["images"]] == [
        ("notebook", False),
        ("other", True),
    ]
    assert (form["profiles"][1]["cpu_share"], form["profiles"][1]["memory_share"]) == (0.5, 0.5)


@pytest.mark.parametrize("last", [{"profile": "gone"}, {"profile": 3}, {"x": "y"}, {}])
def test_a_last_choice_that_is_gone_falls_back_to_the_default(
    catalog: Catalog, last: dict[str, Any]
) -> None:
    form = catalog.form(last, [])
    assert [p["name"] for p in form["profiles"] if p["selected"]] == ["small"]
