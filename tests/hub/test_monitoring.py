"""docs/monitoring.md: `/hub/metrics` on a real hub, and the table of usage."""

from __future__ import annotations

import re
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from tests.support.ecs_hub_process import EcsHubProcess, FakeAwsProcess
from tests.support.hub_process import CLI_TOKEN
from workroom_hub.runtime import read_secret
from workroom_spawner import usage

ROOT = Path(__file__).resolve().parents[2]
DOCS = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcsHubProcess]:
    with FakeAwsProcess() as fake, EcsHubProcess(tmp_path_factory.mktemp("hub"), fake) as hub:
        yield hub


def get(hub: EcsHubProcess, page: str, scheme: str, token: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{hub.url}{page}")
    if token:
        request.add_header("Authorization", f"{scheme} {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_secret_reads_the_metrics_and_nothing_else(hub: EcsHubProcess) -> None:
    token = read_secret(hub.home, "metrics-token")
    for scheme in ("Bearer", "token"):
        status, page = get(hub, "metrics", scheme, token)
        assert status == 200
        assert "workroom_watcher_age_seconds" in page
    for other in ("api/users", "api/proxy", "api/services", "api/workroom/users"):
        assert get(hub, other, "token", token)[0] in (403, 404), other
    status, info = get(hub, "api/info", "token", token)
    assert status == 403, info
    for wrong in ("", "x" * 64, CLI_TOKEN):
        assert get(hub, "metrics", "Bearer", wrong)[0] == 403


def test_the_metrics_that_the_docs_name_are_there(hub: EcsHubProcess) -> None:
    _, page = get(hub, "metrics", "Bearer", read_secret(hub.home, "metrics-token"))
    known = set(re.findall(r"^# TYPE (\w+) ", page, re.M))
    known |= {f"{name}_bucket" for name in known}
    named = set(re.findall(r"\b(workroom_\w+(?:_total|_seconds|_bucket|_length))\b", str(DOCS)))
    assert len(named) > 5
    assert named <= known
    ours = {name for name in known if re.fullmatch(r"workroom_\w+(?<!_created)(?<!_bucket)", name)}
    assert ours <= named


def test_the_sample_query_of_usage(tmp_path: Path) -> None:
    [query] = re.findall(r"<<'SQL'\n(.*?)SQL\n", DOCS["monitoring.md"], re.S)
    path = tmp_path / "hub.sqlite"
    now = datetime.now(UTC).replace(tzinfo=None)
    with Session(create_engine(f"sqlite:///{path}")) as db:
        for user, hours in (("ada", 2), ("ada", 1), ("bob", 0.5)):
            usage.record(
                db, user=user, server="", groups=[], profile="small", image="notebook",
                start=now - timedelta(hours=hours), stop=now, reason="stopped",
            )  # fmt: skip
    with closing(sqlite3.connect(path)) as database:
        rows = database.execute(query).fetchall()
    assert rows == [("ada", "small", 2, 3.0), ("bob", "small", 1, 0.5)]
    for column in re.findall(
        r"^\| (`.*?) \|", DOCS["monitoring.md"].partition("## Usage")[2], re.M
    ):
        assert set(re.findall(r"`(\w+)`", column)) <= set(usage.usage.columns.keys())
