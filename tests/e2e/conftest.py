"""Fixtures of the end-to-end tests: a real image, a real installation, a real browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound
from playwright.sync_api import Browser

from tests.e2e.installation import LABEL, REPOSITORY, Installation
from tests.e2e.person import Person
from tests.support.browser import chromium as real_chromium


def settings(instance: str, isolation: str, port: int, **more: Any) -> dict[str, Any]:
    """Return a `workroom.yaml` for tests.

    Ports `port`, `port + 1` and `port + 81` are used, and `port - 6000` for ssh. There are no data
    servers unless `more` says `data=data_ports(port)`: they would cost each installation time.
    """
    images = [
        ("notebook", "Data science", "JupyterLab with Python, PySpark and R."),
        ("stand-in", "RStudio stand-in", "A stand-in for RStudio's server, for tests."),
        ("stuck", "Stuck", "Never reports in, for tests."),
    ]
    return {
        "instance": instance,
        "web": {"port": port, "proxy_api_port": port + 1, "isolation": isolation},
        "ssh": {"port": port - 6000},
        "local": {"hub_port": port + 81},
        "data": {"enabled": False},
        "auth": {"first_admin": "ada"},
        "images": [
            {"name": name, "ref": f"{instance}/{name}:latest", "title": title, "description": text}
            for name, title, text in images
        ],
        "profiles": [
            {
                "name": "small",
                "title": "Small",
                "description": "Explore, write, plot.",
                "cpu": 1,
                "memory": "1G",
            },
            {
                "name": "medium",
                "title": "Medium",
                "description": "Joins and local Spark.",
                "cpu": 2,
                "memory": "3G",
            },
            {
                "name": "plain",
                "title": "Plain",
                "description": "The stock image only.",
                "cpu": 1.5,
                "memory": "512M",
                "images": ["notebook"],
            },
        ],
        **more,
    }


def data_ports(port: int) -> dict[str, int]:
    """Return the section `data` of an installation that has its web page at `port`."""
    return {"s3_port": port + 2, "metastore_port": port + 3}


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine; without one these tests fail."""
    client = docker.from_env(timeout=120)
    client.ping()
    yield client
    client.close()


@pytest.fixture(scope="session")
def notebook_image(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The notebook image of the present sources, or the one WORKROOM_TEST_IMAGE names."""
    given = os.environ.get("WORKROOM_TEST_IMAGE")
    if given:
        return given
    folder = tmp_path_factory.mktemp("build")
    builder = Installation(folder, {}, engine)
    (folder / "workroom.yaml").write_text("{}")
    builder.workroom("build")
    return "workroom/notebook:latest"


def derived(engine: docker.DockerClient, instance: str, notebook: str, folder: Path) -> list[str]:
    """Make the images of `settings` out of the notebook image; return their tags."""
    tags = [f"{instance}/{name}:latest" for name in ("notebook", "stand-in", "stuck")]
    engine.images.get(notebook).tag(tags[0])
    shutil.copy(REPOSITORY / "tests/fakes/rserver_stand_in.py", folder / "rserver")
    (folder / "rserver").chmod(0o755)
    dockerfiles = [
        f"FROM {notebook}\nCOPY rserver /usr/lib/rstudio-server/bin/rserver\n"
        'LABEL io.workroom.rstudio="stand-in" io.workroom.rstudio-note=""\n',
        f'FROM {notebook}\nCMD ["sleep", "600"]\n',
    ]
    for tag, dockerfile in zip(tags[1:], dockerfiles, strict=True):
        (folder / "Dockerfile").write_text(dockerfile)
        engine.images.build(path=str(folder), tag=tag, rm=True)
    return tags


def sweep(engine: docker.DockerClient, instance: str) -> None:
    """Remove what a run that was killed left of an instance; its homes would be found again."""
    for name in ("instance", "data"):
        label = {"label": f"{LABEL}.{name}={instance}"}
        for container in engine.containers.list(all=True, ignore_removed=True, filters=label):
            container.remove(force=True)
        for volume in engine.volumes.list(filters=label):
            volume.remove(force=True)


@pytest.fixture(scope="session")
def bring_up(
    engine: docker.DockerClient, notebook_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Iterator[Installation]]:
    """Return what brings an installation up, yields it and removes every trace of it.

    Its words are what `up` is given, and environment variables of the installation's commands.
    """

    def bring(given: dict[str, Any], *words: str, **variables: str) -> Iterator[Installation]:
        folder = tmp_path_factory.mktemp(given["instance"])
        tags = derived(engine, given["instance"], notebook_image, folder)
        installation = Installation(
            folder / "home", given, engine, variables=variables, words=words
        )
        sweep(engine, given["instance"])
        try:
            installation.up()
            yield installation
        finally:
            installation.down()
            for tag in tags:
                with suppress(ImageNotFound):
                    engine.images.remove(tag)
        assert installation.traces() == []

    return bring


@pytest.fixture(scope="session", params=["path", "subdomain"])
def installation(
    request: pytest.FixtureRequest, bring_up: Callable[..., Iterator[Installation]]
) -> Iterator[Installation]:
    """One installation for all tests of a mode, with the users ada (admin), bob and carol."""
    for running in bring_up(settings(f"e2e-{request.param}", request.param, 8300)):
        for name in ("bob", "carol"):
            running.add_user(name)
        yield running


@pytest.fixture(scope="session")
def nap(bring_up: Callable[..., Iterator[Installation]]) -> Iterator[Installation]:
    """One more installation, with short times and small limits, and the same users."""
    given = settings(
        "e2e-nap",
        "path",
        8400,
        # The culler looks when a test runs it, and once as it starts.
        idle={"stop_after": "12s", "check_every": "1h"},
        limits={"start_timeout": "10s", "pids": 200},
    )
    for running in bring_up(given):
        for name in ("bob", "carol"):
            running.add_user(name)
        yield running


@pytest.fixture(scope="session")
def with_data(bring_up: Callable[..., Iterator[Installation]]) -> Iterator[Installation]:
    """One more installation, with the data servers, and the users ada (admin) and bob."""
    for running in bring_up(settings("e2e-data", "path", 8830, data=data_ports(8830))):
        running.add_user("bob")
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with real_chromium() as browser:
        yield browser


@pytest.fixture
def person(installation: Installation, chromium: Browser) -> Iterator[Callable[[str], Person]]:
    """Return what gives a user a browser of her own, logged in; closed after the test."""
    people: list[Person] = []

    def enter(name: str) -> Person:
        people.append(Person(installation, chromium, name))
        return people[-1].logged_in()

    yield enter
    for each in people:
        each.context.close()


# The cluster's half is run by `make soak`: the gateway knows addresses and ports only, and that it
# reaches servers of a cluster is seen in test_deployed.py in every run.
@pytest.fixture(scope="session", params=["local", pytest.param("ecs", marks=pytest.mark.soak)])
def over_ssh(
    request: pytest.FixtureRequest, bring_up: Callable[..., Iterator[Installation]]
) -> Iterator[Installation]:
    """One installation for all tests of ssh on each spawner, with ada (admin), bob and carol."""
    on_ecs = request.param == "ecs"
    port = 8820 if on_ecs else 8810
    given = settings(
        f"e2e-ssh-{request.param}",
        "path",
        port,
        ssh={"port": port - 6000, "logins_per_minute": 600},
        limits={"start_timeout": "20s"},
        **({"ecs": {"emulator_port": 8896}} if on_ecs else {}),
    )
    for running in bring_up(given, *(("--cloud", "local") if on_ecs else ())):
        for name in ("bob", "carol"):
            running.add_user(name)
        yield running
