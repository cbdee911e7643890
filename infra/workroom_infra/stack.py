"""Workroom's stack: composes the constructs, and alone says who may do what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from workroom_hub.settings import Settings
from workroom_hub.settings_aws import Aws, machine_type
from workroom_hub.settings_deployed import NOT_THERE, OUTPUTS, STATE, merged
from workroom_infra import acknowledged, alarms, observability, rights, walls
from workroom_infra.database import Database
from workroom_infra.entrances import Names, RegistryDoor, SshDoor, WebDoor
from workroom_infra.homes import Homes
from workroom_infra.machine_image import WATCHDOG_METRICS, MachineImage
from workroom_infra.machines import Cluster, Machines
from workroom_infra.network import Network
from workroom_infra.services import Platform, Program, Service
from workroom_infra.secret_store import HUB, SEEDS, Secrets
from workroom_infra.walls import Walls
from workroom_infra.warehouse import FOLDER, LogBucket, Store

_EVERYBODY = "everybody"


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
        name, groups = self._settings.instance, self._aws.data_access
        self.task_roles = {
            _EVERYBODY: self._task_role("TaskRole", f"{name}-task"),
            **{
                each.group: self._task_role(f"TaskRole-{each.group}", f"{name}-task-{each.group}")
                for each in groups
            },
        }
        self.start_role = self._task_role("StartRole", f"{name}-start", any_task=True)
        services = ("Hub", "Proxy", "Gateway", "Registry", "Metastore")
        self.service_roles = {
            service: self._task_role(f"{service}Role", f"{name}-{service.lower()}")
            for service in services
        }
        self.service_start_roles = {
            service: self._task_role(
                f"{service}StartRole", f"{name}-{service.lower()}-start", any_task=True
            )
            for service in services
        }
        self.machine_role = self._machine_role("MachineRole", f"{name}-machine")
        self.image_role = self._machine_role("ImageRole", f"{name}-image-build")

    def _task_role(self, id: str, name: str, *, any_task: bool = False) -> iam.Role:
        """Return a role of tasks; unless `any_task`, of those of this account and region only."""
        conditions = {
            "StringEquals": {"aws:SourceAccount": self._aws.account},
            "ArnLike": {"aws:SourceArn": self._place.arn("ecs", "*")},
        }
        tasks = iam.ServicePrincipal("ecs-tasks.amazonaws.com")
        return iam.Role(
            self,
            id,
            role_name=f"{name}-{self._aws.region}"[:64],
            assumed_by=tasks if any_task else tasks.with_conditions(conditions),
        )

    def _machine_role(self, id: str, name: str) -> iam.Role:
        managed = ["AmazonSSMManagedInstanceCore"]
        return iam.Role(
            self,
            id,
            role_name=f"{name}-{self._aws.region}"[:64],
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name(n) for n in managed],
        )

    def _stores(self) -> None:
        network, instance = self.network, self._settings.instance
        self.homes = Homes(
            self,
            "Homes",
            name=f"{instance}-homes",
            subnets=network.servers.subnets,
            security_group=self.walls.homes,
            policy=rights.mounting(self._place, task_roles=self._task_role_arns()),
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
                    role=self.machine_role.without_policy_updates(),
                    vpc=self.network.vpc,
                    subnets=self.network.servers_selection(),
                    security_group=self.walls.machines,
                )
            )
        self.cluster.use(self.groups)
        self.watchdog = assets.Asset(
            self, "Watchdog", path=str(watchdog.parent), exclude=_all_but(watchdog.name)
        )
        self.image = MachineImage(
            self,
            "MachineImage",
            name=instance,
            parent=aws.base_image or aws.machine_image,
            images=[image.ref for image in settings.images if "@sha256:" in image.ref],
            registry=f"registry.{aws.domain}",
            pull_secret=self.secrets.pull.secret_arn,
            watchdog=self.watchdog,
            log_group=self.machine_log.log_group_name,
            role=self.image_role.without_policy_updates(),
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
        of_groups = {g: r.role_arn for g, r in self.task_roles.items() if g != _EVERYBODY}
        self.outputs |= {
            "Cluster": self.cluster.cluster.ref,
            "Subnets": ",".join(subnet.subnet_id for subnet in self.network.servers.subnets),
            "ServersSecurityGroup": self.walls.servers.security_group_id,
            "HubUrl": f"http://{address('hub', walls.HUB_API)}",
            "ProxyApiUrl": f"http://{address('proxy', walls.PROXY_API)}",
            "CapacityProvider": plain.provider.ref,
            "GpuCapacityProvider": gpu[0].provider.ref if gpu else NOT_THERE,
            "AutoScalingGroup": plain.group.auto_scaling_group_name,
            "TaskRole": self.task_roles[_EVERYBODY].role_arn,
            "GroupRoles": json.dumps(of_groups),
            "ExecutionRole": self.start_role.role_arn,
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
            "PlatformCluster": self.platform.name,
        }

    def _platform(self) -> None:
        self.services = {
            "Hub": self._service("Hub", self._hub(), self.walls.hub),
            "Proxy": self._service("Proxy", self._proxy(), self.walls.proxy),
            "Gateway": self._service("Gateway", self._gateway(), self.walls.gateway),
            "Registry": self._service("Registry", self._registry(), self.walls.registry),
            "Metastore": self._service("Metastore", self._metastore(), self.walls.metastore),
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
        return Service(
            self,
            id,
            platform=self.platform,
            program=program,
            task_role=self.service_roles[id].without_policy_updates(),
            execution_role=self.service_start_roles[id].without_policy_updates(),
            log_group=self.platform_log,
            subnets=self.network.servers.subnets,
            security_group=group,
        )

    # What the services run.

    def _hub(self) -> Program:
        secrets = {**self._state(*HUB, *SEEDS), **_log_in("DATABASE", self.hub_database.secret_arn)}
        if first := self.secrets.first_password:
            secrets |= _log_in("FIRST_ADMIN", first.secret_arn)
        if self._aws.oidc_secret:
            secrets["WORKROOM_OIDC_CLIENT_SECRET"] = self._aws.oidc_secret
        database = self.hub_database
        environment = self._common() | {
            "WORKROOM_DATABASE_HOST": database.host,
            "WORKROOM_DATABASE_NAME": database.name,
        }
        return Program(
            name="hub",
            image=self._aws.images.hub,
            command=["hub"],
            ports=[walls.HUB_API],
            environment=environment,
            secrets=secrets,
            check=["workroom-service", "check", "hub"],
            cpu=2048,
            memory=4096,
            folders=(STATE, "/tmp"),  # noqa: S108
            replace=True,
            stop_seconds=30,
        )

    def _proxy(self) -> Program:
        return Program(
            name="proxy",
            image=self._aws.images.hub,
            command=["proxy"],
            ports=[walls.WEB, walls.PROXY_API],
            environment=self._common(),
            secrets=self._state("proxy-token"),
            check=["workroom-service", "check", "proxy"],
            cpu=1024,
            memory=2048,
            folders=(STATE, "/tmp"),  # noqa: S108
            # The hub tells routes to one proxy.
            replace=True,
            stop_seconds=30,
        )

    def _gateway(self) -> Program:
        return Program(
            name="gateway",
            image=self._aws.images.hub,
            command=["ssh"],
            ports=[walls.SSH],
            environment=self._common(),
            secrets=self._state("ssh-token", *SEEDS),
            cpu=1024,
            memory=2048,
            folders=(STATE, "/tmp"),  # noqa: S108
        )

    def _registry(self) -> Program:
        return Program(
            name="registry",
            image=self._aws.images.registry,
            command=[],
            ports=[walls.REGISTRY],
            environment={
                "REGISTRY_BUCKET": self.blobs.bucket.bucket_name,
                "REGISTRY_REGION": self._aws.region,
                "REGISTRY_REPOSITORY": self._settings.instance,
            },
            secrets={
                "REGISTRY_PULL": self.secrets.pull.secret_arn,
                "REGISTRY_PUSH": self.secrets.push.secret_arn,
                "REGISTRY_HTTP_SECRET": self.secrets.hexadecimal["registry-http-secret"].secret_arn,
            },
            cpu=1024,
            memory=2048,
            folders=("/tmp", "/run", "/var/lib/registry"),  # noqa: S108
        )

    def _metastore(self) -> Program:
        database = self.metastore_database
        return Program(
            name="metastore",
            image=self._aws.images.metastore,
            command=[],
            ports=[walls.METASTORE],
            environment={
                "METASTORE_DATABASE_HOST": database.host,
                "METASTORE_DATABASE_NAME": database.name,
                "METASTORE_WAREHOUSE": self.outputs["Warehouse"],
            },
            secrets={
                f"METASTORE_DATABASE_{part.upper()}": f"{database.secret_arn}:{part}::"
                for part in ("username", "password")
            },
            check=["workroom-metastore-check"],
            cpu=1024,
            memory=2048,
            folders=("/tmp", "/var/lib/metastore"),  # noqa: S108
        )

    def _common(self) -> dict[str, str]:
        """Return what hub, proxy and gateway are told; the settings have no secret in them."""
        which = f"{self._aws.account}/{self._aws.region}/{self._settings.instance}"
        return {
            "WORKROOM_SETTINGS": self.to_json_string(merged(self._settings, self.outputs)),
            # The same in every deployment: servers are known by it.
            "WORKROOM_INSTALLATION": hashlib.sha256(which.encode()).hexdigest()[:32],
            "WORKROOM_HOME": STATE,
        }

    def _state(self, *names: str) -> dict[str, str]:
        found = self.secrets.hexadecimal
        return {f"WORKROOM_SECRET_{_variable(name)}": found[name].secret_arn for name in names}

    def _observability(self) -> None:
        observability.LogAlarms(
            self, "LogAlarms", instance=self._settings.instance, log_group=self.platform_log
        )
        hub, metastore = self.hub_database.instance, self.metastore_database.instance
        minute = alarms.MINUTE
        parts = observability.Parts(
            instance=self._settings.instance,
            region=self._aws.region,
            cluster=self.cluster.name,
            platform=self.platform.name,
            group=self._plain.name,
            most_machines=self._aws.max_machines,
            file_system=self.homes.id,
            proxy_healthy=self.web.target.metrics.healthy_host_count(
                statistic="Minimum", period=minute
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
        observability.Dashboard(self, "Dashboard", parts=parts, alarms=self.alarms.alarms)

    # Who may do what: all of it is here.

    def _grant(self) -> None:
        self._grant_people()
        self._grant_services()
        self._grant_machines()

    def _grant_people(self) -> None:
        bucket = self.warehouse.bucket.bucket_arn
        shares = {_EVERYBODY: (self._aws.data_read, self._aws.data_write)}
        shares |= {each.group: (each.read, each.write) for each in self._aws.data_access}
        for group, (read, write) in shares.items():
            _give(
                self.task_roles[group],
                rights.of_home(self._place, file_system=self.homes.id),
                rights.of_tables(bucket, read=read, write=write),
            )
        for statement in rights.keeping_tables(bucket, task_roles=self._task_role_arns()):
            self.warehouse.bucket.add_to_resource_policy(statement)
        _give(
            self.start_role,
            rights.of_server_start(
                self._place,
                log_group=self.server_log.log_group_name,
                secret=self.secrets.pull.secret_arn,
            ),
        )

    def _grant_services(self) -> None:
        _give(
            self.service_roles["Hub"],
            rights.of_hub(
                self._place,
                cluster=self.cluster.name,
                file_system=self.homes.id,
                log_group=self.server_log.log_group_name,
                task_roles=self._task_role_arns(),
                execution_role=self.start_role.role_arn,
            ),
        )
        _give(self.service_roles["Registry"], rights.of_registry(self.blobs.bucket.bucket_arn))
        images = self._aws.images
        programs = {
            "Hub": (images.hub, self._hub()),
            "Proxy": (images.hub, self._proxy()),
            "Gateway": (images.hub, self._gateway()),
            "Registry": (images.registry, self._registry()),
            "Metastore": (images.metastore, self._metastore()),
        }
        for service, (image, program) in programs.items():
            _give(
                self.service_start_roles[service],
                rights.of_service_start(
                    self._place,
                    log_group=self.platform_log.log_group_name,
                    repository=_repository(self.partition, image),
                    secrets=sorted({_without_key(arn) for arn in program.secrets.values()}),
                ),
            )

    def _grant_machines(self) -> None:
        _give(
            self.machine_role,
            rights.of_machine(
                self._place,
                cluster=self.cluster.name,
                group_names=[group.name for group in self.groups],
                log_group=self.machine_log.log_group_name,
                metrics=WATCHDOG_METRICS,
            ),
        )
        archive = f"arn:{self.partition}:s3:::{assets_bucket(self._settings)}/assets/*"
        _give(
            self.image_role,
            rights.of_image_build(secret=self.secrets.pull.secret_arn, archive=archive),
        )

    def _task_role_arns(self) -> list[str]:
        return [role.role_arn for role in self.task_roles.values()]


_ELB_5XX = cdk.aws_elasticloadbalancingv2.HttpCodeElb.ELB_5XX_COUNT


def assets_bucket(settings: Settings) -> str:
    """Return the name of the bucket that templates and files of a deployment go through."""
    assert settings.aws is not None
    return f"{settings.instance}-deploy-{settings.aws.account}-{settings.aws.region}"


def _give(role: iam.Role, *lists: Sequence[iam.PolicyStatement]) -> None:
    for statement in (each for statements in lists for each in statements):
        role.add_to_policy(statement)


def _log_in(name: str, secret: str) -> dict[str, str]:
    return {f"WORKROOM_{name}_{part.upper()}": f"{secret}:{part}::" for part in _LOG_IN}


_LOG_IN = ("username", "password")


def _without_key(value: str) -> str:
    """Return the secret's ARN of a value such as `ARN:password::`."""
    for part in _LOG_IN:
        value = value.removesuffix(f":{part}::")
    return value


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def _repository(partition: str, image: str) -> str:
    """Return the ARN of an image's repository in Amazon ECR."""
    host, _, rest = image.partition("/")
    account, _, _, region = host.split(".")[:4]
    return f"arn:{partition}:ecr:{region}:{account}:repository/{rest.partition('@')[0]}"


def _retention(days: int) -> logs.RetentionDays:
    words: dict[int, Any] = {
        **{1: "ONE_DAY", 3: "THREE_DAYS", 5: "FIVE_DAYS", 7: "ONE_WEEK", 14: "TWO_WEEKS"},
        **{30: "ONE_MONTH", 60: "TWO_MONTHS", 90: "THREE_MONTHS", 120: "FOUR_MONTHS"},
        **{150: "FIVE_MONTHS", 180: "SIX_MONTHS", 365: "ONE_YEAR", 400: "THIRTEEN_MONTHS"},
        **{545: "EIGHTEEN_MONTHS", 731: "TWO_YEARS", 1096: "THREE_YEARS"},
        **{1827: "FIVE_YEARS", 3653: "TEN_YEARS"},
    }
    return logs.RetentionDays[words[days]]


def _all_but(folder: str) -> list[str]:
    return ["*", f"!{folder}", f"!{folder}/**", "!__init__.py", "**/__pycache__"]
