"""`down --purge`: what it asks is what it removes, and nobody else's files go with it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest

from workroom_hub.machine import down, home_folders
from workroom_hub.machine.console import Reporter
from workroom_hub.machine.stack import Stack
from workroom_hub.settings import Settings

ECS = {
    "region": "eu-central-1",
    "cluster": "lab",
    "subnets": ["subnet-01234567"],
    "hub_url": "http://10.0.1.5:8081",
    "task_role": "arn:aws:iam::123456789012:role/task",
}


def a_stack(home: Path, spawner: str = "ecs", **homes: Any) -> Stack:
    given: dict[str, Any] = {"instance": "lab", "spawner": spawner, "homes": homes}
    if spawner == "ecs":
        given["ecs"] = ECS
        homes.setdefault("file_system", "fs-01234567")
    for name in ("ann", "bob"):
        (home / "homes" / f"lab-home-{name}").mkdir(parents=True)
        (home / "homes" / f"lab-home-{name}" / "notes").write_text("years of work")
    return Stack(Settings.model_validate(given), None, home, Reporter())


def files(home: Path) -> list[str]:
    return sorted(path.parent.name for path in (home / "homes").glob("*/notes"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state of lab"


def test_homes_that_the_emulator_left_are_in_the_question_and_go(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = a_stack(home)
    assert down.purge_question(stack) == (
        f"This removes every account of 'lab' and 2 homes in {home}/homes (lab-home-ann, "
        "lab-home-bob) for ever. The cluster's homes, on fs-01234567, stay. Go on?"
    )
    down.down(stack, purge=True)
    assert not home.exists()
    assert "2 removed" in capsys.readouterr().out


def test_without_homes_on_this_machine_none_are_in_the_question(home: Path) -> None:
    stack = a_stack(home, kind="host-path", root="/mnt/people")
    for path in (*home.glob("homes/*/notes"), *home.glob("homes/*"), home / "homes"):
        path.rmdir() if path.is_dir() else path.unlink()
    assert down.purge_question(stack) == (
        "This removes every account of 'lab' for ever. The cluster's homes, in /mnt/people, stay. "
        "Go on?"
    )


@pytest.mark.parametrize("below", ["homes", "homes/team"])
def test_the_folder_that_the_settings_name_is_never_removed(
    home: Path, below: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = a_stack(home, kind="host-path", root=str(home / below))
    assert "removes every account of 'lab' for ever" in down.purge_question(stack)
    (home / "hub.sqlite").write_text("")
    down.down(stack, purge=True)
    assert files(home) == ["lab-home-ann", "lab-home-bob"]
    assert [path.name for path in home.iterdir()] == ["homes"]
    said = capsys.readouterr().out
    assert f"Kept: {home}/homes, because homes.root in workroom.yaml names it." in said
    assert "not Workroom's" not in said


@pytest.mark.parametrize("below", ["homes", "homes/lab-home-bob", "homes/lab-home-bob/data"])
def test_a_mounted_file_system_is_never_removed(
    home: Path, below: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = a_stack(home)
    mounts = home.parent / "mountinfo"
    point = str(home / below).replace(" ", "\\040")
    mounts.write_text(
        "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
        f"40 22 0:40 /people {point} rw,relatime shared:7 - nfs4 fs-01234567:/ rw\n"
    )
    monkeypatch.setattr(home_folders, "_MOUNTS", mounts)
    assert "removes every account of 'lab' for ever" in down.purge_question(stack)
    down.down(stack, purge=True)
    assert files(home) == ["lab-home-ann", "lab-home-bob"]
    assert f"Kept: {home}/homes, because a file system is mounted there" in capsys.readouterr().out


def test_what_a_link_leads_to_is_never_removed(home: Path, tmp_path: Path) -> None:
    stack = a_stack(home)
    (home / "homes").rename(tmp_path / "people")
    (home / "homes").symlink_to(tmp_path / "people")
    assert "removes every account of 'lab' for ever" in down.purge_question(stack)
    down.down(stack, purge=True)
    assert files(home) == ["lab-home-ann", "lab-home-bob"]


def test_homes_of_the_emulator_count_when_a_purge_asks(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = a_stack(home, "local")
    engine = SimpleNamespace(volumes=SimpleNamespace(list=lambda filters: []), close=lambda: None)
    monkeypatch.setattr(down.engine, "connect", lambda: engine)
    assert "removes 2 homes and every account of 'lab'" in down.purge_question(stack)


def test_a_purge_asks_for_tables_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = a_stack(home, "local")
    engine = SimpleNamespace(volumes=SimpleNamespace(list=lambda filters: []), close=lambda: None)
    monkeypatch.setattr(down.engine, "connect", lambda: engine)
    (home / "data" / "s3").mkdir(parents=True)
    (home / "data" / "s3" / "7.dat").write_bytes(bytes(3 * 2**20))
    asked = down.purge_question(stack)
    assert "removes every table (3 MiB), 2 homes and every account of 'lab'" in asked


def test_the_mounts_of_this_machine_can_be_read() -> None:
    assert Path("/") in home_folders._mounts()


class EngineInUse(BaseHTTPRequestHandler):
    """An engine on which others work: what it lists is gone when it is asked for."""

    def do_GET(self) -> None:
        listed = self.path.startswith("/v1.41/containers/json")
        gone = self.path.startswith("/v1.41/containers/somebody")
        body = json.dumps([{"Id": "somebody"}] if listed else {"message": "gone"} if gone else [])
        self.send_response(404 if gone else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: Any) -> None:
        pass


def test_containers_of_others_that_end_meanwhile_are_no_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(down.firewall, "remove", lambda *_: False)
    with ThreadingHTTPServer(("127.0.0.1", 0), EngineInUse) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        client = docker.DockerClient(f"tcp://127.0.0.1:{server.server_port}", version="1.41")
        assert down._clear(client, a_stack(home, "local")) == []
        client.close()
        server.shutdown()
