"""workroom.yaml: what it may hold, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from workroom_hub import config_file
from workroom_hub.errors import ConfigError
from workroom_hub.settings import Settings, offered_profiles

GIB = 2**30


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a workroom.yaml in a folder of its own and stand in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WORKROOM_CONFIG", raising=False)

    def write_text(text: str) -> Path:
        path = tmp_path / "workroom.yaml"
        path.write_text(text)
        return path

    return write_text


def refused(environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        config_file.load(environment=environment or {})
    return f"{caught.value.message} {caught.value.fix}"


def test_defaults_apply_without_a_file(write) -> None:
    assert config_file.config_path() is None
    assert config_file.load(environment={}) == Settings()


def test_a_file_is_found_beside_and_by_variable(write, tmp_path, monkeypatch) -> None:
    write("title: Beside\n")
    other = tmp_path / "other.yaml"
    other.write_text("title: Other\n")
    assert config_file.load(environment={}).title == "Beside"
    monkeypatch.setenv("WORKROOM_CONFIG", str(other))
    assert config_file.load(environment={}).title == "Other"
    assert config_file.load(tmp_path / "workroom.yaml", environment={}).title == "Beside"


def test_a_missing_file_that_was_asked_for_is_an_error(write, monkeypatch) -> None:
    monkeypatch.setenv("WORKROOM_CONFIG", "nowhere.yaml")
    assert "no settings file 'nowhere.yaml' (from WORKROOM_CONFIG)" in refused()


def test_sizes_times_and_empty_sections(write) -> None:
    write("web:\nidle: {stop_after: 90m}\nprofiles: [{name: a, title: A, cpu: 1, memory: 1.5G}]\n")
    settings = config_file.load(environment={})
    assert settings.web.port == 8000
    assert settings.idle.stop_after == 5400
    assert settings.profiles[0].memory == GIB * 3 // 2


def test_environment_overrides_the_file(write) -> None:
    write("web: {port: 9000}\n")
    environment = {"WORKROOM_PORT": "9100", "RSTUDIO": "off", "CA_BUNDLE": "/some/ca.pem"}
    settings = config_file.load(environment=environment)
    assert settings.web.port == 9100
    assert settings.build.rstudio == "off"
    assert settings.build.ca_bundle == Path("/some/ca.pem")


def test_a_wrong_override_names_the_variable(write) -> None:
    said = refused({"WORKROOM_PORT": "eighty"})
    assert "environment variable WORKROOM_PORT: web.port: 'eighty' is not a whole number." in said


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "web:\n  prot: 8000\n",
            "workroom.yaml:2: web.prot: there is no such field. Did you mean 'port'?",
        ),
        ("nothing_like_it: 1\n", "workroom.yaml:1: nothing_like_it: there is no such field. Known"),
        ("web:\n  port: eight\n", "workroom.yaml:2: web.port: 'eight' is not a whole number."),
        ("web:\n  port: true\n", "workroom.yaml:2: web.port: 'true' is not a number."),
        ("web:\n  port: 70000\n", "web.port: '70000' is too large. Write at most 65535."),
        ("web: 3\n", "workroom.yaml:1: web: '3' is not a section."),
        ("auth: {kind: ldap}\n", "auth.kind: 'ldap' is not one of the choices. Write 'password'"),
        ("auth: {kind: oidc}\n", "workroom.yaml:1: auth: "),
        ("instance: 123\n", "instance: '123' is not text."),
        ("instance: Bad_Name\n", "instance: 'Bad_Name' is not valid: use 1 to 32 lower-case"),
        ("profiles: []\n", "workroom.yaml:1: profiles: it is empty."),
        ("profiles: 3\n", "profiles: '3' is not a list."),
        ("local: {subnet: here}\n", "workroom.yaml:1: local.subnet: 'here' is not an IPv4 range"),
        ("local: {subnet: 10.0.0.0/30}\n", "is not an IPv4 range of 16 addresses or more"),
        ("web: {port: 8001}\n", "workroom.yaml:1: web.proxy_api_port: 8001 is web.port too."),
        ("idle: {stop_after: soon}\n", "idle.stop_after: 'soon' is not valid: write a time"),
        ("web:\n\tport: 1\n", "workroom.yaml:2: the line is indented with a tab"),
        (
            "web:\n  port: 1\n  port: 2\n",
            "workroom.yaml:3: the key 'port' is written twice in the same section.",
        ),
        ("a: [1,\n", "this is not valid YAML"),
        ("just text\n", "the file holds the text 'just text', where settings are expected."),
        ("default_profile: huge\n", "workroom.yaml:1: default_profile: 'huge' is not a profile;"),
        (
            "profiles: [{name: a, title: A, cpu: 1}]\n",
            "profiles[0].memory: this field is missing. Add 'memory: …'.",
        ),
        (
            "profiles:\n  - name: a\n    title: A\n    cpu: .nan\n    memory: 1G\n",
            "workroom.yaml:4: profiles[0].cpu: 'nan'",
        ),
        (
            "profiles:\n  - name: a\n    title: A\n    cpu: 1\n    memory: 10M\n",
            "workroom.yaml:5: profiles[0].memory: '10M' is too small. Write at least 256M.",
        ),
        (
            "profiles:\n  - {name: a, title: A, cpu: 1, memory: 1G}\n"
            "  - {name: a, title: B, cpu: 1, memory: 1G}\n",
            "workroom.yaml:3: profiles[1].name: 'a' is already the name of another one (line 2).",
        ),
    ],
)
def test_a_mistake_is_told_with_file_line_field_and_fix(write, text: str, wanted: str) -> None:
    write(text)
    assert wanted in refused()


def test_every_problem_is_listed_once(write) -> None:
    write("web:\n  port: 0\nbuild:\n  rstudio: perhaps\n  ca_bundle: 7\ncolour: red\n")
    said = refused()
    assert said.startswith("The settings have 4 problems:")
    assert [line.split(":")[2].strip() for line in said.splitlines()[1:]] == [
        "web.port",
        "build.rstudio",
        "build.ca_bundle",
        "colour",
    ]


def test_profiles_of_the_file_must_fit_the_machine(write) -> None:
    write(
        "profiles:\n  - name: giant\n    title: Giant\n    cpu: 64\n    memory: 900G\n    gpu: 2\n"
    )
    settings = config_file.load(environment={})
    config_file.check_against_machine(settings, 64, 900 * GIB, 2)
    with pytest.raises(ConfigError) as caught:
        config_file.check_against_machine(settings, 2, 24 * GIB, 0)
    said = caught.value.message
    assert (
        "workroom.yaml:4: profiles[0].cpu: profile 'giant' asks for 64 cores, "
        "and this machine has 2 cores." in said
    )
    assert "workroom.yaml:5: profiles[0].memory" in said
    assert "workroom.yaml:6: profiles[0].gpu" in said


def test_files_that_are_named_must_be_there(write, tmp_path) -> None:
    write("homes: {shared_data: /no/such/folder}\nbuild: {ca_bundle: /no/such/file}\n")
    settings = config_file.load(environment={})
    with pytest.raises(ConfigError) as caught:
        config_file.check_against_machine(settings, 2, 6 * GIB)
    said = caught.value.message
    assert "workroom.yaml:1: homes.shared_data: there is no folder '/no/such/folder'." in said
    assert "workroom.yaml:2: build.ca_bundle: there is no file '/no/such/file'." in said


def test_default_profiles_that_do_not_fit_are_just_not_offered(write) -> None:
    settings = config_file.load(environment={})
    config_file.check_against_machine(settings, 2, 6 * GIB)
    assert [p.name for p in offered_profiles(settings, 2, 6 * GIB)] == ["small", "medium"]


def test_a_tiny_machine_gets_the_first_profile_cut_down() -> None:
    [profile] = offered_profiles(Settings(), 1, GIB)
    assert (profile.name, profile.cpu, profile.memory) == ("small", 1, GIB)
