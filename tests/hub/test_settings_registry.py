"""The section `registry`: what goes with what, and whose tokens are used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from workroom_hub.config_file import load
from workroom_hub.errors import ConfigError, RegistryError
from workroom_hub.machine import registry_images
from workroom_hub.registry import credentials
from workroom_hub.registry.credentials import Credentials
from workroom_hub.registry.names import content_tag, find_digest, is_digest
from workroom_hub.settings import Settings
from workroom_hub.settings_registry import Registry, reference, upstream_reference

JFROG = "registry: {kind: artifactory, address: acme.jfrog.io"


def checked(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "workroom.yaml").write_text(text)
    return load(tmp_path / "workroom.yaml", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registry: {kind: distribution}", "registry.address: it is missing"),
        ("registry: {kind: artifactory, address: 'https://acme.jfrog.io'}", "without https://"),
        (f"{JFROG}, repository: Docker}}", "lower-case"),
        ("registry: {kind: machine, repository_key: docker}", "repository_key: it is for kind"),
        (f"{JFROG}, repository_key: docker/workroom}}", "key alone"),
        ("registry: {kind: machine, address: acme.jfrog.io}", "address: it is for kind"),
        ("registry: {push_credentials_file: a.json}", "push_credentials_file: it is for kind"),
        ("registry: {kind: machine}\ndata: {enabled: false}", "this machine's S3 server"),
        ("registry: {kind: machine, upstream: 'http://example.com'}", "https://"),
        ("registry: {kind: machine, upstream: 'https://a@example.com'}", "only scheme and host"),
        ("registry: {kind: harbor}", "none"),
        ("registry: {kind: machine, port: 0}", "port"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_fix(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        checked(tmp_path, text)
    assert "registry" in caught.value.message + caught.value.details
    assert said in f"{caught.value.message}\n{caught.value.details}\n{caught.value.fix}"


def test_a_machines_registry_is_not_for_a_cluster(tmp_path: Path) -> None:
    text = """
spawner: ecs
ecs:
  {region: eu-central-1, cluster: lab, subnets: [subnet-0123456789abcdef0],
   hub_url: "http://10.0.1.5:8081", task_role: "arn:aws:iam::123456789012:role/people"}
homes: {file_system: fs-0123456789abcdef0}
images: [{name: a, ref: "registry.example.com/a:1", title: A}]
registry: {kind: KIND}
"""
    with pytest.raises(ConfigError, match="a cluster cannot reach"):
        checked(tmp_path, text.replace("KIND", "machine"))
    good = text.replace("KIND", "distribution, address: registry.acme.internal")
    assert checked(tmp_path, good).registry.host == "registry.acme.internal"


def registry(**given: Any) -> Registry:
    return Registry.model_validate(given)


def test_names_of_our_images_and_of_others_through_the_cache() -> None:
    machine = registry(kind="machine", port=5005)
    assert reference(machine, "notebook") == "127.0.0.1:5005/workroom/notebook"
    through = [upstream_reference(machine, ref) for ref in ("debian:bookworm-slim", "a/b@sha256:0")]
    assert through == ["127.0.0.1:5005/library/debian:bookworm-slim", "127.0.0.1:5005/a/b@sha256:0"]
    for ref in ("quay.io/a/b:1", "localhost:5000/a:1"):
        assert upstream_reference(machine, ref) == ""
    assert upstream_reference(machine, "workroom/notebook:1") == "", "that is ours"
    assert upstream_reference(registry(), "debian:12") == ""


@pytest.mark.parametrize(
    ("address", "key", "before"),
    [
        ("acme.jfrog.io", "docker-virtual", "acme.jfrog.io/docker-virtual"),
        ("docker-virtual.acme.com", "", "docker-virtual.acme.com"),
    ],
)
def test_both_methods_of_artifactory_reach_our_images_and_its_cache(
    tmp_path: Path, address: str, key: str, before: str
) -> None:
    company = registry(kind="artifactory", address=address, repository_key=key)
    assert reference(company, "notebook") == f"{before}/workroom/notebook"
    through = [upstream_reference(company, ref) for ref in ("debian:12", "a/b:1", "workroom/x:1")]
    assert through == [f"{before}/library/debian:12", f"{before}/a/b:1", ""]
    asked = registry_images.client(company, tmp_path, "notebook")
    assert f"{asked.host}/{asked.repository}" == reference(company, "notebook")


def test_files_of_tokens_are_taken_from_the_settings_folder(tmp_path: Path) -> None:
    found = checked(
        tmp_path,
        "registry: {kind: distribution, address: r.example.com, push_credentials_file: push.json}",
    )
    assert found.registry.push_credentials_file == tmp_path / "push.json"


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", '{"username": "a"}', '{"username": 1, "password": "b"}', '"a:b"'),
        *('{"username": "a:b", "password": "c"}', '{"username": "", "password": "c"}'),
    ],
)
def test_a_file_that_holds_no_token_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "token.json"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(ConfigError, match="does not hold a user name and a token") as caught:
        credentials.read(file, "registry.push_credentials_file")
    assert "registry.push_credentials_file" in caught.value.message


def test_a_file_that_others_can_read_or_that_is_missing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token.json"
    with pytest.raises(ConfigError, match="cannot be read"):
        credentials.read(file, "x")
    file.write_text('{"username": "a", "password": "b"}')
    file.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read") as caught:
        credentials.read(file, "x")
    assert caught.value.fix == f"chmod 600 {file}"
    file.chmod(0o600)
    assert credentials.read(file, "x") == Credentials("a", "b")


def test_who_may_push_may_pull_and_the_machine_has_tokens_of_its_own(tmp_path: Path) -> None:
    made = {right: credentials.of(registry(kind="machine"), tmp_path, right) for right in RIGHTS}
    assert made["push"] != made["pull"]
    assert (tmp_path / "secrets" / "registry-push-token").stat().st_mode & 0o777 == 0o600
    file = tmp_path / "push.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"username": "ci", "password": "t"}))
    there = registry(kind="distribution", address="r.example.com", push_credentials_file=file)
    assert credentials.of(there, tmp_path, "pull") == Credentials("ci", "t")
    assert credentials.of(registry(), tmp_path, "pull") is None


RIGHTS: tuple[credentials.Right, ...] = ("push", "pull")


def test_tokens_for_a_registry_elsewhere_are_files_for_us_and_for_it(tmp_path: Path) -> None:
    files = {path.name: path for path in credentials.make_files(tmp_path / "tokens")}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    push, pull = (credentials.read(files[f"{right}.json"], "x") for right in RIGHTS)
    may = {
        name: dict(line.split(":") for line in files[name].read_text().split())
        for name in ("push.htpasswd", "read.htpasswd")
    }
    assert may["push.htpasswd"].keys() == {push.username}
    assert may["read.htpasswd"].keys() == {push.username, pull.username}
    assert bcrypt.checkpw(pull.password.encode(), may["read.htpasswd"]["workroom-pull"].encode())
    assert push.password not in repr(push)


def test_a_tag_says_what_went_in_and_what_came_out() -> None:
    assert content_tag("c" * 64, f"sha256:{'d' * 64}") == f"{'c' * 12}-{'d' * 12}"


def test_the_beginning_of_a_digest_is_enough_if_it_is_one() -> None:
    digests = [f"sha256:{x * 63}{y}" for x, y in ("ab", "ac", "bc")]
    assert find_digest("sha256:bbbbbb", digests) == find_digest("b" * 8, digests) == digests[2]
    with pytest.raises(RegistryError, match="beginning of 2 digests"):
        find_digest("aaaaaa", digests)
    with pytest.raises(RegistryError, match="no image 'ffffff'"):
        find_digest("ffffff", digests)
    assert find_digest(digests[0], digests) == digests[0]
    assert is_digest(digests[0])
    assert not is_digest("sha256:abc")


@pytest.mark.parametrize(
    "wanted", ["", "sha256:", "b", "bbbbb", "sha256:bbbbb", "b" * 65, "BBBBBB"]
)
def test_what_is_too_short_for_a_digest_is_none_though_only_one_begins_so(wanted: str) -> None:
    with pytest.raises(RegistryError, match=f"no image '{wanted}'") as caught:
        find_digest(wanted, [f"sha256:{'b' * 64}"])
    assert "6 or more digits" in caught.value.fix
