"""The S3 server as a process: what was acknowledged outlives it, however it ends."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.s3_server import GATEWAY, S3Server, free_port
from workroom_hub.data_environment import BUCKET, USERS
from workroom_hub.errors import DataServerError, PortTaken
from workroom_hub.machine import data_s3, ports, processes
from workroom_hub.runtime import read_secret


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def server(one: S3Server) -> S3Server:
    """A server that runs; a start takes four seconds, so the tests here have one together."""
    one.start()
    return one


def test_one_that_runs_is_left_alone_and_one_whose_settings_changed_is_not(tmp_path: Path) -> None:
    """And its end is waited for, which takes the server 15 seconds, so that nothing is lost."""
    with S3Server(tmp_path) as server:
        running, first = processes.find(tmp_path, data_s3.ROLE), server.child
        assert running is not None
        assert first is not None
        inner = server.inner
        assert not server.start()
        assert processes.find(tmp_path, data_s3.ROLE) == running
        server.client().put_object(Bucket=BUCKET, Key="kept", Body=b"1")

        threading.Thread(target=first.wait, daemon=True).start()  # or it stays as a zombie
        port = server.stack.settings.data.s3_port
        with S3Server(tmp_path, keep_free="3G", s3_port=port) as other:
            assert first.wait() == 0, "it was killed, not waited for"
            again = processes.find(tmp_path, data_s3.ROLE)
            assert again is not None
            assert again.pid != running.pid
            assert other.inner == inner
            words = Path(f"/proc/{again.pid}/cmdline").read_text()
            assert "-volume.minFreeSpace=3072MiB" in words
            assert other.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"1"


def test_it_listens_where_it_is_told_and_keeps_its_files_to_itself(server: S3Server) -> None:
    running = processes.find(server.stack.home, data_s3.ROLE)
    assert running is not None
    assert ports.of(running) == {server.stack.settings.data.s3_port, *server.inner.values()}
    words = Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")
    assert b"-master.telemetry=false" in words
    secret = read_secret(server.stack.home, "s3-users-secret").encode()
    assert not any(secret in word for word in words)
    assert secret not in Path(f"/proc/{running.pid}/environ").read_bytes()
    for folder in (server.rights, server.stack.home / "data" / "s3"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in server.rights.iterdir()} == {0o600}


def test_a_key_that_changed_is_the_only_one_that_counts(server: S3Server) -> None:
    old = server.client()
    old.put_object(Bucket=BUCKET, Key="a", Body=b"1")
    (server.stack.home / "secrets" / "s3-users-secret").write_text("0" * 64)
    stopped = processes.find(server.stack.home, data_s3.ROLE)
    assert stopped is not None
    server.kill()
    server.start()
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        old.get_object(Bucket=BUCKET, Key="a")
    assert server.client().get_object(Bucket=BUCKET, Key="a")["Body"].read() == b"1"


def test_what_it_acknowledged_is_there_after_kill_9_in_the_middle_of_writes(
    server: S3Server,
) -> None:
    acknowledged: dict[str, str] = {}
    stopped = threading.Event()

    def write(name: str) -> None:
        people: Any = server.client()
        for number in range(100_000):
            body = os.urandom(300_000 if number % 2 else 300)
            key = f"warehouse/db/t/{name}/{number}"
            try:
                people.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*")
            except (ClientError, BotoCoreError):
                if stopped.is_set():
                    return
                raise
            acknowledged[key] = hashlib.sha256(body).hexdigest()

    writers = [threading.Thread(target=write, args=(str(n),)) for n in range(4)]
    for writer in writers:
        writer.start()
    while not acknowledged:
        time.sleep(0.01)
    time.sleep(0.5)
    stopped.set()
    server.kill()
    for writer in writers:
        writer.join(60)
    assert acknowledged
    assert server.start()
    people = server.client()
    for key, digest in acknowledged.items():
        found = people.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert hashlib.sha256(found).hexdigest() == digest, key
        with pytest.raises(ClientError, match="PreconditionFailed"):
            people.put_object(Bucket=BUCKET, Key=key, Body=b"", IfNoneMatch="*")


def test_a_taken_port_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server((GATEWAY, 0)) as other:
        server = S3Server(tmp_path, s3_port=other.getsockname()[1])
        with pytest.raises(PortTaken, match="the S3 server") as caught:
            server.start()
    assert "WORKROOM_S3_PORT" in caught.value.fix


def test_inner_ports_that_somebody_else_took_are_chosen_anew(server: S3Server) -> None:
    server.client().put_object(Bucket=BUCKET, Key="kept", Body=b"1")
    before = server.inner
    server.kill()
    with socket.create_server((GATEWAY, before["filer.port.grpc"])):
        server.start()
        assert server.inner["filer.port.grpc"] != before["filer.port.grpc"]
        # Another master's port is another folder of its own; what is stored stays.
        assert server.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"1"


def test_a_server_that_cannot_start_says_so_with_its_last_words(tmp_path: Path) -> None:
    server = S3Server(tmp_path)
    (tmp_path / "data" / "s3").mkdir(parents=True)
    (tmp_path / "data" / "s3" / "filerldb2").write_text("a file where a folder must be")
    with pytest.raises(DataServerError, match="object store was started and does not answer") as e:
        server.start()
    assert "s3.log" in e.value.fix
    assert e.value.details


def test_the_probe_of_doctor_leaves_nothing_and_sees_a_key_that_is_refused(
    server: S3Server,
) -> None:
    before = server.client().list_object_versions(Bucket=BUCKET)["Versions"]
    data_s3.probe(server.stack, GATEWAY)
    assert server.client().list_object_versions(Bucket=BUCKET)["Versions"] == before
    (server.stack.home / "secrets" / "s3-users-secret").write_text("1" * 64)
    with pytest.raises(DataServerError, match="people cannot write and read"):
        data_s3.probe(server.stack, GATEWAY)


def test_another_program_on_the_port_gets_no_key(tmp_path: Path) -> None:
    """`answers` looks whose the port is before anything is signed for it."""
    with socket.create_server((GATEWAY, free_port())) as other:
        server = S3Server(tmp_path, s3_port=other.getsockname()[1])
        assert not data_s3.answers(server.stack, GATEWAY)


def test_identities_are_two_and_users_is_no_admin(server: S3Server) -> None:
    found = json.loads((server.rights / "identities.json").read_text())
    users = next(i for i in found["identities"] if i["name"] == "users")
    assert "actions" not in users
    assert users["policyNames"] == ["users"]
    assert users["credentials"][0]["accessKey"] == USERS
    assert len(found["identities"]) == 2
