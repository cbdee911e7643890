"""A PostgreSQL database of the platform's own."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from workroom_hub.settings_aws import Aws

ENGINE = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_17_9)


class Database(Construct):
    """One database: encrypted, private, backed up, its password in Secrets Manager.

    Args:
        scope: Parent.
        id: Name in the stack.
        aws: Settings of the deployment.
        name: Name of the database and of its user.
        size: Class, such as t4g.small.
        vpc: The network.
        subnets: Subnets that nothing outside reaches.
        security_group: Its group.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        aws: Aws,
        name: str,
        size: str,
        vpc: ec2.IVpc,
        subnets: ec2.SubnetSelection,
        security_group: ec2.ISecurityGroup,
    ) -> None:
        super().__init__(scope, id)
        gib = aws.database_disk // 2**30
        self.name = name
        self.instance = rds.DatabaseInstance(
            self,
            "Instance",
            engine=ENGINE,
            instance_type=ec2.InstanceType(size),
            database_name=name,
            # Alone, 30 characters: it is a part of an address.
            credentials=rds.Credentials.from_generated_secret(
                name, exclude_characters=" %+~`#$&*()|[]{}:;<>?!'/@\"\\=^,."
            ),
            vpc=vpc,
            vpc_subnets=subnets,
            security_groups=[security_group],
            publicly_accessible=False,
            multi_az=aws.database_standby,
            storage_encrypted=True,
            storage_type=rds.StorageType.GP3,
            allocated_storage=gib,
            max_allocated_storage=5 * gib,
            backup_retention=Duration.days(aws.backup_days),
            copy_tags_to_snapshot=True,
            delete_automated_backups=False,
            deletion_protection=True,
            removal_policy=RemovalPolicy.SNAPSHOT,
            auto_minor_version_upgrade=True,
            cloudwatch_logs_exports=["postgresql"],
            ca_certificate=rds.CaCertificate.RDS_CA_RSA2048_G1,
            parameters={"rds.force_ssl": "1"},
        )

    @property
    def secret_arn(self) -> str:
        """ARN of the secret with user name and password."""
        secret = self.instance.secret
        assert secret is not None
        return secret.secret_arn

    @property
    def host(self) -> str:
        """Where it answers."""
        return self.instance.db_instance_endpoint_address
