"""This machine's registry over the real S3 server, an upstream of its own, and the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import docker
import pytest
from docker.errors import APIError, ImageNotFound

from tests.support.registry_server import QUIET, PlainRegistry, RegistryServer, import_image
from workroom_hub.machine import registry, registry_images

MINE = "workroom-registry-test"
SIZE = 2 * 2**20


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    client = docker.from_env(timeout=120)
    yield client
    client.close()


@pytest.fixture(scope="session")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainRegistry]:
    with PlainRegistry(tmp_path_factory.mktemp("upstream")) as running:
        yield running


@pytest.fixture(scope="session")
def one(
    tmp_path_factory: pytest.TempPathFactory, upstream: PlainRegistry
) -> Iterator[RegistryServer]:
    with RegistryServer(tmp_path_factory.mktemp("registry"), upstream.url, SETTINGS) as running:
        yield running


@pytest.fixture
def server(one: RegistryServer) -> RegistryServer:
    """A registry that runs as its settings say; a test may have left another."""
    if not (registry.answers(one.stack) and one.runs_as_told()):
        one.start()
    return one


SETTINGS = {
    "build": {"tag": f"{MINE}/notebook:latest"},
    "images": [{"name": "notebook", "ref": f"{MINE}/notebook:latest", "title": "Test"}],
}


@pytest.fixture
def build(engine: Any, server: RegistryServer) -> Iterator[Callable[..., Any]]:
    """Make what `workroom build` would have made; the engine forgets it and its names after."""
    made: list[str] = []

    def make(size: int = SIZE, **labels: str) -> Any:
        image = import_image(engine, f"{MINE}/notebook:latest", size, **labels)
        made.append(str(image.id))
        return image

    yield make
    for image_id in made:
        forget(engine, image_id)
    forget(engine, f"{MINE}/notebook:latest-former")


def forget(engine: Any, image_id: str) -> None:
    """Have the engine forget an image: names, layers, all."""
    with suppress(ImageNotFound, APIError):
        engine.images.remove(image_id, force=True)


def fetch(engine: Any, server: RegistryServer, ref: str) -> bool:
    """Fetch an image as a start does; return whether it had to be pulled."""
    settings = server.stack.settings.registry
    return registry_images.fetch(engine, settings, server.stack.home, ref, QUIET)
