"""Settings → JupyterHub's configuration, on a bare `Config()`."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from workroom_hub import configure
from workroom_hub.registry import promotions
from workroom_hub.runtime import ImageFacts, Runtime
from workroom_hub.settings import Settings
from workroom_spawner.promotions import FILE, Promotion

GIB = 2**30


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    facts = ImageFacts("sha256:1", None, "not in this image")
    return Runtime(
        tmp_path, "172.30.0.1", "workroom-users", 4, 16 * GIB, {"workroom/notebook:latest": facts}
    )


def build(runtime: Runtime, **settings: Any) -> Config:
    return configure.build(Settings.model_validate(settings), runtime, Config())


def test_only_the_proxy_listens_for_people_and_only_on_loopback(runtime: Runtime) -> None:
    c = build(runtime)
    assert c.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert c.JupyterHub.hub_bind_url == "http://172.30.0.1:8081"
    assert c.ConfigurableHTTPProxy.api_url == "http://127.0.0.1:8001"
    assert c.ConfigurableHTTPProxy.should_start is False


def test_a_hub_that_stops_takes_nobody_with_it(runtime: Runtime) -> None:
    c = build(runtime)
    assert c.JupyterHub.cleanup_servers is False
    assert c.JupyterHub.cleanup_proxy is False


def test_traffic_is_not_activity(runtime: Runtime) -> None:
    assert build(runtime).JupyterHub.last_activity_interval == 0


@pytest.mark.parametrize(
    ("web", "public", "subdomain"),
    [
        ({}, "http://localhost:8000/", None),
        ({"port": 9000, "host": "10.1.2.3"}, "http://10.1.2.3:9000/", None),
        ({"public_url": "https://w.example.com/"}, "https://w.example.com/", None),
        ({"isolation": "subdomain"}, None, "http://localhost:8000"),
        (
            {"isolation": "subdomain", "public_url": "https://w.example.com"},
            None,
            "https://w.example.com",
        ),
    ],
)
def test_where_people_find_it(
    runtime: Runtime, web: dict[str, Any], public: str | None, subdomain: str | None
) -> None:
    c = build(runtime, web=web)
    assert c.JupyterHub.get("public_url") == public
    assert c.JupyterHub.get("subdomain_host") == subdomain


def test_a_host_name_for_each_user_needs_an_address_others_can_type() -> None:
    with pytest.raises(ValueError, match="needs a public_url"):
        Settings.model_validate({"web": {"isolation": "subdomain", "host": "0.0.0.0"}})


def test_cookies_are_secure_behind_https(runtime: Runtime) -> None:
    c = build(runtime, web={"public_url": "https://w.example.com"})
    assert c.JupyterHub.tornado_settings == {"cookie_options": {"secure": True}}
    assert "tornado_settings" not in build(runtime).JupyterHub


def test_profiles_without_images_offer_all_and_too_large_defaults_are_left_out(
    runtime: Runtime,
) -> None:
    catalog = build(runtime).LocalSpawner.catalog
    assert [p.name for p in catalog.profiles] == ["small", "medium", "large"]
    assert {p.images for p in catalog.profiles} == {("notebook",)}
    assert catalog.images[0].rstudio_note == "not in this image"
    assert catalog.default == "small"


def test_limits_reach_the_spawner(runtime: Runtime) -> None:
    c = build(
        runtime,
        limits={"start_timeout": "5m", "pids": 512, "named_servers": 0, "total_servers": 9},
        homes={"shared_data": "/srv/data"},
        idle={"stop_after": "1h"},
    )
    spawner = c.LocalSpawner
    assert (spawner.start_deadline, spawner.start_timeout) == (300, 360)
    assert (spawner.pids_limit, spawner.shared_data, spawner.idle_after) == (512, "/srv/data", 3600)
    assert c.JupyterHub.active_server_limit == 9
    assert c.JupyterHub.allow_named_servers is False


def test_containers_are_told_the_hub_by_its_address_on_their_network(runtime: Runtime) -> None:
    url = build(runtime).LocalSpawner.start_url
    assert url == "http://172.30.0.1:8081/hub/api/workroom/start"


def test_culler_has_only_the_rights_it_needs_and_dies_with_the_hub(runtime: Runtime) -> None:
    c = build(runtime, idle={"stop_after": "2h", "max_age": "7d"})
    [culler] = [s for s in c.JupyterHub.services if s["name"] == "idle-culler"]
    assert culler["command"][:3] == ["setpriv", "--pdeathsig", "TERM"]
    assert {"--timeout=7200", "--max-age=604800"} <= set(culler["command"])
    [role] = [r for r in c.JupyterHub.load_roles if r["name"] == "idle-culler"]
    assert role["scopes"] == [
        "list:users",
        "read:users:activity",
        "read:servers",
        "delete:servers",
    ]


def test_no_culler_when_idle_servers_may_stay(runtime: Runtime) -> None:
    c = build(runtime, idle={"stop_after": 0})
    assert "idle-culler" not in [s["name"] for s in c.JupyterHub.services]


def test_who_may_read_the_metrics_may_do_nothing_else(runtime: Runtime) -> None:
    c = build(runtime)
    [service] = [s for s in c.JupyterHub.services if s["name"] == "metrics"]
    assert service == {"name": "metrics", "api_token": runtime.secret("metrics-token")}
    roles = [r for r in c.JupyterHub.load_roles if "metrics" in r.get("services", [])]
    assert [r["scopes"] for r in roles] == [["read:metrics"]]


def test_secrets_are_made_once_and_private(runtime: Runtime) -> None:
    first, second = build(runtime), build(runtime)
    assert first.ConfigurableHTTPProxy.auth_token == second.ConfigurableHTTPProxy.auth_token
    for path in (runtime.home / "secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_config_file_stays_small() -> None:
    lines = (Path(configure.__file__).parent / "jupyterhub_config.py").read_text().splitlines()
    assert len(lines) < 20


def test_a_hub_that_starts_takes_down_what_the_settings_name(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And starts all the same where it cannot."""
    image = Settings().images[0]
    promotions.promote(runtime.home, Promotion(image.name, "r.example.com/a@sha256:1", "older:1"))
    monkeypatch.setattr("workroom_hub.config_file.load", lambda _: Settings())
    monkeypatch.setattr(Runtime, "load", lambda _: runtime)
    file = Path(configure.__file__).parent / "jupyterhub_config.py"
    runpy.run_path(str(file), {"c": Config()})
    last = promotions.read(runtime.home)[-1]
    assert (last.action, last.replaces) == ("settings", image.ref)
    (runtime.home / FILE).write_text("{")
    c = Config()
    runpy.run_path(str(file), {"c": c})
    assert c.JupyterHub.default_url == "/hub/home"
    assert (runtime.home / FILE).read_text() == "{"


@pytest.mark.parametrize(
    ("ssh", "shown"),
    [
        ({}, "localhost:2222"),
        ({"public_host": "w.example.com", "public_port": 22}, "w.example.com:22"),
        ({"public_host": "2001:db8::1"}, "[2001:db8::1]:2222"),
        ({"enabled": False}, ""),
    ],
)
def test_servers_know_where_people_come_in_by_ssh(
    runtime: Runtime, ssh: dict[str, Any], shown: str
) -> None:
    assert build(runtime, ssh=ssh).LocalSpawner.ssh_address == shown
