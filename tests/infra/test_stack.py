"""The properties of the stack that matter, whatever its resources are called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from tests.support.aws_settings import everything
from tests.support.template import Template, written
from workroom_hub.settings import Settings
from workroom_hub.settings_deployed import OUTPUTS, merged


def test_cfn_lint_finds_nothing(template: Template) -> None:
    # W3010: zones are written down, so that the template needs no look at the account.
    found = lint_file(
        template.path, config=ManualArgs(ignore_checks=["W3010"], regions=["eu-central-1"])
    )
    assert [str(each) for each in found] == []


def test_cdk_nag_would_find_a_flaw(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import aws_cdk as cdk
    from constructs import Construct

    from workroom_infra import app

    class OneFlaw(cdk.Stack):
        """A small one: the check runs for whatever is built, and ends the synthesis."""

        def __init__(self, scope: Construct, id: str, **_: object) -> None:
            super().__init__(scope, id)
            anybody = cdk.aws_ec2.CfnSecurityGroup.IngressProperty(
                ip_protocol="tcp", from_port=22, to_port=22, cidr_ip="0.0.0.0/0"
            )
            cdk.aws_ec2.CfnSecurityGroup(
                self, "Open", group_description="open", security_group_ingress=[anybody]
            )

    monkeypatch.setattr(app, "WorkroomStack", OneFlaw)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.build(settings, out=tmp_path).synth()
    report = json.loads((tmp_path / "validation-report.json").read_text())
    [nag] = [each for each in report["pluginReports"] if each["pluginName"] == "AwsSolutions"]
    assert {each["ruleName"] for each in nag["violations"]} == {"AwsSolutions-EC23"}


class TestMachines:
    def test_no_public_address_anywhere(self, template: Template) -> None:
        for machine in template.of("AWS::EC2::LaunchTemplate").values():
            [card] = machine["LaunchTemplateData"]["NetworkInterfaces"]
            assert card["AssociatePublicIpAddress"] is False
        for subnet in template.of("AWS::EC2::Subnet").values():
            assert subnet.get("MapPublicIpOnLaunch", False) is False
        for service in template.of("AWS::ECS::Service").values():
            network = service["NetworkConfiguration"]["AwsvpcConfiguration"]
            assert network["AssignPublicIp"] == "DISABLED"
        for database in template.of("AWS::RDS::DBInstance").values():
            assert database["PubliclyAccessible"] is False

    def test_instance_metadata_is_kept_from_servers(self, template: Template) -> None:
        for machine in template.of("AWS::EC2::LaunchTemplate").values():
            metadata = machine["LaunchTemplateData"]["MetadataOptions"]
            assert metadata["HttpTokens"] == "required"
            assert metadata["HttpPutResponseHopLimit"] == 1
            assert "ECS_AWSVPC_BLOCK_IMDS=true" in _user_data(machine)

    def test_the_agent_is_told_what_servers_need(self, template: Template) -> None:
        plain = _user_data(template.named("AWS::EC2::LaunchTemplate", "Machines"))
        for line in (
            "ECS_CLUSTER=workroom",
            "ECS_SELINUX_CAPABLE=true",
            "ECS_ENABLE_HIGH_DENSITY_ENI=true",
            "ECS_TASK_PIDS_LIMIT=4096",
            "ECS_WARM_POOLS_CHECK=true",
            "ECS_IMAGE_PULL_BEHAVIOR=prefer-cached",
        ):
            assert line in plain.splitlines(), line
        gpu = _user_data(template.named("AWS::EC2::LaunchTemplate", "Gpu"))
        assert "ECS_ENABLE_GPU_SUPPORT=true" in gpu.splitlines()
        assert "ECS_WARM_POOLS_CHECK" not in gpu

    def test_one_capacity_provider_for_each_group(self, template: Template) -> None:
        groups = template.of("AWS::AutoScaling::AutoScalingGroup")
        providers = template.of("AWS::ECS::CapacityProvider")
        used = [
            written(p["AutoScalingGroupProvider"]["AutoScalingGroupArn"])
            for p in providers.values()
        ]
        assert sorted(used) == sorted(f"<{id}>" for id in groups)
        assert len(groups) == 2, "one for all profiles, and one for those with a GPU"

    def test_people_cost_no_metrics(self, template: Template) -> None:
        """Container Insights makes custom metrics of every family, and each person has one."""
        settings = {
            cluster["ClusterName"]: cluster["ClusterSettings"][0]["Value"]
            for cluster in template.of("AWS::ECS::Cluster").values()
        }
        assert settings == {"workroom": "disabled", "workroom-platform": "enabled"}

    def test_scaling_protects_and_drains(self, template: Template) -> None:
        for provider in template.of("AWS::ECS::CapacityProvider").values():
            given = provider["AutoScalingGroupProvider"]
            assert given["ManagedTerminationProtection"] == "ENABLED"
            assert given["ManagedDraining"] == "ENABLED"
            assert given["ManagedScaling"]["Status"] == "ENABLED"
            assert given["ManagedScaling"]["TargetCapacity"] == 80, "a headroom of 20"
        for group in template.of("AWS::AutoScaling::AutoScalingGroup").values():
            assert group["NewInstancesProtectedFromScaleIn"] is True
        warm = template.one("AWS::AutoScaling::WarmPool")
        assert (warm["MaxGroupPreparedCapacity"], warm["PoolState"]) == (2, "Stopped")

    def test_a_deployment_replaces_no_machine_by_itself(self, template: Template) -> None:
        for resource in template.data["Resources"].values():
            if resource["Type"] == "AWS::AutoScaling::AutoScalingGroup":
                assert not {
                    key
                    for key in resource.get("UpdatePolicy", {})
                    if key != "AutoScalingScheduledAction"
                }

    def test_one_size_fits_the_largest_profile(self, template: Template) -> None:
        plain = template.named("AWS::EC2::LaunchTemplate", "Machines")["LaunchTemplateData"]
        assert plain["InstanceType"] == "r7i.2xlarge", "8 cores, and 32 GiB beside the agent"
        gpu = template.named("AWS::EC2::LaunchTemplate", "Gpu")["LaunchTemplateData"]
        assert gpu["InstanceType"] == "g6.xlarge"

    def test_the_image_has_everything_on_it(self, template: Template) -> None:
        data = {
            p["Name"]: written(p["Data"])
            for p in template.of("AWS::ImageBuilder::Component").values()
        }
        assert (
            "docker pull --quiet registry.workroom.example.com/workroom/notebook@sha256:0"
            in data["workroom-images"]
        )
        assert "docker logout" in data["workroom-images"]
        assert "amazon-efs-utils" in data["workroom-system"]
        assert "systemctl enable workroom-mount-watchdog.service" in data["workroom-watchdog"]
        for builder in template.of("AWS::ImageBuilder::InfrastructureConfiguration").values():
            assert builder["InstanceMetadataOptions"]["HttpTokens"] == "required"

    def test_machines_with_gpus_get_the_same_on_an_image_of_their_own(
        self, template: Template
    ) -> None:
        recipes = template.of("AWS::ImageBuilder::ImageRecipe").values()
        assert {each["Name"]: each["ParentImage"] for each in recipes} == {
            "workroom-machine": "ami-0123456789abcdef0",
            "workroom-gpu-machine": "ami-0123456789abcdef2",
        }
        data = {
            written(f"<{id}.Arn>"): written(component["Data"])
            for id, component in template.of("AWS::ImageBuilder::Component").items()
        }
        plain, gpu = (
            [data[written(part["ComponentArn"])] for part in each["Components"]] for each in recipes
        )
        assert plain == gpu
        assert len(plain) == 4
        made = {id: f"<{id}.Arn>" for id in template.of("AWS::ImageBuilder::ImagePipeline")}
        outputs = template.outputs()
        assert {outputs["ImagePipeline"], outputs["GpuImagePipeline"]} == set(made.values())


def _user_data(machine: dict[str, dict[str, dict[str, str]]]) -> str:
    return written(machine["LaunchTemplateData"]["UserData"]["Fn::Base64"])


class TestEncryption:
    def test_disks(self, template: Template) -> None:
        for machine in template.of("AWS::EC2::LaunchTemplate").values():
            for disk in machine["LaunchTemplateData"]["BlockDeviceMappings"]:
                assert disk["Ebs"]["Encrypted"] is True
        for recipe in template.of("AWS::ImageBuilder::ImageRecipe").values():
            for disk in recipe["BlockDeviceMappings"]:
                assert disk["Ebs"]["Encrypted"] is True

    def test_homes_and_databases(self, template: Template) -> None:
        homes = template.one("AWS::EFS::FileSystem")
        assert homes["Encrypted"] is True
        assert homes["BackupPolicy"] == {"Status": "ENABLED"}
        for database in template.of("AWS::RDS::DBInstance").values():
            assert database["StorageEncrypted"] is True
            assert database["BackupRetentionPeriod"] == 14
            assert database["DeletionProtection"] is True
            assert "resolve:secretsmanager" in written(database["MasterUserPassword"])
        for group in template.of("AWS::RDS::DBParameterGroup").values():
            assert group["Parameters"]["rds.force_ssl"] == "1"

    def test_buckets(self, template: Template) -> None:
        policies = {
            written(policy["Bucket"]).strip("<>"): json.dumps(policy["PolicyDocument"])
            for policy in template.of("AWS::S3::BucketPolicy").values()
        }
        for id, bucket in template.of("AWS::S3::Bucket").items():
            assert bucket["BucketEncryption"], id
            assert all(bucket["PublicAccessBlockConfiguration"].values()), id
            assert '"aws:SecureTransport": "false"' in policies[id], id

    def test_the_way_of_pages(self, template: Template) -> None:
        listeners = list(template.of("AWS::ElasticLoadBalancingV2::Listener").values())
        for listener in listeners:
            if listener["Protocol"] == "HTTPS":
                assert "TLS13" in listener["SslPolicy"]
                assert listener["Certificates"]
            elif listener["Protocol"] == "HTTP":
                [action] = listener["DefaultActions"]
                assert action["RedirectConfig"]["Protocol"] == "HTTPS"
            else:
                assert (listener["Protocol"], listener["Port"]) == ("TCP", 22)

    def test_no_secret_is_in_the_template(self, template: Template) -> None:
        for definition in template.of("AWS::ECS::TaskDefinition").values():
            [container] = definition["ContainerDefinitions"]
            for variable in container["Environment"]:
                told = re.sub(
                    r"secret[s]?manager|registry_secret|client_secret_file",
                    "",
                    written(variable["Value"]),
                )
                assert "resolve:" not in told, variable["Name"]
                assert not re.search(r"password\"?:|token\"?:", told), variable["Name"]
                assert not re.search(r"PASSWORD|TOKEN|SECRET", variable["Name"])


class TestNetwork:
    def test_a_server_starts_without_the_internet(self, template: Template) -> None:
        there = {
            re.sub(
                r"^com\.amazonaws\.(eu-central-1|<AWS::Region>)\.", "", written(each["ServiceName"])
            )
            for each in template.of("AWS::EC2::VPCEndpoint").values()
        }
        needed = {"ecs", "ecs-agent", "ecs-telemetry", "ecr.api", "ecr.dkr", "s3", "ssm", "logs"}
        assert {*needed, "secretsmanager", "elasticfilesystem"} <= there

    def test_servers_let_in_proxy_gateway_and_hub_only(self, template: Template) -> None:
        into = _ways(template, "Servers")
        assert into == {("Proxy", 8888), ("Hub", 8888), ("Gateway", 2222)}

    @pytest.mark.parametrize(
        ("target", "sources"),
        [
            ("Machines", set()),
            ("Homes", {("Servers", 2049)}),
            ("Hub", {("Servers", 8081), ("Proxy", 8081), ("Gateway", 8081)}),
            ("Proxy", {("WebDoor", 8000), ("Hub", 8001)}),
            ("Gateway", {("SshDoor", 2222)}),
            ("HubDatabase", {("Hub", 5432)}),
            ("MetastoreDatabase", {("Metastore", 5432)}),
            ("Metastore", {("Servers", 9083)}),
            ("Registry", {("RegistryDoor", 5000), ("WebDoor", 5000)}),
            ("RegistryDoor", {("Machines", 443)}),
        ],
    )
    def test_ways(self, template: Template, target: str, sources: set[tuple[str, int]]) -> None:
        assert _ways(template, target) == sources

    def test_only_the_two_doors_are_open_to_people(self, template: Template) -> None:
        opened = {
            id: rule
            for id, group in template.of("AWS::EC2::SecurityGroup").items()
            for rule in group.get("SecurityGroupIngress", [])
        }
        assert {re.sub(r"^Walls|[0-9A-F]{8}$", "", id) for id in opened} == {"WebDoor", "SshDoor"}


def _ways(template: Template, target: str) -> set[tuple[str, int]]:
    """Return the groups and ports that a security group lets in."""
    names = {
        f"<{id}.GroupId>": re.sub(r"^Walls|[0-9A-F]{8}$", "", id)
        for id in template.of("AWS::EC2::SecurityGroup")
    }
    return {
        (names[written(rule["SourceSecurityGroupId"])], rule["FromPort"])
        for rule in template.of("AWS::EC2::SecurityGroupIngress").values()
        if names[written(rule["GroupId"])] == target
    }


class TestServices:
    def test_the_hub_is_alone(self, template: Template) -> None:
        for name in ("Hub", "Proxy"):
            deployed = template.named("AWS::ECS::Service", f"{name}Service")
            given = deployed["DeploymentConfiguration"]
            assert (given["MinimumHealthyPercent"], given["MaximumPercent"]) == (0, 100)
            assert deployed["DesiredCount"] == 1

    def test_services_wait_for_the_ways_to_their_images(self, template: Template) -> None:
        routes = {id for id in template.of("AWS::EC2::Route") if "serversSubnet" in id}
        assert len(routes) == 2
        ways = routes | set(template.of("AWS::EC2::VPCEndpoint"))
        for id, resource in template.data["Resources"].items():
            if resource["Type"] == "AWS::ECS::Service":
                assert ways <= set(resource["DependsOn"]), id

    def test_the_gateway_is_replaced_before_the_old_one_goes(self, template: Template) -> None:
        given = template.named("AWS::ECS::Service", "GatewayService")["DeploymentConfiguration"]
        assert (given["MinimumHealthyPercent"], given["MaximumPercent"]) == (100, 200)
        group = template.named("AWS::ElasticLoadBalancingV2::TargetGroup", "SshGateway")
        told = {each["Key"]: each["Value"] for each in group["TargetGroupAttributes"]}
        assert told["deregistration_delay.timeout_seconds"] == "3600"
        assert told["preserve_client_ip.enabled"] == "true"

    def test_the_proxys_health_does_not_depend_on_the_hub(self, template: Template) -> None:
        group = template.named("AWS::ElasticLoadBalancingV2::TargetGroup", "WebProxy")
        assert group["HealthCheckPath"] == "/_chp_healthz"

    def test_containers_can_write_nowhere_else_and_have_no_capability(
        self, template: Template
    ) -> None:
        for definition in template.of("AWS::ECS::TaskDefinition").values():
            [container] = definition["ContainerDefinitions"]
            assert container["ReadonlyRootFilesystem"] is True
            assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
            assert "@sha256:" in container["Image"]

    def test_families_are_out_of_the_hubs_reach(self, template: Template) -> None:
        for definition in template.of("AWS::ECS::TaskDefinition").values():
            assert not definition["Family"].startswith("workroom-")

    def test_stores_outlive_the_stack(self, template: Template) -> None:
        kept = {
            "AWS::S3::Bucket",
            "AWS::EFS::FileSystem",
            "AWS::SecretsManager::Secret",
            "AWS::RDS::DBInstance",
        }
        for id, resource in template.data["Resources"].items():
            if (
                resource["Type"] in kept
                and "HubDatabaseInstanceSecret" not in id
                and "MetastoreDatabaseInstanceSecret" not in id
            ):
                assert resource["DeletionPolicy"] in ("Retain", "Snapshot"), id

    def test_the_warehouse_forgets_nothing_but_unfinished_uploads(self, template: Template) -> None:
        bucket = template.named("AWS::S3::Bucket", "Warehouse")
        assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
        [rule] = bucket["LifecycleConfiguration"]["Rules"]
        assert set(rule) == {"AbortIncompleteMultipartUpload", "Id", "Status"}


class TestOutputs:
    def test_there_is_one_for_each_name(self, template: Template) -> None:
        assert set(template.outputs()) == set(OUTPUTS)

    def test_the_hub_reads_settings_that_are_valid(
        self, template: Template, settings: Settings
    ) -> None:
        """The hub's settings are made from the outputs, with ids in place of references."""
        whole = merged(settings, {k: _resolved(v) for k, v in template.outputs().items()})
        hub = Settings.model_validate(whole)
        assert hub.spawner == "ecs"
        assert hub.ecs.cluster == "workroom"
        assert [role.group for role in hub.ecs.roles] == ["finance", "research"]
        assert [provider.name for provider in hub.ecs.gpu_capacity_providers] == ["workroom-gpu"]
        assert hub.web.address == "https://workroom.example.com"
        assert hub.web.isolation == "subdomain"
        assert hub.data.warehouse.startswith("s3://")
        assert hub.aws is None

    def test_a_new_image_is_told_to_the_hub_alone(
        self, template: Template, settings: Settings, tmp_path: Path
    ) -> None:
        """The proxy carries everybody's open pages, the gateway everybody's ssh."""
        given = everything()
        assert Settings.model_validate(given) == settings
        given["images"][0]["ref"] = given["images"][0]["ref"].replace("0" * 64, "1" * 64)
        given["profiles"][0]["cpu"] = 1.5
        given["title"] = "Another title"
        differ = _different(template, _synthesised(Settings.model_validate(given), tmp_path))
        assert [id for id in differ if "Definition" in id] == [
            template.id_of("AWS::ECS::TaskDefinition", "Hub")
        ]

    def test_what_a_deployment_wrote_into_the_file_changes_nothing(
        self, template: Template, settings: Settings, tmp_path: Path
    ) -> None:
        outputs = {name: _resolved(value) for name, value in template.outputs().items()}
        # As a file is read again: sections in another order, and everything a deployment made.
        whole = merged(settings, outputs) | {"aws": settings.model_dump(mode="json")["aws"]}
        again = Settings.model_validate(dict(reversed(whole.items())))
        assert _different(template, _synthesised(again, tmp_path)) == []

    def test_the_running_hub_is_told_the_same(self, template: Template, settings: Settings) -> None:
        variables = {v["Name"]: v["Value"] for v in template.container("Hub")["Environment"]}
        told = json.loads(written(variables["WORKROOM_SETTINGS"]))
        assert told == json.loads(json.dumps(merged(settings, template.outputs())))


def _synthesised(settings: Settings, folder: Path) -> Template:
    from workroom_infra.app import build

    build(settings, out=folder, checked=False).synth()
    return Template.read(folder / "workroom.template.json")


def _different(one: Template, other: Template) -> list[str]:
    """Return the logical ids of resources that are not the same in both."""
    left, right = one.data["Resources"], other.data["Resources"]
    return sorted(id for id in left.keys() | right.keys() if left.get(id) != right.get(id))


def _resolved(value: str) -> str:
    """Return an output with a plausible id in place of each reference."""
    examples = {
        r"<Cluster[^>]*>": "workroom",
        r"<Network[^>]*Subnet[^>]*>": "subnet-0123456789abcdef0",
        r"<Walls[^>]*>": "sg-0123456789abcdef0",
        r"<MachinesProvider[^>]*>": "workroom",
        r"<GpuProvider[^>]*>": "workroom-gpu",
        r"<MachinesGroup[^>]*>": "workroom",
        r"<Roles[^>]*>": "arn:aws:iam::123456789012:role/some",
        r"<ServerLog[^>]*>": "/workroom/servers",
        r"<Secrets[^>]*>": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:a-b1",
        r"<Homes[^>]*>": "fs-0123456789abcdef0",
        r"<Warehouse[^>]*>": "workroom-warehouse-1",
    }
    for pattern, example in examples.items():
        value = re.sub(pattern, example, value)
    return value
