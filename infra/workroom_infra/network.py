"""VPC, subnets, and endpoints, so that a server starts without any way to the internet."""

from __future__ import annotations

from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct, IDependable

from workroom_hub.settings_aws import Aws

ENDPOINTS = (
    *("ecs", "ecs-agent", "ecs-telemetry", "ecr.api", "ecr.dkr", "logs", "monitoring"),
    *("ssm", "ssmmessages", "ec2messages", "secretsmanager", "sts"),
    *("elasticfilesystem", "autoscaling"),
)
"""AWS services that are reached inside the VPC; S3 is, too, through a gateway."""
WITHOUT_NAT = ("imagebuilder",)
"""More of them, where nothing leads out: Image Builder's build machine reports to it."""


class Network(Construct):
    """The VPC: public subnets for load balancers, private ones for everything else.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        flow_logs: Where refused and accepted connections are noted.
    """

    def __init__(self, scope: Construct, id: str, *, aws: Aws, flow_logs: logs.ILogGroup) -> None:
        super().__init__(scope, id)
        self._names = ENDPOINTS if aws.nat_gateways else ENDPOINTS + WITHOUT_NAT
        size = int(aws.vpc_cidr.rpartition("/")[2])
        private = (
            ec2.SubnetType.PRIVATE_WITH_EGRESS
            if aws.nat_gateways
            else ec2.SubnetType.PRIVATE_ISOLATED
        )
        # Every server takes an address, so theirs are three quarters of all.
        subnets = [
            ec2.SubnetConfiguration(name="servers", subnet_type=private, cidr_mask=size + 2),
            ec2.SubnetConfiguration(
                name="entrances",
                subnet_type=ec2.SubnetType.PUBLIC,
                cidr_mask=size + 6,
                map_public_ip_on_launch=False,
            ),
            ec2.SubnetConfiguration(
                name="databases",
                subnet_type=ec2.SubnetType.PRIVATE_ISOLATED,
                cidr_mask=size + 6,
            ),
        ]
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(aws.vpc_cidr),
            availability_zones=aws.zones,
            nat_gateways=aws.nat_gateways,
            subnet_configuration=subnets,
            # The default group is used by nothing; to empty it takes a function of its own.
            restrict_default_security_group=False,
        )
        self.vpc.add_flow_log(
            "FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(flow_logs)
        )
        self.servers = self.vpc.select_subnets(subnet_group_name="servers")
        self.entrances = self.vpc.select_subnets(subnet_group_name="entrances")
        self.databases = self.vpc.select_subnets(subnet_group_name="databases")
        # What must be there before anything can fetch its image.
        self.ways: list[IDependable] = [self.servers.internet_connectivity_established]

    def add_endpoints(self, *, security_group: ec2.ISecurityGroup) -> None:
        """Have AWS's services answer inside the VPC."""
        s3 = self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        self.ways.append(s3)
        for name in self._names:
            endpoint = self.vpc.add_interface_endpoint(
                f"To-{name.replace('.', '-')}",
                service=ec2.InterfaceVpcEndpointAwsService(name),
                private_dns_enabled=True,
                security_groups=[security_group],
                subnets=self.servers_selection(),
                open=False,
            )
            self.ways.append(endpoint)

    def servers_selection(self) -> ec2.SubnetSelection:
        """Return the subnets of everything that is not a load balancer or a database."""
        return ec2.SubnetSelection(subnet_group_name="servers")
