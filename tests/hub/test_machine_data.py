"""The data servers as plain data: what the engine is asked for, what the firewall opens."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from workroom_hub import data_environment
from workroom_hub.machine import data, data_metastore, network, probe, up
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.network import UsersNetwork
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import EMULATOR_CHOSEN, Runtime, read_installation
from workroom_hub.settings import Settings

USERS = UsersNetwork("lab-users", "wr-lab", "172.30.0.1")
ECS = {
    "spawner": "ecs",
    "ecs": {
        "region": "eu-central-1",
        "cluster": "lab",
        "subnets": ["subnet-0123456789abcdef0"],
        "hub_url": "http://10.0.1.5:8081",
        "task_role": "arn:aws:iam::123456789012:role/people",
    },
    "homes": {"file_system": "fs-0123456789abcdef0"},
    "images": [{"name": "a", "ref": "registry.example.com/a:1", "title": "A"}],
}


def stack(home: Path, **settings: Any) -> Stack:
    settings = {"instance": "lab", **settings}
    return Stack(Settings.model_validate(settings), None, home, Reporter(quiet=True))


def request(one: Stack) -> dict[str, Any]:
    return data_metastore._request(one, USERS, "sha256:1")


def test_the_metastores_container_may_do_little_and_has_no_key(tmp_path: Path) -> None:
    one = stack(tmp_path)
    one.prepare_home()
    asked = request(one)
    assert asked["ports"] == {"9083/tcp": ("172.30.0.1", 9083)}
    assert asked["user"] == "59000:59000"
    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges"]
    assert asked["read_only"]
    assert asked["mem_limit"] == asked["memswap_limit"] < 700 * 2**20
    for secret in (tmp_path / "secrets").iterdir():
        assert secret.read_text() not in json.dumps(asked)


def test_neither_it_nor_its_volume_counts_as_a_server_or_a_home(tmp_path: Path) -> None:
    one = stack(tmp_path)
    labels = request(one)["labels"]
    assert network.LABEL not in labels
    assert labels[data_metastore.LABEL] == "lab"
    assert labels[network.INSTALLATION] == read_installation(tmp_path)


def test_two_installations_of_one_name_have_a_database_each(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    asked = [request(stack(tmp_path / name))["volumes"] for name in ("a", "b")]
    assert not set(asked[0]) & set(asked[1])


def test_it_is_made_anew_when_what_it_was_made_with_changed_and_only_then(tmp_path: Path) -> None:
    def hashed(users: UsersNetwork, image: str, **given: Any) -> str:
        asked = data_metastore._request(stack(tmp_path, data=given), users, image)
        return str(asked["labels"]["io.workroom.fingerprint"])

    before = hashed(USERS, "sha256:1")
    assert hashed(USERS, "sha256:1", s3_port=8433) == before
    assert hashed(USERS, "sha256:2") != before
    assert hashed(USERS, "sha256:1", metastore_port=9183) != before
    assert hashed(UsersNetwork("lab-users", "wr-lab", "172.31.0.1"), "sha256:1") != before


@contextmanager
def listening(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A server that answers the first bytes it gets with these; yields its port, and the bytes."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(100))
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], heard
        thread.join(5)


@pytest.mark.parametrize(
    ("answer", "is_one"),
    [
        (b"\x80\x01\x00\x02\x00\x00\x00\x09getStatus", True),
        (b"", False),  # the engine's relay, with nothing behind it
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"\x80\x01\x00\x03\x00\x00\x00\x09getStatus", False),  # an exception
    ],
)
def test_a_metastore_is_known_by_its_answer(tmp_path: Path, answer: bytes, is_one: bool) -> None:
    with listening(answer) as (port, heard):
        one = stack(tmp_path, data={"metastore_port": port})
        assert data_metastore.answers(one, "127.0.0.1") is is_one
    assert heard == [b"\x80\x01\x00\x01\x00\x00\x00\x09getStatus\x00\x00\x00\x00\x00"]
    assert not data_metastore.answers(one, "127.0.0.1"), "nobody listens any more"


def test_they_are_where_containers_are(tmp_path: Path) -> None:
    assert data.is_here(stack(tmp_path))
    assert not data.is_here(stack(tmp_path, data={"enabled": False}))
    assert not data.is_here(stack(tmp_path, **ECS))
    (tmp_path / EMULATOR_CHOSEN).touch()
    assert data.is_here(stack(tmp_path, **ECS))


def test_switched_off_a_server_is_told_nothing(tmp_path: Path) -> None:
    stack(tmp_path).prepare_home()  # which makes the secrets
    facts = Runtime(tmp_path, "172.30.0.1", "lab-users", 2, 2**30, {})
    for enabled, told in ((True, "thrift://172.30.0.1:9083"), (False, None)):
        settings = stack(tmp_path, data={"enabled": enabled}).settings
        found = data_environment.variables(settings, facts)
        assert found.get("WORKROOM_DATA_METASTORE") == told
        assert bool(found) == enabled


def test_the_firewall_opens_their_ports_and_only_if_they_run(tmp_path: Path) -> None:
    with_data = stack(tmp_path, data={"s3_port": 8433, "metastore_port": 9183})
    assert probe.opened(with_data) == [8081, 8433, 9183]
    rules = up.firewall_rules(with_data, USERS)
    assert rules.ports == (8081, 8433, 9183)
    assert rules.ipv4[1:4] == tuple(
        f"-d 172.30.0.1/32 -p tcp -m tcp --dport {port} -j ACCEPT" for port in rules.ports
    )
    without = up.firewall_rules(stack(tmp_path, data={"enabled": False}), USERS)
    assert without.ports == (8081,)
