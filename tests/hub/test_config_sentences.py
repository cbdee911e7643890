"""What `workroom config check` says of the sections `aws`, `registry`, `auth` and `plan`."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.aws_settings import aws_section
from workroom_hub import config_file
from workroom_hub.errors import ConfigError

Check = Callable[..., str]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return what says what is wrong with settings, "" if nothing is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKROOM_CONFIG", raising=False)

    def said(text: str = "", **aws: Any) -> str:
        written = StringIO()
        if aws:
            YAML().dump({"aws": aws_section(**aws)}, written)
        (tmp_path / "workroom.yaml").write_text(text + "\n" + written.getvalue())
        try:
            config_file.load(environment={})
        except ConfigError as error:
            return f"{error.message} {error.fix}".strip()
        return ""

    return said


@pytest.mark.parametrize(
    ("aws", "field", "value", "fix"),
    [
        ({"account": "12345"}, "account", "12345", 'Write twelve digits in quotes, such as "12'),
        ({"zone_id": "example.com"}, "zone_id", "example.com", "such as Z0123456789ABCDEFGHIJ"),
        ({"machine_image": "ami-latest"}, "machine_image", "ami-latest", "ami-0123456789abcdef0"),
        ({"base_image": "x"}, "base_image", "x", "an AMI, such as ami-0123456789abcdef0"),
        (
            {"database_class": "db.t4g.medium"},
            "database_class",
            "db.t4g.medium",
            "such as t4g.medium, without `db.`.",
        ),
        ({"database_class": "huge"}, "database_class", "huge", "Write family and size, such as"),
        ({"data_access": [{"group": "a b"}]}, "data_access[0].group", "a b", "such as finance."),
        ({"availability_zones": ["A"]}, "availability_zones[0]", "A", "zones of the region, such"),
    ],
)
def test_a_text_of_the_wrong_form_is_told_the_right_one(
    check: Check, aws: dict[str, Any], field: str, value: str, fix: str
) -> None:
    said = check(**aws)
    assert f"aws.{field}: '{value}' is not of the right form. Write " in said
    assert fix in said
    assert "is not text" not in said


def test_what_has_a_length_is_told_in_characters_or_items(check: Check) -> None:
    assert check('title: ""').endswith("title: it is empty. Write at least 1 character.")
    assert check(f"title: {'x' * 41}").endswith("is too long. Write at most 40 characters.")
    assert check("images: []").endswith("images: it is empty. Write at least 1 item.")
    zones = [f"eu-central-1{letter}" for letter in "abcd"]
    assert "is too long. Write at most 3 items." in check(availability_zones=zones)


def test_a_number_where_text_belongs_is_still_told_to_be_quoted(check: Check) -> None:
    assert "'12345' is not text. Write text (put it in quotes" in check(account=12345)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("registry:\n  kind: distribution", "workroom.yaml:1: registry.address: it is missing"),
        ("registry:\n  kind: machine\n  address: a.b", "workroom.yaml:3: registry.address: it is"),
        ("auth:\n  kind: oidc", "workroom.yaml:1: auth.oidc: kind 'oidc' needs this section"),
        (
            "ecs:\n  roles:\n    - group: a",
            "workroom.yaml:3: ecs.roles[0]: give the group a task_role",
        ),
    ],
)
def test_what_a_section_lacks_is_said_of_the_field_inside(
    check: Check, text: str, words: str
) -> None:
    said = check(text)
    assert words in said
    assert "a section" not in said
