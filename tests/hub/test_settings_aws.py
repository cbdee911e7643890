"""The section `aws`: what is refused, and with which words."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.aws_settings import aws_section
from workroom_hub.instance_types import GIB, KNOWN, smallest
from workroom_hub.settings import Settings
from workroom_hub.settings_aws import machine_type


def settings(*profiles: dict[str, Any], **changes: Any) -> Settings:
    given = [
        {"name": f"p{number}", "title": "P", **profile} for number, profile in enumerate(profiles)
    ]
    return Settings.model_validate(
        {"aws": aws_section(**changes), **({"profiles": given} if given else {})}
    )


def test_the_least_is_enough() -> None:
    aws = settings().aws
    assert aws is not None
    assert aws.zones == ["eu-central-1a", "eu-central-1b"]


def test_without_the_section_nothing_is_deployed() -> None:
    assert Settings().aws is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"instance_type": "m7i.large"},
            "instance_type: 'm7i.large' (2 cores, 7.3 GiB for servers)",
        ),
        ({"instance_type": "m7i.huge"}, "choose a type of"),
        ({"vpc_cidr": "10.0.0.0/24"}, "from /16 to /20"),
        ({"vpc_cidr": "10.0.0.1/16"}, "write an IPv4 network"),
        ({"min_machines": 30}, "min_machines: 30 is more than max_machines, 20"),
        ({"domain": "Workroom"}, "write a host name in lower case"),
        ({"zone_name": "example.org"}, "'example.org' does not hold the domain"),
        ({"region": "us-east-1"}, "make one in us-east-1"),
        ({"availability_zones": ["eu-central-1a"]}, "are not two or three zones"),
        ({"availability_zones": ["us-east-1a", "us-east-1b"]}, "are not two or three zones"),
        ({"log_days": 31}, "CloudWatch Logs keeps"),
        ({"alarm_email": "platform"}, "write an e-mail address"),
        ({"data_access": [{"group": "a"}, {"group": "a"}]}, "the group 'a' is there twice"),
        ({"data_access": [{"group": "everybody"}]}, "no group is called 'everybody'"),
        ({"data_access": [{"group": "a", "read": ["../b"]}]}, "the name of a database"),
        ({"images": {"hub": "workroom/hub:latest"}}, "an image of Amazon ECR by its digest"),
    ],
)
def test_what_cannot_be_is_refused_with_the_fix(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(words)):
        settings(**changes)


def test_a_size_that_is_too_small_names_field_value_and_fix() -> None:
    with pytest.raises(ValidationError) as refused:
        settings(
            {"cpu": 1, "memory": "2G"},
            {"cpu": 8, "memory": "32G"},
            instance_type="m7i.2xlarge",
        )
    said = str(refused.value)
    assert "aws: instance_type: 'm7i.2xlarge'" in said
    assert "does not hold profile 'p1' (8 cores, 32.0 GiB)" in said
    assert "write r7i.2xlarge, or make the profile smaller" in said


def test_the_size_is_chosen_for_the_largest_profile() -> None:
    found = settings({"cpu": 2, "memory": "30G"}, {"cpu": 16, "memory": "4G"})
    assert found.aws is not None
    chosen = machine_type(found.aws, found.profiles)
    assert chosen is not None
    assert chosen.cpu >= 16
    assert chosen.for_servers >= 30 * GIB


def test_a_machine_never_promises_what_its_system_needs() -> None:
    assert not KNOWN["m7i.2xlarge"].holds(8, 32 * GIB)
    assert KNOWN["m7i.2xlarge"].holds(8, 28 * GIB)


def test_nothing_holds_a_giant() -> None:
    assert smallest(1000, GIB) is None
    with pytest.raises(ValidationError, match="no type known here holds 1000 cores"):
        settings({"cpu": 1000, "memory": "1G"})


def test_a_profile_with_a_gpu_needs_an_image_of_its_own() -> None:
    with pytest.raises(ValidationError, match="'gpu_machine_image' is not given"):
        settings({"cpu": 1, "memory": "1G", "gpu": 1})


@pytest.mark.parametrize(
    ("changes", "words"),
    [({}, "aws.oidc_secret"), ({"nat_gateways": 0}, "oidc")],
)
def test_a_company_log_in_needs_its_secret_and_a_way_out(
    changes: dict[str, Any], words: str
) -> None:
    oidc = {"issuer": "https://login.example.com", "client_id": "w", "client_secret_file": "x"}
    with pytest.raises(ValidationError, match=words):
        Settings.model_validate(
            {"aws": aws_section(**changes), "auth": {"kind": "oidc", "oidc": oidc}}
        )
