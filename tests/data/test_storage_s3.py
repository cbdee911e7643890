"""Bad days of an S3 server: a real one, behind a relay that fails."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.fakes import s3_failures as failures
from tests.fakes.s3_relay import Failure, Request, S3Relay
from tests.support.data_servers import SECRET, DataServers
from workroom_data import storage_s3, storage_s3_calls
from workroom_data.errors import Damaged, DataError, NotFound, SettingsError, Unavailable
from workroom_data.settings import Settings
from workroom_data.storage import Exists, Storage
from workroom_data.storage_s3_calls import Patience
from workroom_data.storage_s3_parts import PART

pytestmark = pytest.mark.docker

SHORT = Patience(connect=1, answer=5, silent=1, busy=3, attempts=3, pause=0.2)


@pytest.fixture
def relay(data_servers: DataServers) -> Iterator[S3Relay]:
    with S3Relay(data_servers.s3_endpoint) as relay:
        yield relay


@pytest.fixture
def relayed(relay: S3Relay, settings: Settings) -> Settings:
    return dataclasses.replace(settings, s3_endpoint=relay.endpoint)


@pytest.fixture
def storage(relayed: Settings) -> Storage:
    """Storage through the relay."""
    return Storage(relayed, SHORT)


@pytest.fixture
def direct(settings: Settings) -> Storage:
    """The same storage, past the relay."""
    return Storage(settings)


@pytest.fixture
def path(settings: Settings) -> str:
    return f"{settings.warehouse}/folder/file"


def completes(request: Request) -> bool:
    """Whether it is the last step of an upload in parts."""
    return request.method == "POST" and "uploadId" in request.path


BEFORE = [failures.internal_error, failures.slow_down, failures.drops_connection, failures.not_xml]
AFTER = [failures.internal_error_after_success, failures.no_answer_after_success]


@pytest.mark.parametrize("failure", [*BEFORE, *AFTER])
def test_a_write_is_tried_again(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, failure: Failure
) -> None:
    relay.fail(failure, times=2, when=Request.is_upload)
    assert storage.create(path, b"content") == 7
    assert direct.read(path) == b"content"
    assert relay.count("PUT") >= 2


@pytest.mark.parametrize("failure", AFTER)
def test_the_success_of_another_is_not_taken_for_ours(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, failure: Failure
) -> None:
    direct.create(path, b"another")
    relay.fail(failure, when=Request.is_upload)
    with pytest.raises(Exists):
        storage.create(path, b"content")
    assert direct.read(path) == b"another"


@pytest.mark.parametrize("failure", [*BEFORE, *AFTER])
def test_the_last_step_of_a_large_file_is_tried_again(
    relay: S3Relay,
    storage: Storage,
    direct: Storage,
    path: str,
    failure: Failure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_s3, "ONE_PUT", 1 << 20)
    content = os.urandom(PART + 5)
    relay.fail(failure, when=completes)
    assert storage.create(path, content) == len(content)
    assert direct.read(path) == content
    with pytest.raises(Exists):
        storage.create(path, content)


def test_parts_that_are_damaged_on_the_way_are_sent_again(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_s3, "ONE_PUT", 1 << 20)
    content = os.urandom(1 << 20) * 50
    for failure in (failures.wrong_bytes_up, failures.slow_down, failures.drops_connection):
        relay.fail(failure, when=Request.is_upload)
    assert storage.create(path, content) == len(content)
    assert direct.read(path) == content
    assert relay.count("PUT") == 4 + 3


def test_an_upload_that_fails_is_given_up_and_leaves_nothing(
    relay: S3Relay,
    storage: Storage,
    direct: Storage,
    path: str,
    settings: Settings,
    data_servers: DataServers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage_s3, "ONE_PUT", 1 << 20)
    relay.fail(failures.internal_error, times=1000, when=completes)
    with pytest.raises(Unavailable, match=r"fails at .*folder/file \(InternalError: on purpose\)"):
        storage.create(path, bytes(PART + 1))
    assert direct.list(path.rsplit("/", 1)[0]) == []
    bucket = settings.warehouse.split("/")[2]
    uploads = data_servers.s3().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    assert [upload["Key"] for upload in uploads if path.endswith(upload["Key"])] == []


def test_bytes_that_change_on_the_way_up_are_refused_by_the_server(
    relay: S3Relay, storage: Storage, direct: Storage, path: str
) -> None:
    relay.fail(failures.wrong_bytes_up, times=2, when=Request.is_upload)
    storage.create(path, b"content" * 100)
    assert direct.read(path) == b"content" * 100
    relay.fail(failures.wrong_bytes_up, times=1000, when=Request.is_upload)
    with pytest.raises(Damaged, match="otherwise than it was sent"):
        storage.create(path + "2", b"content" * 100)
    with pytest.raises(NotFound):
        direct.read(path + "2")


@pytest.mark.parametrize("failure", [failures.half_a_body, failures.wrong_bytes_down, *BEFORE])
def test_a_read_is_tried_again(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, failure: Failure
) -> None:
    content = os.urandom(1_000_000)
    direct.create(path, content)
    relay.fail(failure, times=2)
    assert storage.read(path) == content
    assert relay.count("GET") == 3


@pytest.mark.parametrize("failure", [failures.half_a_body, *BEFORE])
def test_a_large_file_is_read_in_spite_of_failures(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, failure: Failure
) -> None:
    content = os.urandom(1 << 20) * 40 + b"end"
    direct.create(path, content)
    relay.fail(failure, times=2)  # three attempts there are, however slow the machine
    assert storage.read(path) == content
    with storage.open(path) as file:
        relay.fail(failure, times=2)
        assert file.read_at(100, 30 << 20) == content[30 << 20 : (30 << 20) + 100]


def test_a_file_that_arrives_broken_every_time_is_damaged(
    relay: S3Relay, storage: Storage, direct: Storage, path: str
) -> None:
    direct.create(path, b"content")
    relay.fail(failures.wrong_bytes_down, times=1000)
    with pytest.raises(Damaged, match="otherwise than it was written"):
        storage.read(path)


@pytest.mark.parametrize("failure", [failures.half_a_body, failures.slow_down, failures.not_xml])
def test_a_list_is_asked_for_again(
    relay: S3Relay, storage: Storage, direct: Storage, path: str, failure: Failure
) -> None:
    direct.create(path, b"content")
    relay.fail(failure, times=2)
    assert [entry.name for entry in storage.list(path.rsplit("/", 1)[0])] == ["file"]


def test_a_server_that_hangs_is_left(
    relay: S3Relay, relayed: Settings, direct: Storage, path: str
) -> None:
    storage = Storage(relayed, dataclasses.replace(SHORT, answer=1))
    direct.create(path, b"content")
    hangs = failures.Hangs()
    try:
        relay.fail(hangs, times=2)
        assert storage.read(path) == b"content"
        relay.fail(hangs, times=1000)
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"does not answer about .*ReadTimeout"):
            storage.read(path)
        assert time.monotonic() - began < 10
    finally:
        hangs.over.set()


def test_a_storm_of_slow_down_is_outlasted_by_all(
    relay: S3Relay, relayed: Settings, direct: Storage, path: str
) -> None:
    storage = Storage(relayed, dataclasses.replace(SHORT, busy=30, answer=20))
    relay.fail(failures.slow_down, times=300)
    writers = [
        threading.Thread(target=storage.create, args=(f"{path}-{number:02d}", b"%d" % number))
        for number in range(32)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(direct.list(path.rsplit("/", 1)[0])) == 32
    assert relay.count("PUT") >= 332


def test_a_storm_that_does_not_end_is_said(relay: S3Relay, storage: Storage, path: str) -> None:
    relay.fail(failures.slow_down, times=100_000)
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"SlowDown.*Try again later"):
        storage.create(path, b"content")
    assert SHORT.busy < time.monotonic() - began < SHORT.busy + 3


def test_no_server_at_all(settings: Settings, path: str) -> None:
    nobody = dataclasses.replace(settings, s3_endpoint="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"does not answer.*EndpointConnectionError"):
        Storage(nobody, SHORT).read(path)


def test_a_bucket_that_is_not_there_is_said(settings: Settings) -> None:
    with pytest.raises(NotFound, match=r"no bucket.*WORKROOM_DATA_WAREHOUSE"):
        Storage(settings).read("s3://no-such-bucket/a/b")


def test_wrong_keys_are_refused_without_showing_them(
    settings: Settings, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = dataclasses.replace(settings, s3_secret=SECRET[::-1])
    with pytest.raises(Unavailable, match="refuses") as refused:
        Storage(wrong).read(path)
    assert SECRET[::-1] not in repr(wrong) + str(refused.value) + caplog.text


def test_no_secret_is_logged(
    settings: Settings, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = dataclasses.replace(settings, who="somebody else")  # a client of its own
    with caplog.at_level(logging.DEBUG):
        Storage(fresh).create(path, b"content")
    assert "put_object" in caplog.text or "PutObject" in caplog.text
    assert SECRET not in caplog.text


def test_settings_of_the_notebook_do_not_lead_elsewhere(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Her own profile and endpoint are for her own buckets."""
    for name, value in {
        "AWS_PROFILE": "nobody",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "hers",
        "AWS_SECRET_ACCESS_KEY": "hers",
        "AWS_SESSION_TOKEN": "hers",
    }.items():
        monkeypatch.setenv(name, value)
    fresh = Storage(dataclasses.replace(settings, who="somebody else again"), SHORT)
    fresh.create(path, b"content")
    assert fresh.read(path) == b"content"


def test_a_task_role_comes_before_her_own_keys(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = json.dumps(
        {
            "AccessKeyId": settings.s3_key_id,
            "SecretAccessKey": settings.s3_secret,
            "Token": "",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    )
    refusals = [503, 503]

    class Role(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(refusals.pop() if refusals else 200)
            self.end_headers()
            self.wfile.write(role.encode())

    with HTTPServer(("127.0.0.1", 0), Role) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/role"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "hers")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hers")
        monkeypatch.setenv("AWS_PROFILE", "nobody")
        storage = Storage(dataclasses.replace(settings, s3_key_id="", s3_secret=""), SHORT)
        storage.create(path, b"content")
        assert storage.read(path) == b"content"
        server.shutdown()


def test_a_role_that_gives_no_keys_is_said(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role")
    bare = dataclasses.replace(settings, s3_key_id="", s3_secret="", who="nobody")
    with pytest.raises(Unavailable, match="CredentialRetrievalError"):
        Storage(bare, dataclasses.replace(SHORT, attempts=1, silent=0)).read(path)


def test_without_a_platform_endpoint_it_is_aws_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    on_aws = Settings("s3://b/w", "thrift://x:1", "", "eu-west-1", "id", "secret")
    client = storage_s3_calls.connect(on_aws, SHORT, os.getpid())
    assert client.meta.endpoint_url == "https://s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize("endpoint", ["nonsense", "http://"])
def test_an_endpoint_that_is_none_is_named(settings: Settings, path: str, endpoint: str) -> None:
    wrong = dataclasses.replace(settings, s3_endpoint=endpoint)
    with pytest.raises(SettingsError, match="WORKROOM_DATA_S3_ENDPOINT"):
        Storage(wrong, SHORT).read(path)


def test_every_failure_is_a_sentence(relay: S3Relay, relayed: Settings, path: str) -> None:
    storage = Storage(relayed, dataclasses.replace(SHORT, silent=0, busy=0, attempts=4))
    for failure in BEFORE:
        relay.fail(failure, times=4)
        with pytest.raises(DataError) as raised:
            storage.size(path)
        assert raised.value.fix


def test_memory_of_a_stream_is_bounded(direct: Storage, path: str) -> None:
    """400 MB in chunks: a few parts are in memory, not the file."""
    tracemalloc.start()
    try:
        size = direct.create(path, (bytes(4 << 20) for _ in range(100)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size == 400 << 20
    assert peak < 200 << 20
