"""What thousands of servers share is in memory once."""

from __future__ import annotations

from traitlets.config import Config

from workroom_spawner.ecs import EcsSpawner
from workroom_spawner.ecs_settings import EcsSettings
from workroom_spawner.profiles import Catalog


def test_settings_are_not_copied_for_every_server(catalog: Catalog) -> None:
    settings = EcsSettings("eu-west-1", "team", "workroom", "0" * 32, ("subnet-1",))
    config = Config({"EcsSpawner": {"catalog": catalog, "platform_settings": settings}})
    spawner = EcsSpawner(config=config)
    assert spawner.catalog is catalog
    assert spawner.platform_settings is settings
