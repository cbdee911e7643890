"""What the registry's programs are told, on one machine and in the container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workroom_hub.machine import registry, registry_config, registry_programs
from workroom_hub.registry import server_config
from workroom_hub.registry.server_config import HALVES, Half

TEMPLATE = registry_config.TEMPLATE.read_text()


def told(half: Half, **more: Any) -> dict[str, Any]:
    given = {"bucket": "images", "region": "eu-central-1", "http_secret": "s", **more}
    found: dict[str, Any] = json.loads(server_config.server(half, **given))
    return found


def test_each_half_has_a_folder_and_a_socket_of_its_own() -> None:
    local, cache = (told(half, upstream="https://up.example.com") for half in HALVES)
    assert local["storage"]["s3"]["rootdirectory"] == "/local"
    assert cache["storage"]["s3"]["rootdirectory"] == "/cache"
    assert {each["http"]["net"] for each in (local, cache)} == {"unix"}
    assert local["http"]["addr"] != cache["http"]["addr"]
    assert "proxy" not in local
    assert cache["proxy"] == {"remoteurl": "https://up.example.com"}


@pytest.mark.parametrize("half", HALVES)
def test_nothing_of_it_removes_images_or_crashes_at_its_own_purge(half: Half) -> None:
    storage = told(half)["storage"]
    assert storage["delete"] == {"enabled": False}
    assert storage["maintenance"]["uploadpurging"] == {"enabled": False}


def test_a_cache_remembers_nothing_that_it_may_have_dropped() -> None:
    assert "cache" not in told("cache")["storage"]
    assert told("local")["storage"]["cache"] == {"blobdescriptor": "inmemory"}


def test_on_aws_the_tasks_role_counts_and_layers_come_straight_from_s3() -> None:
    storage = told("local")["storage"]
    assert not {"accesskey", "secretkey", "regionendpoint"} & storage["s3"].keys()
    assert storage["redirect"] == {"disable": False}
    here = told("local", endpoint="http://172.17.0.1:8333", key=("id", "secret"))["storage"]
    assert here["redirect"] == {"disable": True}
    assert here["s3"]["secure"] is False
    assert (here["s3"]["accesskey"], here["s3"]["secretkey"]) == ("id", "secret")


def test_a_login_is_for_the_upstream_only() -> None:
    given = {"upstream": "https://up.example.com", "login": ("me", "token")}
    assert told("cache", **given)["proxy"]["password"] == "token"
    assert "token" not in json.dumps(told("local", **given))


def test_the_front_is_filled_in_and_says_so_if_it_cannot_be() -> None:
    text = server_config.front(TEMPLATE, listen="127.0.0.1:5000", repository="acme/team.x")
    assert "listen 127.0.0.1:5000;" in text
    assert r"acme/team\.x/" in text, "a dot stands for itself"
    assert "${" not in text
    assert "user " not in text.splitlines()[0]
    assert "user root;" in server_config.front(TEMPLATE, listen="1", repository="a", user="root")
    with pytest.raises(KeyError, match="OTHER"):
        server_config.filled("${OTHER}", {})


def test_no_half_may_do_everything_or_reach_the_other() -> None:
    for half, other in (("local", "cache"), ("cache", "local")):
        policy = registry_config.policy(half)  # type: ignore[arg-type]
        text = json.dumps(policy)
        assert f"/{other}/" not in text
        assert "s3:*" not in text
        assert "DeleteBucket" not in text
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            assert statement["Resource"] != "*"
    [deletes] = [
        each for each in registry_config.policy("local")["Statement"] if "Delete" in str(each)
    ]
    assert deletes["Resource"].endswith("/repositories/*/_uploads/*")


@pytest.mark.parametrize("there", [False, True])
def test_what_is_installed_is_not_started_by_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """Debian would open ports 80 and 5000 of every address; a policy of somebody else's stays."""
    policy = tmp_path / "policy-rc.d"
    if there:
        policy.write_text("theirs")
    commands: list[list[str]] = []
    monkeypatch.setattr(registry_programs, "_POLICY", policy)
    monkeypatch.setattr(registry_programs.os, "geteuid", lambda: 0)
    monkeypatch.setattr(registry_programs.shutil, "which", lambda name, path="": f"/bin/{name}")
    monkeypatch.setattr(
        registry_programs.subprocess, "run", lambda words, **_: commands.append(words)
    )

    def interrupted() -> None:
        with registry_programs._services_stay_off(["docker-registry", "nginx-light"]):
            assert policy.read_text() == ("theirs" if there else "#!/bin/sh\nexit 101\n")
            assert there or policy.stat().st_mode & 0o111
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert policy.exists() is there
    assert ["systemctl", "disable", "nginx"] in commands
    assert ["systemctl", "disable", "docker-registry"] in commands


def test_a_machine_that_has_both_programs_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_programs, "find", lambda program: f"/usr/sbin/{program}")
    monkeypatch.setattr(registry_programs, "_services_stay_off", None)
    step: Any = None
    found = registry_programs.ensure(step)
    assert found == {n: f"/usr/sbin/{n}" for n in ("docker-registry", "nginx")}


def test_a_machine_without_a_registry_is_not_searched_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(registry.processes, "stop", lambda home, role: asked.append(role))
    assert not registry.stop(tmp_path)
    assert not asked
    (tmp_path / "local-registry.pid").touch()
    registry.stop(tmp_path)
    assert len(asked) == 3
