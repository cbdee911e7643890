"""`workroom deploy`: what it shows, does, and writes back."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import NoCredentialsError

from tests.fakes.cloudformation import FakeAccount
from tests.support.aws_settings import aws_section, everything
from workroom_hub import config_file
from workroom_hub.deploy import assembly, changes, written
from workroom_hub.deploy.assembly import Assembly, File
from workroom_hub.deploy.calls import asked
from workroom_hub.deploy.cloud import Account
from workroom_hub.errors import ConfigError, DeployError
from workroom_hub.settings import Settings
from workroom_hub.settings_deployed import OUTPUTS

OUTPUT_VALUES = {
    **dict.fromkeys(OUTPUTS, "x"),
    "Cluster": "workroom",
    "Subnets": "subnet-0123456789abcdef0,subnet-0123456789abcdef1",
    "ServersSecurityGroup": "sg-0123456789abcdef0",
    "HubUrl": "http://hub.workroom.internal:8081",
    "ProxyApiUrl": "http://proxy.workroom.internal:8001",
    "CapacityProvider": "workroom",
    "GpuCapacityProvider": "none",
    "AutoScalingGroup": "workroom",
    "TaskRole": "arn:aws:iam::123456789012:role/task",
    "GroupRoles": '{"finance": "arn:aws:iam::123456789012:role/finance"}',
    "ExecutionRole": "arn:aws:iam::123456789012:role/start",
    "LogGroup": "/workroom/servers",
    "RegistrySecret": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:pull-a1b2c3",
    "FileSystem": "fs-0123456789abcdef0",
    "Warehouse": "s3://acme/warehouse",
    "Metastore": "thrift://metastore.workroom.internal:9083",
    "SshHost": "ssh.workroom.example.com",
}


def deployable() -> Settings:
    return Settings.model_validate(everything())


def made(folder: Path, template: dict[str, Any] | None = None) -> Assembly:
    """Return what a synthesis could have written."""
    template = template or {"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}
    path = folder / "workroom.template.json"
    path.write_text(json.dumps(template))
    watchdog = folder / "asset.1"
    (watchdog / "watchdog").mkdir(parents=True)
    (watchdog / "watchdog/unit.service").write_text("[Unit]")
    bucket = "workroom-deploy-123456789012-eu-central-1"
    files = (
        File(watchdog, True, bucket, "assets/1.zip"),
        File(path, False, bucket, "assets/t.json"),
    )
    return Assembly(
        folder, deployable(), folder / "workroom.yaml", "workroom", template, path, files,
        "assets/t.json",
    )  # fmt: skip


def account(fake: FakeAccount, said: list[str] | None = None) -> Account:
    return Account(
        deployable(),
        fake,  # type: ignore[arg-type]
        say=(said if said is not None else []).append,
        sleep=lambda _: None,
    )


class TestChanges:
    def test_nothing_deployed_yet(self) -> None:
        new = {"Resources": {"A": {"Type": "AWS::S3::Bucket"}}}
        assert changes.lines(None, new) == [
            "Nothing is deployed yet: 1 new resources.",
            "+ AWS::S3::Bucket",
        ]

    def test_the_smallest_part_that_differs_is_named(self) -> None:
        def template(size: int, *ports: int) -> dict[str, Any]:
            properties = {"Size": size, "Rules": [{"Port": port} for port in ports]}
            return {"Resources": {"Group": {"Type": "AWS::X::Y", "Properties": properties}}}

        assert changes.lines(template(1, 80, 443), template(2, 80, 22)) == [
            "~ AWS::X::Y Group",
            "    Properties.Rules[1].Port: 443 → 22",
            "    Properties.Size: 1 → 2",
        ]

    def test_what_comes_and_goes(self) -> None:
        old = {"Resources": {"A": {"Type": "T", "Properties": {"X": 1}}, "B": {"Type": "U"}}}
        new = {"Resources": {"A": {"Type": "T", "Properties": {"Y": 1}}, "C": {"Type": "V"}}}
        assert changes.lines(old, new) == [
            "~ T A",
            "    Properties.X: - 1",
            "    Properties.Y: + 1",
            "- U B",
            "+ V C",
        ]

    def test_no_changes(self) -> None:
        same = {"Resources": {"A": {"Type": "T"}}}
        assert changes.lines(same, json.loads(json.dumps(same))) == ["No changes."]


class TestDeploying:
    def test_a_first_deployment(self, tmp_path: Path) -> None:
        said: list[str] = []
        fake = FakeAccount(
            changes=[
                {"Action": "Add", "ResourceType": "AWS::S3::Bucket", "LogicalResourceId": "A"},
                {"Action": "Add", "ResourceType": "AWS::EFS::FileSystem", "LogicalResourceId": "B"},
            ],
            events=[("CREATE_COMPLETE", "AWS::S3::Bucket", "A", "")],
        )
        account(fake, said).deploy(made(tmp_path), agreed=lambda _: True)
        [change_set] = fake.calls("create_change_set")
        assert change_set["ChangeSetType"] == "CREATE"
        assert change_set["Capabilities"] == ["CAPABILITY_NAMED_IAM"]
        assert change_set["TemplateURL"].endswith("/assets/t.json")
        assert said[:2] == ["+ AWS::S3::Bucket A", "+ AWS::EFS::FileSystem B"]
        assert "CREATE_COMPLETE" in said[2]

    def test_files_go_through_a_bucket_that_is_private(self, tmp_path: Path) -> None:
        fake = FakeAccount(events=[], changes=[])
        account(fake).deploy(made(tmp_path), agreed=lambda _: True)
        [block] = fake.calls("put_public_access_block")
        assert all(block["PublicAccessBlockConfiguration"].values())
        [policy] = fake.calls("put_bucket_policy")
        assert "aws:SecureTransport" in policy["Policy"]
        zipped = fake.objects["workroom-deploy-123456789012-eu-central-1/assets/1.zip"]
        assert zipfile.ZipFile(BytesIO(zipped)).namelist() == ["watchdog/unit.service"]
        for given in fake.calls("put_object"):
            assert given["ServerSideEncryption"] == "AES256"
            assert given["ExpectedBucketOwner"] == "123456789012"

    def test_trunking_is_switched_on_before_machines_are_made(self, tmp_path: Path) -> None:
        fake = FakeAccount()
        account(fake).deploy(made(tmp_path), agreed=lambda _: True)
        names = [name for name, _ in fake.asked]
        assert names.index("put_account_setting_default") < names.index("create_change_set")

    def test_an_update_says_what_is_replaced(self, tmp_path: Path) -> None:
        said: list[str] = []
        fake = FakeAccount(
            status="UPDATE_COMPLETE",
            changes=[
                {
                    "Action": "Modify",
                    "ResourceType": "AWS::RDS::DBInstance",
                    "LogicalResourceId": "D",
                    "Replacement": "True",
                }
            ],
            ends_as="UPDATE_COMPLETE",
        )
        account(fake, said).deploy(made(tmp_path), agreed=lambda _: True)
        assert fake.calls("create_change_set")[0]["ChangeSetType"] == "UPDATE"
        assert said[0] == "~ AWS::RDS::DBInstance D REPLACED"

    def test_nobody_agreed(self, tmp_path: Path) -> None:
        change = {"Action": "Add", "ResourceType": "T", "LogicalResourceId": "A"}
        fake = FakeAccount(changes=[change])
        with pytest.raises(DeployError, match="Nothing was changed"):
            account(fake).deploy(made(tmp_path), agreed=lambda _: False)
        assert not fake.calls("execute_change_set")

    def test_nothing_to_change(self, tmp_path: Path) -> None:
        said: list[str] = []
        fake = FakeAccount(
            status="CREATE_COMPLETE",
            refusal="The submitted information didn't contain changes.",
        )
        account(fake, said).deploy(made(tmp_path), agreed=lambda _: True)
        assert said == ["No changes."]

    def test_a_resource_that_fails_is_named_with_its_reason(self, tmp_path: Path) -> None:
        fake = FakeAccount(
            changes=[{"Action": "Add", "ResourceType": "T", "LogicalResourceId": "A"}],
            events=[
                ("CREATE_FAILED", "AWS::EC2::NatGateway", "Nat", "The limit is reached"),
                ("CREATE_FAILED", "AWS::EC2::Subnet", "A", "Resource creation cancelled"),
                ("CREATE_FAILED", "AWS::EC2::Subnet", "B", "Resource creation cancelled"),
                ("CREATE_FAILED", "AWS::EC2::Subnet", "C", "Resource creation cancelled"),
            ],
            ends_as="CREATE_FAILED",
        )
        # More at once than one page of events holds.
        fake.at_once = 4
        with pytest.raises(DeployError, match=r"CREATE_FAILED\. Nat: The limit is reached") as told:
            account(fake).deploy(made(tmp_path), agreed=lambda _: True)
        assert "it goes on" in told.value.fix
        assert len(told.value.details.splitlines()) == 4
        assert not fake.calls("update_termination_protection")

    @pytest.mark.parametrize(
        ("status", "how"),
        [
            (None, {"DisableRollback": True}),
            ("REVIEW_IN_PROGRESS", {"DisableRollback": True}),
            ("CREATE_FAILED", {"DisableRollback": True}),
            ("UPDATE_FAILED", {"DisableRollback": True}),
            ("CREATE_COMPLETE", {"RetainExceptOnCreate": True}),
            ("UPDATE_ROLLBACK_COMPLETE", {"RetainExceptOnCreate": True}),
        ],
    )
    def test_only_a_stack_that_was_whole_goes_back(
        self, tmp_path: Path, status: str | None, how: dict[str, bool]
    ) -> None:
        change = {"Action": "Add", "ResourceType": "T", "LogicalResourceId": "A"}
        fake = FakeAccount(status=status, changes=[change], ends_as="UPDATE_COMPLETE")
        account(fake).deploy(made(tmp_path), agreed=lambda _: True)
        [asked] = fake.calls("execute_change_set")
        assert {k: v for k, v in asked.items() if k not in ("StackName", "ChangeSetName")} == how
        [kind] = fake.calls("create_change_set")
        new = status in (None, "REVIEW_IN_PROGRESS")
        assert kind["ChangeSetType"] == ("CREATE" if new else "UPDATE")

    def test_the_stack_is_protected_from_removal(self, tmp_path: Path) -> None:
        fake = FakeAccount(status="CREATE_COMPLETE", refusal="No updates are to be performed.")
        account(fake).deploy(made(tmp_path), agreed=lambda _: True)
        [protected] = fake.calls("update_termination_protection")
        assert protected == {"StackName": "workroom", "EnableTerminationProtection": True}

    def test_a_new_account_gets_the_roles_of_awss_services(self, tmp_path: Path) -> None:
        waits: list[float] = []
        fake = FakeAccount(roles={"rds.amazonaws.com"})
        for expected in ([15.0], []):
            waits.clear()
            new = Account(deployable(), fake, say=lambda _: None, sleep=waits.append)  # type: ignore[arg-type]
            folder = tmp_path / str(len(fake.asked))
            folder.mkdir()
            new.deploy(made(folder), agreed=lambda _: True)
            assert [wait for wait in waits if wait == 15.0] == expected
        assert "ecs.amazonaws.com" in fake.roles
        names = [name for name, _ in fake.asked]
        assert names.index("create_service_linked_role") < names.index("create_change_set")

    @pytest.mark.parametrize(
        ("status", "words"),
        [
            ("ROLLBACK_COMPLETE", "never made whole"),
            ("ROLLBACK_FAILED", "never made whole"),
            ("DELETE_FAILED", "was being removed"),
            ("UPDATE_ROLLBACK_FAILED", "could not go back"),
            ("UPDATE_IN_PROGRESS", "is UPDATE_IN_PROGRESS"),
        ],
    )
    def test_a_stack_that_takes_no_change(self, tmp_path: Path, status: str, words: str) -> None:
        with pytest.raises(DeployError, match=words):
            account(FakeAccount(status=status)).deploy(made(tmp_path), agreed=lambda _: True)

    def test_another_account_is_left_alone(self) -> None:
        with pytest.raises(DeployError, match="123456789012, and these credentials are of 99"):
            account(FakeAccount(account="999999999999")).require_right_one()

    def test_outputs_of_no_stack(self) -> None:
        with pytest.raises(DeployError, match="There is no stack 'workroom'"):
            account(FakeAccount()).outputs()

    def test_no_credentials(self) -> None:
        def call() -> None:
            raise NoCredentialsError

        with pytest.raises(DeployError, match="no AWS credentials"):
            asked(call)


class TestRollout:
    def roll_out(self, **given: Any) -> tuple[FakeAccount, str]:
        fake = FakeAccount(status="UPDATE_COMPLETE", outputs=OUTPUT_VALUES, **given)
        [said] = account(fake).roll_out()
        return fake, said

    def drained(self, fake: FakeAccount) -> list[str]:
        calls = fake.calls("update_container_instances_state")
        return [arn for call in calls for arn in call["containerInstances"]]

    def test_machines_of_an_older_image_drain_and_no_server_ends(self) -> None:
        fake, said = self.roll_out(
            machines=[
                ("i-busy", "1", "ACTIVE", 3),
                ("i-empty", "1", "ACTIVE", 0),
                ("i-new", "2", "ACTIVE", 2),
                ("i-going", "1", "DRAINING", 1),
                ("i-gone", "1", "DRAINING", 0),
            ]
        )
        assert self.drained(fake) == ["arn:i-empty", "arn:i-busy"]
        # ECS protects every machine that has a server on it, and a drained one may stay so.
        [free] = fake.calls("set_instance_protection")
        assert free["InstanceIds"] == ["i-empty", "i-gone"]
        assert free["ProtectedFromScaleIn"] is False
        [refresh] = fake.calls("start_instance_refresh")
        assert refresh["Preferences"]["ScaleInProtectedInstances"] == "Ignore"
        assert "2 without servers are replaced now, 2 take no new servers" in said
        assert not fake.calls("stop_task")

    def test_a_full_group_keeps_machines_for_new_servers(self) -> None:
        machines = [(f"i-{n}", "1", "ACTIVE", 1) for n in range(4)]
        fake, said = self.roll_out(machines=machines, most=5)
        assert self.drained(fake) == ["arn:i-0"]
        assert "3 go on as they are, since the group may have 5 machines" in said
        fake, _ = self.roll_out(machines=machines, most=4)
        assert self.drained(fake) == []

    def test_the_warm_pool_is_replaced_as_well(self) -> None:
        fake, said = self.roll_out(warm=[("i-cold", "1"), ("i-new", "2")])
        assert fake.calls("start_instance_refresh")
        assert "1 without servers are replaced now, 0 take no new servers" in said

    def test_a_refresh_that_is_under_way_goes_on(self) -> None:
        fake, _ = self.roll_out(machines=[("i-old", "1", "ACTIVE", 1)], refreshing=True)
        assert self.drained(fake) == ["arn:i-old"]
        assert not fake.calls("start_instance_refresh")

    def test_nothing_to_do(self) -> None:
        fake, said = self.roll_out(machines=[("i-new", "2", "ACTIVE", 1)])
        assert said == "workroom: every machine is of the current image."
        assert not fake.calls("start_instance_refresh")


FILE = """\
# Our notebooks.
title: Acme   # on every page
aws:
  account: "012345678901"  # production
  region: eu-central-1
ecs:
  # Told to us by finance.
  tags: {cost-centre: "4711"}
  cluster: old
"""


class TestWriting:
    def test_comments_order_and_everything_else_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "workroom.yaml"
        path.write_text(FILE)
        said = written.write(path, deployable(), OUTPUT_VALUES)
        text = path.read_text()
        for kept in (
            "# Our notebooks.",
            "title: Acme   # on every page",
            'account: "012345678901"  # production',
            "# Told to us by finance.",
            'tags: {cost-centre: "4711"}',
        ):
            assert kept in text, kept
        assert "cluster: workroom" in text
        assert "  ecs.cluster: workroom (was old)" in said
        assert said[0].endswith("fields written")

    def test_again_changes_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "workroom.yaml"
        written.write(path, deployable(), OUTPUT_VALUES)
        before = path.read_text()
        assert written.write(path, deployable(), OUTPUT_VALUES) == [f"{path}: nothing to change"]
        assert path.read_text() == before

    def test_what_is_written_is_a_settings_file(self, tmp_path: Path) -> None:
        path = tmp_path / "workroom.yaml"
        written.write(path, deployable(), OUTPUT_VALUES)
        read = config_file.load(path, {})
        assert read.ecs.subnets == ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
        assert read.ecs.roles[0].group == "finance"
        assert read.homes.file_system == "fs-0123456789abcdef0"
        assert read.ecs.gpu_capacity_providers == []

    def test_the_files_rights_stay(self, tmp_path: Path) -> None:
        path = tmp_path / "workroom.yaml"
        path.write_text(FILE)
        path.chmod(0o640)
        written.write(path, deployable(), OUTPUT_VALUES)
        assert path.stat().st_mode & 0o777 == 0o640

    def test_a_stack_of_an_older_version(self, tmp_path: Path) -> None:
        older = {name: value for name, value in OUTPUT_VALUES.items() if name != "Metastore"}
        with pytest.raises(DeployError, match="no output 'Metastore'"):
            written.write(tmp_path / "workroom.yaml", deployable(), older)


class TestSynthesis:
    @pytest.fixture
    def settings_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        path = tmp_path / "workroom.yaml"
        path.write_text(json.dumps({"aws": aws_section()}))
        monkeypatch.setenv("WORKROOM_CONFIG", str(path))
        return path

    @pytest.mark.usefixtures("settings_file")
    def test_without_the_extra_it_says_what_to_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(assembly, "_PACKAGES", ("a_package_that_is_not_there",))
        with pytest.raises(DeployError, match="needs the AWS CDK") as refused:
            assembly.synthesise()
        assert "pip install 'workroom[infra]'" in refused.value.fix

    def test_without_the_section_it_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "workroom.yaml"
        path.write_text("title: Acme\n")
        monkeypatch.setenv("WORKROOM_CONFIG", str(path))
        with pytest.raises(ConfigError, match="no section 'aws'"):
            assembly.synthesise()

    def test_an_app_that_fails_shows_its_last_lines(
        self, settings_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        script = tmp_path / "python"
        script.write_text("#!/bin/sh\necho the reason; echo $AWS_PROFILE; exit 1\n")
        script.chmod(0o755)
        monkeypatch.setattr("sys.executable", str(script))
        monkeypatch.setenv("AWS_PROFILE", "not handed over")
        with pytest.raises(DeployError) as refused:
            assembly.synthesise(tmp_path / "out")
        assert refused.value.details.strip() == "the reason"
