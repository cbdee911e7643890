"""The mount watchdog on the machines that the stack makes: its needs and what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.template import Template, written
from workroom_infra.watchdog import policy
from workroom_infra.watchdog import settings as watchdog_settings
from workroom_infra.watchdog_bundle import DISTRIBUTIONS, bundle

NAMESPACE = "Workroom/Mounts/workroom"
"""The instance's name is in it: two installations in one account have no metric in common."""
WATCHDOG = Path(__file__).resolve().parents[2] / "infra/workroom_infra/watchdog"


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What comes into `site-packages` on a machine."""
    folder = tmp_path_factory.mktemp("bundle")
    bundle(folder, WATCHDOG)
    return folder


def test_the_deployment_names_files_that_are_there() -> None:
    from workroom_infra import app, machine_image

    assert app.WATCHDOG == WATCHDOG
    assert (app.WATCHDOG / machine_image.WATCHDOG_UNIT).is_file()


def test_its_archive_is_all_it_imports(bundled: Path) -> None:
    """A Python without any other package asks for a client of each service."""
    says = (
        "import workroom_infra.watchdog.program, workroom_infra.watchdog.aws, boto3\n"
        "for name in ('ecs', 'autoscaling', 'cloudwatch'):\n"
        "    boto3.session.Session(region_name='eu-central-1').client(\n"
        "        name, aws_access_key_id='a', aws_secret_access_key='b')\n"
        "print(boto3.__file__)"
    )
    child = subprocess.run(
        [sys.executable, "-B", "-S", "-c", says],
        env={"PYTHONPATH": str(bundled), "HOME": "/"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    assert child.stdout.startswith(str(bundled))


def test_the_services_in_it_are_those_it_asks(bundled: Path) -> None:
    asked = set(re.findall(r'\.client\("(\w+)"', (WATCHDOG / "aws.py").read_text()))
    there = {path.name for path in (bundled / "botocore/data").iterdir() if path.is_dir()}
    assert there == asked


def test_its_archive_is_plain_python_and_small(bundled: Path) -> None:
    files = [path for path in bundled.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".so", ".pyc")]
    assert sum(path.stat().st_size for path in files) < 12 * 2**20
    assert len([path for path in files if path.name == "METADATA"]) == len(DISTRIBUTIONS)


def test_the_image_makes_what_the_unit_names(template: Template) -> None:
    commands = "\n".join(_component(template, "workroom-watchdog", "build"))
    unit = _unit(WATCHDOG / "workroom-mount-watchdog.service")
    python = unit["ExecStart"].split()[0]
    place = python.removesuffix("/bin/python")
    assert f"python3.11 -m venv --without-pip {place}\n" in commands
    assert f"-d {place}/lib/python3.11/site-packages " in commands
    assert f"chmod -R a+rX {place}\n" in commands
    [made] = re.findall(r"useradd .* (\S+)$", commands, re.MULTILINE)
    assert made == unit["User"] == unit["Group"]
    assert f">{unit['EnvironmentFile'].removeprefix('-')}\n" in commands
    for path in WATCHDOG.glob("*.service"):
        assert re.search(rf"install .*{path.name}.* /etc/systemd/system\n", commands)
        assert re.search(rf"systemctl enable .*{path.name}", commands)
    packages = "\n".join(_component(template, "workroom-system", "build"))
    assert "python3.11" in packages.split()
    assert "python3-boto3" not in packages


def test_what_it_is_told_can_be_read(template: Template) -> None:
    commands = "\n".join(_component(template, "workroom-watchdog", "build"))
    given = dict(re.findall(r"^echo (WORKROOM_WATCHDOG_\w+)=(\S+) ", commands, re.MULTILINE))
    assert watchdog_settings.load(given).metrics == _namespace(template) == NAMESPACE


def test_it_writes_to_the_journal_and_another_program_to_the_disk(template: Template) -> None:
    assert "StandardOutput" not in _unit(WATCHDOG / "workroom-mount-watchdog.service")
    log = _unit(WATCHDOG / "workroom-mount-watchdog-log.service")
    assert "--unit=workroom-mount-watchdog" in log["ExecStart"].split()
    sent = "\n".join(_component(template, "workroom-system", "build"))
    assert f'"{log["StandardOutput"].removeprefix("append:")}"' in sent


def test_machines_may_do_exactly_what_it_asks_for(template: Template) -> None:
    given = {
        each.sid: each
        for each in template.rights("RolesMachine")
        if each.sid.startswith("MountWatchdog")
    }
    asked = policy.statements(
        cluster="workroom",
        groups=["workroom", "workroom-gpu"],
        region="eu-central-1",
        account="123456789012",
        partition="<AWS::Partition>",
        metrics=_namespace(template),
    )
    assert set(given) == {each["Sid"] for each in asked}
    for each in asked:
        found = given[each["Sid"]]
        assert list(found.actions) == _listed(each["Action"])
        assert list(found.resources) == _listed(each["Resource"])
        conditions = json.loads(json.dumps(each.get("Condition", {})))
        assert _plain(found.conditions) == conditions
    others = {
        action
        for each in template.rights("RolesMachine")
        if each.sid not in given
        for action in each.actions
    }
    assert not others & {action for each in given.values() for action in each.actions}


def test_it_reaches_aws_without_the_internet(template: Template) -> None:
    there = {
        written(each["ServiceName"]).rpartition(".")[2]
        for each in template.of("AWS::EC2::VPCEndpoint").values()
    }
    assert {"ecs", "autoscaling", "monitoring"} <= there


@pytest.mark.parametrize("metric", ["HungMounts", "HeldBack"])
def test_people_hear_of_it(template: Template, metric: str) -> None:
    source = (WATCHDOG / "plan.py").read_text() + (WATCHDOG / "program.py").read_text()
    assert f'"{metric}"' in source
    [alarm] = [
        each
        for each in template.of("AWS::CloudWatch::Alarm").values()
        if each.get("MetricName") == metric and each["Statistic"] == "Maximum"
    ]
    assert alarm["Namespace"] == NAMESPACE
    assert alarm["Threshold"] == 1
    assert "Dimensions" not in alarm
    assert alarm["AlarmDescription"].endswith("docs/runbooks/mount-hangs.md")


def _component(template: Template, name: str, phase: str) -> list[str]:
    """Return the commands of one phase of a component of the machines' image."""
    [data] = [
        json.loads(written(each["Data"]))
        for each in template.of("AWS::ImageBuilder::Component").values()
        if each["Name"] == name
    ]
    [found] = [each for each in data["phases"] if each["name"] == phase]
    return [command for step in found["steps"] for command in step["inputs"]["commands"]]


def _unit(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if "=" in line and line[0] != "#"]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _namespace(template: Template) -> str:
    [measures] = [
        each for each in template.rights("RolesMachine") if each.sid == "MountWatchdogMeasures"
    ]
    return str(measures.conditions["StringEquals"]["cloudwatch:namespace"])


def _plain(value: Any) -> Any:
    """Return conditions with references written out."""
    if isinstance(value, dict) and not {"Fn::Join", "Ref"} & set(value):
        return {name: _plain(each) for name, each in value.items()}
    return written(value)


def _listed(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]
