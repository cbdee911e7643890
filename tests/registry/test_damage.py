"""Damaged parts of images in the real registry: named, removed, sent again; whole ones stay."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError
from docker.errors import ImageNotFound

from tests.registry.conftest import MINE, SIZE, fetch, forget
from tests.support.registry_server import RegistryServer
from workroom_hub.errors import ImageError, RegistryError
from workroom_hub.machine import (
    images_check,
    images_command,
    images_list,
    registry,
    registry_config,
    registry_images,
)
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.registry.client import RegistryClient

pytestmark = pytest.mark.docker
Build = Callable[..., Any]


def loudly(server: RegistryServer) -> Stack:
    """Return its stack as the command has it, which says what it does."""
    server.remember_gateway()
    return Stack(server.stack.settings, None, server.stack.home, Reporter())


def no_json(body: bytes) -> bytes:
    return body[:-1]


def one_bit(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def other_size(body: bytes) -> bytes:
    size = b'"size": %d' % json.loads(body)["config"]["size"]
    assert size in body
    return body.replace(size, size[:-1] + b"%d" % (9 - int(size[-1:])), 1)


@pytest.mark.parametrize(
    ("part", "spoil"),
    [
        ("layer", one_bit),
        ("layer", None),
        ("configuration", one_bit),
        ("configuration", None),
        ("manifest", other_size),
        ("manifest", no_json),
        ("manifest", None),
    ],
)
def test_damage_is_refused_named_removed_and_sent_again_and_hides_no_other_image(
    engine: Any,
    server: RegistryServer,
    build: Build,
    capsys: pytest.CaptureFixture[str],
    part: str,
    spoil: Callable[[bytes], bytes] | None,
) -> None:
    build()
    healthy = images_command.push(server.stack, None)
    image = build()
    pushed = images_command.push(server.stack, None)
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    kept = client.look(pushed.digest)
    assert kept is not None
    digests = {"layer": kept.blobs[-1], "configuration": kept.blobs[0], "manifest": kept.digest}
    place = {"Bucket": registry_config.BUCKET, "Key": registry_config.blob_key(digests[part])}
    s3 = server.platform()
    if spoil:
        s3.put_object(**place, Body=spoil(s3.get_object(**place)["Body"].read()))
    else:
        s3.delete_object(**place)
        registry.restart_half(loudly(server), "local")
    saved = b"".join(image.save(named=f"{MINE}/notebook:latest"))
    forget(engine, image.id)
    with pytest.raises(ImageError) as refused:
        fetch(engine, server, pushed.ref)
    if (part, spoil) == ("layer", one_bit):
        assert "images check" in refused.value.fix
    with pytest.raises(ImageNotFound):
        engine.images.get(pushed.ref)

    # Neither the damage nor what its removal leaves takes the view of other images.
    loud = loudly(server)
    for repair in (False, True, False):
        capsys.readouterr()
        assert images_check.check(loud, "notebook", None, repair=repair)
        lines = capsys.readouterr().out.splitlines()
        assert any(healthy.tag in each and "as their digests say" in each for each in lines)
        assert any(pushed.tag in each and "as their digests" not in each for each in lines), lines
        rows = {each["tag"]: each for each in images_list.collect(loud)[0]["registry"]}
        assert rows[healthy.tag]["digest"] == healthy.digest
        if part != "layer":  # which is not read for a list
            assert rows[pushed.tag]["problem"]
            assert rows[pushed.tag]["digest"] is None
            with pytest.raises(RegistryError):
                images_command.promote(loud, "notebook", pushed.tag)
    images_list.show(images_list.collect(loud))
    assert not _has(s3, place)

    engine.images.load(saved)
    again = images_command.push(server.stack, None)
    assert (again.ref, again.anew) == (pushed.ref, True)
    assert not images_check.check(loud, "notebook", pushed.tag, repair=False)
    forget(engine, image.id)
    assert fetch(engine, server, pushed.ref)


def _has(s3: Any, place: dict[str, str]) -> bool:
    try:
        s3.head_object(**place)
    except ClientError:
        return False
    return True


def test_a_part_that_became_shorter_is_damaged_though_its_read_breaks_off(
    server: RegistryServer, build: Build
) -> None:
    """The registry remembers how long it was, so what it sends ends early each time."""
    build()
    pushed = images_command.push(server.stack, None)
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    kept = client.look(pushed.digest)
    assert kept is not None
    layer = kept.blobs[-1]
    s3, place = server.platform(), {"Key": registry_config.blob_key(layer)}
    place["Bucket"] = registry_config.BUCKET
    s3.put_object(**place, Body=s3.get_object(**place)["Body"].read()[: SIZE // 2])
    with pytest.raises(RegistryError, match="could not be read to its end"):
        client.damaged(layer)
    assert images_check.check(loudly(server), "notebook", pushed.tag, repair=True)
    assert client.damaged(layer) == "it is missing"
    assert images_command.push(server.stack, None).anew
    assert not images_check.check(loudly(server), "notebook", pushed.tag, repair=False)


def test_a_registry_that_dies_while_it_is_read_loses_nothing(
    server: RegistryServer, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(32 * 2**20)  # more than the sockets on its way hold
    pushed = images_command.push(server.stack, None)
    s3, loud = server.platform(), loudly(server)
    client = registry_images.client(server.stack.settings.registry, server.stack.home, "notebook")
    kept = client.look(pushed.digest)
    assert kept is not None
    layer = {"Bucket": registry_config.BUCKET, "Key": registry_config.blob_key(kept.blobs[-1])}
    pid = server.pid(registry.ROLE["local"])
    assert pid is not None

    def die_at_the_first_bytes(answer: requests.Response, size: int) -> Iterator[bytes]:
        stream = whole(answer, 1024)
        if "/blobs/" not in answer.url or not int(answer.headers["Content-Length"]) > SIZE // 2:
            yield from stream
            return
        yield next(stream)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        yield from stream

    whole = requests.Response.iter_content
    monkeypatch.setattr(requests.Response, "iter_content", die_at_the_first_bytes)
    with pytest.raises(RegistryError, match="could not be read to its end") as caught:
        images_check.check(loud, "notebook", pushed.tag, repair=True)
    assert caught.value.fix == "Run it again."
    monkeypatch.undo()
    assert _has(s3, layer)
    server.start()
    assert not images_check.check(loud, "notebook", pushed.tag, repair=True)


def test_what_the_registry_calls_damaged_and_s3_has_whole_stays(
    server: RegistryServer,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    build()
    pushed = images_command.push(server.stack, None)
    monkeypatch.setattr(RegistryClient, "damaged", lambda self, blob: "its bytes are others")
    assert images_check.check(loudly(server), "notebook", pushed.tag, repair=True)
    assert "is whole in S3, and stays" in capsys.readouterr().out
    monkeypatch.undo()
    assert not images_check.check(loudly(server), "notebook", pushed.tag, repair=False)
