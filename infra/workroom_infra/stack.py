"""Workroom's stack: composes the constructs, and alone says who may do what."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from workroom_hub.settings import Settings
from workroom_hub.settings_aws import Aws, machine_type
from workroom_hub.settings_deployed import (
    NOT_THERE,
    OUTPUTS,
    STATE,
    for_gateway,
    for_proxy,
    merged,
)
from workroom_infra import (
    acknowledged,
    alarms,
    dashboard,
    measures,
    observability,
    programs,
    rights,
    walls,
)
from workroom_infra.database import Database
from workroom_infra.entrances import Names, RegistryDoor, SshDoor, WebDoor
from workroom_infra.homes import Homes
from workroom_infra.machine_image import MachineImage, watchdog_metrics
from workroom_infra.machines import Cluster, Machines
from workroom_infra.network import Network
from workroom_infra.roles import EVERYBODY, Roles
from workroom_infra.secret_store import Secrets
from workroom_infra.services import Platform, Program, Service
from workroom_infra.walls import Walls
from workroom_infra.warehouse import FOLDER, LogBucket, Store
from workroom_infra.watchdog_bundle import bundle


class WorkroomStack(cdk.Stack):
    """Everything of one installation.

    Args:
        scope: The app.
        id: Name of the stack: the instance's.
        settings: `workroom.yaml`, with the section `aws`.
        watchdog: Folder of the mount watchdog's package.
    """

    def __init__(self, scope: Construct, id: str, *, settings: Settings, watchdog: Path) -> None:
        aws = settings.aws
        assert aws is not None
        super().__init__(
            scope,
            id,
            env=cdk.Environment(account=aws.account, region=aws.region),
            # No bootstrap stack: `workroom deploy` makes this one bucket.
            synthesizer=cdk.CliCredentialsStackSynthesizer(
                file_assets_bucket_name=assets_bucket(settings), bucket_prefix="assets/"
            ),
            termination_protection=True,
            description="Workroom, a notebook platform",
            tags={"workroom:instance": settings.instance},
            permissions_boundary=cdk.PermissionsBoundary.from_name(aws.permissions_boundary)
            if aws.permissions_boundary
            else None,
        )
        self._settings = settings
        self._aws: Aws = aws
        self._place = rights.Place(self.partition, aws.region, aws.account, settings.instance)
        self.outputs: dict[str, str] = {}

        self._logs()
        self._network()
        self._roles()
        self._stores()
        self._machines(watchdog)
        self._entrances()
        self._names_of_everything()
        self._platform()
        self._observability()
        self._grant()
        place = Construct(self, "Outputs")
        for name, description in OUTPUTS.items():
            output = cdk.CfnOutput(place, name, value=self.outputs[name], description=description)
            output.override_logical_id(f"Output{name}")
        acknowledged.acknowledge(self)

    # What there is, in the order in which one thing needs another.

    def _logs(self) -> None:
        def group(id: str, name: str) -> logs.LogGroup:
            return logs.LogGroup(
                self,
                id,
                log_group_name=f"/{self._settings.instance}/{name}",
                retention=_retention(self._aws.log_days),
                removal_policy=cdk.RemovalPolicy.RETAIN,
            )

        self.server_log = group("ServerLog", "servers")
        self.platform_log = group("PlatformLog", "platform")
        self.machine_log = group("MachineLog", "machines")
        self.network_log = group("NetworkLog", "network")
        self.access_log = LogBucket(self, "AccessLogs", days=max(self._aws.log_days, 90))

    def _network(self) -> None:
        self.network = Network(self, "Network", aws=self._aws, flow_logs=self.network_log)
        self.walls = Walls(
            self, "Walls", vpc=self.network.vpc, reachable_from=self._aws.reachable_from
        )
        self.network.add_endpoints(security_group=self.walls.endpoints)

    def _roles(self) -> None:
        """Make every role, empty; `_grant` fills them."""
        groups = [each.group for each in self._aws.data_access]
        self.roles = Roles(self, "Roles", place=self._place, groups=groups)

    def _stores(self) -> None:
        network, instance = self.network, self._settings.instance
        self.homes = Homes(
            self,
            "Homes",
            name=f"{instance}-homes",
            subnets=network.servers.subnets,
            security_group=self.walls.homes,
            policy=rights.mounting(self._place, task_roles=self.roles.server_arns),
        )
        access = self.access_log.bucket
        self.warehouse = Store(self, "Warehouse", logs=access, folder="warehouse")
        self.blobs = Store(self, "RegistryBlobs", logs=access, folder="registry", versioned=False)
        databases = ec2.SubnetSelection(subnet_group_name="databases")
        self.hub_database = Database(
            self,
            "HubDatabase",
            aws=self._aws,
            name="workroom",
            size=self._aws.database_class,
            vpc=network.vpc,
            subnets=databases,
            security_group=self.walls.hub_database,
        )
        self.metastore_database = Database(
            self,
            "MetastoreDatabase",
            aws=self._aws,
            name="metastore",
            size=self._aws.metastore_database_class,
            vpc=network.vpc,
            subnets=databases,
            security_group=self.walls.metastore_database,
        )
        by_password = self._settings.auth.kind == "password"
        self.secrets = Secrets(
            self,
            "Secrets",
            instance=instance,
            first_admin=self._settings.auth.first_admin if by_password else "",
            shared=["registry-http-secret"],
        )

    def _machines(self, watchdog: Path) -> None:
        settings, aws, instance = self._settings, self._aws, self._settings.instance
        self.cluster = Cluster(self, "Cluster", name=instance)
        self.groups = []
        for id, name, gpu in (("Machines", instance, False), ("Gpu", f"{instance}-gpu", True)):
            size = machine_type(aws, settings.profiles, gpu=gpu)
            if size is None:
                continue
            self.groups.append(
                Machines(
                    self,
                    id,
                    aws=aws,
                    name=name,
                    cluster=instance,
                    instance_type=size,
                    image=aws.gpu_machine_image if gpu else aws.machine_image,
                    role=self.roles.machine.without_policy_updates(),
                    vpc=self.network.vpc,
                    subnets=self.network.servers_selection(),
                    security_group=self.walls.machines,
                )
            )
        self.cluster.use(self.groups)
        # The asset is a copy.
        with tempfile.TemporaryDirectory() as folder:
            bundle(Path(folder), watchdog)
            self.watchdog = assets.Asset(self, "Watchdog", path=folder)
        self.image = self._image("MachineImage", instance, aws.base_image or aws.machine_image)
        self.gpu_image = None
        if any(group.instance_type.gpu for group in self.groups):
            base = aws.gpu_base_image or aws.gpu_machine_image
            self.gpu_image = self._image("GpuMachineImage", f"{instance}-gpu", base)

    def _image(self, id: str, name: str, parent: str) -> MachineImage:
        settings, aws = self._settings, self._aws
        return MachineImage(
            self,
            id,
            name=name,
            parent=parent,
            images=[image.ref for image in settings.images if "@sha256:" in image.ref],
            registry=f"registry.{aws.domain}",
            metrics=watchdog_metrics(settings.instance),
            pull_secret=self.secrets.pull.secret_arn,
            watchdog=self.watchdog,
            log_group=self.machine_log.log_group_name,
            role=self.roles.image_build.without_policy_updates(),
            subnet=self.network.servers.subnets[0],
            security_group=self.walls.machines,
            disk=40,
            region=aws.region,
        )

    def _entrances(self) -> None:
        aws, vpc, access = self._aws, self.network.vpc, self.access_log.bucket
        self.web = WebDoor(
            self, "Web", aws=aws, vpc=vpc, security_group=self.walls.web_door, logs=access
        )
        self.ssh = SshDoor(
            self, "Ssh", aws=aws, vpc=vpc, security_group=self.walls.ssh_door, logs=access
        )
        self.registry_door = RegistryDoor(
            self,
            "RegistryDoor",
            aws=aws,
            vpc=vpc,
            subnets=self.network.servers_selection(),
            security_group=self.walls.registry_door,
            logs=access,
        )
        if aws.zone_id:
            Names(self, "Names", aws=aws, web=self.web, ssh=self.ssh)

    def _names_of_everything(self) -> None:
        """Fill the outputs, from which the hub's settings are made."""
        gpu = [group for group in self.groups if group.instance_type.gpu]
        [plain] = [group for group in self.groups if not group.instance_type.gpu] or gpu[:1]
        self._plain = plain
        instance = self._settings.instance
        self.platform = Platform(
            self,
            "Platform",
            name=f"{instance}-platform",
            vpc=self.network.vpc,
            domain=f"{instance}.internal",
        )
        address = self.platform.address
        first = self.secrets.first_password
        of_groups = {g: r.role_arn for g, r in self.roles.servers.items() if g != EVERYBODY}
        self.outputs |= {
            "Cluster": self.cluster.cluster.ref,
            "Subnets": ",".join(subnet.subnet_id for subnet in self.network.servers.subnets),
            "ServersSecurityGroup": self.walls.servers.security_group_id,
            "HubUrl": f"http://{address('hub', walls.HUB_API)}",
            "ProxyApiUrl": f"http://{address('proxy', walls.PROXY_API)}",
            "CapacityProvider": plain.provider.ref,
            "GpuCapacityProvider": gpu[0].provider.ref if gpu else NOT_THERE,
            "AutoScalingGroup": plain.group.auto_scaling_group_name,
            "TaskRole": self.roles.servers[EVERYBODY].role_arn,
            "GroupRoles": json.dumps(of_groups),
            "ExecutionRole": self.roles.server_start.role_arn,
            "LogGroup": self.server_log.log_group_name,
            "RegistrySecret": self.secrets.pull.secret_arn,
            "FileSystem": self.homes.id,
            "Warehouse": f"s3://{self.warehouse.bucket.bucket_name}/{FOLDER}",
            "Metastore": f"thrift://{address('metastore', walls.METASTORE)}",
            "Web": f"https://{self._aws.domain}",
            "SshHost": f"ssh.{self._aws.domain}",
            "Registry": self.registry_door.host,
            "FirstPassword": first.secret_arn if first else NOT_THERE,
            "WebLoadBalancer": self.web.balancer.load_balancer_dns_name,
            "SshLoadBalancer": self.ssh.balancer.load_balancer_dns_name,
            "ImagePipeline": self.image.pipeline.attr_arn,
            "GpuImagePipeline": self.gpu_image.pipeline.attr_arn if self.gpu_image else NOT_THERE,
            "PlatformCluster": self.platform.name,
        }

    def _platform(self) -> None:
        self.programs = programs.all_of(self._facts())
        groups = {
            "Hub": self.walls.hub,
            "Proxy": self.walls.proxy,
            "Gateway": self.walls.gateway,
            "Registry": self.walls.registry,
            "Metastore": self.walls.metastore,
        }
        self.services = {
            name: self._service(name, program, groups[name])
            for name, program in self.programs.items()
        }
        self.services["Proxy"].behind(
            self.web.listener, target_groups=[self.web.target.target_group_arn]
        )
        self.services["Gateway"].behind(
            self.ssh.listener, target_groups=[self.ssh.target.target_group_arn]
        )
        leading = [self.registry_door.target.target_group_arn]
        if self._aws.registry_reachable:
            leading.append(self.registry_door.open_on(self.web).target_group_arn)
        self.services["Registry"].behind(self.registry_door.listener, target_groups=leading)

    def _service(self, id: str, program: Program, group: ec2.ISecurityGroup) -> Service:
        made = Service(
            self,
            id,
            platform=self.platform,
            program=program,
            task_role=self.roles.services[id].without_policy_updates(),
            execution_role=self.roles.service_starts[id].without_policy_updates(),
            log_group=self.platform_log,
            subnets=self.network.servers.subnets,
            security_group=group,
        )
        # A first deployment whose task finds no way to its image has nothing to go back to.
        made.service.node.add_dependency(*self.network.ways)
        return made

    def _facts(self) -> programs.Facts:
        """Return what the programs are told; the settings have no secret in them."""
        which = f"{self._aws.account}/{self._aws.region}/{self._settings.instance}"
        hub, metastore, secrets = self.hub_database, self.metastore_database, self.secrets
        whole = merged(self._settings, self.outputs)
        parts = {"hub": whole, "proxy": for_proxy(whole), "gateway": for_gateway(whole)}
        return programs.Facts(
            aws=self._aws,
            common={
                # The same in every deployment: servers are known by it.
                "WORKROOM_INSTALLATION": hashlib.sha256(which.encode()).hexdigest()[:32],
                "WORKROOM_HOME": STATE,
            },
            settings={name: self.to_json_string(part) for name, part in parts.items()},
            hexadecimal={name: each.secret_arn for name, each in secrets.hexadecimal.items()},
            first_password=secrets.first_password.secret_arn if secrets.first_password else "",
            pull=secrets.pull.secret_arn,
            push=secrets.push.secret_arn,
            blobs=self.blobs.bucket.bucket_name,
            repository=self._settings.registry.repository,
            hub_database=(hub.host, hub.name, hub.secret_arn),
            metastore_database=(metastore.host, metastore.name, metastore.secret_arn),
            warehouse=self.outputs["Warehouse"],
        )

    def _observability(self) -> None:
        observability.LogAlarms(
            self, "LogAlarms", instance=self._settings.instance, log_group=self.platform_log
        )
        hub, metastore = self.hub_database.instance, self.metastore_database.instance
        minute = alarms.MINUTE
        parts = measures.Parts(
            instance=self._settings.instance,
            region=self._aws.region,
            cluster=self.cluster.name,
            platform=self.platform.name,
            group=self._plain.name,
            least_machines=self._aws.min_machines,
            most_machines=self._aws.max_machines,
            capacity_timeout=self._settings.ecs.capacity_timeout,
            file_system=self.homes.id,
            # A zone without one may report 0.
            proxy_healthy=self.web.target.metrics.healthy_host_count(
                statistic="Maximum", period=minute
            ),
            gateway_healthy=self.ssh.target.metrics.healthy_host_count(
                statistic="Maximum", period=minute
            ),
            registry_healthy=self.registry_door.target.metrics.healthy_host_count(
                statistic="Maximum", period=minute
            ),
            balancer_errors=self.web.balancer.metrics.http_code_elb(
                _ELB_5XX, statistic="Sum", period=minute
            ),
            hub_disk_free=hub.metric_free_storage_space(period=minute),
            hub_cpu=hub.metric_cpu_utilization(period=minute),
            metastore_disk_free=metastore.metric_free_storage_space(period=minute),
        )
        self.alarms = alarms.Alarms(
            self,
            "Alarms",
            instance=self._settings.instance,
            email=self._aws.alarm_email,
            alarms=observability.alarms(parts),
        )
        dashboard.Dashboard(self, "Dashboard", parts=parts, alarms=self.alarms.alarms)

    # Who may do what: all of it is here.

    def _grant(self) -> None:
        self._grant_people()
        self._grant_services()
        self._grant_machines()

    def _grant_people(self) -> None:
        bucket = self.warehouse.bucket.bucket_arn
        shares = {EVERYBODY: (self._aws.data_read, self._aws.data_write)}
        shares |= {each.group: (each.read, each.write) for each in self._aws.data_access}
        for group, (read, write) in shares.items():
            _give(
                self.roles.servers[group],
                rights.of_home(self._place, file_system=self.homes.id),
                rights.of_tables(bucket, read=read, write=write),
            )
        for statement in rights.keeping_tables(bucket, task_roles=self.roles.server_arns):
            self.warehouse.bucket.add_to_resource_policy(statement)
        _give(
            self.roles.server_start,
            rights.of_server_start(
                self._place,
                log_group=self.server_log.log_group_name,
                secret=self.secrets.pull.secret_arn,
            ),
        )

    def _grant_services(self) -> None:
        _give(
            self.roles.services["Hub"],
            rights.of_hub(
                self._place,
                cluster=self.cluster.name,
                file_system=self.homes.id,
                log_group=self.server_log.log_group_name,
                task_roles=self.roles.server_arns,
                execution_role=self.roles.server_start.role_arn,
            ),
        )
        _give(self.roles.services["Registry"], rights.of_registry(self.blobs.bucket.bucket_arn))
        for name, program in self.programs.items():
            start = self.roles.service_starts[name]
            _give(
                start,
                rights.of_service_start(
                    self._place,
                    log_group=self.platform_log.log_group_name,
                    repository=_repository(self.partition, program.image),
                    secrets=programs.arns_of(program.secrets),
                ),
            )
            # Else the first task would start before it may fetch anything.
            for role in (start, self.roles.services[name]):
                if policy := role.node.try_find_child("DefaultPolicy"):
                    self.services[name].service.node.add_dependency(policy)

    def _grant_machines(self) -> None:
        _give(
            self.roles.machine,
            rights.of_machine(
                self._place,
                cluster=self.cluster.name,
                group_names=[group.name for group in self.groups],
                log_group=self.machine_log.log_group_name,
                metrics=watchdog_metrics(self._settings.instance),
            ),
        )
        archive = f"arn:{self.partition}:s3:::{assets_bucket(self._settings)}/assets/*"
        _give(
            self.roles.image_build,
            rights.of_image_build(secret=self.secrets.pull.secret_arn, archive=archive),
        )


_ELB_5XX = cdk.aws_elasticloadbalancingv2.HttpCodeElb.ELB_5XX_COUNT


def assets_bucket(settings: Settings) -> str:
    """Return the name of the bucket that templates and files of a deployment go through."""
    assert settings.aws is not None
    return f"{settings.instance}-deploy-{settings.aws.account}-{settings.aws.region}"


def _give(role: iam.Role, *lists: Sequence[iam.PolicyStatement]) -> None:
    for statement in (each for statements in lists for each in statements):
        role.add_to_policy(statement)


def _repository(partition: str, image: str) -> str:
    """Return the ARN of an image's repository in Amazon ECR."""
    host, _, rest = image.partition("/")
    account, _, _, region = host.split(".")[:4]
    return f"arn:{partition}:ecr:{region}:{account}:repository/{rest.partition('@')[0]}"


def _retention(days: int) -> logs.RetentionDays:
    return {
        1: logs.RetentionDays.ONE_DAY,
        3: logs.RetentionDays.THREE_DAYS,
        5: logs.RetentionDays.FIVE_DAYS,
        7: logs.RetentionDays.ONE_WEEK,
        14: logs.RetentionDays.TWO_WEEKS,
        30: logs.RetentionDays.ONE_MONTH,
        60: logs.RetentionDays.TWO_MONTHS,
        90: logs.RetentionDays.THREE_MONTHS,
        120: logs.RetentionDays.FOUR_MONTHS,
        150: logs.RetentionDays.FIVE_MONTHS,
        180: logs.RetentionDays.SIX_MONTHS,
        365: logs.RetentionDays.ONE_YEAR,
        400: logs.RetentionDays.THIRTEEN_MONTHS,
        545: logs.RetentionDays.EIGHTEEN_MONTHS,
        731: logs.RetentionDays.TWO_YEARS,
        1096: logs.RetentionDays.THREE_YEARS,
        1827: logs.RetentionDays.FIVE_YEARS,
        3653: logs.RetentionDays.TEN_YEARS,
    }[days]
