"""The live figures of a real server, asked for as the hub does."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from containers import Notebook, docker
from ssh_client import TOKEN, Authority

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def server(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A server with limits that counts its home at once."""
    authority = Authority(tmp_path_factory.mktemp("ca"))
    granted = {"WORKROOM_CPU_LIMIT": "1.5", "WORKROOM_MEMORY_LIMIT": str(2**30)}
    options = ["-e", "WORKROOM_HOME_COUNT_AFTER=0.5", "--memory=1g", "--cpus=1.5"]
    with authority.hub(**granted) as hub, Notebook(image, hub=hub, options=options) as container:
        container.wait_until_up()
        yield container


def ask(server: Notebook, token: str | None, **headers: str) -> tuple[int, Any]:
    """Ask for the figures with a token: status and answer."""
    url = f"http://{server.address}:8888{server.prefix}/api/workroom/now"
    shown = {**headers, **({"X-Workroom-Token": token} if token is not None else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=shown)) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_figures_of_a_server_at_work(server: Notebook) -> None:
    docker("exec", "-d", server.id, "timeout", "20", "python", "-c", "while True: pass")
    ask(server, TOKEN)
    began, used = time.monotonic(), server.cpu_seconds()
    time.sleep(4)
    status, now = ask(server, TOKEN)
    cores = (server.cpu_seconds() - used) / (time.monotonic() - began)
    assert status == 200
    assert set(now) == {"cpu", "cpu_limit", "memory", "memory_limit", "home", "idle"}
    assert now["cpu"] > 0.05
    assert now["cpu"] == pytest.approx(cores, abs=0.2), "as the machine counts it"
    assert (now["cpu_limit"], now["memory_limit"]) == (1.5, 2**30)
    assert 10_000_000 < now["memory"] < 2**30
    last = datetime.fromisoformat(now["idle"]["last_activity"])
    assert abs((datetime.now(UTC) - last).total_seconds()) < 300
    assert now["idle"]["reason"]


def test_memory_is_what_the_engine_counts(server: Notebook) -> None:
    server.run(
        "dd if=/dev/zero of=/tmp/cached bs=1M count=100 2>/dev/null; cat /tmp/cached >/dev/null"
    )
    told = docker("stats", "--no-stream", "--format", "{{.MemUsage}}", server.id).split("MiB")[0]
    _, now = ask(server, TOKEN)
    assert now["memory"] / 2**20 == pytest.approx(float(told), abs=15)


def test_the_home_is_counted(server: Notebook) -> None:
    until = time.monotonic() + 15
    while not ask(server, TOKEN)[1]["home"]["counted_at"]:
        assert time.monotonic() < until
        time.sleep(0.2)
    home = ask(server, TOKEN)[1]["home"]
    assert set(home) == {"used", "free", "size", "counted_at"}
    assert 0 < home["used"] < 10_000_000
    assert 0 < home["free"] < home["size"]


@pytest.mark.parametrize("token", [None, "", "x", TOKEN[:-1], TOKEN + "0", "é"])
def test_nobody_else_may_ask(server: Notebook, token: str | None) -> None:
    assert ask(server, token)[0] == 403
    assert ask(server, token, Authorization="token token-of-ada")[0] == 403


def test_the_token_is_in_no_log(server: Notebook) -> None:
    ask(server, TOKEN)
    ask(server, "wrong-token-wrong-token")
    assert TOKEN not in server.logs()
    assert "wrong-token" not in server.logs()


def test_without_a_token_nobody_may(image: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    with authority.hub(WORKROOM_USAGE_TOKEN="") as hub, Notebook(image, hub=hub) as server:
        server.wait_until_up()
        assert [ask(server, token)[0] for token in (None, "", "None")] == [403, 403, 403]
