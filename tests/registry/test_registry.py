"""The registry of one machine with a real engine: push, pull, tokens, loss."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from docker.errors import APIError, ImageNotFound

from tests.registry.conftest import MINE, fetch, forget
from tests.support.registry_server import QUIET, PlainRegistry, RegistryServer, import_image
from tests.support.s3_server import GATEWAY
from workroom_hub.data_environment import BUCKET as TABLES
from workroom_hub.data_environment import USERS
from workroom_hub.errors import ImageError
from workroom_hub.machine import (
    data_s3,
    images_command,
    ports,
    processes,
    registry,
    registry_config,
    registry_images,
)
from workroom_hub.registry import server_config
from workroom_hub.registry.client import RegistryClient
from workroom_hub.registry.credentials import Credentials
from workroom_hub.registry.server_config import HALVES, Half
from workroom_hub.settings import Settings

pytestmark = pytest.mark.docker
Build = Callable[..., Any]


def test_an_image_is_pushed_once_by_its_content_and_pulled_by_its_digest(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    image = build()
    first = images_command.push(server.stack, None)
    assert first.anew
    assert first.tag.endswith(str(image.id)[7:19])
    again = images_command.push(server.stack, None)
    assert (again.ref, again.anew) == (first.ref, False)

    forget(engine, image.id)
    with pytest.raises(ImageNotFound):
        engine.images.get(image.id)
    assert fetch(engine, server, first.ref)
    assert engine.images.get(first.ref).id == image.id
    assert not fetch(engine, server, first.ref), "it is here already"


def test_another_build_of_the_same_inputs_gets_a_tag_of_its_own(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    """Packages of another day: the old tag must not move."""
    build(content="c" * 64)
    first = images_command.push(server.stack, None)
    build(content="c" * 64)
    second = images_command.push(server.stack, None)
    assert first.tag[:12] == second.tag[:12] == "c" * 12
    assert first.tag != second.tag
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    assert client.digest(first.tag) == first.digest


def test_the_pull_token_cannot_push_and_nobody_can_do_anything_without_one(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    image = build()
    pushed = images_command.push(server.stack, None)
    name = f"{server.host}/workroom/notebook"
    image.tag(name, "other")

    def push(auth: dict[str, str]) -> str:
        events = engine.api.push(name, "other", stream=True, decode=True, auth_config=auth)
        return next((event["error"] for event in events if "error" in event), "")

    assert "needs a token that may do it" in push(server.auth("pull"))
    assert "no basic auth credentials" in push({"username": "", "password": ""})
    wrong = {**server.auth("push"), "password": "0" * 64}
    assert "needs a token" in push(wrong)
    assert "needs a token" in push({**server.auth("pull"), "username": "workroom-push"})
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    assert client.digest("other") is None
    assert push(server.auth("push")) == ""

    forget(engine, image.id)
    with pytest.raises(APIError, match="no basic auth credentials"):
        engine.api.pull(f"{name}@{pushed.digest}", auth_config={"username": "", "password": ""})
    url = f"http://{server.host}"
    for path in ("/v2/", "/v2/_catalog", "/v2/workroom/notebook/tags/list", "/v2/library/x/tags"):
        answer = requests.get(url + path, timeout=10)
        assert answer.status_code == 401, path
        assert answer.headers["WWW-Authenticate"].startswith("Basic")
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"


@pytest.mark.parametrize("method", ["DELETE", "PUT", "PATCH", "POST"])
def test_no_verb_that_changes_something_passes_with_the_pull_token(
    server: RegistryServer, method: str
) -> None:
    given = server.auth("pull")
    auth = (given["username"], given["password"])
    digest = f"sha256:{'0' * 64}"
    for path in (f"manifests/{digest}", f"blobs/{digest}", "blobs/uploads/"):
        url = f"http://{server.host}/v2/workroom/notebook/{path}"
        assert requests.request(method, url, auth=auth, timeout=10).status_code == 401
    for path in ("/v2/", "/"):
        answer = requests.request(method, f"http://{server.host}{path}", auth=auth, timeout=10)
        assert answer.status_code == 403, path


def test_a_path_written_another_way_is_no_way_round(server: RegistryServer) -> None:
    given = server.auth("pull")
    auth = (given["username"], given["password"])
    for path in (
        "/v2/x/../workroom/notebook/blobs/uploads/",
        "/v2//workroom/notebook/blobs/uploads/",
        "/v2/%77orkroom/notebook/blobs/uploads/",
        "/v2/workroom%2fnotebook/blobs/uploads/",
        "//v2/workroom/notebook/blobs/uploads/",
    ):
        asked = requests.Request("POST", f"http://{server.host}/", auth=auth).prepare()
        asked.url = f"http://{server.host}{path}"
        with requests.Session() as session:
            assert session.send(asked, timeout=10).status_code in (401, 403, 404), path


@pytest.mark.parametrize("path", ["/", "//", "/%2e", "/v2/..", "/v2/workroom/notebook/../../.."])
def test_without_a_token_only_the_root_itself_is_asked(server: RegistryServer, path: str) -> None:
    """The registry would answer anything but `/` with its cleaned path, or an error."""
    connection = http.client.HTTPConnection(server.host, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location"), answer.read()) == (200, None, b"")


def test_the_halves_listen_on_no_port_and_no_secret_is_on_a_command_line(
    server: RegistryServer,
) -> None:
    home = server.stack.home
    hidden = [server.auth(right)["password"] for right in ("push", "pull")]
    hidden += [(home / "secrets" / name).read_text() for name in registry_config.SECRET_OF.values()]
    for role in (*registry.ROLE.values(), registry.FRONT):
        running = processes.find(home, role)
        assert running is not None, role
        listening = {server.stack.settings.registry.port} if role == registry.FRONT else set()
        assert ports.of(running) == listening
        told = Path(f"/proc/{running.pid}/cmdline").read_text()
        told += Path(f"/proc/{running.pid}/environ").read_text()
        told += (home / f"{role}.log").read_text()
        assert not any(secret in told for secret in hidden)
    written = [path for path in (home / "registry").rglob("*") if path.is_file()]
    assert written
    assert {path.stat().st_mode & 0o077 for path in written if path.name != "front.pid"} == {0}


def test_each_half_may_do_in_s3_what_it_must_and_no_more(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    build()
    pushed = images_command.push(server.stack, None)
    bucket, key = registry_config.BUCKET, registry_config.blob_key(pushed.digest)
    local, cache = (_s3(server, half) for half in HALVES)
    people = data_s3.client(server.stack, GATEWAY, USERS)

    assert local.get_object(Bucket=bucket, Key=key)["Body"].read()
    for client, call, words in (
        (local, "delete_object", {"Key": key}),
        (local, "get_object", {"Key": "cache/scheduler-state.json"}),
        (cache, "get_object", {"Key": key}),
        (cache, "put_object", {"Key": key, "Body": b""}),
        (people, "get_object", {"Key": key}),
        (people, "list_objects_v2", {}),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            getattr(client, call)(Bucket=bucket, **words)
    for client in (local, cache):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.list_objects_v2(Bucket=TABLES)
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_bucket(Bucket=bucket)


def _s3(server: RegistryServer, half: Half) -> Any:
    import boto3

    return boto3.Session().client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=registry_config.IDENTITY[half],
        aws_secret_access_key=(
            server.stack.home / "secrets" / registry_config.SECRET_OF[half]
        ).read_text(),
    )


def test_with_its_disk_wiped_it_has_every_image_still(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    pushed = {}
    for _ in range(2):
        image = build()
        pushed[images_command.push(server.stack, None)] = str(image.id)
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    before = client.tags()

    server.stop_registry()
    shutil.rmtree(server.stack.home / server_config.FOLDER)
    for image_id in pushed.values():
        forget(engine, image_id)
    server.start()

    assert client.tags() == before
    for each, image_id in pushed.items():
        assert client.digest(each.tag) == each.digest
        assert fetch(engine, server, each.ref)
        assert engine.images.get(each.ref).id == image_id


def test_an_image_of_others_is_fetched_once_and_served_without_its_upstream(
    engine: Any, tmp_path: Path, one: RegistryServer
) -> None:
    """Our images too: the cache does not even start without its upstream, which nobody notices."""
    image = import_image(engine, f"{MINE}/theirs:1", 2**20)
    try:
        with PlainRegistry(tmp_path) as theirs:
            mirrored = RegistryServer(
                one.stack.home,
                theirs.url,
                data={"s3_port": one.stack.settings.data.s3_port},
                port=one.stack.settings.registry.port,
            )
            mirrored.start()
            image.tag(f"{theirs.host}/library/workroom-registry-test-base", "1")
            for event in engine.api.push(
                f"{theirs.host}/library/workroom-registry-test-base", "1", stream=True, decode=True
            ):
                assert "error" not in event, event
            through = f"{mirrored.host}/library/workroom-registry-test-base:1"
            forget(engine, image.id)
            assert fetch(engine, mirrored, through)
            assert engine.images.get(through).id == image.id
        forget(engine, image.id)

        # A build takes its base image the same way.
        mine = {"base_image": "workroom-registry-test-base:1", "tag": f"{MINE}/x:1"}
        wanting = Settings.model_validate({**mirrored.stack.settings.model_dump(), "build": mine})
        registry_images.base(wanting, mirrored.stack.home, QUIET)
        assert engine.images.get("workroom-registry-test-base:1").id == image.id
        forget(engine, image.id)

        assert fetch(engine, mirrored, through), "its upstream is gone, and it has it"
        assert engine.images.get(through).id == image.id
        client = RegistryClient(
            mirrored.host,
            "library/workroom-registry-test-base",
            Credentials(*mirrored.auth("pull").values()),
        )
        kept = client.look("1")
        assert kept is not None
        assert all(client.damaged(blob) == "" for blob in kept.blobs)
        events = engine.api.push(through, stream=True, decode=True, auth_config=one.auth("push"))
        errors = [event["error"] for event in events if "error" in event]
        assert errors
        assert "only our own images can be pushed here" in errors[0]
    finally:
        forget(engine, image.id)


def test_without_its_upstream_the_cache_is_away_and_our_images_are_not(
    engine: Any, server: RegistryServer, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    image = build()
    pushed = images_command.push(server.stack, None)
    forget(engine, image.id)
    alone = RegistryServer(
        server.stack.home,
        "http://127.0.0.1:1",
        data={"s3_port": server.stack.settings.data.s3_port},
        port=server.stack.settings.registry.port,
    )
    alone.start()
    assert "http://127.0.0.1:1 does not answer" in capsys.readouterr().err
    assert fetch(engine, alone, pushed.ref)
    with pytest.raises(ImageError, match="503") as refused:
        fetch(engine, alone, f"{alone.host}/library/other:1")
    assert refused.value.fix.startswith("That half of the registry does not run")
