"""Load balancers: HTTPS for pages, TCP for ssh, HTTPS inside the network for the registry."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from aws_cdk import aws_s3 as s3
from constructs import Construct

from workroom_hub.settings_aws import Aws
from workroom_infra import walls

_DRAIN = Duration.hours(1)
"""What AWS allows a connection at most to go on with a task that is being replaced."""


class WebDoor(Construct):
    """HTTPS for the web page, with a sub-domain for each user, to the proxy.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        vpc: The network.
        security_group: Its group.
        logs: Bucket of its access logs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        aws: Aws,
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
        logs: s3.IBucket,
    ) -> None:
        super().__init__(scope, id)
        self.balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=vpc,
            internet_facing=aws.internet_facing,
            vpc_subnets=_subnets(aws),
            security_group=security_group,
            deletion_protection=True,
            drop_invalid_header_fields=True,
            # Quiet websockets: a notebook that computes says nothing for a long time.
            idle_timeout=Duration.hours(1),
            http2_enabled=True,
        )
        self.balancer.log_access_logs(logs, "web")
        self.target = elb.ApplicationTargetGroup(
            self,
            "Proxy",
            vpc=vpc,
            port=walls.WEB,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP,
            # It is replaced before the new one starts; nobody gains by waiting.
            deregistration_delay=Duration.seconds(5),
            # The proxy's own answer: it says nothing of the hub, without which people work on.
            health_check=elb.HealthCheck(
                path="/_chp_healthz",
                healthy_http_codes="200",
                interval=Duration.seconds(10),
                timeout=Duration.seconds(5),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        self.listener = self.balancer.add_listener(
            "Https",
            port=443,
            protocol=elb.ApplicationProtocol.HTTPS,
            certificates=[elb.ListenerCertificate.from_arn(aws.certificate)],
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
            open=False,
            default_target_groups=[self.target],
        )
        self.redirect = self.balancer.add_listener(
            "Http",
            port=80,
            open=False,
            default_action=elb.ListenerAction.redirect(
                protocol="HTTPS", port="443", permanent=True
            ),
        )


class SshDoor(Construct):
    """TCP port 22 to the SSH gateway, which sees the addresses of the people.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        vpc: The network.
        security_group: Its group.
        logs: Bucket of its access logs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        aws: Aws,
        vpc: ec2.IVpc,
        security_group: ec2.ISecurityGroup,
        logs: s3.IBucket,
    ) -> None:
        super().__init__(scope, id)
        self.balancer = elb.NetworkLoadBalancer(
            self,
            "Balancer",
            vpc=vpc,
            internet_facing=aws.internet_facing,
            vpc_subnets=_subnets(aws),
            security_groups=[security_group],
            deletion_protection=True,
            cross_zone_enabled=True,
        )
        self.balancer.log_access_logs(logs, "ssh")
        self.target = elb.NetworkTargetGroup(
            self,
            "Gateway",
            vpc=vpc,
            port=walls.SSH,
            protocol=elb.Protocol.TCP,
            target_type=elb.TargetType.IP,
            # Attempts are limited by address.
            preserve_client_ip=True,
            deregistration_delay=_DRAIN,
            connection_termination=False,
            health_check=elb.HealthCheck(
                protocol=elb.Protocol.TCP,
                interval=Duration.seconds(10),
                healthy_threshold_count=2,
                unhealthy_threshold_count=3,
            ),
        )
        self.listener = self.balancer.add_listener(
            "Ssh", port=22, protocol=elb.Protocol.TCP, default_target_groups=[self.target]
        )


class RegistryDoor(Construct):
    """HTTPS inside the network for the registry, under its public name.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        vpc: The network.
        subnets: Where it is.
        security_group: Its group.
        logs: Bucket of its access logs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        aws: Aws,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
        logs: s3.IBucket,
    ) -> None:
        super().__init__(scope, id)
        self.host = f"registry.{aws.domain}"
        self.balancer = elb.ApplicationLoadBalancer(
            self,
            "Balancer",
            vpc=vpc,
            internet_facing=False,
            vpc_subnets=subnets,
            security_group=security_group,
            deletion_protection=True,
            drop_invalid_header_fields=True,
            # The largest layer takes its time.
            idle_timeout=Duration.minutes(15),
        )
        self.balancer.log_access_logs(logs, "registry")
        self._vpc = vpc
        self.target = self._target("Registry")
        self.listener = self.balancer.add_listener(
            "Https",
            port=443,
            protocol=elb.ApplicationProtocol.HTTPS,
            certificates=[elb.ListenerCertificate.from_arn(aws.certificate)],
            ssl_policy=elb.SslPolicy.RECOMMENDED_TLS,
            open=False,
            default_target_groups=[self.target],
        )
        zone = route53.PrivateHostedZone(self, "Zone", zone_name=self.host, vpc=vpc)
        route53.ARecord(
            self,
            "Name",
            zone=zone,
            target=route53.RecordTarget.from_alias(targets.LoadBalancerTarget(self.balancer)),
        )

    def open_on(self, door: WebDoor) -> elb.ApplicationTargetGroup:
        """Have the web page's load balancer lead to it, too; return the target group of that."""
        outside = self._target("Outside")
        door.listener.add_target_groups(
            "Registry",
            target_groups=[outside],
            priority=10,
            conditions=[elb.ListenerCondition.host_headers([self.host])],
        )
        return outside

    def _target(self, id: str) -> elb.ApplicationTargetGroup:
        return elb.ApplicationTargetGroup(
            self,
            id,
            vpc=self._vpc,
            port=walls.REGISTRY,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP,
            deregistration_delay=Duration.minutes(5),
            health_check=elb.HealthCheck(path="/", healthy_http_codes="200"),
        )


class Names(Construct):
    """Records in the hosted zone of the domain.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment, with `zone_id`.
        web: Where the domain and all its sub-domains lead.
        ssh: Where `ssh.DOMAIN` leads.
    """

    def __init__(self, scope: Construct, id: str, *, aws: Aws, web: WebDoor, ssh: SshDoor) -> None:
        super().__init__(scope, id)
        zone = route53.HostedZone.from_hosted_zone_attributes(
            self, "Zone", hosted_zone_id=aws.zone_id, zone_name=aws.zone_name or aws.domain
        )
        pages = route53.RecordTarget.from_alias(targets.LoadBalancerTarget(web.balancer))
        for record, name in (("Web", aws.domain), ("Users", f"*.{aws.domain}")):
            route53.ARecord(self, record, zone=zone, record_name=f"{name}.", target=pages)
        route53.ARecord(
            self,
            "Ssh",
            zone=zone,
            record_name=f"ssh.{aws.domain}.",
            target=route53.RecordTarget.from_alias(targets.LoadBalancerTarget(ssh.balancer)),
        )


def _subnets(aws: Aws) -> ec2.SubnetSelection:
    return ec2.SubnetSelection(subnet_group_name="entrances" if aws.internet_facing else "servers")
