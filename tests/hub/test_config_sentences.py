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


_IMAGE = "999999999999.dkr.ecr.{region}.amazonaws.com/workroom/hub{tag}@sha256:" + "0" * 64
_CERTIFICATE = aws_section()["certificate"].replace("123456789012", "999999999999")


def _images(hub: str) -> dict[str, str]:
    return {**aws_section()["images"], "hub": hub}


@pytest.mark.parametrize(
    ("aws", "words"),
    [
        (
            {"certificate": _CERTIFICATE},
            ["aws.certificate: it is of account 999999999999", "make one in 123456789012"],
        ),
        (
            {"warm_machines": 30},
            ["aws.warm_machines: 30 is more than max_machines, 20", "raise that or lower this"],
        ),
        (
            {"vpc_cidr": "8.8.0.0/16"},
            ["aws.vpc_cidr: '8.8.0.0/16' is not valid", "such as 10.20.0.0/16"],
        ),
        ({"vpc_cidr": "172.32.0.0/16"}, ["aws.vpc_cidr: '172.32.0.0/16'", "172.16.0.0/12"]),
        (
            {"instance_type": "g6.2xlarge"},
            ["aws.instance_type: 'g6.2xlarge' has a GPU", "write it as gpu_instance_type"],
        ),
        (
            {"gpu_instance_type": "m7i.4xlarge"},
            ["aws.gpu_instance_type: 'm7i.4xlarge' has no GPU", "write one such as g6.2xlarge"],
        ),
        ({"region": "cn-north-1"}, ["aws.region: 'cn-north-1' is not valid", "commercial regions"]),
        ({"region": "us-gov-west-1"}, ["aws.region: 'us-gov-west-1'", "commercial regions"]),
        ({"region": "us-iso-east-1"}, ["aws.region: 'us-iso-east-1'", "commercial regions"]),
        ({"region": "us-isob-east-1"}, ["aws.region: 'us-isob-east-1'", "commercial regions"]),
        ({"region": ""}, ["aws.region: '' is not valid", "written like eu-central-1"]),
        ({"domain": ""}, ["aws.domain: it is empty", "such as workroom.example.com"]),
        (
            {"images": _images(_IMAGE.format(region="eu-central-1", tag=":1.0"))},
            ["aws.images.hub: '99", "by its digest, without a tag"],
        ),
        (
            {"images": _images(_IMAGE.format(region="us-east-1", tag="")), "nat_gateways": 0},
            ["aws.images.hub: it is in us-east-1", "copy it there, or write nat_gateways: 1"],
        ),
        (
            {"data_access": [{"group": "a"}, {"group": "g" * 40}]},
            ["aws.data_access[1].group: 'gggg", "has 40 characters", "write 37 characters at most"],
        ),
    ],
)
def test_what_aws_would_refuse_is_refused_here(
    check: Check, aws: dict[str, Any], words: list[str]
) -> None:
    said = check(**aws)
    for each in words:
        assert each in said


def test_what_looks_odd_and_works_is_taken(check: Check) -> None:
    assert check(warm_machines=1016, max_machines=5000, min_machines=1016) == ""
    assert check(vpc_cidr="100.64.0.0/16") == ""
    assert check(images=_images(_IMAGE.format(region="us-east-1", tag=""))) == ""
    assert check(data_access=[{"group": "g" * 37}]) == ""
    assert check(instance_type="m7i.16xlarge", gpu_instance_type="g6.2xlarge") == ""
    assert "aws.max_machines: '5001' is too large" in check(max_machines=5001)


def test_a_mistake_of_a_deployment_is_told_with_its_line(check: Check, tmp_path: Path) -> None:
    assert check(warm_machines=30)
    lines = (tmp_path / "workroom.yaml").read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if "warm_machines" in text)
    assert f"workroom.yaml:{line}: aws.warm_machines" in check(warm_machines=30)


def test_an_instance_whose_names_aws_does_not_take(check: Check) -> None:
    zones = ["ap-southeast-1a", "ap-southeast-1b"]
    certificate = aws_section()["certificate"].replace("eu-central-1", "ap-southeast-1")
    far = {"region": "ap-southeast-1", "availability_zones": zones, "certificate": certificate}
    said = check(f"instance: {'w' * 29}", **far)
    assert "workroom.yaml:1: instance: 'www" in said
    assert "write 28 characters at most" in said
    assert check(f"instance: {'w' * 28}", **far) == ""


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


_PORT = "registry:\n  kind: distribution\n  address: reg.acme.internal:{}"
_ON_MACHINE = "data: {enabled: true}\nregistry:\n  kind: machine\n  port: "


@pytest.mark.parametrize("port", ["0", "65536", "99999"])
def test_a_port_of_a_registry_elsewhere_that_no_machine_has(check: Check, port: str) -> None:
    said = check(_PORT.format(port))
    assert f"workroom.yaml:3: registry.address: 'reg.acme.internal:{port}' is not valid" in said
    assert "from 1 to 65535" in said
    assert check(_PORT.format(65535)) == ""


@pytest.mark.parametrize(
    ("port", "other"),
    [
        (8000, "web.port"),
        (2222, "ssh.port"),
        (8081, "local.hub_port"),
        (9083, "data.metastore_port"),
        (5001, ""),
    ],
)
def test_this_machines_registry_has_a_port_of_its_own(check: Check, port: int, other: str) -> None:
    said = check(f"{_ON_MACHINE}{port}")
    if other:
        assert f"workroom.yaml:4: registry.port: {port} is {other} too. Choose another." in said
    else:
        assert "registry.port" not in said


def test_a_registry_elsewhere_takes_no_port_here(check: Check) -> None:
    assert check(f"{_PORT.format(5000)}\n  port: 8000") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "plan:\n  day:\n    mix:\n      - {profile: small, weight: 1}\n"
            "      - {profile: huge, weight: 1}",
            "workroom.yaml:5: plan.day.mix[1].profile: 'huge' is not a profile without a GPU. "
            "Choose from small,",
        ),
        (
            "plan:\n  machine:\n    type: x9",
            "workroom.yaml:3: plan.machine.type: 'x9' is not in the list",
        ),
        ("plan:\n  machine:\n    type: m6i.large", "plan.machine: a m6i.large has 2 vCPUs"),
        ("plan:\n  machine:\n    type: m6i.16xlarge", ""),
        ("plan:\n  day:\n    mix: [{profile: small, weight: 1}]", ""),
    ],
)
def test_a_plan_of_what_there_is_not(check: Check, text: str, words: str) -> None:
    said = check(text)
    assert said.startswith(words) if words.startswith("work") else words in said
    assert bool(said) == bool(words)
