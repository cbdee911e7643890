"""workroom.yaml: what it may hold, and how a mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from workroom_hub import checks, config_file
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
        (
            "plan:\n  assumptions:\n    price: .inf\n",
            "plan.assumptions.price: 'inf' is not a finite number. Write a finite number.",
        ),
        (
            "plan:\n  policies: [{name: a, minimum: 1000000000000}]\n",
            "plan.policies[0].minimum: '1000000000000' is too large. Write at most 100000.",
        ),
        (
            f"plan:\n  assumptions:\n    scale_in_after: {'9' * 20}d\n",
            "is too large. Write at most 86400 seconds.",
        ),
        ("web:\n  port: 70000\n", "web.port: '70000' is too large. Write at most 65535."),
        ("web: 3\n", "workroom.yaml:1: web: '3' is not a section."),
        ("auth: {kind: ldap}\n", "auth.kind: 'ldap' is not one of the choices. Write 'password'"),
        ("auth: {kind: oidc}\n", "workroom.yaml:1: auth.oidc: "),
        ("instance: 123\n", "instance: '123' is not text."),
        ("instance: Bad_Name\n", "instance: 'Bad_Name' is not valid: use 1 to 32 lower-case"),
        ("profiles: []\n", "workroom.yaml:1: profiles: it is empty."),
        ("profiles: 3\n", "profiles: '3' is not a list."),
        (
            "local: {subnet: here}\n",
            "workroom.yaml:1: local.subnet: 'here' is not valid: it is not an",
        ),
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


def test_paths_are_taken_from_the_files_own_folder(write, tmp_path, monkeypatch) -> None:
    write(
        "homes: {shared_data: data}\nbuild: {ca_bundle: ca.pem}\n"
        "auth: {kind: oidc, oidc: {issuer: 'https://id.example.com', client_id: w,"
        " client_secret_file: secret}}\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    settings = config_file.load(tmp_path / "workroom.yaml", environment={})
    assert settings.homes.shared_data == tmp_path / "data"
    assert settings.build.ca_bundle == tmp_path / "ca.pem"
    assert settings.auth.oidc is not None
    assert settings.auth.oidc.client_secret_file == tmp_path / "secret"
    typed = config_file.load(tmp_path / "workroom.yaml", environment={"CA_BUNDLE": "mine.pem"})
    assert typed.build.ca_bundle == elsewhere / "mine.pem"
    auto = config_file.load(tmp_path / "workroom.yaml", environment={"CA_BUNDLE": "auto"})
    assert auto.build.ca_bundle == "auto"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local: {subnet: 127.0.0.0/16}", "local.subnet: '127.0.0.0/16' is not valid: loopback"),
        ("local: {subnet: 169.254.0.0/16}", "link-local"),
        ("local: {subnet: 239.0.0.0/16}", "multicast"),
        ("local: {dns: [10.0.0.2, ns.example.com]}", "written as an IP address"),
        ("local: {dns: [127.0.0.53]}", "a container cannot ask"),
        ("auth: {first_admin: a/b c}", "auth.first_admin: 'a/b c' is not valid: a user name"),
        ("auth: {first_admin: ..}", "more than dots"),
        ("build: {tag: Work Room}", "build.tag: 'Work Room' is not valid: an image is written"),
        ("build: {tag: 'a@sha256:" + "0" * 64 + "'}", "not a digest"),
        ("build: {base_image: 'debian:'}", "build.base_image: 'debian:' is not valid"),
        ("images: [{name: a, title: A, ref: 'x y'}]", "images[0].ref: 'x y' is not valid"),
    ],
)
def test_values_that_cannot_work_are_refused_with_a_sentence(write, text, words) -> None:
    write(text + "\n")
    assert words in refused()


@pytest.mark.parametrize(
    "issuer", ["id.example.com", "http://id.example.com", "https://", "https://id.example.com/?a=b"]
)
def test_an_issuer_is_an_https_url(write, issuer) -> None:
    write(
        f"auth: {{kind: oidc, oidc: {{issuer: '{issuer}', client_id: w, client_secret_file: s}}}}\n"
    )
    assert "auth.oidc.issuer: " in refused()


@pytest.mark.parametrize(
    "ref",
    [
        "debian:bookworm-slim",
        "registry.example.com:5000/team/note_book:1.2",
        "localhost:5000/x",
        "workroom/notebook@sha256:" + "a" * 64,
    ],
)
def test_references_of_images_that_engines_take(ref) -> None:
    assert checks.image_reference(ref) == ref


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "\u00c5sa",
        "A\u030asa",
        "a/b",
        " a",
        ".",
        "%2e%2E",
        "a b",
        "a\nb",
        "x" * 201,
        "",
        "\u212a",
    ],
)
def test_the_first_admins_name_follows_the_log_ins_rules(name) -> None:
    from workroom_hub.user_names import UserNames

    rules = UserNames()
    wanted = rules.normalize_username(name)
    if rules.validate_username(wanted):
        assert checks.user_name(name) == wanted
    else:
        with pytest.raises(ValueError, match="a user name has"):
            checks.user_name(name)


@pytest.mark.parametrize("host", ["nonsense host", "192.0.2.201"])
def test_an_address_that_is_not_this_machines(tmp_path: Path, host: str) -> None:
    path = tmp_path / "workroom.yaml"
    path.write_text(f"title: T\nweb:\n  host: {host}\n")
    with pytest.raises(ConfigError, match="is not an address of this machine") as refused:
        config_file.check_against_machine(config_file.load(path), 4, 2**34, path=path)
    assert f"{path.name}:3" in str(refused.value)
    assert "0.0.0.0" in str(refused.value)
