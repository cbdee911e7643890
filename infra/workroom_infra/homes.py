"""Homes: one EFS file system, on which the hub makes an access point for each person."""

from __future__ import annotations

from typing import Any

from aws_cdk import RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_efs as efs
from constructs import Construct


class Homes(Construct):
    """The file system: encrypted, backed up, with a mount target in each subnet of the servers.

    Args:
        scope: Parent.
        id: Name in the stack.
        name: Its name tag.
        subnets: Where servers are.
        security_group: Group of the mount targets.
        policy: Who may mount, as an IAM policy document.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        name: str,
        subnets: list[ec2.ISubnet],
        security_group: ec2.ISecurityGroup,
        policy: Any,
    ) -> None:
        super().__init__(scope, id)
        self.file_system = efs.CfnFileSystem(
            self,
            "FileSystem",
            encrypted=True,
            throughput_mode="elastic",
            performance_mode="generalPurpose",
            backup_policy=efs.CfnFileSystem.BackupPolicyProperty(status="ENABLED"),
            lifecycle_policies=[
                efs.CfnFileSystem.LifecyclePolicyProperty(transition_to_ia="AFTER_30_DAYS"),
                efs.CfnFileSystem.LifecyclePolicyProperty(
                    transition_to_primary_storage_class="AFTER_1_ACCESS"
                ),
            ],
            file_system_policy=policy,
            file_system_tags=[
                efs.CfnFileSystem.ElasticFileSystemTagProperty(key="Name", value=name)
            ],
        )
        self.file_system.apply_removal_policy(RemovalPolicy.RETAIN)
        self.targets = [
            efs.CfnMountTarget(
                self,
                f"Target{number}",
                file_system_id=self.file_system.ref,
                subnet_id=subnet.subnet_id,
                security_groups=[security_group.security_group_id],
            )
            for number, subnet in enumerate(subnets)
        ]

    @property
    def id(self) -> str:
        """Id of the file system."""
        return self.file_system.ref
