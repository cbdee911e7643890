"""Whole requests, compared as wholes: what is not expected must not be there."""

from dataclasses import replace

from workroom_spawner.requests import ServerSpec, container_request

SPEC = ServerSpec(
    instance="workroom",
    installation="1d",
    user="ada@example.com",
    server="gpu",
    profile="large",
    name="workroom-ada-x",
    hostname="ada-gpu",
    image="workroom/notebook:latest",
    cpu=1.5,
    memory=2 * 2**30,
    gpu=0,
    pids=4096,
    network="workroom-users",
    home_volume="workroom-home-ada-y",
    environment={"WORKROOM_START_URL": "http://g/start", "WORKROOM_START_CODE": "code"},
)

HOME = {
    "Type": "volume",
    "Source": "workroom-home-ada-y",
    "Target": "/home/workroom",
    "VolumeOptions": {
        "Labels": {
            "io.workroom.instance": "workroom",
            "io.workroom.installation": "1d",
            "io.workroom.user": "ada@example.com",
        }
    },
}


def test_plain_server() -> None:
    assert container_request(SPEC) == {
        "image": "workroom/notebook:latest",
        "name": "workroom-ada-x",
        "hostname": "ada-gpu",
        "user": "59000:59000",
        "environment": {"WORKROOM_START_URL": "http://g/start", "WORKROOM_START_CODE": "code"},
        "labels": {
            "io.workroom.instance": "workroom",
            "io.workroom.installation": "1d",
            "io.workroom.user": "ada@example.com",
            "io.workroom.server": "gpu",
            "io.workroom.profile": "large",
        },
        "host_config": {
            "NetworkMode": "workroom-users",
            "NanoCpus": 1_500_000_000,
            "Memory": 2147483648,
            "MemorySwap": 2147483648,
            "PidsLimit": 4096,
            "ShmSize": 1073741824,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "2"}},
            "Mounts": [HOME],
        },
    }


def test_gpu_dns_and_shared_data_are_added_and_nothing_else_changes() -> None:
    plain = container_request(SPEC)["host_config"]
    full = container_request(replace(SPEC, gpu=2, dns=("10.0.0.2",), shared_data="/srv/data"))
    assert full["host_config"] == {
        **plain,
        "Dns": ["10.0.0.2"],
        "DeviceRequests": [{"Driver": "nvidia", "Count": 2, "Capabilities": [["gpu"]]}],
        "Mounts": [
            HOME,
            {"Type": "bind", "Source": "/srv/data", "Target": "/shared", "ReadOnly": True},
        ],
    }
