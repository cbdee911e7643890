"""The cluster of the servers: one Auto Scaling group of one instance size, and one for GPUs."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_iam as iam
from constructs import Construct

from workroom_hub.instance_types import InstanceType
from workroom_hub.settings_aws import Aws

_BOOT = Duration.minutes(5)
"""What a machine needs at most until servers run on it."""
STEP_EVERY = Duration.minutes(1)
"""Time between two steps up; `workroom plan` takes it for granted. AWS's own is five minutes."""
LARGEST_STEP = 10_000
"""ECS's own limit: a morning must not come in portions. The group's maximum bounds it."""


class Machines(Construct):
    """One Auto Scaling group and its capacity provider.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        name: Name of the group and of the capacity provider.
        cluster: Name of the cluster that the machines join.
        instance_type: The one size.
        image: AMI.
        role: What the machines may do.
        vpc: The network.
        subnets: Where they are.
        security_group: Their group.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        aws: Aws,
        name: str,
        cluster: str,
        instance_type: InstanceType,
        image: str,
        role: iam.IRole,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, id)
        self.name = name
        self.instance_type = instance_type
        gpu = bool(instance_type.gpu)
        least = 0 if gpu else aws.min_machines
        template = ec2.LaunchTemplate(
            self,
            "Template",
            # No Systems Manager parameter: what a machine is made from is written down here.
            machine_image=ec2.GenericLinuxImage({aws.region: image}),
            instance_type=ec2.InstanceType(instance_type.name),
            role=role,
            security_group=security_group,
            associate_public_ip_address=False,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            http_endpoint=True,
            instance_metadata_tags=False,
            detailed_monitoring=True,
            ebs_optimized=True,
            user_data=_user_data(aws, cluster, gpu=gpu),
            block_devices=[
                ec2.BlockDevice(
                    device_name="/dev/xvda",
                    volume=ec2.BlockDeviceVolume.ebs(
                        aws.machine_disk // 2**30,
                        encrypted=True,
                        volume_type=ec2.EbsDeviceVolumeType.GP3,
                        delete_on_termination=True,
                    ),
                )
            ],
        )
        self.group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            auto_scaling_group_name=name,
            vpc=vpc,
            vpc_subnets=subnets,
            launch_template=template,
            min_capacity=least,
            max_capacity=aws.max_machines,
            # Termination protection is ECS's to take away, once a machine has no server.
            new_instances_protected_from_scale_in=True,
            group_metrics=[autoscaling.GroupMetrics.all()],
            default_instance_warmup=_BOOT,
            health_checks=autoscaling.HealthChecks.ec2(grace_period=_BOOT),
        )
        if aws.warm_machines and not gpu:
            self.group.add_warm_pool(
                # Running and stopped ones together: the pool empties as the group fills.
                min_size=0,
                max_group_prepared_capacity=aws.warm_machines,
                pool_state=autoscaling.PoolState.STOPPED,
                reuse_on_scale_in=False,
            )
        self.provider = ecs.CfnCapacityProvider(
            self,
            "Provider",
            name=name,
            auto_scaling_group_provider=ecs.CfnCapacityProvider.AutoScalingGroupProviderProperty(
                auto_scaling_group_arn=self.group.auto_scaling_group_name,
                managed_draining="ENABLED",
                managed_termination_protection="ENABLED",
                managed_scaling=ecs.CfnCapacityProvider.ManagedScalingProperty(
                    status="ENABLED",
                    # 90 keeps a tenth of the machines free.
                    target_capacity=100 - aws.headroom,
                    minimum_scaling_step_size=1,
                    maximum_scaling_step_size=LARGEST_STEP,
                    instance_warmup_period=int(STEP_EVERY.to_seconds()),
                ),
            ),
        )


class Cluster(Construct):
    """The cluster of the servers, with the groups of machines that belong to it.

    Args:
        scope: Parent.
        id: Name in the stack.
        name: Its name.
    """

    def __init__(self, scope: Construct, id: str, *, name: str) -> None:
        super().__init__(scope, id)
        self.name = name
        self.cluster = ecs.CfnCluster(
            self,
            "Cluster",
            cluster_name=name,
            # It would make custom metrics of every task family, and each person has one.
            cluster_settings=[
                ecs.CfnCluster.ClusterSettingsProperty(name="containerInsights", value="disabled")
            ],
        )

    def use(self, groups: list[Machines]) -> None:
        """Give the cluster its capacity providers; the first is the default."""
        ecs.CfnClusterCapacityProviderAssociations(
            self,
            "Providers",
            cluster=self.cluster.ref,
            capacity_providers=[group.provider.ref for group in groups],
            default_capacity_provider_strategy=[
                ecs.CfnClusterCapacityProviderAssociations.CapacityProviderStrategyProperty(
                    capacity_provider=groups[0].provider.ref, weight=1
                )
            ],
        )


def agent_settings(aws: Aws, cluster: str, *, gpu: bool) -> dict[str, str]:
    """Return what the ECS agent of a machine is told in /etc/ecs/ecs.config."""
    settings = {
        "ECS_CLUSTER": cluster,
        # Servers have no-new-privileges, and ECS places them only on machines that say this.
        "ECS_SELINUX_CAPABLE": "true",
        # A server must not get the machine's own role.
        "ECS_AWSVPC_BLOCK_IMDS": "true",
        # An address for each server, many on a machine: trunking (the account's setting as well).
        "ECS_ENABLE_TASK_ENI": "true",
        "ECS_ENABLE_HIGH_DENSITY_ENI": "true",
        "ECS_TASK_PIDS_LIMIT": str(aws.machine_pids),
        # Images are pinned by digest, so one that is there is right, also while no registry is.
        # The agent removes none then; the machines' image does (`machine_image.remove_unused`).
        "ECS_IMAGE_PULL_BEHAVIOR": "prefer-cached",
        "ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION": "10m",
        "ECS_RESERVED_MEMORY": "512",
        "ECS_CONTAINER_CREATE_TIMEOUT": "4m",
    }
    if aws.warm_machines and not gpu:
        # Else a machine of the warm pool would join the cluster, and be stopped in it.
        settings["ECS_WARM_POOLS_CHECK"] = "true"
    if gpu:
        settings["ECS_ENABLE_GPU_SUPPORT"] = "true"
    return settings


def _user_data(aws: Aws, cluster: str, *, gpu: bool) -> ec2.UserData:
    data = ec2.UserData.for_linux()
    lines = [f"{name}={value}" for name, value in agent_settings(aws, cluster, gpu=gpu).items()]
    data.add_commands("cat >/etc/ecs/ecs.config <<'END'", *lines, "END")
    return data
