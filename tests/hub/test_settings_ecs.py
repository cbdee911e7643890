"""`spawner: ecs`: what its settings may hold, and how each of them reaches the spawner."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from workroom_hub import config_file, configure, configure_ecs
from workroom_hub.errors import ConfigError
from workroom_hub.machine import doctor_running
from workroom_hub.runtime import Emulator, ImageFacts, Runtime
from workroom_hub.settings import Settings
from workroom_spawner import ecs_settings
from workroom_spawner.ecs_settings import EcsSettings

GIB = 2**30
ROLE = "arn:aws:iam::123456789012:role/"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:registry-a1b2c3"
SUBNET, OTHER_SUBNET = "subnet-0123456789abcdef0", "subnet-0a1b2c3d"

LEAST: dict[str, Any] = {
    "spawner": "ecs",
    "homes": {"file_system": "fs-0123456789abcdef0"},
    "ecs": {
        "region": "eu-central-1",
        "cluster": "data-science",
        "subnets": [SUBNET],
        "hub_url": "http://10.0.1.5:8081",
        "task_role": f"{ROLE}task",
    },
}


@pytest.fixture
def runtime(tmp_path: Path) -> Runtime:
    facts = ImageFacts("sha256:1", None, "")
    images = {"workroom/notebook:latest": facts}
    return Runtime(tmp_path, "10.0.1.5", "", 4, 16 * GIB, images, installation="ab12")


def merged(**sections: Any) -> dict[str, Any]:
    """Return `LEAST` with fields changed; None takes one away."""
    given = {**LEAST}
    for name, value in sections.items():
        if isinstance(value, dict):
            section = {**LEAST.get(name, {}), **value}
            given[name] = {k: v for k, v in section.items() if v is not None}
        else:
            given[name] = value
    return given


def refused(tmp_path: Path, given: dict[str, Any]) -> str:
    file = tmp_path / "workroom.yaml"
    file.write_text(json.dumps(given))
    with pytest.raises(ConfigError) as caught:
        config_file.load(file, environment={})
    return f"{caught.value.message} {caught.value.fix}"


def test_the_samples_in_the_docs_are_good(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "ecs.md").read_text()
    samples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "workroom.yaml"
    spawners = []
    for sample in samples:
        file.write_text(sample)
        spawners.append(config_file.load(file, environment={}).spawner)
    assert spawners[0] == "ecs"


# -- what is needed --------------------------------------------------------------------


def test_the_least_there_must_be_is_enough() -> None:
    Settings.model_validate(LEAST)


@pytest.mark.parametrize("name", ["region", "cluster", "subnets", "hub_url"])
def test_a_field_that_ecs_cannot_do_without_is_named_with_an_example(
    name: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, merged(ecs={name: None}))
    assert f"'spawner: ecs' needs ecs.{name} (such as " in said
    assert "problems" not in said


def test_all_that_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    said = refused(tmp_path, {"spawner": "ecs"})
    for name in ("region", "cluster", "subnets", "hub_url"):
        assert f"ecs.{name}" in said


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"homes": {"file_system": None}}, "needs homes.file_system"),
        ({"homes": {"kind": "volume"}}, "kind 'volume' is for 'spawner: local'"),
        ({"homes": {"root": "/a/b/c/d"}}, "homes.root: '/a/b/c/d' is no folder for access"),
        ({"homes": {"root": "/the homes"}}, "EFS takes up to three names"),
        ({"homes": {"root": "/" + "a" * 23}}, "is too long; 23 characters leave room"),
        ({"homes": {"shared_data": "/srv"}}, "shared_data is a folder of this machine"),
        ({"ecs": {"task_role": None}}, "homes on EFS need ecs.task_role"),
        ({"ecs": {"registry_secret": SECRET}}, "ECS needs ecs.execution_role for it"),
        ({"ecs": {"logs": {"group": "/w"}}}, "ECS needs ecs.execution_role for it"),
    ],
)
def test_what_belongs_together_is_asked_for(
    change: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    assert sentence in refused(tmp_path, merged(**change))


def test_homes_that_the_machines_mount_need_neither_file_system_nor_role() -> None:
    homes = {"kind": "host-path", "root": "/mnt/of all/our/people's homes", "file_system": None}
    settings = Settings.model_validate(merged(homes=homes, ecs={"task_role": None}))
    assert settings.homes.root == Path("/mnt/of all/our/people's homes")


def test_the_longest_root_that_efs_takes_is_good() -> None:
    Settings.model_validate(merged(homes={"root": "/" + "a" * 22}))


def test_a_strategy_with_one_base_and_a_weight_of_0_is_good() -> None:
    strategy = [{"name": "a", "base": 2}, {"name": "b", "weight": 0}, {"name": "c", "weight": 3}]
    Settings.model_validate(merged(ecs={"capacity_providers": strategy}))


def test_homes_of_a_cluster_are_not_for_this_machine(tmp_path: Path) -> None:
    said = refused(tmp_path, {"homes": {"kind": "efs", "file_system": "fs-01234567"}})
    assert "homes: kind 'efs' is for 'spawner: ecs'; leave it out" in said


# -- what values look like -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("region", "frankfurt", "a region is written like eu-central-1"),
        ("cluster", "my cluster", "a cluster is a name of letters"),
        ("subnets", ["10.0.0.0/24"], "write it like subnet-0123456789abcdef0"),
        ("security_groups", ["sg-xyz"], "write it like sg-0123456789abcdef0"),
        ("security_groups", ["sg-01234567"] * 6, "Write at most 5 items."),
        ("hub_url", "10.0.1.5:8081", "write an address without a path"),
        ("hub_url", "http://10.0.1.5:8081/hub", "write an address without a path"),
        ("task_role", "workroom-task", "a role is given by its ARN"),
        ("task_role", "arn:aws:iam::1234:role/x", "a role is given by its ARN"),
        ("execution_role", SECRET, "a role is given by its ARN"),
        ("registry_secret", "registry-a1b2c3", "a secret is given by its ARN"),
        ("capacity_providers", [{"name": "FARGATE"}], "Fargate cannot mount"),
        *(
            (field, value, sentence)
            for field in ("capacity_providers", "gpu_capacity_providers")
            for value, sentence in (
                ([{"name": "a"}, {"name": "a"}], "'a' is there twice; name each"),
                ([{"name": "a", "base": 1}, {"name": "b", "base": 2}], "'a' and 'b' have a base"),
                ([{"name": "a", "weight": 0}], "every weight is 0"),
                (
                    [{"name": "a", "weight": 0, "base": 1}, {"name": "b", "weight": 0}],
                    "weight of 1",
                ),
            )
        ),
        ("roles", [{"group": "research"}], "give the group a task_role"),
        ("placement_constraints", [{"type": "memberOf"}], "an expression belongs to memberOf"),
        ("placement_constraints", [{"type": "spread"}], "'memberOf' or 'distinctInstance'"),
        ("tags", {"workroom:user": "ann"}, "are taken"),
        ("tags", {"AWS:x": "ann"}, "are taken"),
        ("tags", {f"t{n}": "" for n in range(44)}, "at most 40"),
        ("tags", {"team": "<b>"}, "tags hold letters, digits"),
        ("stop_timeout", "3m", "'3m' is too large. Write at most 120 seconds."),
        ("shared_memory", "1M", "'1M' is too small. Write at least 64M."),
        ("quotas", {"run": {"burst": 100}}, "Add 'rate: …'"),
        ("quotas", {"run": {"burst": 0, "rate": 1}}, "is too small"),
        ("logs", {"group": "a b"}, "a log group is a name such as"),
        ("logs", {"group": "a", "prefix": "a/b"}, "use 1 to 100 letters"),
        ("subnet", [SUBNET], "Did you mean 'subnets'?"),
    ],
)
def test_a_wrong_value_is_named_with_what_to_write(
    field: str, value: Any, sentence: str, tmp_path: Path
) -> None:
    said = refused(tmp_path, merged(ecs={"execution_role": f"{ROLE}start", field: value}))
    assert f"ecs.{field}" in said
    assert sentence in said


def test_an_arn_of_china_and_a_role_with_a_path_are_good() -> None:
    role = "arn:aws-cn:iam::123456789012:role/teams/data/task"
    given = merged(ecs={"task_role": role, "region": "cn-north-1", "hub_url": "http://hub:81/"})
    ecs = Settings.model_validate(given).ecs
    assert (ecs.task_role, ecs.hub_url, ecs.host) == (role, "http://hub:81", "hub")


def test_the_emulators_port_is_nobody_elses(tmp_path: Path) -> None:
    assert "ecs.emulator_port: 8000 is web.port too." in refused(
        tmp_path, {"ecs": {"emulator_port": 8000}}
    )
    settings = config_file.load(environment={"WORKROOM_EMULATOR_PORT": "4600"})
    assert settings.ecs.emulator_port == 4600


def images(*refs: str) -> list[dict[str, str]]:
    return [{"name": f"i{n}", "title": "Image", "ref": ref} for n, ref in enumerate(refs)]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "1: images: 'spawner: ecs' needs them: the default image is on this machine only."),
        (["workroom/notebook:1"], "images[0].ref: 'workroom/notebook:1' names no registry"),
        (["notebook:1"], "(Docker Hub: docker.io/notebook:1)"),
        (["localhost/notebook:1", "acme/n@sha256:" + "0" * 64], "images[1].ref: 'acme/n@sha256"),
    ],
)
def test_images_that_the_machines_of_a_cluster_cannot_pull_are_refused(
    given: list[str] | None, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "workroom.yaml"
    file.write_text(json.dumps(merged(images=images(*given)) if given else LEAST))
    settings = config_file.load(file, environment={})
    with pytest.raises(ConfigError) as caught:
        config_file.check_against_machine(settings, 2, 4 * GIB, path=file)
    assert sentence in caught.value.message
    assert "123456789012.dkr.ecr.eu-central-1.amazonaws.com/" in caught.value.message
    # The emulator's containers run on this machine.
    config_file.check_against_machine(settings, 2, 4 * GIB, path=file, emulated=True)


def test_images_of_any_registry_are_good(tmp_path: Path) -> None:
    file = tmp_path / "workroom.yaml"
    refs = ["r.example.com/a/n:1", "registry:5000/n:1", "docker.io/acme/n:1", "localhost/n:1"]
    file.write_text(json.dumps(merged(images=images(*refs))))
    settings = config_file.load(file, environment={})
    config_file.check_against_machine(settings, 2, 4 * GIB, path=file)


@pytest.mark.parametrize(
    ("ecs", "state"),
    [
        ({"hub_url": "http://10.0.1.5:8081"}, "ok"),
        ({"hub_url": "http://10.0.1.5:9000"}, "note"),
        ({"hub_url": "http://10.0.1.5"}, "note"),
        # Something stands in front of the hub: it has another address, or speaks TLS.
        ({"hub_url": "http://hub.example.com:9000", "hub_host": "10.0.1.5"}, "ok"),
        ({"hub_url": "https://hub.example.com"}, "ok"),
    ],
)
def test_a_port_on_which_no_hub_listens_is_noted(ecs: dict[str, Any], state: str) -> None:
    check = doctor_running.hub_url_check(Settings.model_validate(merged(ecs=ecs)))
    assert check.state == state
    assert (state == "ok") != ("ecs.hub_url: http://10.0.1.5:8081" in check.fix)


def test_doctor_names_images_that_a_cluster_cannot_pull() -> None:
    settings = Settings.model_validate(merged(images=images("workroom/notebook:1")))
    check = doctor_running.for_the_cluster_check(settings)
    assert check.state == "failed"
    assert "'workroom/notebook:1' names no registry" in check.message
    settings = Settings.model_validate(merged(images=images("r.example.com/n:1")))
    assert doctor_running.for_the_cluster_check(settings).state == "ok"


def test_a_cluster_has_machines_of_its_own(tmp_path: Path) -> None:
    profiles = [{"name": "huge", "title": "Huge", "cpu": 96, "memory": "700G"}]
    file = tmp_path / "workroom.yaml"
    given_images = merged(profiles=profiles, images=images("registry.example.com/n:1"))
    for given, fits in (({"profiles": profiles}, False), (given_images, True)):
        file.write_text(json.dumps(given))
        settings = config_file.load(file, environment={})
        if fits:
            config_file.check_against_machine(settings, 2, 4 * GIB, path=file)
        else:
            with pytest.raises(ConfigError, match="this machine has 2 cores"):
                config_file.check_against_machine(settings, 2, 4 * GIB, path=file)


# -- what becomes of them ------------------------------------------------------------------


def build(runtime: Runtime, given: dict[str, Any]) -> Config:
    return configure.build(Settings.model_validate(given), runtime, Config())


def test_the_least_becomes_these_settings_of_the_spawner(runtime: Runtime) -> None:
    found = build(runtime, LEAST).EcsSpawner.platform_settings
    assert found == EcsSettings(
        region="eu-central-1",
        cluster="data-science",
        instance="workroom",
        installation="ab12",
        subnets=(SUBNET,),
        task_role=f"{ROLE}task",
        homes=ecs_settings.EcsHomes("efs", "fs-0123456789abcdef0", "/homes", False),
    )


def test_every_setting_reaches_the_spawner(runtime: Runtime) -> None:
    given = merged(
        homes={"kind": "host-path", "root": "/mnt/h", "prepare": True, "file_system": None},
        ecs={
            "subnets": [SUBNET, OTHER_SUBNET],
            "security_groups": ["sg-01234567"],
            "capacity_providers": [{"name": "main", "weight": 2, "base": 1}],
            "gpu_capacity_providers": [{"name": "gpu"}],
            "execution_role": f"{ROLE}start",
            "roles": [{"group": "research", "task_role": f"{ROLE}research"}],
            "logs": {"group": "/workroom"},
            "registry_secret": SECRET,
            "placement_constraints": [
                {"type": "memberOf", "expression": "attribute:team == data"},
                {"type": "distinctInstance"},
            ],
            "tags": {"cost-centre": "42"},
            "execute_command": True,
            "shared_memory": "1G",
            "stop_timeout": "1m",
            "capacity_timeout": "20m",
            "sweep_every": "1m",
            "orphan_grace": "10m",
            "auto_scaling_group": "workroom-asg",
            "endpoint_url": "https://vpce.example.com",
            "quotas": {
                name: {"burst": number, "rate": number / 10}
                for number, name in enumerate(
                    ("run", "describe", "registrations", "definitions", "other"), start=1
                )
            },
        },
    )
    assert build(runtime, given).EcsSpawner.platform_settings == EcsSettings(
        region="eu-central-1",
        cluster="data-science",
        instance="workroom",
        installation="ab12",
        subnets=(SUBNET, OTHER_SUBNET),
        security_groups=("sg-01234567",),
        capacity_providers=(ecs_settings.CapacityProvider("main", 2, 1),),
        gpu_capacity_providers=(ecs_settings.CapacityProvider("gpu"),),
        task_role=f"{ROLE}task",
        execution_role=f"{ROLE}start",
        group_roles=(ecs_settings.GroupRoles("research", f"{ROLE}research"),),
        homes=ecs_settings.EcsHomes("host-path", "", "/mnt/h", True),
        logs=ecs_settings.TaskLogs("/workroom"),
        registry_secret=SECRET,
        placement_constraints=(
            {"type": "memberOf", "expression": "attribute:team == data"},
            {"type": "distinctInstance"},
        ),
        tags={"cost-centre": "42"},
        execute_command=True,
        shared_memory=GIB,
        stop_seconds=60,
        sweep_seconds=60.0,
        orphan_grace=600.0,
        capacity_timeout=1200.0,
        auto_scaling_group="workroom-asg",
        endpoint_url="https://vpce.example.com",
        quotas=ecs_settings.Quotas(
            run=ecs_settings.Bucket(1, 0.1),
            describe=ecs_settings.Bucket(2, 0.2),
            register=ecs_settings.Bucket(3, 0.3),
            definitions=ecs_settings.Bucket(4, 0.4),
            other=ecs_settings.Bucket(5, 0.5),
        ),
    )


def test_quotas_that_are_not_given_are_the_documented_ones(runtime: Runtime) -> None:
    found = build(runtime, LEAST).EcsSpawner.platform_settings
    assert found.quotas == ecs_settings.Quotas()


def test_the_hub_listens_where_it_is_told_and_tasks_are_told_its_url(runtime: Runtime) -> None:
    given = merged(ecs={"hub_url": "http://hub.internal:9000", "hub_host": "10.0.1.5"})
    c = build(runtime, given)
    assert c.JupyterHub.hub_bind_url == "http://10.0.1.5:8081"
    assert c.JupyterHub.hub_connect_url == "http://hub.internal:9000"
    assert c.EcsSpawner.start_url == "http://hub.internal:9000/hub/api/workroom/start"


def test_what_the_hub_cannot_see_in_an_image_the_settings_say(runtime: Runtime) -> None:
    cards = [
        {"name": "with", "ref": "r/with:1", "title": "With", "rstudio": "2025.09.1"},
        {"name": "unknown", "ref": "r/unknown:1", "title": "Unknown"},
    ]
    known, unknown = build(runtime, merged(images=cards)).EcsSpawner.catalog.images
    assert (known.rstudio, known.rstudio_note) == ("2025.09.1", "")
    assert unknown.rstudio is None
    assert "cannot look into this image" in unknown.rstudio_note


def test_the_hubs_own_limit_is_beyond_queue_machine_and_start(runtime: Runtime) -> None:
    c = build(runtime, merged(limits={"start_timeout": "2m"}, ecs={"capacity_timeout": "30m"}))
    assert c.JupyterHub.spawner_class == "workroom_spawner.ecs.EcsSpawner"
    assert c.EcsSpawner.start_deadline == 120
    # 10,000 people for the first time, one a second: nobody may be thrown out of the line.
    assert c.EcsSpawner.start_timeout >= 1800 + 2 * 120 + 10_000
    assert c.EcsSpawner.poll_interval == 30
    assert c.EcsSpawner.environment == build(runtime, {}).LocalSpawner.environment
    assert "LocalSpawner" not in c


def test_a_new_machine_may_pull_the_image_unless_the_settings_say_how_long(
    runtime: Runtime, emulated: Runtime
) -> None:
    assert build(runtime, LEAST).EcsSpawner.start_deadline == 600
    given = merged(limits={"start_timeout": "2m"})
    assert build(runtime, given).EcsSpawner.start_deadline == 120
    assert build(emulated, {}).EcsSpawner.start_deadline == 120
    assert build(runtime, {}).LocalSpawner.start_deadline == 120


@pytest.mark.parametrize(
    ("ecs", "bars", "measure"),
    [
        ({}, (8, 32 * GIB), "the largest size"),
        (
            {"instance_cpu": 16, "instance_memory": "64G"},
            (16, 64 * GIB),
            "a machine of the cluster",
        ),
    ],
)
def test_bars_on_cards_are_never_relative_to_the_hubs_machine(
    runtime: Runtime, ecs: dict[str, Any], bars: tuple[float, int], measure: str
) -> None:
    c = build(runtime, merged(ecs=ecs))
    catalog = c.EcsSpawner.catalog
    assert (catalog.cpus, catalog.memory) == bars
    assert c.JupyterHub.template_vars["workroom_measure"] == measure
    # Larger than the hub's own machine, and on offer all the same.
    assert [p.name for p in catalog.profiles] == ["small", "medium", "large", "x-large"]


# -- the emulator ----------------------------------------------------------------------------


@pytest.fixture
def emulated(runtime: Runtime) -> Runtime:
    emulator = Emulator("http://127.0.0.1:4566", "us-east-1", "workroom", (SUBNET,))
    return Runtime(
        runtime.home, "172.30.0.1", "workroom-users", 2, 4 * GIB, runtime.images, "ab12", emulator
    )


def test_with_the_emulator_the_same_settings_run_on_it(emulated: Runtime) -> None:
    given = {"ecs": {"tags": {"team": "data"}, "task_role": f"{ROLE}task", "stop_timeout": 5}}
    c = build(emulated, given)
    assert c.EcsSpawner.platform_settings == EcsSettings(
        region="us-east-1",
        cluster="workroom",
        instance="workroom",
        installation="ab12",
        subnets=(SUBNET,),
        homes=ecs_settings.EcsHomes("host-path", "", str(emulated.home / "homes"), True),
        tags={"team": "data"},
        stop_seconds=5,
        endpoint_url="http://127.0.0.1:4566",
    )
    assert c.JupyterHub.hub_bind_url == "http://172.30.0.1:8081"
    assert c.EcsSpawner.start_url == "http://172.30.0.1:8081/hub/api/workroom/start"


def test_with_the_emulator_only_what_fits_this_machine_is_offered(emulated: Runtime) -> None:
    own = [
        {"name": name, "title": name, "cpu": cpu, "memory": "1G"}
        for name, cpu in (("mine", 1), ("huge", 96))
    ]
    for given, names in (({}, ["small", "medium"]), (merged(profiles=own), ["mine"])):
        c = build(emulated, given)
        catalog = c.EcsSpawner.catalog
        assert [profile.name for profile in catalog.profiles] == names
        # Nothing is larger than what the bars show in full.
        assert (catalog.cpus, catalog.memory) == (2, 4 * GIB)
        assert c.JupyterHub.template_vars["workroom_measure"] == "this machine"


def test_an_account_of_aws_in_the_settings_is_not_used_with_the_emulator(
    emulated: Runtime,
) -> None:
    settings = Settings.model_validate(merged(ecs={"execution_role": f"{ROLE}start"}))
    found = configure_ecs.effective(settings, emulated)
    assert found.ecs.cluster == "workroom"
    assert (found.ecs.task_role, found.ecs.execution_role, found.homes.file_system) == ("", "", "")


def test_the_emulator_is_remembered_in_the_state_folder(emulated: Runtime) -> None:
    emulated.save()
    assert Runtime.load(emulated.home) == emulated
