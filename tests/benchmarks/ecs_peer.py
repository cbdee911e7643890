"""Spawners outside of a hub, for benchmarks that count calls: fargatespawner as released, and ours.

Both talk to the same fake account over HTTPS. What a hub would give a spawner is made here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from fargatespawner import FargateSpawner, FargateSpawnerSecretAccessKeyAuthentication
from jupyterhub import orm
from sqlalchemy.orm import Session
from tornado.httpclient import AsyncHTTPClient

from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.ecs_settings import CapacityProvider, EcsHomes, EcsSettings
from workroom_spawner.profiles import Catalog, Image, Profile

NETWORK = {"awsvpcConfiguration": {"subnets": ["subnet-0123456789abcdef0"]}}
FAMILY = "peer"
CATALOG = Catalog(
    (Profile("bench", "Bench", "", 1, 2**30, 0, ("notebook",)),),
    (Image("notebook", "workroom/notebook:latest", "Notebook"),),
    cpus=4,
    memory=16 * 2**30,
    default="bench",
)


def peer(url: str, name: str = "ada", task_arn: str = "", **traits: Any) -> FargateSpawner:
    """Return a fargatespawner for the account at `url`, configured as its README says."""
    # It takes hosts, not addresses; and the fake signs its own certificate.
    AsyncHTTPClient.configure(None, defaults={"validate_cert": False}, max_clients=50)
    spawner = FargateSpawner(
        user=SimpleNamespace(name=name, url=f"/user/{name}", id=1),
        orm_spawner=SimpleNamespace(name="", server=None),
        hub=orm.Server(),
        aws_region="eu-west-1",
        aws_ecs_host=urlsplit(url).netloc,
        notebook_port=8888,
        notebook_scheme="http",
        authentication_class=FargateSpawnerSecretAccessKeyAuthentication,
        get_run_task_args=lambda _: {
            "cluster": "bench",
            "taskDefinition": FAMILY,
            "count": 1,
            "launchType": "FARGATE",
            "networkConfiguration": NETWORK,
        },
        **traits,
    )
    spawner.authentication.aws_access_key_id = "AKIAFAKE"
    spawner.authentication.aws_secret_access_key = "fake"
    spawner.clear_state()  # as the hub does before every start
    if task_arn:
        spawner.load_state({"task_arn": task_arn, "task_cluster_arn": "bench"})
    return spawner


def settings(url: str, **more: Any) -> EcsSettings:
    """Return the settings of our spawner for the account at `url`."""
    return EcsSettings(
        **{
            "region": "eu-west-1",
            "cluster": "bench",
            "instance": "bench",
            "installation": "b" * 32,
            "subnets": ("subnet-0123456789abcdef0",),
            "capacity_providers": (CapacityProvider("machines"),),
            "task_role": "arn:aws:iam::123456789012:role/task",
            "homes": EcsHomes("efs", "fs-0123456789abcdef0"),
            "endpoint_url": url,
            **more,
        }
    )


@contextmanager
def database() -> Iterator[Session]:
    """Open a hub database in memory: in virtual time nothing may wait for a disk."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    session = orm.new_session_factory("sqlite:///:memory:")()
    yield session
    session.close()


def ours(db: Session, ecs: EcsSettings, name: str = "ada", kind: type = EcsSpawner) -> EcsSpawner:
    """Return our spawner for a new user, as the hub makes it."""
    owner = orm.User(name=name)
    row = orm.Spawner(name="", user=owner)
    db.add_all([owner, row])
    db.flush()
    spawner: EcsSpawner = kind(
        user=SimpleNamespace(name=name, groups=[], url=f"/user/{name}", id=owner.id, db=db),
        orm_spawner=row,
        db=db,
        hub=orm.Server(),
        catalog=CATALOG,
        instance=ecs.instance,
        installation=ecs.installation,
        start_url="http://127.0.0.1:1/hub/api/workroom/start",
        start_code_key=b"k" * 32,
        start_deadline=300,
        platform_settings=ecs,
    )
    spawner.user_options = {"profile": "bench", "image": "notebook"}
    return spawner
