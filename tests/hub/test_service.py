"""Hub, proxy and gateway as services: what a container's environment becomes."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from traitlets.config import Config

from workroom_hub import config_file, configure, proxy_watch
from workroom_hub.errors import ConfigError
from workroom_hub.initial_password import load_initial_password
from workroom_hub.runtime import SECRETS, Runtime
from workroom_hub.service import environment, first_admin, measure
from workroom_hub.service.__main__ import _proxy, _ssh

HEX = "0123456789abcdef" * 4


def given(**changes: str) -> dict[str, str]:
    """Return the environment of a hub's container."""
    settings = {
        "spawner": "ecs",
        "web": {
            "host": "0.0.0.0",
            "public_url": "https://workroom.example.com",
            "isolation": "subdomain",
            "proxy_api_url": "http://proxy.workroom.internal:8001",
        },
        "ecs": {
            "region": "eu-central-1",
            "cluster": "workroom",
            "subnets": ["subnet-0123456789abcdef0"],
            "hub_url": "http://hub.workroom.internal:8081",
            "hub_host": "0.0.0.0",
            "task_role": "arn:aws:iam::123456789012:role/task",
        },
        "homes": {"kind": "efs", "file_system": "fs-0123456789abcdef0"},
    }
    secrets = ("PROXY_TOKEN", "CLI_TOKEN", "METRICS_TOKEN", "SSH_TOKEN", "COOKIE_SECRET")
    more = ("START_CODE_KEY", "USAGE_KEY", "SSH_HOST_SEED", "SSH_USER_CA_SEED")
    return {
        "PATH": "/usr/bin",
        "AWS_REGION": "eu-central-1",
        "WORKROOM_SETTINGS": json.dumps(settings),
        "WORKROOM_INSTALLATION": "ab" * 16,
        "WORKROOM_DATABASE_HOST": "db.example.com",
        "WORKROOM_DATABASE_NAME": "workroom",
        "WORKROOM_DATABASE_USERNAME": "workroom",
        "WORKROOM_DATABASE_PASSWORD": "p@ss/word:1",
        "WORKROOM_FIRST_ADMIN_USERNAME": "admin",
        "WORKROOM_FIRST_ADMIN_PASSWORD": "first-password",
        **{f"WORKROOM_SECRET_{name}": HEX for name in (*secrets, *more)},
        **changes,
    }


def test_the_hub_is_configured_from_the_environment(tmp_path: Path) -> None:
    home = tmp_path / "state"
    environment.prepare(home, given())
    settings, runtime = config_file.load(home / "workroom.yaml"), Runtime.load(home)
    c = configure.build(settings, runtime, Config())
    assert c.JupyterHub.db_url == (
        "postgresql+psycopg://workroom:p%40ss%2Fword%3A1@db.example.com/workroom?sslmode=require"
    )
    assert c.ConfigurableHTTPProxy.api_url == "http://proxy.workroom.internal:8001"
    assert c.ConfigurableHTTPProxy.auth_token == HEX
    assert c.JupyterHub.hub_bind_url == "http://0.0.0.0:8081"
    assert c.JupyterHub.hub_connect_url == "http://hub.workroom.internal:8081"
    assert runtime.installation == "ab" * 16
    assert load_initial_password(home) == ("admin", "first-password")


def test_no_secret_goes_on_to_the_service(tmp_path: Path) -> None:
    left = environment.prepare(tmp_path, given())
    text = json.dumps(left)
    for secret in (HEX, "p@ss/word:1", "first-password"):
        assert secret not in text
    assert left["PATH"] == "/usr/bin"
    assert left["WORKROOM_CONFIG"] == str(tmp_path / "workroom.yaml")


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    environment.prepare(tmp_path / "state", given(WORKROOM_OIDC_CLIENT_SECRET="oidc"))
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert len(files) > len(SECRETS)
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert (tmp_path / "state/secrets/oidc-client-secret").read_text() == "oidc"


def test_the_gateways_keys_are_the_same_at_every_start(tmp_path: Path) -> None:
    for name in ("one", "two"):
        environment.prepare(tmp_path / name, given())
    one, two = (Runtime.load(tmp_path / name) for name in ("one", "two"))
    assert one.ssh_user_ca == two.ssh_user_ca != ""
    assert one.ssh_host_keys[0] == two.ssh_host_keys[0]
    asyncssh.import_public_key(one.ssh_user_ca)


def test_other_seeds_are_other_keys(tmp_path: Path) -> None:
    environment.prepare(tmp_path / "one", given())
    environment.prepare(tmp_path / "two", given(WORKROOM_SECRET_SSH_USER_CA_SEED="f" * 64))
    one, two = (Runtime.load(tmp_path / name) for name in ("one", "two"))
    assert one.ssh_user_ca != two.ssh_user_ca


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WORKROOM_SETTINGS": ""}, "WORKROOM_SETTINGS is missing"),
        ({"WORKROOM_DATABASE_PASSWORD": ""}, "WORKROOM_DATABASE_PASSWORD is missing"),
        ({"WORKROOM_SECRET_CLI_TOKEN": "secret-text"}, "WORKROOM_SECRET_CLI_TOKEN is not 64"),
        ({"WORKROOM_SECRET_CLITOKEN": HEX}, "there is no such secret"),
        ({"WORKROOM_SETTINGS": '{"titel": "x"}'}, "titel"),
    ],
)
def test_what_is_wrong_is_named_and_no_secret_shown(
    tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        environment.prepare(tmp_path, given(**changes))
    assert "secret-text" not in str(refused.value)


def test_the_gateway_gets_no_credentials_of_aws(tmp_path: Path) -> None:
    variables = environment.prepare(tmp_path, given(AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="/x"))
    _ssh(tmp_path, variables)
    assert not [name for name in variables if name.startswith("AWS_")]


def test_the_proxy_waits_for_the_hubs_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/opt/workroom/bin/{name}")
    variables = environment.prepare(tmp_path, given())
    words = _proxy(tmp_path, variables)
    assert "--default-target" not in words
    assert "--host-routing" in words
    assert words[words.index("--api-ip") + 1] == "0.0.0.0"
    assert HEX not in " ".join(words)
    assert variables["CONFIGPROXY_AUTH_TOKEN"] == HEX


class TestFirstAdmin:
    class Hub:
        """Answers at the third question, and then has these accounts."""

        def __init__(self, accounts: str) -> None:
            self.accounts = accounts
            self.asked: list[Any] = []

        def __call__(self, home: Path, token: str, path: str, body: Any = None) -> tuple[int, str]:
            self.asked.append(body)
            if len(self.asked) == 1:
                raise ConnectionRefusedError
            if len(self.asked) == 2:
                return 503, ""
            return (201, "{}") if body else (200, self.accounts)

    def test_is_made_when_there_is_nobody(self, tmp_path: Path) -> None:
        environment.prepare(tmp_path, given())
        hub = self.Hub("[]")
        said = first_admin.make(tmp_path, ask=hub, sleep=lambda _: None)
        assert said == "made the account 'admin'"
        assert hub.asked[-1] == {"name": "admin", "admin": True, "password": "first-password"}

    def test_is_not_made_again(self, tmp_path: Path) -> None:
        environment.prepare(tmp_path, given())
        hub = self.Hub('[{"name": "ann"}]')
        assert first_admin.make(tmp_path, ask=hub, sleep=lambda _: None) == (
            "there are accounts already"
        )
        assert hub.asked == [None] * 3

    def test_gives_up_on_a_hub_that_never_answers(self, tmp_path: Path) -> None:
        environment.prepare(tmp_path, given())
        waits: list[float] = []

        def away(*_: object) -> tuple[int, str]:
            raise ConnectionRefusedError

        assert "did not answer" in first_admin.make(tmp_path, ask=away, sleep=waits.append)
        assert sum(waits) == 600


class TestMeasures:
    PAGE = """
# TYPE workroom_ecs_calls_total counter
workroom_ecs_calls_total{operation="RunTask",outcome="ok"} 10
workroom_ecs_calls_total{operation="RunTask",outcome="denied"} %d
# TYPE workroom_watcher_age_seconds gauge
workroom_watcher_age_seconds 12
# TYPE workroom_machine_wait_seconds gauge
workroom_machine_wait_seconds 700
# TYPE workroom_spawn_phase_seconds histogram
workroom_spawn_phase_seconds_bucket{phase="machine",le="60"} %d
workroom_spawn_phase_seconds_bucket{phase="machine",le="600"} %d
workroom_spawn_phase_seconds_bucket{phase="machine",le="+Inf"} %d
workroom_spawn_phase_seconds_count{phase="machine"} %d
workroom_spawn_phase_seconds_sum{phase="machine"} 100
"""

    def test_counts_are_those_of_the_last_minute(self) -> None:
        meter = measure.Meter()
        meter.measure(self.PAGE % (3, 10, 10, 10, 10))
        found = meter.measure(self.PAGE % (5, 10, 20, 20, 20))
        assert found["ecs_denied"] == 2
        assert found["watcher_age_seconds"] == 12
        assert found["machine_wait_seconds"] == 700
        assert found["spawn_phase_machine_p90"] == 600, "the ten of this minute were slow"

    def test_a_minute_without_starts_says_nothing_of_them(self) -> None:
        meter = measure.Meter()
        meter.measure(self.PAGE % (3, 10, 10, 10, 10))
        assert "spawn_phase_machine_p90" not in meter.measure(self.PAGE % (3, 10, 10, 10, 10))

    def test_a_hub_that_started_again_counts_from_nothing(self) -> None:
        meter = measure.Meter()
        meter.measure(self.PAGE % (30, 10, 10, 10, 10))
        assert meter.measure(self.PAGE % (4, 0, 0, 0, 0))["ecs_denied"] == 4

    def test_beyond_the_last_bound_is_at_least_that(self) -> None:
        found = measure.Meter().measure(self.PAGE % (0, 0, 0, 10, 10))
        assert found["spawn_phase_machine_p90"] == 600

    def test_a_line_is_of_the_embedded_metric_format(self) -> None:
        read = json.loads(measure.line({"ecs_denied": 2.0}, "workroom", 1.5))
        [directive] = read["_aws"]["CloudWatchMetrics"]
        assert directive["Metrics"] == [{"Name": "ecs_denied"}]
        assert read["_aws"]["Timestamp"] == 1500
        for dimension in directive["Dimensions"][0]:
            assert read[dimension] == "workroom"
        assert read["ecs_denied"] == 2.0


class TestProxyWatch:
    async def test_a_proxy_that_was_replaced_is_told_every_route(self) -> None:
        answers, told = [True, None, False, True], []

        async def knows() -> bool | None:
            return answers.pop(0)

        async def tell() -> None:
            told.append(len(answers))

        async def sleep(_: float) -> None:
            if not answers:
                raise _EnoughSeen

        with pytest.raises(_EnoughSeen):
            await proxy_watch.watch(knows, tell, sleep=sleep)
        assert told == [1], "after the third answer, and not for a proxy that is away"

    @pytest.mark.parametrize(
        ("status", "routes", "knows"),
        [
            (200, {"/": {"target": "http://hub"}, "/user/ann": {}}, True),
            (200, {"/user/ann": {"target": "http://10.0.0.1/"}}, False),
            (200, {}, False),
            (503, {}, None),
        ],
    )
    async def test_what_a_proxy_answers(
        self, status: int, routes: dict[str, Any], knows: bool | None
    ) -> None:
        seen = []

        async def answer(request: web.Request) -> web.Response:
            seen.append((request.path, request.headers["Authorization"]))
            return web.Response(text=json.dumps(routes, separators=(",", ":")), status=status)

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        async with TestServer(app) as server:
            proxy = _Proxy(str(server.make_url("")))
            assert await proxy_watch.knows_us(proxy, "/") is knows
        assert seen == [("/api/routes", "token secret")]

    async def test_a_proxy_that_is_away_is_not_one_without_routes(self) -> None:
        assert await proxy_watch.knows_us(_Proxy("http://127.0.0.1:9"), "/") is None


class _EnoughSeen(Exception):
    """Ends what else goes on for ever."""


class _Proxy:
    """As much of JupyterHub's proxy as is asked."""

    auth_token = "secret"

    def __init__(self, api_url: str) -> None:
        self.api_url = api_url

    def _routespec_to_chp_path(self, routespec: str) -> str:
        path = routespec if routespec.startswith("/") else f"/{routespec}"
        return path.rstrip("/") or "/"
