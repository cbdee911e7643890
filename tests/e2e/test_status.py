"""`workroom status` is true, `workroom doctor` knows, and `up` and `down` do no harm."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from tests.e2e.installation import Installation

pytestmark = [
    pytest.mark.docker,
    pytest.mark.parametrize("installation", ["path"], indirect=True),
]


def test_status_is_true(installation: Installation) -> None:
    installation.start("bob", profile="small", image="notebook")
    facts = json.loads(installation.workroom("status", "--json").stdout)
    assert facts["url"].rstrip("/") == installation.url
    for part in ("hub", "proxy"):
        assert facts[part]["state"] == "running"
        assert str(installation.home) in Path(f"/proc/{facts[part]['pid']}/environ").read_text()
    assert facts["engine"]["version"] == installation.engine.version()["Version"]
    for image in facts["images"]:
        assert image["id"] == installation.engine.images.get(image["ref"]).id
    [server] = [s for s in facts["servers"] if s["user"] == "bob"]
    container = installation.container("bob")
    assert server["profile"] == "small"
    assert server["state"] == "running"
    assert server["memory_limit_bytes"] == container.attrs["HostConfig"]["Memory"] == 2**30
    assert 0 < server["memory_bytes"] < 2**30
    assert 0 < server["uptime_seconds"] < 120
    assert len(facts["servers"]) == len(installation.containers())
    people = installation.workroom("status").stdout
    assert "bob" in people
    installation.stop("bob")
    left = json.loads(installation.workroom("status", "--json").stdout)["servers"]
    assert not [s for s in left if s["user"] == "bob"]


def test_doctor(installation: Installation) -> None:
    good = installation.workroom("doctor")
    assert "engine" in good.stdout.lower()
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    bad = installation.workroom("doctor", env=nowhere, check=False)
    assert bad.returncode == 1
    assert "Traceback" not in bad.stdout + bad.stderr
    assert "No Docker engine answers at unix:///nonexistent/docker.sock" in bad.stdout
    assert "DOCKER_HOST names that engine. Start the one that belongs to it" in bad.stdout
    checks = json.loads(installation.workroom("doctor", "--json", env=nowhere, check=False).stdout)
    assert [c for c in checks if c["state"] == "failed"]


def test_up_again_changes_nothing(installation: Installation) -> None:
    before = json.loads(installation.workroom("status", "--json").stdout)
    printed = installation.up()
    assert installation.url in printed
    after = json.loads(installation.workroom("status", "--json").stdout)
    assert [after[p]["pid"] for p in ("hub", "proxy")] == [
        before[p]["pid"] for p in ("hub", "proxy")
    ]
    assert installation.home.stat().st_mode & 0o777 == 0o700
    for secret in (installation.home / "secrets").iterdir():
        assert secret.stat().st_mode & 0o777 == 0o600


def test_logs(installation: Installation) -> None:
    assert "WorkroomHub" in installation.workroom("logs", "hub", "-n", "5").stdout
    unknown = installation.workroom("logs", "nobody-of-that-name", check=False)
    assert unknown.returncode == 1
    assert "Traceback" not in unknown.stderr


def test_pages_listen_on_loopback_only(installation: Installation) -> None:
    port = installation.settings["web"]["port"]
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection((installation.gateway, port), timeout=5)
