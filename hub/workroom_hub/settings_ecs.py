"""The section `ecs` of `workroom.yaml`: a cluster of Amazon ECS, and what servers get there."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from workroom_hub import checks_aws
from workroom_hub.fields import Port, Section, Size, Span

Role = Annotated[str, AfterValidator(checks_aws.role)]


class CapacityProvider(Section):
    """One entry of a capacity provider strategy, as RunTask takes it."""

    name: Annotated[str, AfterValidator(checks_aws.capacity_provider)] = Field(
        min_length=1, description="Name of the capacity provider."
    )
    weight: int = Field(
        1, ge=0, le=1000, description="Its share of the servers beyond everyone's `base`."
    )
    base: int = Field(
        0,
        ge=0,
        le=100_000,
        description="Servers it gets before the others; one provider of a strategy may have it.",
    )


def _strategy(given: list[CapacityProvider]) -> list[CapacityProvider]:
    checks_aws.strategy([(each.name, each.weight, each.base) for each in given])
    return given


Strategy = Annotated[list[CapacityProvider], AfterValidator(_strategy)]


class GroupRoles(Section):
    """Roles of the members of one group; of several groups the first one here counts."""

    group: str = Field(min_length=1, description="Name of the group.")
    task_role: Role = Field("", description="ARN of the role of their servers.")
    execution_role: Role = Field("", description="ARN of the role that starts their servers.")

    @model_validator(mode="after")
    def _roles_given(self) -> GroupRoles:
        if not (self.task_role or self.execution_role):
            raise ValueError("give the group a task_role, an execution_role or both")
        return self


class TaskLogs(Section):
    """Where what servers print is kept: CloudWatch Logs."""

    group: Annotated[str, AfterValidator(checks_aws.log_group)] = Field(
        min_length=1, description="Log group; it must be there."
    )
    prefix: Annotated[str, AfterValidator(checks_aws.log_prefix)] = Field(
        "servers",
        description="Streams are named PREFIX/server/TASK.",
    )


class PlacementConstraint(Section):
    """A rule on which machines servers may be placed, as RunTask takes it."""

    type: Literal["memberOf", "distinctInstance"] = Field(description="Kind of the rule.")
    expression: str = Field(
        "",
        max_length=2000,
        description="With memberOf: which machines, such as `attribute:ecs.instance-type =~ m7i.*`.",
    )

    @model_validator(mode="after")
    def _expression_belongs(self) -> PlacementConstraint:
        if (self.type == "memberOf") != bool(self.expression):
            raise ValueError("an expression belongs to memberOf, and to nothing else")
        return self


class Bucket(Section):
    """One of AWS's token buckets."""

    burst: float = Field(gt=0, description="Calls at once.")
    rate: float = Field(gt=0, description="Calls a second after that.")


class Quotas(Section):
    """How many calls AWS allows this account in this region; the defaults are its documented ones."""

    run: Bucket = Field(
        Bucket(burst=100, rate=40),
        description="RunTask and StopTask: 100 at once, 40 a second.",
    )
    describe: Bucket = Field(
        Bucket(burst=100, rate=20),
        description="DescribeTasks and ListTasks: 100 at once, 20 a second.",
    )
    registrations: Bucket = Field(
        Bucket(burst=20, rate=1),
        description="RegisterTaskDefinition: 20 at once, 1 a second.",
    )
    definitions: Bucket = Field(
        Bucket(burst=50, rate=20),
        description="DescribeTaskDefinition and lists of them: 50 at once, 20 a second.",
    )
    other: Bucket = Field(
        Bucket(burst=10, rate=5),
        description="EFS, Auto Scaling and CloudWatch Logs, which publish no figures: 10 at once, 5 a second.",
    )


class Ecs(Section):
    """A cluster of Amazon ECS on EC2 machines (spawner `ecs`)."""

    region: str = Field("", description="AWS region, such as eu-central-1. Needed.")
    cluster: str = Field("", description="Name or ARN of the cluster. Needed.")
    subnets: list[Annotated[str, AfterValidator(checks_aws.subnet)]] = Field(
        default_factory=list, max_length=16, description="Subnets of the servers. Needed."
    )
    security_groups: list[Annotated[str, AfterValidator(checks_aws.security_group)]] = Field(
        default_factory=list,
        max_length=5,
        description="Security groups of the servers; empty: the VPC's default one.",
    )
    hub_url: str = Field(
        "",
        description="Where servers reach the hub's API, such as http://10.0.1.5:8081. Needed.",
    )
    hub_host: str = Field(
        "",
        description="Address of this machine on which the hub's API listens (port `local.hub_port`); default: the host of `hub_url`.",
    )
    capacity_providers: Strategy = Field(
        default_factory=list,
        max_length=20,
        description="Strategy that picks the machines; empty: the cluster's default one. One weight above 0 at least.",
    )
    gpu_capacity_providers: Strategy = Field(
        default_factory=list,
        max_length=20,
        description="The same for profiles with a GPU; empty: as the others.",
    )
    task_role: Role = Field(
        "", description="ARN of the role that people's code has in AWS; needed for homes on EFS."
    )
    execution_role: Role = Field(
        "",
        description="ARN of the role with which ECS starts servers; needed for `logs` and `registry_secret`.",
    )
    roles: list[GroupRoles] = Field(
        default_factory=list, description="Other roles for members of some groups."
    )
    logs: TaskLogs | None = Field(
        None, description="Where what servers print is kept; default: on their machine only."
    )
    registry_secret: Annotated[str, AfterValidator(checks_aws.secret)] = Field(
        "", description="ARN of the secret with the image registry's user name and password."
    )
    placement_constraints: list[PlacementConstraint] = Field(
        default_factory=list, max_length=10, description="Rules on which machines may be used."
    )
    tags: Annotated[dict[str, str], AfterValidator(checks_aws.tags)] = Field(
        default_factory=dict,
        max_length=40,
        description="More tags for every server, for cost allocation.",
    )
    execute_command: bool = Field(
        False, description="Let administrators of the AWS account open a shell in servers."
    )
    shared_memory: Size = Field(
        2 * 2**30, ge=64 * 2**20, description="Size of /dev/shm in every server; counts as memory."
    )
    stop_timeout: Span = Field(
        30, ge=2, le=120, description="Time a server gets to end by itself before it is killed."
    )
    capacity_timeout: Span = Field(
        1800, ge=60, description="Longest wait for a machine; queueing is not counted."
    )
    sweep_every: Span = Field(
        30, ge=5, le=600, description="Time between two looks at the running servers."
    )
    orphan_grace: Span = Field(
        300, ge=60, description="How long a task may run that belongs to no server of the hub."
    )
    auto_scaling_group: str = Field(
        "",
        max_length=255,
        description="Auto Scaling group whose machines are counted while people wait; default: none.",
    )
    instance_cpu: float | None = Field(
        None,
        gt=0,
        description="Cores of one machine of the cluster, for the bars on the cards; default: the largest profile's.",
    )
    instance_memory: Size | None = Field(
        None,
        ge=2**30,
        description="Memory of one machine of the cluster, for the same bars.",
    )
    endpoint_url: str = Field(
        "",
        description="Address that answers for every AWS service, to which the hub's own credentials are sent; default: AWS itself.",
    )
    emulator_port: Port = Field(
        4566,
        description="Loopback port of the AWS emulator (`workroom up --cloud local`); `WORKROOM_EMULATOR_PORT` overrides it.",
    )
    quotas: Quotas = Field(default_factory=Quotas)

    _check_region = field_validator("region")(checks_aws.region)
    _check_cluster = field_validator("cluster")(checks_aws.cluster)
    _check_hub_url = field_validator("hub_url")(checks_aws.base_url)
    _check_endpoint_url = field_validator("endpoint_url")(checks_aws.base_url)

    @model_validator(mode="after")
    def _execution_role_given(self) -> Ecs:
        for name in ("logs", "registry_secret"):
            if getattr(self, name) and not self.execution_role:
                raise ValueError(
                    f"{name}: ECS needs ecs.execution_role for it, the ARN of a role that may use it"
                )
        return self

    @property
    def missing(self) -> list[str]:
        """What `spawner: ecs` cannot do without and is not given, each with an example."""
        examples = {
            "region": "eu-central-1",
            "cluster": "workroom",
            "subnets": "[subnet-0123456789abcdef0]",
            "hub_url": "http://10.0.1.5:8081, where servers reach the hub",
        }
        return [f"ecs.{n} (such as {e})" for n, e in examples.items() if not getattr(self, n)]

    @property
    def host(self) -> str:
        """Address of this machine on which the hub's API listens."""
        return self.hub_host or urlsplit(self.hub_url).hostname or ""
