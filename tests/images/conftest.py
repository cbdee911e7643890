"""The image's own Python package, a hub double, and containers of the image."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
IMAGE_FILES = HERE.parents[1] / "images" / "notebook"
for folder in (HERE, IMAGE_FILES / "server"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from containers import Notebook, bridge_address, docker  # noqa: E402
from hub_double import HubDouble  # noqa: E402


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of this checkout, built if need be; `WORKROOM_TEST_IMAGE` names another one."""
    given = os.environ.get("WORKROOM_TEST_IMAGE")
    if given:
        return given
    from workroom_hub.machine.image import build_image
    from workroom_hub.settings import Settings

    log = tmp_path_factory.mktemp("build") / "build.log"
    return build_image(Settings(), progress=lambda step: print(f"image: {step}"), log=log)


@pytest.fixture
def hub() -> Iterator[HubDouble]:
    """A hub double that containers reach."""
    with HubDouble(bridge_address()) as double:
        yield double


@pytest.fixture
def volume() -> Iterator[str]:
    """A fresh volume for a home."""
    name = docker("volume", "create").strip()
    yield name
    docker("volume", "rm", "--force", name)


@pytest.fixture
def closed_home(image: str, volume: str) -> str:
    """A volume with a home that its person may not even enter. (A tmpfs takes the image's mode.)"""
    mount = f"--volume={volume}:/home/workroom"
    spoil = "chown 4242 /home/workroom; chmod 0700 /home/workroom"
    docker("run", "--rm", "--user=0", mount, image, "sh", "-c", spoil)
    return volume


@pytest.fixture(scope="module")
def shell(image: str) -> Iterator[Notebook]:
    """One idle container, to run commands in as the person would."""
    with Notebook(image, command=["sleep", "infinity"], options=["--memory=3g"]) as container:
        yield container


@pytest.fixture(scope="module")
def server(image: str) -> Iterator[Notebook]:
    """A single-user server that swapped its start code, with its token known."""
    with HubDouble(bridge_address()) as double, Notebook(image, hub=double) as container:
        container.wait_until_up()
        yield container
