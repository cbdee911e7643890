"""WorkroomHub's differences from JupyterHub, without a hub running."""

from __future__ import annotations

import inspect
import socket
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from jupyterhub.user import User
from traitlets.config import Config

from workroom_hub import keepers
from workroom_hub.app import PatientProxy, WorkroomHub


def test_jupyterhub_still_has_what_we_replace() -> None:
    """docs/decisions/0004: a release that changes this must be looked at."""
    assert list(inspect.signature(User._wait_up).parameters) == ["self", "spawner"]
    source = inspect.getsource(inspect.getmodule(WorkroomHub.__mro__[1]))
    assert "await user._wait_up(spawner)" in source
    assert "spawner._check_pending = False" in source


class Engine:
    """Lists two containers and remembers what it was told to remove."""

    removed: ClassVar[list[str]] = []

    def containers(self, **query: Any) -> list[dict[str, Any]]:
        assert query == {"all": True, "filters": {"label": "io.workroom.instance=test"}}
        return [
            {
                "Id": f"id-{user}",
                "Names": [f"/{user}"],
                "Labels": {"io.workroom.user": user, "io.workroom.server": ""},
            }
            for user in ("ada", "bob", "stranger")
        ]

    def remove_container(self, container: str, force: bool) -> None:
        self.removed.append(container)


async def test_only_containers_without_an_active_server_are_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keepers, "engine_client", Engine)
    monkeypatch.setattr(Engine, "removed", [])
    hub = WorkroomHub(config=Config({"LocalSpawner": {"instance": "test"}}))
    hub._trait_values["users"] = {
        "ada": SimpleNamespace(spawners={"": SimpleNamespace(active=True)}),
        "bob": SimpleNamespace(spawners={"": SimpleNamespace(active=False)}),
    }
    await keepers.ContainerKeeper(hub).sweep()
    assert Engine.removed == ["id-bob", "id-stranger"]


async def test_a_server_can_be_stopped_while_the_proxy_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    proxy = PatientProxy(
        hub=None, should_start=False, api_url=f"http://127.0.0.1:{port}", auth_token="x"
    )
    proxy.log.propagate = True
    await proxy.delete_route("/user/ada/")
    assert "route /user/ada/ could not be deleted" in caplog.text
