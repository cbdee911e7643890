"""Uploads that were broken off, in the real registry: old ones go, younger ones go on."""

from __future__ import annotations

import datetime
import hashlib
import time
from typing import Any

import pytest
import requests

from tests.support.registry_server import QUIET, RegistryServer
from tests.support.s3_server import GATEWAY
from workroom_hub.machine import registry, registry_config, registry_uploads

pytestmark = pytest.mark.docker
BODY = b"layer" * 2**20
BYTES = {"Content-Type": "application/octet-stream"}


def broken_off(server: RegistryServer, name: str = "notebook") -> str:
    """Send a half of a layer; return where the upload would go on."""
    auth = tuple(server.auth("push").values())
    url = f"http://{server.host}"
    begun = requests.post(f"{url}/v2/workroom/{name}/blobs/uploads/", auth=auth, timeout=10)
    half = BODY[: len(BODY) // 2]
    place = f"{url}{begun.headers['Location']}"
    answer = requests.patch(place, data=half, auth=auth, headers=BYTES, timeout=10)
    assert answer.status_code == 202
    return f"{url}{answer.headers['Location']}"


def left(server: RegistryServer) -> tuple[list[str], list[str]]:
    """Return the uploads' objects, and the keys of parts that S3 keeps for them."""
    s3: Any = server.platform()
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=registry_config.BUCKET)
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    begun = s3.list_multipart_uploads(Bucket=registry_config.BUCKET).get("Uploads", [])
    return [key for key in keys if "/_uploads/" in key], [each["Key"] for each in begun]


def later(span: datetime.timedelta) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + span


def test_an_old_upload_is_removed_with_all_its_parts_and_nothing_else(
    server: RegistryServer,
) -> None:
    for name in ("notebook", "team/other"):
        broken_off(server, name)
    files, begun = left(server)
    assert len(files) >= 4
    assert len(begun) >= 2
    s3 = server.platform()
    image = {"Bucket": registry_config.BUCKET, "Key": registry_config.blob_key("sha256:00")}
    s3.put_object(**image, Body=b"an image's layer")
    assert registry_uploads.remove_old(s3, later(datetime.timedelta(minutes=1))) >= 2
    assert left(server) == ([], [])
    assert s3.get_object(**image)["Body"].read()
    s3.delete_object(**image)


def test_an_upload_of_this_week_goes_on_after_the_next_start(server: RegistryServer) -> None:
    place = broken_off(server)
    before = left(server)
    registry.ensure(server.stack, GATEWAY, server.programs, QUIET)
    assert left(server) == before
    digest = f"sha256:{hashlib.sha256(BODY).hexdigest()}"
    done = requests.put(
        f"{place}&digest={digest}",
        data=BODY[len(BODY) // 2 :],
        auth=tuple(server.auth("push").values()),
        headers=BYTES,
        timeout=30,
    )
    assert done.status_code == 201


def test_one_that_got_a_part_lately_is_young_however_long_ago_it_began(
    server: RegistryServer,
) -> None:
    registry_uploads.remove_old(server.platform(), later(datetime.timedelta(minutes=1)))
    goes_on, silent = broken_off(server), broken_off(server)
    time.sleep(1.1)  # S3 tells time in seconds
    between = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    auth = tuple(server.auth("push").values())
    assert requests.patch(goes_on, data=b"x", auth=auth, headers=BYTES, timeout=10).ok
    assert registry_uploads.remove_old(server.platform(), between) == 1
    files, begun = left(server)
    for keys in (files, begun):
        assert keys
        assert all(upload_of(goes_on) in key for key in keys)
    assert (
        requests.patch(silent, data=b"x", auth=auth, headers=BYTES, timeout=10).status_code == 404
    )


def upload_of(place: str) -> str:
    return place.partition("?")[0].rpartition("/")[2]


def test_a_registry_runs_though_its_old_uploads_cannot_be_removed(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from botocore.exceptions import EndpointConnectionError

    def away(*_: Any) -> int:
        raise EndpointConnectionError(endpoint_url="http://s3")

    monkeypatch.setattr(registry_uploads, "remove_old", away)
    registry.ensure(server.stack, GATEWAY, server.programs, QUIET)
    assert "Old uploads to the image registry could not be removed" in capsys.readouterr().err
    assert registry.answers(server.stack)
