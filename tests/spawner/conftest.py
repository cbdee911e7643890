"""A LocalSpawner on a real hub database, with a fake engine; neither Docker nor a hub runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub import orm
from sqlalchemy.orm import Session

from tests.fakes.engines import Engine
from tests.spawner.ecs_world import Opens, world_of
from workroom_spawner.local import LocalSpawner
from workroom_spawner.profiles import Catalog, Image, Profile

GIB = 2**30
NOTEBOOK = Image("notebook", "workroom/notebook:latest", "Data science")
OTHER = Image("other", "workroom/other:latest", "Other", rstudio=None, rstudio_note="not in it")
SMALL = Profile("small", "Small", "", 1, 2 * GIB, 0, ("notebook",))
LARGE = Profile("large", "Large", "", 2, 8 * GIB, 0, ("notebook", "other"))
GPU = Profile("gpu", "GPU", "", 2, 8 * GIB, 1, ("other",), groups=("vision",))


@pytest.fixture
def catalog() -> Catalog:
    return Catalog((SMALL, LARGE, GPU), (NOTEBOOK, OTHER), cpus=4, memory=16 * GIB, default="small")


@pytest.fixture
def db() -> Iterator[Session]:
    session = orm.new_session_factory("sqlite:///:memory:")()
    yield session
    session.close()


@pytest.fixture
def a_world(db: Session, catalog: Catalog) -> Opens:
    """Return what opens a world within a test, whose loop's time is virtual there only."""
    return partial(world_of, db, catalog)


@pytest.fixture
def make_spawner(
    db: Session, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., LocalSpawner]:
    def make(engine: Engine, user: str = "ada", server: str = "", **traits: Any) -> LocalSpawner:
        monkeypatch.setattr(LocalSpawner, "_api", engine)
        monkeypatch.setattr(
            LocalSpawner, "get_env", lambda self: {"JUPYTERHUB_API_TOKEN": "secret-token"}
        )
        owner = orm.User.find(db, user) or orm.User(name=user)
        db.add(owner)
        row = orm.Spawner(name=server, user=owner)
        db.add(row)
        db.commit()
        person = SimpleNamespace(
            name=user, groups=owner.groups, url=f"/user/{user}", id=owner.id, db=db
        )
        # What the hub sets before it calls start().
        monkeypatch.setattr(LocalSpawner, "server", SimpleNamespace(base_url=f"/user/{user}/"))
        return LocalSpawner(
            user=person,
            orm_spawner=row,
            db=db,
            hub=orm.Server(),
            catalog=catalog,
            instance="test",
            network_name="test-users",
            start_url="http://10.0.0.1:8081/hub/api/workroom/start",
            **{"start_deadline": 5, **traits},
        )

    return make
