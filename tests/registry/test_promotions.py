"""From `workroom push` to what the next start gets, with the real registry and engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from docker.errors import ImageNotFound

from tests.registry.conftest import MINE, forget
from tests.support.registry_server import RegistryServer
from workroom_hub import configure
from workroom_hub.errors import ImageError, RegistryError
from workroom_hub.machine import (
    doctor,
    down,
    images,
    images_command,
    images_list,
    registry_images,
    status,
)
from workroom_hub.machine.stack import Stack
from workroom_hub.runtime import Runtime
from workroom_spawner.promotions import FILE

pytestmark = pytest.mark.docker
Build = Callable[..., Any]
PLAIN = f"{MINE}/notebook:latest"


def chosen(stack: Stack) -> Any:
    """Return the image that the hub's catalog gives a start now."""
    runtime = Runtime(stack.home, "127.0.0.1", "net", 4, 2**34, {})
    return configure.catalog(stack.settings, runtime).choose({}, []).image


def naming(server: RegistryServer, ref: str) -> Stack:
    """Return the stack with settings that name another reference."""
    settings = server.stack.settings.model_dump()
    settings["images"][0]["ref"] = ref
    loaded = type(server.stack.settings).model_validate(settings)
    return Stack(loaded, None, server.stack.home, server.stack.report)


@pytest.fixture
def said(server: RegistryServer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the lines that commands print."""
    lines: list[str] = []
    monkeypatch.setattr(server.stack.report, "line", lines.append)
    return lines


def test_promote_and_rollback_move_what_the_next_start_gets(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    first_image = build(rstudio="2024.1")
    first = images_command.push(stack, None)
    second_image = build(rstudio_note="not to be had")
    second = images_command.push(stack, None)
    assert chosen(stack).ref == PLAIN, "a push alone gives nobody anything"

    images_command.promote(stack, "notebook", first.tag)
    runs = chosen(stack)
    assert (runs.ref, runs.rstudio) == (first.ref, "2024.1")
    images_command.promote(stack, "notebook", second.digest[7:20])
    assert (chosen(stack).ref, chosen(stack).rstudio_note) == (second.ref, "not to be had")
    assert runs.ref == first.ref

    [row] = images_list.collect(stack)
    assert (row["next"], row["former"], row["from"]) == (second.ref, first.ref, "promotion")
    told = {each["digest"]: each["is"] for each in row["registry"]}
    assert (told[first.digest], told[second.digest]) == ("former", "next")

    # What a rollback goes back to is fetched first: a start must not wait for it.
    forget(engine, first_image.id)
    taken, ref = images_command.rollback(stack, "notebook")
    assert (taken.ref, ref, chosen(stack).ref) == (second.ref, first.ref, first.ref)
    assert engine.images.get(first.ref).id == first_image.id

    # And `up` fetches what an engine lost.
    for image_id in (first_image.id, second_image.id):
        forget(engine, image_id)
    images_command.fetch_promoted(engine, stack)
    assert engine.images.get(first.ref).id == first_image.id

    # The tag named the second build when the first was promoted; then the settings' word is next.
    assert images_command.rollback(stack, "notebook")[1] == chosen(stack).ref == second.ref
    forget(engine, second_image.id)
    with pytest.raises(ImageError, match=f"no image '{PLAIN}'") as missing:
        images_command.rollback(stack, "notebook")
    assert missing.value.fix == "Make it: workroom build"
    assert chosen(stack).ref == second.ref, "a start that would fail is worse"
    build()
    _, ref = images_command.rollback(stack, "notebook")
    assert ref == chosen(stack).ref == PLAIN
    with pytest.raises(RegistryError, match="Nothing was promoted"):
        images_command.rollback(stack, "notebook")
    history = json.loads((stack.home / FILE).read_text())["history"]
    assert [each["action"] for each in history] == ["kept", *["promote"] * 2, *["rollback"] * 3]


@pytest.mark.parametrize("pushed", [True, False])
def test_a_rollback_gives_what_a_tag_named_before_a_build_moved_it(
    engine: Any, server: RegistryServer, build: Build, said: list[str], pushed: bool
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    first = build(rstudio="2024.1")
    before = images_command.push(stack, None).ref if pushed else first.id
    second = build()
    images_command.tell_of_build(stack, first.id, second.id, asked=True)
    assert not any("still get" in line for line in said), (
        "a build alone gives it to people while nothing was promoted"
    )
    now = images_command.push(stack, None)
    images_command.promote(stack, "notebook", now.ref)
    third = build()
    images_command.tell_of_build(stack, second.id, third.id, asked=False)
    assert f"People still get {now.ref} (promoted " in said[-1]
    assert "workroom images promote notebook TAG" in said[-1]

    images_command.rollback(stack, "notebook")
    assert chosen(stack).ref == before
    assert chosen(stack).rstudio == "2024.1"
    assert engine.images.get(chosen(stack).ref).id == first.id
    if not pushed:
        images_command.promote(stack, "notebook", now.tag)
        forget(engine, first.id)
        with pytest.raises(ImageError, match="was never pushed, and the engine does not have it"):
            images_command.rollback(stack, "notebook")
        assert chosen(stack).ref == now.ref


def test_a_rollback_that_would_change_nothing_is_refused(
    server: RegistryServer, build: Build
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    build()
    images_command.promote(stack, "notebook", images_command.push(stack, None).tag)
    with pytest.raises(RegistryError, match="a rollback would change nothing"):
        images_command.rollback(stack, "notebook")


def test_status_and_doctor_look_at_what_people_get(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    first = build()
    pushed = images_command.push(stack, None)
    build()
    images_command.promote(stack, "notebook", pushed.tag)
    [row] = status._images(engine, stack)
    assert (row["ref"], row["id"], row["configured"]) == (pushed.ref, first.id, PLAIN)
    assert row["promoted"]
    assert (
        f"{pushed.ref} (RStudio: not in the image, promoted "
        in doctor._images(engine, stack).message
    )
    forget(engine, first.id)
    assert f"missing: {pushed.ref}" in doctor._images(engine, stack).message
    stored = status._object_store(stack)
    assert 0 < stored["images_bytes"] <= stored["disk_bytes"]
    assert "of images" in status._line(stored)


def test_a_reference_that_the_registry_lacks_is_to_be_corrected(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    build()
    images_command.push(server.stack, None)
    stack = naming(server, f"{server.host}/workroom/notebook:never")
    with pytest.raises(ImageError, match="never") as caught:
        images.ensure(engine, stack)
    assert "has no such image" in caught.value.fix
    assert "workroom images list, then correct images[0].ref" in caught.value.fix


def test_a_purge_removes_the_names_of_this_registry_and_no_other(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    image = build()
    pushed = images_command.push(server.stack, None)
    down._forget_images(engine, server.stack)
    with pytest.raises(ImageNotFound):
        engine.images.get(pushed.ref)
    assert engine.images.get(image.id).tags == [PLAIN]


def test_settings_that_go_there_and_back_have_the_last_word_after_each_up(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    (server.stack.home / FILE).unlink(missing_ok=True)
    pushed, made = [], []
    for _ in range(3):
        made.append(build())
        pushed.append(images_command.push(server.stack, None))

    here, there = (naming(server, each.ref) for each in pushed[:2])
    images.ensure(engine, here)
    images_command.promote(here, "notebook", pushed[2].tag)
    images.ensure(engine, here)
    assert chosen(here).ref == pushed[2].ref
    images.ensure(engine, there)
    assert chosen(there).ref == pushed[1].ref
    forget(engine, made[2].id)
    images.ensure(engine, here)
    assert chosen(here).ref == pushed[0].ref
    with pytest.raises(ImageNotFound):
        engine.images.get(pushed[2].ref)


def test_a_promotion_while_a_rollback_fetches_is_not_taken_back(
    server: RegistryServer, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    tags = []
    for _ in range(2):
        build()
        tags.append(images_command.push(stack, None).tag)
    images_command.promote(stack, "notebook", tags[0])
    fetch = registry_images.fetch

    def slow(*given: Any) -> bool:
        monkeypatch.undo()
        images_command.promote(stack, "notebook", tags[1])
        return fetch(*given)

    monkeypatch.setattr(registry_images, "fetch", slow)
    with pytest.raises(RegistryError, match="Somebody changed it meanwhile"):
        images_command.rollback(stack, "notebook")
    assert chosen(stack).ref.endswith(images_command.find(stack, "notebook", tags[1])[0].digest)


def test_what_cannot_be_fetched_or_is_not_there_is_not_promoted(
    server: RegistryServer, build: Build
) -> None:
    stack = server.stack
    (stack.home / FILE).unlink(missing_ok=True)
    build()
    images_command.push(stack, None)
    for what in ("latest", "f" * 40, f"sha256:{'0' * 64}", "", "sha256:", "1"):
        with pytest.raises(RegistryError, match="has no image"):
            images_command.promote(stack, "notebook", what)
    with pytest.raises(RegistryError, match="no image 'gpu' under 'images'"):
        images_command.promote(stack, "gpu", "latest")
    assert not (stack.home / FILE).exists()
    assert chosen(stack).ref == PLAIN


def test_what_was_not_built_here_is_not_pushed(
    engine: Any, server: RegistryServer, build: Build
) -> None:
    image = build()
    forget(engine, image.id)
    with pytest.raises(ImageError, match="has no image") as missing:
        images_command.push(server.stack, None)
    assert missing.value.fix == "Make it: workroom build"
