"""The section `data`, and what servers are told because of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from traitlets.config import Config

from workroom_hub import configure, data_environment
from workroom_hub.config_file import load
from workroom_hub.errors import ConfigError
from workroom_hub.runtime import Emulator, Runtime
from workroom_hub.settings import Settings

ECS = {
    "region": "eu-central-1",
    "cluster": "lab",
    "subnets": ["subnet-0123456789abcdef0"],
    "hub_url": "http://10.0.1.5:8081",
    "task_role": "arn:aws:iam::123456789012:role/people",
}
ON_ECS = {
    "spawner": "ecs",
    "ecs": ECS,
    "homes": {"file_system": "fs-0123456789abcdef0"},
    "images": [{"name": "a", "ref": "registry.example.com/a:1", "title": "A"}],
}
ELSEWHERE = {"warehouse": "s3://acme/tables/", "metastore": "thrift://hms.acme.internal:9083"}


def runtime(home: Path, network: str = "workroom-users", **more: Any) -> Runtime:
    return Runtime(home, "172.30.0.1", network, 4, 2**34, {}, "ab12", **more)


def variables(home: Path, network: str = "workroom-users", **given: Any) -> dict[str, str]:
    return data_environment.variables(Settings.model_validate(given), runtime(home, network))


def test_on_this_machine_servers_get_its_own_servers_and_users_key(tmp_path: Path) -> None:
    found = variables(tmp_path, data={"s3_port": 8433, "metastore_port": 9183})
    secret = (tmp_path / "secrets" / "s3-users-secret").read_text()
    assert found == {
        "WORKROOM_DATA_WAREHOUSE": "s3://workroom-data/warehouse",
        "WORKROOM_DATA_METASTORE": "thrift://172.30.0.1:9183",
        "WORKROOM_DATA_S3_ENDPOINT": "http://172.30.0.1:8433",
        "WORKROOM_DATA_S3_REGION": "us-east-1",
        "WORKROOM_DATA_S3_KEY_ID": "workroom-users",
        "WORKROOM_DATA_S3_SECRET": secret,
    }
    assert len(secret) == 64
    assert secret != Runtime.secret(runtime(tmp_path), "s3-platform-secret")


def test_without_data_servers_get_nothing(tmp_path: Path) -> None:
    assert variables(tmp_path, data={"enabled": False}) == {}
    assert variables(tmp_path, "", **ON_ECS) == {}
    assert variables(tmp_path, "", **ON_ECS, data={"enabled": False, **ELSEWHERE}) == {}
    assert not (tmp_path / "secrets").exists()


def test_on_aws_servers_get_addresses_and_no_key(tmp_path: Path) -> None:
    assert variables(tmp_path, "", **ON_ECS, data=ELSEWHERE) == {
        "WORKROOM_DATA_WAREHOUSE": "s3://acme/tables",
        "WORKROOM_DATA_METASTORE": "thrift://hms.acme.internal:9083",
        "WORKROOM_DATA_S3_REGION": "eu-central-1",
    }
    more = {"s3_endpoint": "https://bucket.vpce-1.s3.example.com", "region": "us-west-2"}
    found = variables(tmp_path, "", **ON_ECS, data={**ELSEWHERE, **more})
    assert found["WORKROOM_DATA_S3_REGION"] == "us-west-2"
    assert found["WORKROOM_DATA_S3_ENDPOINT"] == more["s3_endpoint"]


def test_on_the_emulator_this_machines_own_count_whatever_the_file_says(tmp_path: Path) -> None:
    settings = Settings.model_validate({**ON_ECS, "data": ELSEWHERE})
    emulated = runtime(tmp_path, emulator=Emulator("http://127.0.0.1:4566", "us-east-1", "w", ()))
    found = data_environment.variables(settings, emulated)
    assert found["WORKROOM_DATA_S3_ENDPOINT"] == "http://172.30.0.1:8333"
    assert "AWS_ENDPOINT_URL" not in found


@pytest.mark.parametrize("network", ["workroom-users", ""])
def test_both_spawners_hand_them_out_in_exchange_for_the_start_code(
    tmp_path: Path, network: str
) -> None:
    given = {**ON_ECS, "data": ELSEWHERE} if not network else {}
    settings, known = Settings.model_validate(given), runtime(tmp_path, network)
    made = configure.build(settings, known, Config())
    spawner = made.LocalSpawner if network else made.EcsSpawner
    told = data_environment.variables(settings, known)
    assert told.items() <= spawner.environment.items()
    assert "JUPYTERHUB_ACTIVITY_INTERVAL" in spawner.environment


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"data": {"warehouse": "s3://acme/t"}}, "'warehouse' is for 'spawner: ecs'"),
        ({"data": {"region": "eu-central-1"}}, "'region' is for 'spawner: ecs'"),
        ({**ON_ECS, "data": {"warehouse": "s3://acme/t"}}, "'warehouse' needs 'metastore' too"),
        ({**ON_ECS, "data": {"metastore": "thrift://h:1"}}, "'metastore' needs 'warehouse' too"),
        ({**ON_ECS, "data": {**ELSEWHERE, "warehouse": "/tables"}}, "such as s3://acme-data"),
        ({**ON_ECS, "data": {**ELSEWHERE, "metastore": "hms:9083"}}, "such as thrift://"),
        ({"data": {"metastore_image": "NOT an image"}}, "image"),
        ({"data": {"keep_free": "much"}}, "write a size such as"),
        ({"data": {"s3_port": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(given)
    assert says in str(caught.value)


def test_ports_are_given_once_and_variables_override_them(tmp_path: Path) -> None:
    file = tmp_path / "workroom.yaml"
    file.write_text("data: {s3_port: 8081}\n")
    with pytest.raises(ConfigError, match=r"8081 is local\.hub_port too"):
        load(file, {})
    settings = load(file, {"WORKROOM_S3_PORT": "8434", "WORKROOM_METASTORE_PORT": "9184"})
    assert (settings.data.s3_port, settings.data.metastore_port) == (8434, 9184)
    file.write_text("data: {enabled: false, s3_port: 8081}\n")
    assert load(file, {}).data.s3_port == 8081
