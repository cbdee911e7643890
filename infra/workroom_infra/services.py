"""The cluster of the platform's own services, and one such service.

They run on Fargate, apart from people's servers: no server takes their memory, replacing machines
never touches them, and the hub's right to stop tasks does not reach them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_servicediscovery as discovery
from constructs import Construct


@dataclass(frozen=True, kw_only=True)
class Program:
    """What one service runs.

    Attributes:
        name: Name of the service, and of its address inside the network.
        image: Image, by digest.
        command: Arguments of the image's entry point.
        ports: Ports it listens on.
        environment: Variables.
        secrets: Variables taken from Secrets Manager: its ARN, or its ARN and `:KEY::`.
        check: Words of a command that tells whether it works; empty: its load balancer does.
        cpu: CPU units.
        memory: MiB.
        folders: Folders it writes to; nothing else of it can be written.
        replace: Stop the old one before the new one starts: it is the only writer of something.
        stop_seconds: Time it gets to end.
    """

    name: str
    image: str
    command: Sequence[str]
    ports: Sequence[int]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    check: Sequence[str] = ()
    cpu: int = 1024
    memory: int = 2048
    folders: Sequence[str] = ("/tmp",)  # noqa: S108  (in the container)
    replace: bool = False
    stop_seconds: int = 120


class Platform(Construct):
    """The cluster, and the names by which its services find each other.

    Args:
        scope: Parent.
        id: Name in the stack.
        name: Name of the cluster.
        vpc: The network.
        domain: Name inside the network, such as workroom.internal.
    """

    def __init__(self, scope: Construct, id: str, *, name: str, vpc: ec2.IVpc, domain: str) -> None:
        super().__init__(scope, id)
        self.name = name
        self.domain = domain
        self.cluster = ecs.CfnCluster(
            self,
            "Cluster",
            cluster_name=name,
            capacity_providers=["FARGATE"],
            cluster_settings=[
                ecs.CfnCluster.ClusterSettingsProperty(name="containerInsights", value="enabled")
            ],
        )
        self.names = discovery.PrivateDnsNamespace(self, "Names", name=domain, vpc=vpc)

    def address(self, name: str, port: int) -> str:
        """Return `NAME.DOMAIN:PORT` of a service."""
        return f"{name}.{self.domain}:{port}"


class Service(Construct):
    """One service of the platform, one task of it.

    Args:
        scope: Parent.
        id: Name in the stack.
        platform: Where it runs.
        program: What it runs.
        task_role: What it may do in AWS; None: nothing.
        execution_role: With which ECS fetches its image and secrets.
        log_group: Where what it prints is kept.
        subnets: Where it is.
        security_group: Its group.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        platform: Platform,
        program: Program,
        task_role: iam.IRole,
        execution_role: iam.IRole,
        log_group: logs.ILogGroup,
        subnets: list[ec2.ISubnet],
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, id)
        self.name = program.name
        self.log_group = log_group
        self._port = program.ports[0]
        self.definition = ecs.CfnTaskDefinition(
            self,
            "Definition",
            # Not the instance's name first: the hub's rights end at families that begin so.
            family=f"platform-{platform.name}-{program.name}",
            cpu=str(program.cpu),
            memory=str(program.memory),
            network_mode="awsvpc",
            requires_compatibilities=["FARGATE"],
            runtime_platform=ecs.CfnTaskDefinition.RuntimePlatformProperty(
                cpu_architecture="X86_64", operating_system_family="LINUX"
            ),
            task_role_arn=task_role.role_arn,
            execution_role_arn=execution_role.role_arn,
            container_definitions=[_container(program, log_group, scope)],
            volumes=[
                ecs.CfnTaskDefinition.VolumeProperty(name=_volume(folder))
                for folder in program.folders
            ],
        )
        entry = discovery.Service(
            self,
            "Name",
            namespace=platform.names,
            name=program.name,
            dns_record_type=discovery.DnsRecordType.A,
            dns_ttl=Duration.seconds(5),
        )
        self.service = ecs.CfnService(
            self,
            "Service",
            cluster=platform.cluster.ref,
            service_name=program.name,
            task_definition=self.definition.ref,
            desired_count=1,
            launch_type="FARGATE",
            platform_version="LATEST",
            propagate_tags="SERVICE",
            enable_ecs_managed_tags=True,
            enable_execute_command=False,
            deployment_configuration=ecs.CfnService.DeploymentConfigurationProperty(
                minimum_healthy_percent=0 if program.replace else 100,
                maximum_percent=100 if program.replace else 200,
                deployment_circuit_breaker=ecs.CfnService.DeploymentCircuitBreakerProperty(
                    enable=True, rollback=True
                ),
            ),
            network_configuration=ecs.CfnService.NetworkConfigurationProperty(
                awsvpc_configuration=ecs.CfnService.AwsVpcConfigurationProperty(
                    subnets=[subnet.subnet_id for subnet in subnets],
                    security_groups=[security_group.security_group_id],
                    assign_public_ip="DISABLED",
                )
            ),
            service_registries=[
                ecs.CfnService.ServiceRegistryProperty(registry_arn=entry.service_arn)
            ],
        )

    def behind(self, *listeners: Construct, target_groups: Sequence[str], grace: int = 120) -> None:
        """Have load balancers send to it, once their listeners are there."""
        self.service.load_balancers = [
            ecs.CfnService.LoadBalancerProperty(
                container_name=self.name, container_port=self._port, target_group_arn=arn
            )
            for arn in target_groups
        ]
        self.service.health_check_grace_period_seconds = grace
        for listener in listeners:
            self.service.node.add_dependency(listener)


def _container(
    program: Program, log_group: logs.ILogGroup, scope: Construct
) -> ecs.CfnTaskDefinition.ContainerDefinitionProperty:
    define = ecs.CfnTaskDefinition
    check = define.HealthCheckProperty(
        command=["CMD", *program.check], interval=15, timeout=10, retries=4, start_period=120
    )
    return define.ContainerDefinitionProperty(
        name=program.name,
        image=program.image,
        essential=True,
        command=list(program.command) or None,
        environment=[
            define.KeyValuePairProperty(name=name, value=value)
            for name, value in sorted(program.environment.items())
        ],
        secrets=[
            define.SecretProperty(name=name, value_from=arn)
            for name, arn in sorted(program.secrets.items())
        ],
        port_mappings=[
            define.PortMappingProperty(container_port=port, protocol="tcp")
            for port in program.ports
        ],
        health_check=check if program.check else None,
        readonly_root_filesystem=True,
        mount_points=[
            define.MountPointProperty(
                container_path=folder, source_volume=_volume(folder), read_only=False
            )
            for folder in program.folders
        ],
        linux_parameters=define.LinuxParametersProperty(
            init_process_enabled=True,
            capabilities=define.KernelCapabilitiesProperty(drop=["ALL"]),
        ),
        ulimits=[define.UlimitProperty(name="nofile", soft_limit=65536, hard_limit=65536)],
        stop_timeout=program.stop_seconds,
        log_configuration=define.LogConfigurationProperty(
            log_driver="awslogs",
            options={
                "awslogs-group": log_group.log_group_name,
                "awslogs-region": _region(scope),
                "awslogs-stream-prefix": program.name,
                # Who logs faster than it is taken loses lines, and does not stand still.
                "mode": "non-blocking",
                "max-buffer-size": "8m",
            },
        ),
    )


def _volume(folder: str) -> str:
    return folder.strip("/").replace("/", "-")


def _region(scope: Construct) -> str:
    from aws_cdk import Stack

    return Stack.of(scope).region
