"""The section `ssh` is checked before anything is started: address, ports, key files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from workroom_hub import config_file
from workroom_hub.errors import ConfigError

Check = Callable[[str], str]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Return what says what is wrong with a text of settings, "" if nothing is."""
    monkeypatch.chdir(tmp_path)

    def said(text: str) -> str:
        path = tmp_path / "workroom.yaml"
        path.write_text(text)
        try:
            settings = config_file.load(path, {})
            config_file.check_against_machine(settings, 2, 2**35, path=path)
        except ConfigError as error:
            return error.message
        return ""

    return said


def keygen(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> None:
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", str(path)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{port: 8000}", "workroom.yaml:1: ssh.port: 8000 is web.port too. Choose another."),
        ("{port: 8081}", "workroom.yaml:1: ssh.port: 8081 is local.hub_port too."),
        ("{port: 0}", "workroom.yaml:1: ssh.port: '0' is too small. Write at least 1."),
        ("{host: 192.0.2.7}", "ssh.host: '192.0.2.7' is not an address of this machine."),
        ("{public_host: 'a b;c'}", "ssh.public_host: 'a b;c' is not valid: write a host name"),
        ("{public_host: '-oProxyCommand=x'}", "ssh.public_host: '-oProxyCommand=x' is not valid"),
        ("{public_host: ''}", "ssh.public_host: '' is not valid"),
        (
            "{max_connections: 9, max_connections_per_user: 10}",
            "ssh.max_connections_per_user: '10' is not valid: `max_connections`, which is for all "
            "users, is 9; write at most as many, or raise that",
        ),
        (
            "{max_connections_per_user: 2000}",
            "ssh.max_connections_per_user: '2000' is not valid: `max_connections`, which is for",
        ),
        ("{ca_key_file: gone}", "there is no file '{here}/gone'. Make one: ssh-keygen -t ed25519"),
        ("{host_key_files: [gone]}", "workroom.yaml:1: ssh.host_key_files[0]: there is no file"),
        ("{drain: soon}", "ssh.drain: 'soon' is not valid: write a time"),
    ],
)
def test_a_mistake_is_told_with_line_field_and_fix(
    check: Check, tmp_path: Path, text: str, wanted: str
) -> None:
    assert wanted.replace("{here}", str(tmp_path)) in check(f"ssh: {text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{enabled: false, port: 8000, host: 192.0.2.7, ca_key_file: gone}",
        "{public_host: ssh.example.com, public_port: 22}",
        "{public_host: '2001:db8::1'}",
        "{host_key_files: [host, host-ecdsa], ca_key_file: ca}",
        "{max_connections: 9, max_connections_per_user: 9}",
        "{max_connections: 9}",
    ],
)
def test_what_can_be_used_is_not_refused(check: Check, tmp_path: Path, text: str) -> None:
    keygen(tmp_path / "host")
    keygen(tmp_path / "host-ecdsa", kind="ecdsa")
    keygen(tmp_path / "ca")
    assert check(f"ssh: {text}\n") == ""


def test_files_are_private_keys_of_their_own_that_nobody_else_can_read(
    check: Check, tmp_path: Path
) -> None:
    keygen(tmp_path / "host")
    keygen(tmp_path / "another")
    keygen(tmp_path / "locked", passphrase="correct horse")
    keygen(tmp_path / "open")
    (tmp_path / "open").chmod(0o640)
    (tmp_path / "public").write_text((tmp_path / "host.pub").read_text())
    (tmp_path / "public").chmod(0o600)

    def of(name: str) -> str:
        return check(f"ssh: {{host_key_files: [host, {name}]}}\n")

    key = "workroom.yaml:1: ssh.host_key_files[1]: "
    assert f"{key}'{tmp_path}/another' is of the kind ssh-ed25519, as '{tmp_path}/host'" in of(
        "another"
    )
    assert f"{key}'{tmp_path}/locked' has a passphrase" in of("locked")
    assert f"{key}'{tmp_path}/open' can be read by others (mode 640). Run: chmod 600" in of("open")
    assert f"{key}'{tmp_path}/public' is not a private key." in of("public")
    said = check("ssh: {host_key_files: [host], ca_key_file: host}\n")
    assert f"'{tmp_path}/host' is ssh.ca_key_file too. Give each a key of its own." in said
