import re

import pytest

from workroom_spawner import names

HOSTILE = [
    "ada",
    "Ada",
    "ADA",
    "a.da",
    "a-da",
    "a_da",
    "ada ",
    "ada@example.com",
    "ada+x@example.com",
    "Zoë",
    "Zoe\u0308",
    "张伟",
    "张偉",
    "🙂",
    "../../etc/passwd",
    "$(reboot)",
    "`id`",
    "<script>alert(1)</script>",
    "'; DROP TABLE users; --",
    "-rf",
    "",
    "a" * 200,
    "a" * 199 + "b",
    "a" * 199 + "B",
    "a\nb",
    "a\x00b",
]
DOCKER = re.compile(r"[a-z0-9][a-z0-9-]*")
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("user", HOSTILE)
@pytest.mark.parametrize("server", ["", "gpu", "Été 2026", "x" * 200])
def test_every_name_is_valid_for_docker_and_dns(user: str, server: str) -> None:
    for name in (
        names.container("a" * 32, user, server),
        names.home_volume("a" * 32, user),
        names.hostname(user, server),
    ):
        assert DOCKER.fullmatch(name)
        assert LABEL.fullmatch(name)


def test_different_users_never_share_a_container_or_a_home() -> None:
    assert len({names.container("w", user, "") for user in HOSTILE}) == len(HOSTILE)
    assert len({names.home_volume("w", user) for user in HOSTILE}) == len(HOSTILE)


def test_user_and_server_cannot_be_shifted_into_each_other() -> None:
    pairs = [("a", "b-c"), ("a-b", "c"), ("ab", "c"), ("a", "bc"), ("a", ""), ("", "a")]
    assert len({names.container("w", *pair) for pair in pairs}) == len(pairs)


def test_servers_of_one_user_share_her_home_and_installations_do_not() -> None:
    assert names.home_volume("w", "ada") == names.home_volume("w", "ada")
    assert names.home_volume("w", "ada") != names.home_volume("v", "ada")


def test_names_stay_the_same_between_releases() -> None:
    """A changed name would lose people's homes."""
    assert names.home_volume("workroom", "ada") == "workroom-home-ada-2brbu75odzyh"
    assert names.container("workroom", "ada", "gpu") == "workroom-ada-gpu-pozrzw6tolnl"
